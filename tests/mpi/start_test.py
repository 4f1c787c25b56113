# SPDX-License-Identifier: Apache-2.0
"""What a start looks at before it trains: the folder, the data, the job it belongs to, and what --check says of all that."""
import os
import shutil
import signal
import subprocess

import harness
from harness import BAD_CONFIG, BAD_DATA, IO_ERROR, STOPPED, USAGE, RunTest, count_lines, wait_until, write_cifar10

HALF = {"train.max_steps": 3}
CIFAR = {"data.dataset": "cifar10", "data.path": "data", "data.train_samples": 0, "data.val_samples": 0}


class StartTest(RunTest):
    # ---- the data ----

    def refuse_other_data(self, change, *words):
        """A run that was stopped, and the same with other data: the start and --check name what differs, and the logs stay."""
        write_cifar10(self.path("data"))
        self.train("run", 2, {**CIFAR, **HALF})
        before = count_lines(self.run_path("run", "steps.csv"))
        change()
        for options in ((), ("--check",)):
            result = self.mpirun(2, "run.ini", "--set", "train.max_steps=0", *options, code=BAD_DATA)
            self.assert_error(result, "step-00000003.h5", "other data than data", *words)
        self.assertEqual(count_lines(self.run_path("run", "steps.csv")), before)

    def test_more_images_than_at_the_start_are_refused(self):
        self.refuse_other_data(lambda: write_cifar10(self.path("data"), 24), "120 training and 24 validation images, not 60 and 12")

    def test_other_pixels_are_refused(self):
        def darken():
            with open(self.path("data", "data_batch_1.bin"), "r+b") as file:
                file.seek(1)
                file.write(bytes(3072))
        self.refuse_other_data(darken, "mean")

    def test_the_same_images_with_other_labels_are_refused(self):
        self.refuse_other_data(lambda: write_cifar10(self.path("data"), label=lambda i: (i + 1) % 10), "labels")

    def test_other_test_images_are_refused(self):
        def swap():
            shutil.copy(self.path("data", "data_batch_2.bin"), self.path("data", "test_batch.bin"))
        self.refuse_other_data(swap, "labels")

    def test_the_same_data_elsewhere_goes_on(self):
        write_cifar10(self.path("data"))
        self.train("run", 2, {**CIFAR, **HALF})
        shutil.move(self.path("data"), self.path("elsewhere"))
        self.train("run", 2, {**CIFAR, "data.path": "elsewhere"})
        self.assertEqual(self.summary("run")["status"], "complete")

    def test_a_rank_with_another_copy_is_named(self):
        # Order, labels and test images, of which sums over pixels say nothing.
        for name, change in (("labels", {"label": lambda i: (i + 1) % 10}), ("order", {"label": lambda i: 9 - i % 10})):
            with self.subTest(name):
                for host, settings in (("a", {}), ("b", change)):
                    write_cifar10(self.path(host, "data"), **settings)
                    self.write_config(os.path.join(host, "run"), {**CIFAR, "run.output": self.path("runs")})
                words = ["run.ini"]
                line = [os.environ.get("SD_MPIRUN") or "mpirun", "-np", "1", "--wdir", self.path("a"), harness.PROGRAM, *words, ":",
                        "-np", "1", "--wdir", self.path("b"), harness.PROGRAM, *words]
                result = self.expect(line, (harness.INTERNAL,), harness.LIMIT_SECONDS, {})
                self.assert_error(result, "data set", "rank 1")

    def test_evaluating_on_other_data_says_so(self):
        write_cifar10(self.path("data"))
        self.train("run", 2, {**CIFAR, **HALF})
        result = self.mpirun(2, "run.ini", "--evaluate", "runs/run/checkpoints/latest")
        self.assertEqual(result.warnings, [])
        result = self.mpirun(2, "run.ini", "--set", "data.val_samples=5", "--evaluate", "runs/run/checkpoints/latest")
        self.assertEqual(result.warnings, [])
        write_cifar10(self.path("other"), 24)
        result = self.mpirun(2, "run.ini", "--set", "data.path=other", "--evaluate", "runs/run/checkpoints/latest")
        self.assertEqual(len(result.warnings), 1, str(result))
        self.assertIn("another data set", result.warnings[0])
        self.assertIn("evaluate loss=", result.out)

    # ---- what --check finds ----

    def test_check_finds_a_resume_that_would_be_refused(self):
        self.train("run", 1, HALF)
        result = self.mpirun(1, "run.ini", "--check", "--set", "lr.base=0.5", code=BAD_CONFIG)
        self.assert_error(result, "lr.base = 0.5, not 0.01")
        result = self.mpirun(1, "run.ini", "--check", "--resume", "never", code=BAD_CONFIG)
        self.assert_error(result, "checkpoint.resume", "never")
        result = self.mpirun(1, "run.ini", "--check", "--resume", "nowhere.h5", code=harness.NO_INPUT)
        self.assert_error(result, "nowhere.h5")

    def test_check_says_where_training_would_begin_and_changes_nothing(self):
        self.write_config("run", HALF)
        result = self.mpirun(2, "run.ini", "--check")
        self.assertIn("\nstart      from the beginning\n", result.out)
        self.assertFalse(os.path.exists(self.path("runs")))
        self.mpirun(2, "run.ini")
        result = self.mpirun(2, "run.ini", "--check", "--set", "train.max_steps=0")
        self.assertIn("\nstart      from runs/run/checkpoints/step-00000003.h5, step 3 of 10\n", result.out)
        result = self.mpirun(2, "run.ini", "--check")
        self.assertIn("\nstart      already complete: runs/run/checkpoints/step-00000003.h5, step 3 of 3\n", result.out)

    def test_check_finds_an_output_that_cannot_be_written(self):
        self.write_config("run")
        with open(self.path("file"), "w", encoding="utf-8") as file:
            file.write("in the way\n")
        for output in ("file", "file/below"):
            result = self.mpirun(1, "run.ini", "--check", "--set", "run.output=" + output, code=IO_ERROR)
            self.assert_error(result, "file")
            self.mpirun(1, "run.ini", "--set", "run.output=" + output, code=IO_ERROR)
        self.assertEqual(sorted(os.listdir(self.folder)), ["file", "run.ini"])

    def test_check_finds_a_read_only_output(self):
        os.mkdir(self.path("runs"))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", self.path("runs")], capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest("a read-only file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", self.path("runs")], check=True)
        self.write_config("run")
        for options in ((), ("--check",)):
            result = self.mpirun(1, "run.ini", *options, code=IO_ERROR)
            self.assert_error(result, "runs", "Read-only file system")

    def test_a_trace_that_cannot_be_written_is_found_at_the_start(self):
        os.mkdir(self.path("folder.json"))
        for trace, word in (("no/such/trace.json", "No such file"), ("folder.json", "not a file"), ("run.ini/t.json", "run.ini: ")):
            self.write_config("run", {"log.trace": trace, "log.trace_step": 8})
            for options in ((), ("--check",)):
                result = self.mpirun(2, "run.ini", *options, code=BAD_CONFIG)
                self.assert_error(result, "run.ini:", "log.trace", trace, word)
        self.assertFalse(os.path.exists(self.run_path("run", "steps.csv")))

    # ---- jobs ----

    def test_starts_of_one_job_go_on_from_a_named_file_only_once(self):
        self.train("run", 2, {"checkpoint.every_steps": 2, "checkpoint.keep": 9})
        file = self.run_path("run", "checkpoints", "step-00000004.h5")
        words = ["--resume", file, "--job", "batch-17"]
        self.train("run", 2, {"train.max_steps": 6, "checkpoint.keep": 9}, words=words)
        self.assertEqual(self.summary("run")["job"], "batch-17")
        for stop in (8, 0):  # started again and again with the same words
            result = self.train("run", 2, {"train.max_steps": stop, "checkpoint.keep": 9}, words=words)
            self.assertIn("step %d of" % (6 if stop else 8), result.err)
            self.assertNotIn("set aside", result.err)
        self.assertEqual(self.summary("run")["status"], "complete")
        # Another job does as its words say.
        result = self.train("run", 2, {"train.max_steps": 6}, words=["--resume", file, "--job", "batch-18"])
        self.assertIn("step 4 of 6", result.err)

    def test_starts_of_one_job_begin_anew_only_once(self):
        words = ["--resume", "never", "--job", "j"]
        self.train("run", 2, HALF, words=words)
        self.train("run", 2, {"train.max_steps": 5}, words=words)
        self.train("run", 2, words=["--resume", "never", "--job", "k"], code=BAD_CONFIG)
        self.train("run", 2, words=["--resume", "never"], code=BAD_CONFIG)
        self.train("run", 2, words=words)
        self.assertEqual(self.summary("run")["step"], 10)

    def test_a_job_killed_before_its_first_checkpoint_starts_again(self):
        settings = {"train.epochs": 1000, "checkpoint.every_epochs": 0}
        words = [self.write_config("run", settings), "--resume", "never", "--job", "j"]
        running = self.start(harness.mpirun(2, *words))
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "some steps")
        running.kill()
        self.assertEqual(self.summary("run")["status"], "running")
        self.mpirun(2, *words, "--set", "train.max_steps=4")
        self.assertEqual(self.summary("run")["step"], 4)

    def test_a_job_that_diverged_is_not_started_again(self):
        settings = {"lr.base": 1e6, "train.epochs": 50}
        words = ["--job", "j"]
        self.train("run", 2, settings, words=words, code=harness.INTERNAL)
        self.assertEqual(self.summary("run")["status"], "diverged")
        result = self.train("run", 2, settings, words=words, code=BAD_CONFIG)
        self.assert_error(result, "runs/run", "diverged", "--job j")
        self.train("run", 2, {**settings, "train.max_steps": 1}, words=["--job", "k"])

    def test_job_ids_are_checked(self):
        self.write_config("run", HALF)
        for job in ("", "a\nb", "x" * 121):
            self.assert_error(self.mpirun(1, "run.ini", "--job", job, code=USAGE), "--job")
        self.mpirun(1, "run.ini", "--job", "x" * 120)

    # ---- files of other runs ----

    def test_a_file_of_another_run_brings_its_state_and_not_its_logs(self):
        steps = {"checkpoint.every_steps": 2, "checkpoint.keep": 9}
        self.train("one", 2, steps)
        self.train("two", 2, {**steps, "train.max_steps": 8})
        file = self.run_path("one", "checkpoints", "step-00000004.h5")
        result = self.train("two", 2, {"train.max_steps": 6, **steps}, words=["--resume", file])
        self.assertEqual(result.warnings, [])
        self.assertEqual(self.column("two", "steps.csv", "step", int), [5, 6])
        self.assertEqual(sum(line.endswith(".aside") for line in os.listdir(self.run_path("two"))), 4)
        self.assertEqual(count_lines(self.run_path("two", "steps.csv.aside")), 9)
        kept = sorted(name for name in os.listdir(self.run_path("two", "checkpoints")) if name.endswith(".h5"))
        self.assertEqual(kept, ["step-00000004.h5", "step-00000005.h5", "step-00000006.h5"])
        # From there it goes on as any run.
        result = self.train("two", 2, steps)
        self.assertEqual(result.warnings, [])
        self.assertEqual(self.column("two", "steps.csv", "step", int), [5, 6, 7, 8, 9, 10])
        self.assert_same_state(self.latest("one"), self.latest("two"))

    def test_killed_before_its_first_checkpoint_a_branch_goes_on_from_the_file(self):
        self.train("one", 2, HALF)
        settings = {"train.epochs": 2, "checkpoint.every_epochs": 0}
        words = harness.mpirun(2, self.write_config("two", {**settings, "data.val_samples": 20000}))
        # Images to score are part of what must be equal.
        self.train("one", 2, {**settings, "data.val_samples": 20000, "run.name": "start", **HALF})
        file = self.run_path("start", "checkpoints", "step-00000003.h5")
        running = self.start(words + ["--resume", file])
        wait_until(lambda: count_lines(self.run_path("two", "steps.csv")) > 2, "a step")
        running.kill()
        result = self.mpirun(2, "two.ini", "--set", "train.max_steps=6", limit=harness.LIMIT_SECONDS)
        self.assertIn("going on from runs/two/checkpoints/step-0000000", result.err)
        self.assertEqual(self.column("two", "steps.csv", "step", int), [4, 5, 6])

    # ---- what is said ----

    def test_summary_says_that_a_run_is_under_way(self):
        self.train("run", 2, {"lr.schedule": "constant"})
        self.assertEqual(self.summary("run")["status"], "complete")
        running = self.start(harness.mpirun(2, self.write_config("run", {"lr.schedule": "constant", "train.epochs": 500})))
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 12, "some steps")
        self.assertEqual(self.summary("run")["status"], "running")
        running.signal(signal.SIGUSR1)
        self.assertEqual(running.finish().code, STOPPED)
        self.assertEqual(self.summary("run")["status"], "stopped")

    def test_an_epoch_without_a_usable_step_has_no_number_and_no_nan(self):
        result = self.train("run", 1, {"lr.base": 1e6, "train.on_nonfinite": "skip", "train.epochs": 6})
        self.assertTrue(any(row["train_accuracy"] == "" for row in self.rows("run", "epochs.csv")), "choose a higher rate")
        self.assertNotIn("nan", (result.out + result.err).replace("nanosecond", "").lower())

    def test_best_validation_accuracy_is_that_of_the_rows(self):
        # Scored every epoch, saved every third: the best score need not be among the checkpoints, and with some seed is not.
        for seed in range(4, 30):
            name = "run%d" % seed
            settings = {"train.epochs": 4, "checkpoint.every_epochs": 3, "lr.base": 0.1, "run.seed": seed}
            result = self.train(name, 1, settings)
            accuracy = self.column(name, "epochs.csv", "val_accuracy", float)
            best, saved = max(accuracy), max(accuracy[2:])
            self.assertRegex(result.out, r"best validation accuracy +%.2f %%   epoch %d\n" % (100 * best, 1 + accuracy.index(best)))
            if saved < best:
                break
        self.assertLess(saved, best)
        self.assertRegex(result.out, r"that of checkpoint best +%.2f %%" % (100 * saved))
        self.assert_close([self.summary(name)["best_val_accuracy"], self.summary(name)["best_accuracy"]], [best, saved], 1e-8)


if __name__ == "__main__":
    harness.main()
