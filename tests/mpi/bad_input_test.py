# SPDX-License-Identifier: Apache-2.0
"""What lies in a run's folder and is not as it should be: what a user is told, and that nothing is harmed by it.

Beside errors_test.py (data, configuration), resume_rules_test.py (damaged checkpoints) and interruption_test.py (a disk that fills up)."""
import hashlib
import os
import shutil
import stat
import subprocess

import harness
from harness import BAD_CONFIG, BAD_DATA, IO_ERROR, NO_INPUT, RunTest

RANKS = 2
FOUR = {"train.max_steps": 4, "checkpoint.every_steps": 1, "checkpoint.keep": 9}  # step-00000001.h5 to step-00000004.h5
SEAL_BYTES = 512


def contents(folder):
    """Every file and link below a folder, and what it holds."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
            else:
                found[path] = "neither file nor link"
    return found


class BadInputTest(RunTest):
    def checkpoint(self, step, run="run"):
        return self.run_path(run, "checkpoints", "step-%08d.h5" % step)

    def refused(self, code, *parts, words=(), name="run", ranks=RANKS, may_change=()):
        """The run is refused with this code and an error that holds these parts; its files stay as they are, to the last bit.
        may_change: the ends of names that a start writes again."""
        before = contents(self.folder)
        result = self.mpirun(ranks, name + ".ini", *words, code=code)
        self.assert_error(result, *parts)
        after = contents(self.folder)
        for path in before:
            if not path.endswith(tuple(may_change) or ("\0",)):
                self.assertEqual(before[path], after.get(path), "%s was changed by a run that was refused" % path)
        self.assertEqual([path for path in after if path.endswith(".part")], [])
        return result

    def goes_on_from(self, step, *warned, name="run", words=()):
        """It names what it passes over, and goes on from this step to the end of the whole run."""
        result = self.mpirun(RANKS, name + ".ini", "--set", "train.max_steps=0", *words)
        self.assertIn("going on from runs/%s/checkpoints/step-%08d.h5" % (name, step), result.err)
        for words_of_one in warned:
            self.assertTrue(any(all(word in line for word in words_of_one) for line in result.warnings),
                            "no warning says %s\n%s" % (words_of_one, result))
        return result

    def mount(self, path, options):
        os.makedirs(path, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            self.skipTest("a file system cannot be mounted here: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", path], check=True)

    # ---- configurations ----

    def test_configuration_is_refused_before_data_is_looked_for(self):
        base = {**harness.TINY, "data.dataset": "cifar10", "data.path": "nowhere", "data.train_samples": 0,
                "data.val_samples": 0}
        for settings, key in (
                ({"model.name": "resnet21"}, "model.name"), ({"model.stem": "imagenet"}, "model.stem"),
                ({"model.name": "vit_tiny", "model.patch_size": 5}, "model.patch_size"),
                ({"model.classes": 11}, "model.classes"), ({"data.normalise": "0.5"}, "data.normalise"),
                ({"stochastic_depth.rate": 0, "stochastic_depth.schedule": "list", "stochastic_depth.rates": "0.1, 0.2"},
                 "stochastic_depth.rates"),
                ({"model.name": "resnet18", "model.stem": "imagenet", "train.batch_size": 2}, "train.batch_size")):
            for words in ([], ["--check"]):
                with self.subTest(key, words=words):
                    self.write_config("run", settings, base)
                    self.refused(BAD_CONFIG, "run.ini:", key + ": ", words=words)
        self.write_config("run", {}, base)
        self.refused(NO_INPUT, "nowhere", "data.path")

    def test_name_of_the_file_that_no_run_can_have(self):
        # config.ini and each checkpoint hold the name in a line.
        for name in ("a\tb", "a\n[x]", "a ;b"):
            with self.subTest(name):
                self.write_config(name)
                self.refused(BAD_CONFIG, "run.name", "rename the file", name=name)
                self.assertFalse(os.path.exists(self.path("runs")))

    def test_paths_that_only_a_shell_expands(self):
        self.write_config("run")
        for value, parts in (("~/runs", ["'~' is not expanded", os.path.expanduser("~/runs")]), ("$PWD/runs", ["$PWD"])):
            self.refused(BAD_CONFIG, "run.output", *parts, words=["--set", "run.output=" + value])
        self.assertEqual(os.listdir(self.folder), ["run.ini"])

    def test_encodings(self):
        text = "[train]\nepochs = 1\n[data]\ntrain_samples = 16\nval_samples = 8\n[train]\nbatch_size = 8\n"
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            with self.subTest(encoding):
                with open(self.path("run.ini"), "w", encoding=encoding) as file:
                    file.write(text)
                self.refused(BAD_CONFIG, "run.ini", "UTF-16", "UTF-8")
        with open(self.path("run.ini"), "w", encoding="utf-8-sig") as file:
            file.write(text)
        self.assertIn("1 epochs of 2 steps", self.mpirun(1, "run.ini", "--check").out)

    # ---- checkpoints ----

    def test_cut_at_any_length(self):
        self.train("run", RANKS, FOUR)
        with open(self.checkpoint(4), "rb") as file:
            whole = file.read()
        for bytes_left, word in ((0, "empty"), (7, "not a checkpoint"), (100, "is cut"), (SEAL_BYTES - 1, "is cut"),
                                 (SEAL_BYTES, "is cut"), (SEAL_BYTES + 8, "is cut"), (len(whole) // 2, "is cut"),
                                 (len(whole) - 1, "is cut")):
            with self.subTest(bytes_left):
                with open(self.checkpoint(4), "wb") as file:
                    file.write(whole[:bytes_left])
                self.refused(BAD_DATA, "step-00000004.h5", word, words=["--resume", self.checkpoint(4)])
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        self.goes_on_from(3, ("step-00000004.h5", "is cut", "trying the one before"))
        self.assert_same_run("whole", "run")

    def test_missing(self):
        self.train("run", RANKS, FOUR)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        os.unlink(self.checkpoint(4))  # latest leads nowhere now
        self.refused(NO_INPUT, "latest", words=["--resume", self.run_path("run", "checkpoints", "latest")])
        self.goes_on_from(3)
        self.assert_same_run("whole", "run")

    def test_swapped(self):
        self.train("run", RANKS, FOUR)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        os.rename(self.checkpoint(2), self.path("two"))
        os.rename(self.checkpoint(4), self.checkpoint(2))
        os.rename(self.path("two"), self.checkpoint(4))
        # A file goes for the step it holds: taking step 2 for step 4 would put wrong rows into the logs.
        self.goes_on_from(3, ("step-00000004.h5", "holds step 2", "step-00000002.h5"))
        self.assert_same_run("whole", "run")

    def test_renamed_and_alone(self):
        self.train("run", RANKS, FOUR)
        for step in (1, 2, 3):
            os.unlink(self.checkpoint(step))
        os.rename(self.checkpoint(4), self.checkpoint(9))
        result = self.refused(BAD_DATA, "runs/run/checkpoints", "none of its 1 checkpoints")
        self.assertIn("step-00000009.h5: holds step 4", result.err)
        os.rename(self.checkpoint(9), self.checkpoint(4))
        self.goes_on_from(4)

    def test_of_another_model(self):
        self.train("run", RANKS, FOUR)
        self.train("other", RANKS, {**FOUR, "model.name": "resnet32"})
        shutil.copy(self.checkpoint(4, "other"), self.checkpoint(4))
        self.refused(BAD_CONFIG, "step-00000004.h5", "model.name = resnet20, not resnet32")

    def test_of_a_later_version(self):
        self.train("run", RANKS, FOUR)
        with open(self.checkpoint(4), "r+b") as file:  # the seal's version, which stands before all else
            file.seek(8)
            file.write((2).to_bytes(8, "little"))
        self.refused(BAD_DATA, "step-00000004.h5", "another version", "2", "1", words=["--resume", self.checkpoint(4)])
        self.goes_on_from(3, ("step-00000004.h5", "another version"))

    def test_altered_and_sealed_again(self):
        alter = os.environ.get("SD_ALTER")
        if not alter:
            self.skipTest("SD_ALTER does not name the program sdtrain-alter")
        self.train("run", RANKS, FOUR)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        shutil.copy(self.checkpoint(4), self.path("good.h5"))
        for dataset, number, parts in (("/model/fc.weight", "nan", ["/model/fc.weight", "not finite"]),
                                       ("/model/bn1.running_var", "inf", ["/model/bn1.running_var", "not finite"]),
                                       ("/data/std", "0", ["/data/std"]), ("/data/mean", "nan", ["/data/mean"]),
                                       ("/progress/batch", "6", ["6 batches", "has 5"]),
                                       ("/progress/batch", "18446744073709549568", ["batches"])):
            with self.subTest(dataset):
                shutil.copy(self.path("good.h5"), self.path("bad.h5"))
                self.tool(alter, self.path("bad.h5"), "set", dataset, "0", number)
                self.refused(BAD_DATA, "bad.h5", *parts,
                             words=["--resume", self.path("bad.h5"), "--set", "train.max_steps=6"])
        self.tool(alter, self.checkpoint(4), "set", "/progress/step", "0", "9")
        self.goes_on_from(3, ("step-00000004.h5", "holds step 9"))
        self.assert_same_run("whole", "run")

    # ---- links ----

    def test_link_in_place_of_a_checkpoint(self):
        self.train("run", RANKS, FOUR)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        os.rename(self.checkpoint(4), self.path("elsewhere.h5"))
        os.symlink(self.path("elsewhere.h5"), self.checkpoint(4))
        before = contents(self.path("elsewhere.h5"))
        self.goes_on_from(3, ("step-00000004.h5", "symbolic link", "--resume"))
        self.assertEqual(before, contents(self.path("elsewhere.h5")))
        self.assertFalse(os.path.islink(self.checkpoint(4)), "a checkpoint is a file of its own")
        self.assert_same_run("whole", "run")

    def test_link_that_is_asked_for_by_name_is_followed(self):
        self.train("run", RANKS, FOUR)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        os.symlink(self.checkpoint(2), self.path("mine.h5"))
        self.mpirun(RANKS, "run.ini", "--resume", "mine.h5", "--set", "train.max_steps=0")
        self.assert_same_run("whole", "run")

    def test_links_in_place_of_logs(self):
        self.train("run", RANKS, FOUR)
        for name in ("steps.csv", "epochs.csv", "timing.csv", "decisions.csv", "config.ini", "schedule.csv"):
            with self.subTest(name):
                os.rename(self.run_path("run", name), self.path("precious"))
                os.symlink(self.path("precious"), self.run_path("run", name))
                self.refused(IO_ERROR, "runs/run/" + name, "symbolic link", words=["--set", "train.max_steps=6"],
                             may_change=["run/config.ini"])
                os.unlink(self.run_path("run", name))
                os.rename(self.path("precious"), self.run_path("run", name))

    def test_link_in_place_of_the_summary_or_the_trace(self):
        for name, words, code in (("summary.json", [], IO_ERROR), ("trace.json", ["--set", "log.trace_step=1"], BAD_CONFIG)):
            with self.subTest(name):
                os.makedirs(self.run_path("run"), exist_ok=True)
                with open(self.path("precious"), "w", encoding="utf-8") as file:
                    file.write("precious")
                os.symlink(self.path("precious"), self.run_path("run", name))
                result = self.train("run", RANKS, {"train.max_steps": 2, "log.trace": "runs/run/trace.json",
                                                   "run.name": "run"}, words=words, code=code)
                self.assert_error(result, "runs/run/" + name, "symbolic link")
                with open(self.path("precious"), encoding="utf-8") as file:
                    self.assertEqual(file.read(), "precious")
                shutil.rmtree(self.run_path("run"))

    def test_links_to_nowhere_make_no_file_there(self):
        os.makedirs(self.run_path("run", "checkpoints"))
        for name in ("config.ini.part", "checkpoints/step-00000004.h5.part", "checkpoints/.latest.part"):
            os.symlink(self.path("nowhere"), self.run_path("run", name))
        self.train("run", RANKS, {"train.max_steps": 4})
        self.assertFalse(os.path.lexists(self.path("nowhere")))
        os.symlink(self.path("nowhere"), self.run_path("run", "summary.json.part"))
        self.mpirun(RANKS, "run.ini", "--set", "train.max_steps=6")
        self.assertFalse(os.path.lexists(self.path("nowhere")))

    def test_folders_may_be_links(self):
        # Where there is room: runs/, a run, or its checkpoints.
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        for number, link in enumerate(("runs", "runs/run", "runs/run/checkpoints")):
            with self.subTest(link):
                room = self.path("room%d" % number)
                os.makedirs(room)
                if link == "runs":
                    os.rename(self.path("runs"), self.path("kept"))
                else:
                    os.makedirs(os.path.dirname(self.path(link)), exist_ok=True)
                os.symlink(room, self.path(link))
                self.train("run", RANKS, FOUR)
                self.goes_on_from(4)
                self.assertGreater(len(os.listdir(room)), 0)
                if link == "runs":
                    shutil.copytree(self.path("kept", "whole"), self.run_path("whole"), symlinks=True)
                self.assert_same_run("whole", "run")
                os.unlink(self.path(link))
                if link == "runs":
                    os.rename(self.path("kept"), self.path("runs"))
                elif link == "runs/run/checkpoints":
                    shutil.rmtree(self.run_path("run"))

    # ---- what is no file ----

    def test_pipes_do_not_hang(self):
        os.mkfifo(self.path("pipe.ini"))
        self.assert_error(self.mpirun(RANKS, "pipe.ini", code=BAD_CONFIG), "pipe.ini")
        self.train("run", RANKS, FOUR)
        os.unlink(self.checkpoint(4))
        os.mkfifo(self.checkpoint(4))
        self.refused(BAD_DATA, "step-00000004.h5", "regular file", words=["--resume", self.checkpoint(4)])
        os.unlink(self.checkpoint(4))
        os.symlink("step-00000003.h5", self.run_path("run", "checkpoints", "latest.new"))
        os.rename(self.run_path("run", "checkpoints", "latest.new"), self.run_path("run", "checkpoints", "latest"))
        os.unlink(self.run_path("run", "steps.csv"))
        os.mkfifo(self.run_path("run", "steps.csv"))
        self.refused(IO_ERROR, "steps.csv", "regular file", words=["--set", "train.max_steps=6"], may_change=["config.ini"])
        harness.write_cifar10(self.path("cifar"))
        os.unlink(self.path("cifar", "data_batch_2.bin"))
        os.mkfifo(self.path("cifar", "data_batch_2.bin"))
        self.write_config("data", {"data.dataset": "cifar10", "data.path": "cifar", "data.val_samples": 0})
        self.refused(BAD_DATA, "data_batch_2.bin", "regular file", name="data")

    # ---- file systems ----

    def test_folder_that_is_read_only(self):
        # Permissions do not bind root; a read-only file system does.
        self.mount(self.path("runs"), "size=32m")
        self.train("run", RANKS, FOUR)
        subprocess.run(["mount", "-o", "remount,ro", self.path("runs")], check=True)
        self.refused(IO_ERROR, "runs/run", "Read-only file system", words=["--set", "train.max_steps=6"])
        self.write_config("new")
        self.refused(IO_ERROR, "runs/new", "Read-only file system", name="new")
        # Reading is all that these need.
        self.assertIn("already complete", self.mpirun(RANKS, "run.ini").err)
        result = self.mpirun(RANKS, "run.ini", "--evaluate", self.run_path("run", "checkpoints", "latest"))
        self.assertIn("evaluate loss=", result.out)
        self.mpirun(RANKS, "run.ini", "--check")
        subprocess.run(["mount", "-o", "remount,rw", self.path("runs")], check=True)
        self.goes_on_from(4)

    def test_disk_without_any_room(self):
        self.mount(self.path("runs"), "size=64m")
        self.train("run", RANKS, FOUR)
        filler = os.open(self.path("runs", "filler"), os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, bytes(4096)) > 0:  # to the last byte
                pass
        except OSError:
            os.close(filler)
        self.refused(IO_ERROR, "runs/run", "No space left on device", words=["--set", "train.max_steps=6"])
        os.unlink(self.path("runs", "filler"))
        self.goes_on_from(4)
        self.train("whole", RANKS, {**FOUR, "train.max_steps": 0})
        self.assert_same_run("whole", "run")


if __name__ == "__main__":
    harness.main()
