# SPDX-License-Identifier: Apache-2.0
"""communication.wire = bf16: half the bytes, nothing lost, the same bits every time and after a resume."""
import os
import re
import subprocess

import harness
from harness import BAD_CONFIG, RunTest, TINY_VIT

BF16 = {"communication.wire": "bf16"}
ALL = ("/model", "/optimizer", "/communication")
EVERY_STEP = {**BF16, "checkpoint.every_steps": 1, "checkpoint.keep": 99}


class WireTest(RunTest):
    def checkpoint(self, name, step):
        return self.run_path(name, "checkpoints", "step-%08d.h5" % step)

    def assert_same_whole_run(self, name, other):
        self.assert_same_run(name, other)
        self.assert_same_state(self.latest(name), self.latest(other), ALL)

    def errors(self, checkpoint, rank, unit):
        """The error feedback of a rank for the first convolution of a unit, which is a branch."""
        return self.values(checkpoint, "/communication/error/%d/%s.conv1.weight" % (rank, unit))

    def kept(self, name, step):
        """{unit: whether it was kept in that step}"""
        bits = {row["step"]: row["kept"] for row in self.rows(name, "decisions.csv")}[str(step)]
        return dict(zip(self.column(name, "schedule.csv", "name"), (bit == "1" for bit in bits)))

    # ---- results ----

    def test_losses_are_close_to_those_of_floats_but_not_the_same(self):
        for base, tolerance in ((None, 0.02), (TINY_VIT, 0.02)):
            self.train("floats", 2, {"run.name": "floats%g" % bool(base)}, base)
            self.train("halves", 2, {**BF16, "run.name": "halves%g" % bool(base)}, base)
            floats, halves = (self.column("%s%g" % (name, bool(base)), "steps.csv", "loss", float)
                              for name in ("floats", "halves"))
            self.assertEqual(floats[0], halves[0])
            self.assertNotEqual(floats[1:], halves[1:])
            self.assert_close(halves, floats, tolerance)

    def test_statistics_of_batch_norm_are_not_rounded(self):
        # The first forward pass is the same, so the first step's statistics are, to the bit; weights are not.
        first = {"train.max_steps": 1}
        self.train("floats", 3, first)
        self.train("halves", 3, {**first, **BF16})
        listed = self.tool("h5ls", "-r", self.latest("floats") + "/model")
        statistics = ["/model" + path for path in re.findall(r"^(/\S+\.running_(?:mean|var))\s", listed, re.MULTILINE)]
        self.assertEqual(len(statistics), 2 * 19)
        for path in statistics:
            self.assertTrue(self.equal_state(self.latest("floats"), self.latest("halves"), path), path)
        self.assertFalse(self.equal_state(self.latest("floats"), self.latest("halves"), "/model/conv1.weight"))

    def test_neither_progress_nor_buckets_nor_skipping_change_a_bit(self):
        # With two ranks each sum has two terms, and a + b = b + a.
        self.train("plain", 2, BF16)
        self.train("again", 2, BF16)
        self.assert_same_whole_run("plain", "again")
        for name, settings in (("poll", {"communication.progress": "poll", "run.threads": 2}),
                               ("buckets", {"communication.bucket_bytes": 4096}),
                               ("send_all", {"communication.skip_dropped": "false"})):
            self.train(name, 2, {**BF16, **settings})
            self.assert_same_state(self.latest("plain"), self.latest(name), ALL)

    def test_bytes_are_half(self):
        self.train("floats", 2)
        self.train("halves", 2, BF16)
        floats, halves = (self.column(name, "steps.csv", "bytes_reduced", int) for name in ("floats", "halves"))
        self.assertLess(min(floats), max(floats))
        self.assertEqual([2 * n for n in halves], floats)
        self.assertEqual(self.column("halves", "steps.csv", "bytes_full"), self.column("floats", "steps.csv", "bytes_full"))
        self.assertEqual(2 * self.summary("halves")["bytes_reduced"], self.summary("floats")["bytes_reduced"])

    # ---- error feedback ----

    def test_a_dropped_branch_keeps_its_error(self):
        for name, settings in (("skip", {}), ("send", {"communication.skip_dropped": "false"})):
            self.train(name, 2, {**EVERY_STEP, **settings, "train.max_steps": 6})
            seen = set()
            for step in range(2, 7):
                for unit, kept in self.kept(name, step).items():
                    for rank in range(2):
                        group = "/communication/error/%d/%s.conv1.weight" % (rank, unit)
                        had_error = any(self.errors(self.checkpoint(name, step - 1), rank, unit))
                        same = self.equal_state(self.checkpoint(name, step - 1), self.checkpoint(name, step), group)
                        self.assertEqual(same, not kept or not had_error and same, "step %d, %s, rank %d" % (step, unit, rank))
                        seen.add((kept, had_error))
            self.assertLessEqual({(True, True), (False, True)}, seen)

    def test_resumed_in_mid_epoch_ends_in_the_same_bits(self):
        for ranks in (2, 3):
            whole, parts = "whole%d" % ranks, "parts%d" % ranks
            self.train(whole, ranks, BF16)
            for stop in (3, 7, 0):
                result = self.train(parts, ranks, {**BF16, "train.max_steps": stop})
                self.assertEqual(result.warnings, [], result)
            self.assert_same_whole_run(whole, parts)

    def test_on_another_number_of_ranks_rank_0_has_the_sum_of_errors(self):
        self.train("run", 2, {**EVERY_STEP, "train.max_steps": 4})
        start = self.checkpoint("run", 4)
        for ranks in (1, 3):
            name = "ranks%d" % ranks
            result = self.train(name, ranks, {**EVERY_STEP, "train.max_steps": 5}, words=["--resume", start])
            self.assertIn("2 ranks and goes on with %d: results stay right, but not bit for bit" % ranks,
                          result.warnings[0])
            dropped = [unit for unit, kept in self.kept(name, 5).items() if not kept]
            errors = 0
            for unit in dropped:
                mine, other = (self.errors(start, rank, unit) for rank in range(2))
                after = self.errors(self.latest(name), 0, unit)
                apart = max(abs(c - (a + b)) for a, b, c in zip(mine, other, after))
                self.assertLessEqual(apart, 1e-7 * max(map(abs, after)), unit)  # of a sum rounded once: 2^-24
                errors += any(after)
                for rank in range(1, ranks):
                    self.assertEqual(set(self.errors(self.latest(name), rank, unit)), {0})
            self.assertGreater(errors, 0, "no dropped branch has an error: the test shows nothing")
            for unit in set(self.kept(name, 5)) - set(dropped):
                self.assertEqual(any(self.errors(self.latest(name), 0, unit)), ranks > 1, "one rank has added all")
        # And from one rank to several.
        self.train("ranks1", 2, {"communication.wire": "bf16"})
        self.assertEqual(len(self.rows("ranks1", "steps.csv")), 6)

    def test_it_belongs_to_a_run(self):
        for stored, asked in (("bf16", "fp32"), ("fp32", "bf16")):
            self.train(stored, 2, {"communication.wire": stored, "train.max_steps": 1})
            result = self.train(stored, 2, {"communication.wire": asked}, code=BAD_CONFIG)
            self.assert_error(result, "communication.wire = %s, not %s" % (asked, stored))
        listed = self.tool("h5ls", self.latest("fp32"))
        self.assertNotIn("communication", listed)
        evaluated = self.mpirun(2, "fp32.ini", "--evaluate", self.latest("bf16"))
        self.assertIn("evaluate loss=", evaluated.out)

    # ---- what is told ----

    def test_it_is_refused_where_ranks_must_not_matter(self):
        result = self.train("refused", 2, {**BF16, "communication.reduction": "reproducible"}, code=BAD_CONFIG)
        self.assert_error(result, "communication.wire", "bf16", "reproducible")

    def test_check_tells_its_bytes_and_its_memory(self):
        told = {}
        for wire in ("fp32", "bf16"):
            self.write_config(wire, {"communication.wire": wire, "train.batch_size": 40, "train.epochs": 1})
            out = self.mpirun(1, wire + ".ini", "--check").out
            told[wire] = [float(re.search(pattern, out).group(1)) for pattern in (
                r"memory +([\d.]+) MiB", r"rank: ([\d.]+) parameters", r"gradient bytes skipped .* of (\d+) bytes")]
        parameters = told["fp32"][2] / 4
        self.assertEqual(told["bf16"][2], 2 * parameters)
        # An error and a word a value.
        self.assertAlmostEqual(told["bf16"][1] - told["fp32"][1], 6 * parameters / 2**20, delta=0.2)
        process = subprocess.Popen([harness.PROGRAM, "bf16.ini"], cwd=self.folder, env=harness.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        self.assertTrue(0.9 <= told["bf16"][0] / (usage.ru_maxrss / 1024) <= 1.1, (told, usage.ru_maxrss / 1024))


if __name__ == "__main__":
    harness.main()
