# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are written behind the step: when they are due, which are kept, and what a disk that refuses them does."""
import os
import re
import shutil

import harness
from harness import IO_ERROR, RunTest

LONG = {"train.epochs": 4, "log.decisions": "false"}  # 20 steps


class BehindTest(RunTest):
    def checkpoints(self, name):
        return sorted(int(re.fullmatch(r"step-(\d+)\.h5", file)[1])
                      for file in os.listdir(self.run_path(name, "checkpoints")) if re.fullmatch(r"step-\d+\.h5", file))

    def test_every_so_many_seconds(self):
        # A millisecond has passed when a step begins, unless a checkpoint has just been taken.
        self.train("run", 2, {**LONG, "checkpoint.every_seconds": 0.001, "checkpoint.every_epochs": 0,
                              "checkpoint.keep": 99})
        steps = [0] + self.checkpoints("run")
        self.assertTrue(all(after - before <= 2 for before, after in zip(steps, steps[1:])), steps)
        self.assertEqual(steps[-1], 20)
        self.train("whole", 2, LONG)
        self.assert_same_state(self.latest("run"), self.latest("whole"))

    def test_a_step_that_is_a_multiple_is_kept_for_ever(self):
        self.train("run", 2, {**LONG, "checkpoint.every_steps": 1, "checkpoint.keep": 2, "checkpoint.keep_every": 7})
        best = int(os.path.basename(os.path.realpath(self.run_path("run", "checkpoints", "best")))[5:-3])
        self.assertEqual(self.checkpoints("run"), sorted({7, 14, 19, 20, best}))

    def test_compressed_checkpoints_are_smaller_and_end_in_the_same_bits(self):
        self.train("plain", 2)
        self.train("packed", 2, {"checkpoint.compression": 6, "train.max_steps": 4})
        self.train("packed", 2, {"checkpoint.compression": 6})
        self.assert_same_state(self.latest("plain"), self.latest("packed"))
        self.assertLess(os.path.getsize(self.latest("packed")), 0.97 * os.path.getsize(self.latest("plain")))

    def test_a_failed_write_is_a_warning_and_the_next_is_tried(self):
        # The place of the temporary file of step 10 is taken.
        config = self.write_config("run", {**LONG, "checkpoint.every_steps": 5, "checkpoint.keep": 99})
        self.mpirun(2, config, "--set", "train.max_steps=5")
        os.mkdir(self.run_path("run", "checkpoints", "step-00000010.h5.part"))
        result = self.mpirun(2, config)
        warned = [line for line in result.warnings if "training goes on" in line]
        self.assertEqual(len(warned), 1, str(result))
        self.assertIn("step-00000010.h5", warned[0])
        self.assertEqual(self.checkpoints("run"), [5, 15, 20])
        self.train("whole", 2, LONG)
        self.assert_same_state(self.latest("run"), self.latest("whole"))

    def test_too_many_failures_in_a_row_end_the_run(self):
        config = self.write_config("run", {**LONG, "checkpoint.every_steps": 1, "checkpoint.max_failures": 2})
        self.mpirun(2, config, "--set", "train.max_steps=5")
        before = self.checkpoints("run")
        for step in range(6, 21):
            os.mkdir(self.run_path("run", "checkpoints", "step-%08d.h5.part" % step))
        result = self.mpirun(2, config, code=IO_ERROR)
        self.assert_error(result, "2 checkpoints in a row could not be written", "checkpoint.max_failures = 2")
        self.assertLess(self.column("run", "steps.csv", "step", int)[-1], 12)
        for step in range(6, 21):
            shutil.rmtree(self.run_path("run", "checkpoints", "step-%08d.h5.part" % step))
        self.assertEqual(self.checkpoints("run"), before)
        self.mpirun(2, config)
        self.train("whole", 2, LONG)
        self.assert_same_state(self.latest("run"), self.latest("whole"))


if __name__ == "__main__":
    harness.main()
