# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that older versions have written (tests/checkpoints): a run goes on from them, and they can be evaluated and looked at."""
import gzip
import os
import shutil
import subprocess

import harness
from harness import RunTest

FILES = os.path.join(harness.REPOSITORY, "tests", "checkpoints")
STEP, STEPS, VALIDATION_IMAGES = 7, 15, 24


class OlderTest(RunTest):
    # Losses of the run that went on in the version that wrote the file. Other instruction sets and versions may round otherwise.
    RUNS = {"format1-adamw": {"evaluated": 2.307252, "train_loss": 2.28690675, "val_loss": 2.30931054},
            "format1-bf16": {"evaluated": 2.306565, "train_loss": 2.29085832, "val_loss": 2.30642122}}
    TOLERANCE = 2e-3

    def setUp(self):
        super().setUp()
        for name in self.RUNS:
            shutil.copy(os.path.join(FILES, name + ".ini"), self.path(name + ".ini"))
            os.makedirs(self.run_path(name, "checkpoints"))
            with gzip.open(os.path.join(FILES, name + ".h5.gz")) as packed, open(self.checkpoint(name), "wb") as file:
                shutil.copyfileobj(packed, file)

    def checkpoint(self, name):
        return self.run_path(name, "checkpoints", "step-%08d.h5" % STEP)

    def test_a_run_goes_on_from_them(self):
        for name, expected in self.RUNS.items():
            result = self.mpirun(2, name + ".ini")
            self.assertIn("going on from %s, step %d of %d" %
                          (os.path.relpath(self.checkpoint(name), self.folder), STEP, STEPS), result.err)
            self.assertEqual(self.column(name, "epochs.csv", "step", int), [10, STEPS])
            last = self.rows(name, "epochs.csv")[-1]
            for column in ("train_loss", "val_loss"):
                self.assert_close([float(last[column])], [expected[column]], self.TOLERANCE)
            summary = self.summary(name)
            self.assertEqual((summary["status"], summary["images"]), ("complete", 8 * STEPS))

    def test_they_are_evaluated(self):
        for name, expected in self.RUNS.items():
            line = self.mpirun(1, name + ".ini", "--evaluate", self.checkpoint(name)).out
            self.assertIn("images=%d" % VALIDATION_IMAGES, line)
            loss = float(line.split("loss=")[1].split()[0])
            self.assert_close([loss], [expected["evaluated"]], self.TOLERANCE)

    def test_tools_read_them(self):
        for name in self.RUNS:
            for words, said in ((["verify"], "good, step %d" % STEP), (["inspect"], "resnet20: 269722 parameters"),
                                (["diff", self.checkpoint(name)], "equal: step %d" % STEP)):
                done = subprocess.run([os.environ["SD_SDTRAIN"], *words, self.checkpoint(name)], capture_output=True, text=True,
                                      timeout=60, check=False, env=harness.environment())
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                self.assertIn(said, done.stdout)


if __name__ == "__main__":
    harness.main()
