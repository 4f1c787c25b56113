# SPDX-License-Identifier: Apache-2.0
"""The wall-clock budget: a run saves and stops by itself before its time is up, and goes on to the same bits."""
import time

import harness
from harness import OK, STOPPED, RunTest

# Hours of steps of some 20 ms.
ENDLESS = {"train.epochs": 100000, "lr.base": 0.001, "eval.every_epochs": 20, "checkpoint.every_epochs": 20}
SLACK = 3  # seconds: mpirun begins before the program and ends after it, on a busy machine


class BudgetTest(RunTest):
    def stop_by_itself(self, name, seconds, ranks=2, settings=None, **env):
        """Runs to its stop in the time given; returns the step it has come to."""
        begin = time.monotonic()
        result = self.train(name, ranks, {**ENDLESS, **(settings or {})}, code=STOPPED, **env)
        self.assertLess(time.monotonic() - begin, seconds + SLACK, str(result))
        step = self.summary(name)["step"]
        said = "stopped as its wall-clock budget is spent after step %d; a checkpoint is written" % step
        self.assertEqual(len([line for line in result.lines if said in line]), 1, str(result))
        self.assertTrue(self.latest(name).endswith("step-%08d.h5" % step))
        return step

    def test_stops_in_time_and_goes_on_to_the_same_bits(self):
        first = self.stop_by_itself("run", 5, settings={"run.max_seconds": 5})
        second = self.stop_by_itself("run", 5, settings={"run.max_seconds": 5})  # from this program's start, not the run's
        self.assertGreater(second, first)
        end = {"train.max_steps": second + 3}
        self.train("run", 2, {**ENDLESS, **end})
        self.train("whole", 2, {**ENDLESS, **end}, limit=3 * harness.LIMIT_SECONDS)
        self.assert_same_state(self.latest("whole"), self.latest("run"))
        for file in ("steps.csv", "epochs.csv", "decisions.csv"):
            rows = [harness.without_times(self.rows(run, file), file) for run in ("whole", "run")]
            self.assertEqual(*rows, file)

    def test_a_budget_too_small_for_anything_still_makes_a_step(self):
        for step in (1, 2):
            self.assertEqual(self.stop_by_itself("run", 1, settings={"run.max_seconds": 1}), step)

    def test_the_end_of_a_slurm_job_is_one(self):
        self.stop_by_itself("run", 5, 3, {"run.max_seconds": 1000}, SLURM_JOB_END_TIME=str(int(time.time()) + 5))

    def test_a_slurm_end_that_is_past_is_named_and_not_heeded(self):
        result = self.train("run", 2, SLURM_JOB_END_TIME="1700000000", code=OK)
        self.assertIn("SLURM_JOB_END_TIME=1700000000 is past and not heeded", "".join(result.warnings))
        self.assertEqual(self.summary("run")["status"], "complete")

    def test_no_limit_by_default(self):
        self.train("run", 1, SLURM_JOB_END_TIME="soon")
        self.assertEqual(self.summary("run")["status"], "complete")


if __name__ == "__main__":
    harness.main()
