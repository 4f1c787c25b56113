# SPDX-License-Identifier: Apache-2.0
"""Every failure: one line that begins 'sdtrain-mpi: error:', DESIGN.md's exit code, all ranks gone within seconds."""
import os
import unittest

import harness
from harness import BAD_CONFIG, BAD_DATA, INTERNAL, IO_ERROR, NO_INPUT, USAGE, RunTest, TINY_VIT, write_cifar10

RANKS = 3
LIMIT = 20  # seconds, on a busy machine; each takes less than one


class ErrorTest(RunTest):
    def fails(self, code, *parts, settings=None, base=None, words=(), **env):
        """A run on three ranks fails with this code, and its error line holds all of parts. It leaves no run behind."""
        config = self.write_config("run", {"train.max_steps": 2, **(settings or {})}, base)
        result = self.mpirun(RANKS, config, *words, code=code, limit=LIMIT, **env)
        self.assert_error(result, *parts)
        self.assertFalse(os.path.exists(self.run_path("run")), "a refused run has left files")
        return result


class UsageTest(ErrorTest):
    def test_no_arguments(self):
        self.assert_error(self.mpirun(RANKS, code=USAGE, limit=LIMIT), "--help")

    def test_unknown_option(self):
        self.fails(USAGE, "--chekc", words=["--chekc"])

    def test_option_without_value(self):
        for option in ("--set", "--resume", "--evaluate"):
            self.fails(USAGE, option, words=[option])

    def test_setting_without_equals_sign(self):
        self.fails(USAGE, "train.epochs", words=["--set", "train.epochs"])

    def test_two_configurations(self):
        self.fails(USAGE, "run.ini", words=["run.ini"])

    def test_missing_configuration(self):
        self.assert_error(self.mpirun(RANKS, "nowhere.ini", code=NO_INPUT, limit=LIMIT), "nowhere.ini")

    def test_configuration_that_is_no_text(self):
        with open(self.path("binary.ini"), "wb") as file:
            file.write(bytes(range(256)) * 8)
        self.assert_error(self.mpirun(RANKS, "binary.ini", code=BAD_CONFIG, limit=LIMIT), "binary.ini")
        self.assert_error(self.mpirun(RANKS, ".", code=BAD_CONFIG, limit=LIMIT), ".")


class ConfigTest(ErrorTest):
    def refuses(self, text, *parts):
        """Text of a file, and what the error must name; the first is the place."""
        with open(self.path("bad.ini"), "w", encoding="utf-8") as file:
            file.write(text)
        self.assert_error(self.mpirun(RANKS, "bad.ini", code=BAD_CONFIG, limit=LIMIT), *parts)

    def test_misspelt_key_names_file_line_and_nearest(self):
        self.refuses("[train]\nepochs = 1\n\n[lr]\n; rate\nbsae = 0.1\n", "bad.ini:6", "lr.bsae", "lr.base")
        self.refuses("\n[stochastic-depth]\nrate = 0.1\n", "bad.ini:2", "stochastic-depth", "stochastic_depth")
        self.refuses("[log]\nevrey_steps = 1\n", "bad.ini:2", "log.every_steps")

    def test_value_out_of_range_names_what_is_allowed(self):
        self.refuses("[stochastic_depth]\nrate = 1.5\n", "bad.ini:2", "stochastic_depth.rate", "1.5", "from 0 to 1")
        self.refuses("[optimizer]\nname = adam\n", "bad.ini:2", "optimizer.name", "sgd", "adamw")
        self.refuses("[train]\nepochs = 1.5\n", "bad.ini:2", "whole number")
        self.refuses("[run]\nseed = -1\n", "bad.ini:2", "4294967295")
        self.refuses("[communication]\nskip_dropped = yes\n", "bad.ini:2", "true", "false")

    def test_line_that_is_none(self):
        self.refuses("[train]\nepochs = 1\nbatch_size\n", "bad.ini:3")

    def test_key_given_twice(self):
        self.refuses("[train]\nepochs = 1\nepochs = 2\n", "bad.ini:3", "train.epochs", "line 2")

    def test_indented_key_is_not_taken_for_another(self):
        # INI readers take an indented line as more of the value above; the message must not blame run.name alone.
        self.refuses("[run]\n  name = x\n  seed = 3\n", "bad.ini:3", "indented")

    def test_rate_and_survival_probability_together(self):
        self.refuses("[stochastic_depth]\nrate = 0.2\nsurvival_prob = 0.8\n", "bad.ini:2", "survival_prob")

    def test_batch_smaller_than_ranks(self):
        self.fails(BAD_CONFIG, "train.batch_size", "run.ini:", "3 ranks", settings={"train.batch_size": 2})

    def test_classes_that_do_not_fit(self):
        write_cifar10(self.path("cifar"))
        self.fails(BAD_CONFIG, "model.classes", "10", settings={
            "model.classes": 11, "data.dataset": "cifar10", "data.path": "cifar", "data.train_samples": 0,
            "data.val_samples": 0})

    def test_patch_that_does_not_divide_the_image(self):
        self.fails(BAD_CONFIG, "model.patch_size", "run.ini:", base={**TINY_VIT, "model.patch_size": 5})

    def test_number_of_rates(self):
        self.fails(BAD_CONFIG, "stochastic_depth.rates", "9", settings={
            "stochastic_depth.schedule": "list", "stochastic_depth.rate": 0, "stochastic_depth.rates": "0.1, 0.2"})

    def test_more_samples_than_there_are(self):
        write_cifar10(self.path("cifar"))
        self.fails(BAD_CONFIG, "data.train_samples", "60", settings={
            "data.dataset": "cifar10", "data.path": "cifar", "data.train_samples": 61, "data.val_samples": 0})

    def test_batch_larger_than_the_data(self):
        for batch in (41, 4294967295):  # the second would also take more memory than there is
            self.fails(BAD_CONFIG, "train.batch_size", "40", settings={"train.batch_size": batch})

    def test_unknown_model(self):
        self.fails(BAD_CONFIG, "model.name", "resnet21", "resnet20", settings={"model.name": "resnet21"})

    def test_values_of_later_versions(self):
        self.fails(BAD_CONFIG, "log.tensorboard", "not in this version", words=["--set", "log.tensorboard=true"])

    def test_names_that_are_no_folder(self):
        for setting in ("run.name=a/b", "run.name=..", "run.output="):
            self.fails(BAD_CONFIG, setting.partition("=")[0], words=["--set", setting, "--check"])

    def test_texts_that_config_ini_could_not_hold(self):
        # Its lines have a limit, and white space before ';' begins a comment: half a name must not be read back later.
        for setting in ("run.output=" + "o" * 230, "run.name=a ; b", "run.name=a\nb", "run.name= ;a"):
            self.fails(BAD_CONFIG, setting.partition("=")[0], "allowed", words=["--set", setting])

    def test_unknown_instruction_set(self):
        self.fails(BAD_CONFIG, "SD_ISA", "sse9", "avx2", SD_ISA="sse9")


class DataTest(ErrorTest):
    CIFAR = {"data.dataset": "cifar10", "data.path": "cifar", "data.train_samples": 0, "data.val_samples": 0}

    def test_missing_folder(self):
        self.fails(NO_INPUT, "cifar", "data.path", settings=self.CIFAR)

    def test_missing_file(self):
        write_cifar10(self.path("cifar"))
        os.unlink(self.path("cifar", "data_batch_4.bin"))
        self.fails(NO_INPUT, "data_batch_4.bin", settings=self.CIFAR)

    def test_truncated_file(self):
        write_cifar10(self.path("cifar"))
        os.truncate(self.path("cifar", "data_batch_3.bin"), 12 * 3073 - 1)
        self.fails(BAD_DATA, "data_batch_3.bin", "3073", settings=self.CIFAR)

    def test_empty_file(self):
        write_cifar10(self.path("cifar"))
        os.truncate(self.path("cifar", "test_batch.bin"), 0)
        self.fails(BAD_DATA, "test_batch.bin", settings=self.CIFAR)

    def test_bad_label_names_file_and_record(self):
        write_cifar10(self.path("cifar"))
        with open(self.path("cifar", "data_batch_2.bin"), "r+b") as file:
            file.seek(7 * 3073)
            file.write(b"\x0a")
        self.fails(BAD_DATA, "data_batch_2.bin", "record 7", "10", settings=self.CIFAR)

    def test_bad_labels_of_cifar100(self):
        for place, label in ((0, 20), (1, 100)):  # coarse, fine
            harness.write_cifar100(self.path("cifar"))
            with open(self.path("cifar", "test.bin"), "r+b") as file:
                file.seek(3 * 3074 + place)
                file.write(bytes([label]))
            settings = {**self.CIFAR, "data.dataset": "cifar100"}
            self.fails(BAD_DATA, "test.bin", "record 3", str(label), settings=settings)

    def test_good_files_are_read_from_the_folder_or_its_parent(self):
        write_cifar10(self.path("data", "cifar-10-batches-bin"))
        for path in ("data", "data/cifar-10-batches-bin", "data/"):
            name = "run%d" % len(path)
            self.train(name, 3, {**self.CIFAR, "data.path": path, "train.max_steps": 1})
        harness.write_cifar100(self.path("data", "cifar-100-binary"))
        self.train("hundred", 3, {**self.CIFAR, "data.dataset": "cifar100", "data.path": "data", "train.max_steps": 1})
        self.assertEqual(self.tool("h5ls", self.latest("hundred") + "/model/fc.bias").split()[-1], "{100}")


class OutputTest(ErrorTest):
    def test_output_below_a_regular_file(self):
        with open(self.path("file"), "w", encoding="utf-8"):
            pass
        self.fails(IO_ERROR, "file", settings={"run.output": "file/runs"})
        self.fails(IO_ERROR, "file", settings={"run.output": "file"})

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_output_without_permission(self):
        for mode in (0o500, 0o000):
            os.mkdir(self.path("locked"), mode)
            self.fails(IO_ERROR, "locked", settings={"run.output": "locked"})
            os.rmdir(self.path("locked"))

    def test_log_that_is_a_folder(self):
        os.makedirs(self.run_path("run", "steps.csv"))
        result = self.mpirun(RANKS, self.write_config("run"), code=IO_ERROR, limit=LIMIT)
        self.assert_error(result, "steps.csv")

    def test_checkpoints_that_cannot_be_written(self):
        self.train("run", RANKS, {"train.max_steps": 1})
        checkpoints = self.run_path("run", "checkpoints")
        os.mkdir(os.path.join(checkpoints, "step-00000004.h5.part"))  # in the way of the temporary file
        result = self.mpirun(RANKS, "run.ini", "--set", "train.max_steps=4", code=IO_ERROR, limit=LIMIT)
        self.assert_error(result, "step-00000004.h5")
        self.assertEqual(os.path.basename(self.latest("run")), "step-00000001.h5")


class TrainingTest(ErrorTest):
    def test_divergence(self):
        result = self.mpirun(RANKS, self.write_config("run", {"lr.base": 1e6}), code=INTERNAL, limit=LIMIT)
        self.assert_error(result, "diverged", "step", "lr.base")

    def test_validation_that_is_not_finite_is_said(self):
        # The weights are huge but numbers: deep networks whose running statistics are young look the same and are well, so
        # this is a warning. (Weights that are not numbers never become a checkpoint, and end the run with 70.)
        settings = {"lr.base": 1e6, "train.epochs": 1, "data.train_samples": 8}
        result = self.mpirun(RANKS, self.write_config("run", settings), limit=LIMIT)
        self.assertIn("warning: after step 1 the validation loss is not finite", result.err)


class OneRankTest(ErrorTest):
    """One rank of two fails alone."""

    def fails_alone(self, code, *parts, settings=None, second=(), place=(), program=None):
        config = self.write_config("run", {"train.max_steps": 2, **(settings or {})})
        result = self.mpirun_two([config], [config, *second], (code,), LIMIT, place, program)
        self.assert_error(result, *parts)
        self.assertFalse(os.path.exists(self.run_path("run")))

    def test_instruction_set_of_one_rank(self):
        self.fails_alone(BAD_CONFIG, "SD_ISA", "nonsense", place=["-x", "SD_ISA=nonsense"])

    def test_option_of_one_rank(self):
        self.fails_alone(USAGE, "--nonsense", second=["--nonsense"])

    def test_data_that_one_rank_does_not_see(self):
        write_cifar10(self.path("cifar"))
        self.fails_alone(NO_INPUT, "cifar/data_batch_1.bin", settings=DataTest.CIFAR, place=["-wdir", "/"])

    def test_memory_of_one_rank(self):
        with open(harness.PROGRAM, "rb") as file:
            if b"__asan_init" in file.read():
                self.skipTest("AddressSanitizer itself needs all of the address space")
        # 400 images a rank need 700 MiB of activations, which one rank's 800 MB of address space do not hold.
        self.fails_alone(INTERNAL, "out of memory", settings={"train.batch_size": 800, "data.train_samples": 800},
                         program=["sh", "-c", 'ulimit -v 800000; exec "$0" "$@"', harness.PROGRAM])


if __name__ == "__main__":
    harness.main()
