# SPDX-License-Identifier: Apache-2.0
"""What a resume accepts, refuses and says."""
import os
import shutil

import harness
from harness import BAD_CONFIG, BAD_DATA, NO_INPUT, RunTest, TINY_VIT, count_lines

HALF = {"train.max_steps": 3}


class ResumeRulesTest(RunTest):
    def damage(self, path, how):
        with open(path, "r+b") as file:
            size = os.path.getsize(path)
            if how == "cut":
                file.truncate(size - 1000)
            elif how == "empty":
                file.truncate(0)
            elif how == "altered":  # one bit in the middle
                file.seek(size // 2)
                byte = file.read(1)[0]
                file.seek(size // 2)
                file.write(bytes([byte ^ 1]))
            elif how == "overwritten":
                file.write(b"not a checkpoint")

    # ---- who may go on ----

    def test_finished_run_says_so_and_changes_nothing(self):
        self.train("run")
        before = {}
        for folder, _, files in os.walk(self.run_path("run")):
            before.update({os.path.join(folder, f): os.stat(os.path.join(folder, f)).st_mtime_ns for f in files})
        result = self.train("run")
        self.assertIn("already complete", result.err)
        for path, changed in before.items():
            self.assertEqual(os.stat(path).st_mtime_ns, changed, path)

    def test_never_in_a_used_folder(self):
        self.train("run", settings=HALF)
        result = self.train("run", words=["--resume", "never"], code=BAD_CONFIG)
        self.assert_error(result, "checkpoint.resume", "runs/run")
        self.assertEqual(len(self.rows("run", "steps.csv")), 3)
        self.train("fresh", settings={**HALF, "checkpoint.resume": "never"})

    def test_keys_that_change_results_are_named(self):
        self.train("run", settings=HALF)
        result = self.train("run", settings={"lr.base": 0.02, "run.seed": 8, "stochastic_depth.rate": 0.4},
                            code=BAD_CONFIG)
        self.assert_error(result, "lr.base", "run.seed", "stochastic_depth.rate", "0.02", "0.01",
                          "checkpoints/step-00000003.h5")
        for key, value in (("lr.gamma", 0.3), ("train.batch_size", 10), ("data.augment", "crop_flip"),
                           ("optimizer.momentum", 0.8), ("model.dropout", 0.1), ("model.name", "resnet32")):
            result = self.mpirun(1, "run.ini", "--set", "train.max_steps=5", "--set", "%s=%s" % (key, value),
                                 code=BAD_CONFIG)
            self.assert_error(result, key, str(value))
        self.assertEqual(len(self.rows("run", "steps.csv")), 3)

    def test_many_changed_keys_are_all_named(self):
        self.train("run", 1, HALF)
        changed = {"lr.base": 0.0123456789, "lr.schedule": "cosine", "lr.warmup_epochs": 1, "lr.minimum": 0.00123456789,
                   "run.seed": 123456789, "train.epochs": 31, "train.batch_size": 10, "data.augment": "crop_flip",
                   "data.last_batch": "keep", "data.val_samples": 11, "model.dropout": 0.123456789,
                   "model.zero_init_residual": "true", "stochastic_depth.rate": 0.123456789,
                   "stochastic_depth.schedule": "zero_based", "stochastic_depth.scale": "training",
                   "stochastic_depth.dropped_update": "freeze", "optimizer.name": "adamw",
                   "optimizer.weight_decay": 0.0123456789, "optimizer.clip_norm": 1.23456789,
                   "train.label_smoothing": 0.123456789, "optimizer.momentum": 0.123456789,
                   "optimizer.beta1": 0.123456789, "optimizer.beta2": 0.123456789, "optimizer.epsilon": 1.23456789e-07,
                   "optimizer.decay": "matrices", "lr.gamma": 0.123456789, "model.stem": "cifar", "model.classes": 10,
                   "model.patch_size": 8, "data.image_size": 24, "data.train_samples": 39,
                   "stochastic_depth.unit": "block"}
        result = self.train("run", 1, changed, code=BAD_CONFIG)
        self.assert_error(result, *changed)

    def test_output_keys_may_change(self):
        self.train("run", settings=HALF)
        self.train("run", settings={"log.every_steps": 2, "checkpoint.keep": 1, "eval.train_samples": 8,
                                    "communication.bucket_bytes": 100000, "run.threads": 2, "data.workers": 2,
                                    "log.progress": "off", "communication.check_every": 0})
        self.assertEqual(self.summary("run")["status"], "complete")
        self.assertEqual(self.column("run", "steps.csv", "step"), ["1", "2", "3", "4", "6", "8", "10"])

    def test_decisions_switched_off_and_on_again_lose_no_row(self):
        for switch, stop in (("true", 3), ("false", 6), ("true", 0)):
            self.train("run", 1, {"log.decisions": switch, "train.max_steps": stop})
        self.assertEqual(self.column("run", "decisions.csv", "step", int), [1, 2, 3, 7, 8, 9, 10])

    def test_same_configuration_in_other_words_goes_on(self):
        # survival_prob = 0.8 is rate = 0.2.
        self.train("run", 1, {**HALF, "stochastic_depth.rate": 0.2})
        settings = {key: value for key, value in harness.TINY.items() if key != "stochastic_depth.rate"}
        self.train("run", 1, {"stochastic_depth.survival_prob": 0.8}, settings)
        self.assertEqual(self.summary("run")["step"], 10)

    def test_other_number_of_ranks_goes_on_and_says_that_bits_do_not_hold(self):
        self.train("run", 2, HALF)
        result = self.train("run", 3)
        self.assertEqual(len(result.warnings), 1, str(result))
        for word in ("2 ranks", "3", "not bit for bit"):
            self.assertIn(word, result.warnings[0])
        self.assertEqual(len(self.rows("run", "steps.csv")), 10)
        self.assertEqual(self.summary("run")["ranks"], 3)

    def test_other_convolution_goes_on_and_says_that_bits_do_not_hold(self):
        self.train("run", 1, {**HALF, "run.convolution": "direct"})
        result = self.train("run", 1, {"run.convolution": "auto"})
        self.assertEqual(len(result.warnings), 1, str(result))
        for word in ("direct", "auto", "not bit for bit"):
            self.assertIn(word, result.warnings[0])
        self.assertEqual(self.summary("run")["step"], 10)

    def test_kernels_of_the_checkpoint_are_kept_and_others_are_told_of(self):
        short = {"train.epochs": 1}
        self.train("whole", 2, short, SD_ISA="vec128")
        self.train("run", 2, {**short, **HALF}, SD_ISA="vec128")
        result = self.train("run", 2, short)  # this processor's best would be another
        self.assertEqual(result.warnings, [])
        self.assert_same_run("whole", "run")
        self.train("other", 2, {**short, **HALF})
        result = self.train("other", 2, short, SD_ISA="ref")
        self.assertEqual(len(result.warnings), 1, str(result))
        self.assertIn("not bit for bit", result.warnings[0])

    # ---- which file ----

    def test_named_file(self):
        self.train("whole", 2)
        self.train("run", 2, HALF)
        shutil.copy(self.latest("run"), self.path("kept.h5"))
        self.train("run", 2, {"train.max_steps": 6})
        # From the run's own older file: as if the steps since had not been.
        self.train("run", 2, words=["--resume", "kept.h5"])
        self.assert_same_run("whole", "run")

    def test_named_file_in_a_new_folder(self):
        self.train("run", 2, HALF)
        self.train("whole", 2)
        result = self.train("branch", 2, words=["--resume", self.latest("run")])
        self.assertIn("step 3", result.err)
        self.assert_same_state(self.latest("branch"), self.latest("whole"))
        self.assertEqual(self.column("branch", "steps.csv", "step", int)[-1], 10)

    def test_going_back_leaves_no_later_checkpoint_behind(self):
        self.train("run", 2, {"checkpoint.every_steps": 2, "checkpoint.keep": 9})
        older = self.run_path("run", "checkpoints", "step-00000004.h5")
        self.train("run", 2, {"train.max_steps": 6}, words=["--resume", older])
        self.assertEqual(len(self.rows("run", "steps.csv")), 6)
        # The run is at step 6 now; what comes next must go on from there, with whole logs.
        result = self.train("run", 2)
        self.assertIn("going on from runs/run/checkpoints/step-00000006.h5", result.err)
        self.assertEqual(len(self.rows("run", "steps.csv")), 10)

    def test_going_back_does_not_delete_what_it_has_just_written(self):
        self.train("run", 2, {"checkpoint.every_steps": 1, "checkpoint.keep": 9})
        older = self.run_path("run", "checkpoints", "step-00000002.h5")
        self.train("run", 2, {"train.max_steps": 4, "checkpoint.keep": 2}, words=["--resume", older])
        latest = self.run_path("run", "checkpoints", "latest")
        self.assertEqual(os.readlink(latest), "step-00000004.h5")
        self.assertTrue(os.path.exists(latest), "latest points at a file that retention has removed")

    def test_missing_named_file(self):
        result = self.train("run", 3, words=["--resume", "nowhere.h5"], code=NO_INPUT)
        self.assert_error(result, "nowhere.h5")

    # ---- damage ----

    def test_damaged_newest_is_passed_over(self):
        self.train("whole", 2)
        self.train("run", 2, {"checkpoint.every_steps": 2, "train.max_steps": 6})
        for how in ("cut", "altered", "overwritten", "empty"):
            with self.subTest(how):
                shutil.copytree(self.run_path("run"), self.run_path(how), symlinks=True)
                self.damage(self.run_path(how, "checkpoints", "step-00000006.h5"), how)
                result = self.train(how, 2)
                self.assertTrue(any("step-00000006.h5" in line for line in result.warnings), str(result))
                self.assertIn("going on from runs/%s/checkpoints/step-00000005.h5" % how, result.err)
                self.assert_same_run("whole", how)

    def test_all_damaged(self):
        self.train("run", 2, {"checkpoint.every_steps": 2, "train.max_steps": 4, "checkpoint.keep": 2})
        for step in (2, 4):
            self.damage(self.run_path("run", "checkpoints", "step-%08d.h5" % step), "altered")
        rows = count_lines(self.run_path("run", "steps.csv"))
        result = self.train("run", 3, code=BAD_DATA)
        self.assert_error(result, "runs/run/checkpoints")
        self.assertEqual(count_lines(self.run_path("run", "steps.csv")), rows)

    def test_damaged_named_file(self):
        self.train("run", 2, HALF)
        for how, word in (("cut", "cut"), ("altered", "altered")):
            shutil.copy(self.latest("run"), self.path(how + ".h5"))
            self.damage(self.path(how + ".h5"), how)
            for option in ("--resume", "--evaluate"):
                result = self.mpirun(2, "run.ini", option, how + ".h5", code=BAD_DATA)
                self.assert_error(result, how + ".h5", word)

    def test_checkpoint_of_another_model(self):
        self.train("run", 2, HALF)
        checkpoint = self.latest("run")
        for base in ({"model.name": "resnet32"}, {"model.name": "vit_tiny"}, {"model.classes": 7}):
            settings = {**TINY_VIT, "data.image_size": 32, **base} if "vit_tiny" in base.values() else base
            self.write_config("other", settings)
            result = self.mpirun(2, "other.ini", "--evaluate", checkpoint, code=BAD_DATA)
            self.assert_error(result, checkpoint)
            result = self.mpirun(2, "other.ini", "--resume", checkpoint, code=BAD_CONFIG)
            self.assert_error(result, *[key for key in base])
            self.assertFalse(os.path.exists(self.run_path("other")))

    def test_longest_paths_can_be_resumed(self):
        output = "o" * 180
        self.write_config("run", HALF)
        self.mpirun(2, "run.ini", "--set", "run.output=" + output)
        result = self.mpirun(2, "run.ini", "--set", "run.output=" + output, "--set", "train.max_steps=5")
        self.assertIn("step 3 of 5", result.err)
        self.mpirun(2, "run.ini", "--evaluate", os.path.join(output, "run", "checkpoints", "latest"))
        self.mpirun(2, os.path.join(output, "run", "config.ini"), "--check")


if __name__ == "__main__":
    harness.main()
