# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped and started again ends in the same bits, and its files read as if it had never stopped."""
import os

import harness
from harness import RunTest, TINY_VIT


class ResumeTest(RunTest):
    def train_in_parts(self, name, stops, settings=None, base=None, ranks=2):
        """Stops after each of these steps, then runs to its end."""
        for stop in stops:
            self.train(name, ranks, {**(settings or {}), "train.max_steps": stop}, base)
            self.assertEqual(self.summary(name)["step"], stop)
            self.assertEqual(os.path.basename(self.latest(name)), "step-%08d.h5" % stop)
        return self.train(name, ranks, settings, base)

    def test_resnet_with_sgd_stopped_at_first_step_mid_epoch_and_epoch_end(self):
        settings = {"data.augment": "crop_flip", "optimizer.nesterov": "true", "lr.schedule": "cosine",
                    "lr.warmup_epochs": 1, "train.epochs": 3, "eval.train_samples": 20}
        self.train("whole", 2, settings)
        result = self.train_in_parts("parts", (1, 3, 5, 9, 10, 14), settings)
        self.assertIn("going on from runs/parts/checkpoints/step-00000014.h5, step 14 of 15", result.err)
        self.assert_same_run("whole", "parts")

    def test_adamw_with_freeze_and_uneven_shares(self):
        settings = {"optimizer.name": "adamw", "lr.base": 0.001, "stochastic_depth.dropped_update": "freeze",
                    "stochastic_depth.scale": "training", "data.last_batch": "keep", "data.train_samples": 45,
                    "data.validation": 20, "data.val_samples": 0, "train.label_smoothing": 0.1, "model.dropout": 0.1}
        self.train("whole", 3, settings)
        self.train_in_parts("parts", (2, 6, 7), settings, ranks=3)
        self.assert_same_run("whole", "parts")

    def test_vit_by_blocks(self):
        settings = {"stochastic_depth.unit": "block", "optimizer.decay": "matrices", "optimizer.clip_norm": 1,
                    "model.dropout": 0.2}
        self.train("whole", 2, settings, TINY_VIT)
        self.train_in_parts("parts", (2,), settings, TINY_VIT)
        self.assert_same_run("whole", "parts")

    def test_other_threads_loader_workers_buckets_and_log_settings(self):
        self.train("whole", 2, {"data.augment": "crop_flip"})
        self.train("parts", 2, {"data.augment": "crop_flip", "train.max_steps": 3})
        self.train("parts", 2, {"data.augment": "crop_flip", "data.workers": 3, "run.threads": 2, "checkpoint.keep": 1,
                                "communication.bucket_bytes": 8192, "communication.check_every": 0,
                                "checkpoint.every_steps": 4, "log.progress": "off"})
        self.assert_same_run("whole", "parts")

    def test_stop_where_no_evaluation_is_due_leaves_no_trace(self):
        # Epochs 2 and 4 are evaluated; the stop comes at the end of epoch 1, then of epoch 3.
        settings = {"train.epochs": 4, "eval.every_epochs": 2}
        self.train("whole", 2, settings)
        self.train_in_parts("parts", (5, 15), settings)
        self.assert_same_run("whole", "parts")

    def test_stop_where_no_checkpoint_is_due_leaves_no_trace(self):
        # The best is chosen among the epochs that write a checkpoint; a stop must not add a candidate. With this seed
        # epoch 1 scores higher than epoch 2 (asserted), so that it would win.
        settings = {"checkpoint.every_epochs": 2, "lr.base": 0.1, "run.seed": 1}
        self.train("whole", 2, settings)
        accuracy = self.column("whole", "epochs.csv", "val_accuracy", float)
        self.assertGreaterEqual(accuracy[0], accuracy[1], "choose another seed for this test")
        self.train_in_parts("parts", (5,), settings)
        self.assert_same_run("whole", "parts")

    def test_learning_rate_stays_laid_out_over_the_epochs(self):
        settings = {"lr.schedule": "onecycle", "lr.base": 0.01}
        self.train("whole", 1, settings)
        self.train("parts", 1, {**settings, "train.max_steps": 4})
        self.assertEqual(self.column("parts", "steps.csv", "lr"), self.column("whole", "steps.csv", "lr")[:4])

    def test_mid_epoch_stop_writes_no_epoch_row(self):
        self.train("run", 2, {"train.max_steps": 7})
        self.assertEqual(self.column("run", "epochs.csv", "epoch"), ["1"])
        self.assertEqual(set(self.column("run", "timing.csv", "epoch")), {"1"})
        self.assertEqual(len(self.rows("run", "steps.csv")), 7)

    def test_rows_beyond_the_checkpoint_are_cut(self):
        # A run that was killed after step 10's rows, its newest checkpoint being that of step 4.
        self.train("whole", 2)
        self.train("killed", 2, {"checkpoint.every_steps": 4, "checkpoint.keep": 9})
        folder = self.run_path("killed", "checkpoints")
        for step in (5, 8, 10):
            os.unlink(os.path.join(folder, "step-%08d.h5" % step))
        os.unlink(os.path.join(folder, "latest"))
        os.symlink("step-00000004.h5", os.path.join(folder, "latest"))
        os.unlink(self.run_path("killed", "summary.json"))
        with open(self.run_path("killed", "steps.csv"), "a", encoding="utf-8") as file:
            file.write("11,3,0.0")  # a row cut short
        self.train("killed", 2, {"checkpoint.every_steps": 4})
        self.assert_same_run("whole", "killed")

    def test_kill_between_last_checkpoint_and_summary(self):
        # The last checkpoint has its final name, but the links and summary.json are not there yet.
        self.train("run", 2)
        os.unlink(self.run_path("run", "summary.json"))
        link = self.run_path("run", "checkpoints", "latest")
        os.unlink(link)
        os.symlink("step-00000005.h5", link)
        self.mpirun(2, "run.ini")
        self.assertEqual(os.readlink(link), "step-00000010.h5")
        self.assertEqual(self.summary("run")["step"], 10)
        self.assertEqual(self.summary("run")["status"], "complete")


if __name__ == "__main__":
    harness.main()
