# SPDX-License-Identifier: Apache-2.0
"""A run makes the epochs that its configuration says, wherever it was stopped and on whatever ranks it goes on."""
import math
import os
import signal

import harness
from harness import BAD_CONFIG, OK, STOPPED, RunTest, wait_until

# 34 images in batches of 16, the short last one of 2 kept where each rank gets one: 3 steps an epoch on 1 and 2 ranks, 2 on 3 and 4.
UNEVEN = {"data.train_samples": 34, "train.batch_size": 16, "data.last_batch": "keep", "train.epochs": 4,
          "lr.schedule": "cosine", "lr.base": 0.01}
STEPS = {1: 3, 2: 3, 3: 2, 4: 2}


class EpochsTest(RunTest):
    def go_on(self, name, parts, settings=None):
        """parts: (ranks, total steps at which to stop; 0: the end)."""
        for ranks, stop in parts:
            self.train(name, ranks, {**UNEVEN, **(settings or {}), "train.max_steps": stop})

    def check_whole(self, name, epochs=4):
        """All epochs once, each image of each once; the last row and score are those of the last step; the rate falls as the cosine."""
        rows = self.rows(name, "epochs.csv")
        self.assertEqual([int(row["epoch"]) for row in rows], list(range(1, epochs + 1)))
        steps = self.rows(name, "steps.csv")
        self.assertEqual([int(row["step"]) for row in steps], list(range(1, len(steps) + 1)))
        self.assertEqual([int(row["epoch"]) for row in steps], sorted(int(row["epoch"]) for row in steps))
        self.assertEqual(int(steps[-1]["epoch"]), epochs)
        self.assertEqual(rows[-1]["step"], steps[-1]["step"])
        self.assertNotEqual(rows[-1]["val_accuracy"], "")
        self.assertTrue(self.latest(name).endswith("step-%08d.h5" % len(steps)))
        progress = self.progress(self.latest(name))
        self.assertEqual((int(progress["epoch"]), int(progress["batch"])), (epochs, 0))
        self.assertEqual(self.summary(name)["status"], "complete")
        rates = [float(row["lr"]) for row in steps]
        self.assertEqual(rates, sorted(rates, reverse=True))
        # A step is at most half an epoch: the cosine over 4 epochs falls by no more than its steepest slope there.
        steepest = 0.01 * math.pi / 2 * (0.5 / epochs)
        for before, after in zip(rates, rates[1:]):
            self.assertLessEqual(before - after, 1.05 * steepest)
        return steps

    def test_fewer_steps_an_epoch_on_more_ranks(self):
        self.go_on("run", [(2, 6), (3, 0)])  # epochs of 3, 3, 2, 2 steps
        steps = self.check_whole("run")
        self.assertEqual([int(row["epoch"]) for row in steps], [1, 1, 1, 2, 2, 2, 3, 3, 4, 4])
        # The learning rate is that of the place in the epochs.
        self.assert_close([float(steps[6]["lr"])], [0.01 * (1 + math.cos(math.pi * 2 / 4)) / 2], 1e-6)

    def test_more_steps_an_epoch_on_fewer_ranks(self):
        self.go_on("run", [(3, 4), (2, 0)])
        steps = self.check_whole("run")
        self.assertEqual([int(row["epoch"]) for row in steps], [1, 1, 2, 2, 3, 3, 3, 4, 4, 4])

    def test_changes_in_the_middle_of_epochs(self):
        self.go_on("run", [(3, 1), (2, 3), (4, 5), (1, 8), (3, 0)])
        self.check_whole("run")

    def test_a_stop_where_the_epoch_has_ended_on_the_new_ranks(self):
        # Two of three steps are done, and on three ranks an epoch has two: the last epoch has only to be scored.
        self.go_on("run", [(2, 11), (3, 0)])
        steps = self.check_whole("run")
        self.assertEqual(len(steps), 11)

    def test_milestones_count_epochs(self):
        self.go_on("run", [(2, 6), (3, 0)], {"lr.schedule": "step", "lr.milestones": "1, 3"})
        rates = self.column("run", "steps.csv", "lr", float)
        self.assertEqual(rates, [0.01] * 3 + [0.001] * 5 + [0.0001] * 2)

    # ---- more epochs ----

    def test_a_finished_run_can_be_given_more_epochs(self):
        for schedule in ({"lr.schedule": "constant"}, {"lr.schedule": "step", "lr.milestones": "1, 3"}):
            with self.subTest(schedule["lr.schedule"]):
                name = schedule["lr.schedule"]
                self.train("whole-" + name, 2, {**schedule, "train.epochs": 4})
                self.train(name, 2, {**schedule, "train.epochs": 2})
                result = self.train(name, 2, {**schedule, "train.epochs": 4})
                self.assertIn("step 10 of 20", result.err)
                self.assert_same_run("whole-" + name, name)

    def test_a_schedule_that_is_laid_out_over_the_epochs_refuses_others(self):
        for schedule in ("cosine", "linear", "onecycle"):
            with self.subTest(schedule):
                self.train(schedule, 1, {"lr.schedule": schedule})
                result = self.train(schedule, 1, {"lr.schedule": schedule, "train.epochs": 3}, code=BAD_CONFIG)
                self.assert_error(result, "train.epochs", schedule, "run.name")

    def test_fewer_epochs_than_are_done_are_refused(self):
        self.train("run", 1, {"lr.schedule": "constant"})
        result = self.train("run", 1, {"lr.schedule": "constant", "train.epochs": 1}, code=BAD_CONFIG)
        self.assert_error(result, "train.epochs")

    # ---- stops while images are scored ----

    def stop_while_scoring(self, name, number, settings, steps_an_epoch=5):
        """Some thousand validation images after a short epoch: scoring takes far longer than training."""
        running = self.start(harness.mpirun(2, self.write_config(name, settings)))
        steps = settings["train.epochs"] * steps_an_epoch
        wait_until(lambda: harness.count_lines(self.run_path(name, "steps.csv")) > steps, "the last step")
        wait_until(lambda: any(os.path.exists("/proc/%d" % rank) for rank in running.ranks()), "ranks")
        running.signal(number)
        result = running.finish(20)
        self.assertEqual(result.code, STOPPED, str(result))
        self.assertEqual(len(self.rows(name, "epochs.csv")), settings["train.epochs"] - 1)
        self.assertTrue(self.latest(name).endswith("step-%08d.h5" % steps))

    def test_a_signal_while_the_last_epoch_is_scored_is_heard_and_loses_nothing(self):
        settings = {"train.epochs": 1, "data.val_samples": 20000, "checkpoint.every_epochs": 0}
        self.stop_while_scoring("run", signal.SIGUSR1, settings)
        # Only the scoring is left.
        progress = self.progress(self.latest("run"))
        self.assertEqual((int(progress["epoch"]), int(progress["batch"])), (0, 5))
        self.mpirun(2, "run.ini", "--set", "data.val_samples=20000")
        self.assertEqual(len(self.rows("run", "steps.csv")), 5)
        self.assertEqual(self.column("run", "epochs.csv", "step"), ["5"])
        self.assertEqual(self.summary("run")["status"], "complete")

    def test_a_check_on_more_ranks_knows_that_only_scoring_is_left(self):
        # Three batches are done, and on three ranks an epoch has two.
        self.stop_while_scoring("run", signal.SIGUSR1, {**UNEVEN, "train.epochs": 1, "data.val_samples": 20000}, STEPS[2])
        result = self.mpirun(3, "run.ini", "--check")
        self.assertIn("\nstart      from runs/run/checkpoints/step-00000003.h5, step 3 of 3\n", result.out)

    def test_a_stop_while_scoring_leaves_no_trace(self):
        settings = {"train.epochs": 2, "data.val_samples": 6000, "eval.every_epochs": 2, "eval.train_samples": 20}
        self.train("whole", 2, settings)
        self.stop_while_scoring("run", signal.SIGUSR1, settings)
        self.mpirun(2, "run.ini")
        self.assert_same_run("whole", "run")


if __name__ == "__main__":
    harness.main()
