# SPDX-License-Identifier: Apache-2.0
"""What is sent for dropped branches: nothing. Reported bytes against a count by hand."""
import harness
from harness import RunTest, TINY_VIT


class BytesTest(RunTest):
    def count_by_hand(self, name):
        """4 bytes for each learned value that is not in a dropped unit, step by step."""
        parameters = self.column(name, "schedule.csv", "parameters", int)
        full = 4 * self.summary(name)["parameters"]
        expected = []
        for row in self.rows(name, "decisions.csv"):
            self.assertEqual(len(row["kept"]), len(parameters))
            expected.append(full - 4 * sum(n for n, bit in zip(parameters, row["kept"]) if bit == "0"))
        return expected, full

    def check_bytes(self, name):
        expected, full = self.count_by_hand(name)
        self.assertTrue(any(n < full for n in expected), "no step drops anything: the test shows nothing")
        self.assertEqual(self.column(name, "steps.csv", "bytes_reduced", int), expected)
        self.assertEqual(set(self.column(name, "steps.csv", "bytes_full", int)), {full})
        self.assertEqual(self.summary(name)["bytes_reduced"], sum(expected))
        self.assertEqual(self.summary(name)["bytes_full"], full * len(expected))

    def test_resnet_bytes_are_those_of_kept_branches(self):
        self.train("run", 3)
        self.check_bytes("run")
        # resnet20 by hand: stem 3*16*9 + 32, head 64*10 + 10, and nine blocks of two 3x3 convolutions with batch norms.
        blocks = [2 * 16 * 16 * 9 + 64] * 3 + [16 * 32 * 9 + 32 * 32 * 9 + 128] + [2 * 32 * 32 * 9 + 128] * 2
        blocks += [32 * 64 * 9 + 64 * 64 * 9 + 256] + [2 * 64 * 64 * 9 + 256] * 2
        self.assertEqual(self.column("run", "schedule.csv", "parameters", int), blocks)
        self.assertEqual(self.summary("run")["parameters"], 432 + 32 + 650 + sum(blocks))

    def test_projection_shortcut_of_a_dropped_branch_is_still_sent(self):
        self.train("run", 2, {"model.name": "resnet18", "data.image_size": 16, "stochastic_depth.rate": 1,
                              "stochastic_depth.schedule": "constant", "train.max_steps": 1, "log.decisions": "true"})
        self.assertEqual(self.rows("run", "decisions.csv")[0]["kept"], "0" * 8)
        expected, _ = self.count_by_hand("run")
        self.assertEqual(self.column("run", "steps.csv", "bytes_reduced", int), expected)
        # Stem (3x3, 64), three projections with batch norm, head of 10 classes.
        rest = 3 * 64 * 9 + 128 + sum(a * 2 * a + 4 * a for a in (64, 128, 256)) + 512 * 10 + 10
        self.assertEqual(expected, [4 * rest])

    def test_vit_bytes_are_those_of_kept_branches(self):
        for unit, units in (("branch", 24), ("block", 12)):
            self.train(unit, 2, {"stochastic_depth.unit": unit, "train.max_steps": 3}, TINY_VIT)
            self.assertEqual(len(self.rows(unit, "schedule.csv")), units)
            self.check_bytes(unit)

    def test_one_rank_sends_nothing(self):
        self.train("run", 1, {"train.max_steps": 2})
        self.assertEqual(self.column("run", "steps.csv", "bytes_reduced", int), [0, 0])
        full = 4 * self.summary("run")["parameters"]
        self.assertEqual(self.column("run", "steps.csv", "bytes_full", int), [full, full])
        self.assertEqual(self.summary("run")["bytes_reduced"], 0)

    def test_without_skipping_everything_is_sent(self):
        self.train("run", 2, {"communication.skip_dropped": "false"})
        expected, full = self.count_by_hand("run")
        self.assertEqual(self.column("run", "steps.csv", "bytes_reduced", int), [full] * len(expected))
        self.assertLess(min(self.column("run", "steps.csv", "kept", int)), 9)

    def test_neither_skipping_nor_buckets_change_a_bit(self):
        # With two ranks each sum has two terms, and a + b = b + a.
        self.train("plain", 2)
        self.train("send_all", 2, {"communication.skip_dropped": "false"})
        self.train("small_buckets", 2, {"communication.bucket_bytes": 4096})
        self.train("middle_buckets", 2, {"communication.bucket_bytes": 300000})
        for name in ("send_all", "small_buckets", "middle_buckets"):
            self.assert_same_state(self.latest("plain"), self.latest(name))
        expected, _ = self.count_by_hand("plain")
        for name in ("small_buckets", "middle_buckets"):
            self.assertEqual(self.column(name, "steps.csv", "bytes_reduced", int), expected)

    def test_frozen_branches_are_the_same_whether_sent_or_not(self):
        settings = {"optimizer.name": "adamw", "stochastic_depth.dropped_update": "freeze", "lr.base": 0.001,
                    "optimizer.clip_norm": 1}
        self.train("skip", 2, settings)
        self.train("send", 2, {**settings, "communication.skip_dropped": "false"})
        self.assert_same_state(self.latest("skip"), self.latest("send"))


if __name__ == "__main__":
    harness.main()
