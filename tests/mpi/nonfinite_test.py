# SPDX-License-Identifier: Apache-2.0
"""train.on_nonfinite: a loss or gradient that is not finite stops the run and is named, or its step is skipped by all ranks alike. Run
with the program that faulty.c is linked into."""
import os

import harness
from harness import INTERNAL, RunTest

HOST = os.uname().nodename
EACH = {"checkpoint.every_steps": 1, "checkpoint.keep": 99}
SKIP = {**EACH, "train.on_nonfinite": "skip"}


class StopTest(RunTest):
    def stops(self, ranks, fault, *parts, settings=None):
        result = self.train("run", ranks, {**EACH, **(settings or {})}, code=INTERNAL, SD_FAULT=fault)
        self.assert_error(result, "training diverged", "step 4", "lr.base", "runs/run/checkpoints", *parts)
        self.assertEqual(os.path.basename(self.latest("run")), "step-00000003.h5")
        self.assertEqual(self.column("run", "steps.csv", "step", int), [1, 2, 3])
        return result.errors[0]

    def test_a_pixel_that_is_not_a_number(self):
        self.stops(3, "nan:1:4", "first seen forward in bn1.running_")

    def test_the_rank_is_named_whose_loss_is_not_finite(self):
        # Without batch norm and its maximum with zero, what is not a number stays so up to the loss.
        settings = {"data.image_size": 16, "model.name": "vit_tiny", "model.patch_size": 8, "lr.base": 0.001}
        error = self.stops(3, "nan:2:4", "is not finite: loss, first seen backward in ", ", on rank 2 on %s;" % HOST,
                           settings=settings)
        self.assertNotIn("rank 1", error)

    def test_a_gradient_that_is_not_finite(self):
        for settings in ({}, {"communication.reduction": "reproducible", "communication.shards": 4}):
            error = self.stops(2, "inf:1:4", "is not finite: gradient, first seen backward in fc.", settings=settings)
            self.assertNotIn("rank", error)
            self.tool("rm", "-r", self.path("runs"))


class SkipTest(RunTest):
    def test_a_skipped_step_changes_nothing_and_is_counted(self):
        for settings in ({}, {"optimizer.name": "adamw", "lr.base": 0.001}, {"stochastic_depth.scope": "sample"}):
            result = self.train("run", 3, {**SKIP, **settings}, SD_FAULT="nan:1:4")
            self.assertEqual(len(result.warnings), 1, str(result))
            self.assertIn("step 4 is skipped", result.warnings[0])
            self.assertIn("bn1.running_", result.warnings[0])
            self.assertRegex(result.out, r"steps not finite, skipped +1\n")
            self.assertEqual(self.summary("run")["skipped_steps"], 1)
            self.assertEqual(self.summary("run")["images"], 8 * 9)
            checkpoints = [self.run_path("run", "checkpoints", "step-%08d.h5" % step) for step in (3, 4, 5)]
            self.assert_same_state(*checkpoints[:2])
            self.assertFalse(self.equal_state(*checkpoints[1:], "/model"))
            self.assertEqual([self.progress(file)["skipped_steps"] for file in checkpoints], ["0", "1", "1"])
            for row in self.rows("run", "epochs.csv"):
                self.assertGreater(float(row["train_loss"]), 0)
            self.tool("rm", "-r", self.path("runs"))

    def test_a_skipped_step_leaves_what_rounding_has_kept_back(self):
        bf16 = {**SKIP, "communication.wire": "bf16"}
        for fault, settings in (("nan:1:4", {}), ("inf:0:4", {"stochastic_depth.scope": "rank"})):
            self.train("run", 2, {**bf16, **settings, "train.max_steps": 5}, SD_FAULT=fault)
            checkpoints = [self.run_path("run", "checkpoints", "step-%08d.h5" % step) for step in (3, 4, 5)]
            self.assertEqual(self.summary("run")["skipped_steps"], 1)
            self.assert_same_state(*checkpoints[:2], ("/model", "/optimizer", "/communication"))
            for rank in range(2):
                self.assertTrue(any(self.values(checkpoints[1], "/communication/error/%d/conv1.weight" % rank)))
            self.assertFalse(self.equal_state(*checkpoints[1:], "/communication"))
            self.tool("rm", "-r", self.path("runs"))

    def test_a_run_with_skipped_steps_goes_on_bit_for_bit(self):
        for fault in ("nan:1:4", "inf:0:7"):
            self.train("whole", 2, SKIP, SD_FAULT=fault)
            for stop in (2, 6):
                self.train("stopped", 2, {**SKIP, "train.max_steps": stop}, SD_FAULT=fault)
                self.train("stopped", 2, SKIP, SD_FAULT=fault)
                self.assert_same_run("whole", "stopped")
                self.tool("rm", "-r", self.run_path("stopped"))
            self.assertEqual(self.summary("whole")["skipped_steps"], 1)
            self.tool("rm", "-r", self.path("runs"))

    def test_any_number_of_ranks_skips_alike(self):
        settings = {**SKIP, "communication.reduction": "reproducible", "communication.shards": 4}
        for ranks in (1, 2, 4):
            self.train("ranks%d" % ranks, ranks, settings, SD_FAULT="nan:0:4")
            self.assertEqual(self.summary("ranks%d" % ranks)["skipped_steps"], 1)
            self.assert_same_state(self.latest("ranks1"), self.latest("ranks%d" % ranks))
        self.assertEqual(self.column("ranks1", "steps.csv", "loss"), self.column("ranks4", "steps.csv", "loss"))

    def test_a_hundred_in_a_row_stop_the_run(self):
        result = self.train("run", 2, {**SKIP, "checkpoint.every_steps": 5, "train.epochs": 40, "eval.every_epochs": 0},
                            code=INTERNAL, SD_FAULT="nans:1:6")
        self.assert_error(result, "training diverged: step 105, the 100th in a row, is not finite")
        self.assertEqual(len(result.warnings), 99)
        # An epoch without a step that counts has no losses.
        self.assertEqual([row["train_loss"] == "" for row in self.rows("run", "epochs.csv")], [False] + 19 * [True])
        self.assertEqual(self.rows("run", "epochs.csv")[5]["kept_fraction"], "")


if __name__ == "__main__":
    harness.main()
