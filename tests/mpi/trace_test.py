# SPDX-License-Identifier: Apache-2.0
"""log.trace: what every rank does in one step, as Chrome trace events in one file."""
import json
import os

import harness
from harness import BAD_CONFIG, RunTest

COMPUTE, LAYERS, NETWORK = 0, 1, 2


class TraceTest(RunTest):
    def trace(self, ranks, settings=None):
        result = self.train("run", ranks, {"log.trace": "trace.json", "log.decisions": "false", **(settings or {})})
        self.assertIn("trace.json", result.err)
        with open(self.path("trace.json"), encoding="utf-8") as file:
            return json.load(file)

    @staticmethod
    def events(trace, rank, lane):
        return [e for e in trace["traceEvents"] if e["ph"] == "X" and (e["pid"], e["tid"]) == (rank, lane)]

    def test_a_step_of_all_ranks_is_in_one_file(self):
        trace = self.trace(3, {"log.trace_step": 4, "communication.bucket_bytes": 262144})
        self.assertEqual(trace["step"], 4)
        names = [e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"]
        self.assertEqual(names, ["rank %d on %s" % (rank, os.uname().nodename) for rank in range(3)])
        row = self.rows("run", "steps.csv")[3]
        network = [[e["name"] for e in self.events(trace, rank, NETWORK)] for rank in range(3)]
        self.assertEqual(network[0], network[1])
        self.assertEqual(network[0], network[2])
        self.assertEqual((network[0][0], network[0][-1]), ("agree on the plan", "sum of losses"))
        self.assertGreater(len(network[0]), 4)
        for rank in range(3):
            phases = self.events(trace, rank, COMPUTE)
            self.assertEqual([e["name"] for e in phases],
                             ["data", "forward", "backward", "wait", "communication", "optimizer"])
            for before, after in zip(phases, phases[1:]):
                self.assertLessEqual(before["ts"] + before["dur"], after["ts"] + 1)
            self.assertTrue(all(e["dur"] >= 0 for e in phases), phases)
            layers = [e["name"] for e in self.events(trace, rank, LAYERS)]
            self.assertEqual((layers[0], layers[-1], len(layers)), ("fc.weight", "conv1.weight", 11))
            # Statistics and padding travel with the learned values.
            sent = sum(e.get("args", {}).get("bytes", 0) for e in self.events(trace, rank, NETWORK))
            self.assertGreaterEqual(sent, int(row["bytes_reduced"]))
            self.assertLess(sent, 1.1 * int(row["bytes_reduced"]))

    def test_the_third_step_after_a_start_or_a_resume(self):
        self.assertEqual(self.trace(1, {"train.max_steps": 4})["step"], 3)
        self.assertEqual(self.trace(1)["step"], 7)
        self.assertEqual(self.events(self.trace(1, {"run.name": "b"}), 0, NETWORK), [])

    def test_a_reduction_starts_before_backward_has_ended(self):
        trace = self.trace(2, {"communication.bucket_bytes": 4096, "train.batch_size": 20})
        backward = next(e for e in self.events(trace, 0, COMPUTE) if e["name"] == "backward")
        first = next(e for e in self.events(trace, 0, NETWORK) if e["name"] == "allreduce")
        self.assertLess(first["ts"], backward["ts"] + backward["dur"])

    def test_a_file_that_cannot_be_written(self):
        result = self.train("run", 2, {"log.trace": "no/such/folder.json"}, code=BAD_CONFIG)
        self.assert_error(result, "no/such/folder.json", "trace")


if __name__ == "__main__":
    harness.main()
