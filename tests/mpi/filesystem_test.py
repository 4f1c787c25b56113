# SPDX-License-Identifier: Apache-2.0
"""File systems and containers that lack something: what is a convenience is done without, what is essential is an error."""
import os

import harness
from harness import BAD_DATA, IO_ERROR, OK, RunTest, count_lines, wait_until

SHORT = {"train.epochs": 1, "log.decisions": "false"}  # five steps; a checkpoint at their end


class FilesystemTest(RunTest):
    def train_where(self, rules, name="run", settings=None, code=OK, words=(), **env):
        """A run in one process, whose system calls fail as hostile.c says."""
        config = self.write_config(name, {**SHORT, **(settings or {})})
        return self.expect([harness.PROGRAM, config, *words], (code,), harness.LIMIT_SECONDS,
                           {"LD_PRELOAD": os.environ["SD_HOSTILE_LIBRARY"], "SD_HOSTILE": rules, **env})

    def names(self, *parts):
        return sorted(os.listdir(self.run_path("run", *parts)))

    def checkpoints(self):
        return [name for name in self.names("checkpoints") if name.startswith("step-")]

    # ---- links ----

    def test_without_links_a_run_is_as_good_as_with_them(self):
        settings = {"train.epochs": 2, "checkpoint.every_steps": 2, "checkpoint.keep": 2, "log.decisions": "true"}
        for reason in ("EPERM", "ENOTSUP"):
            result = self.train_where("symlink:" + reason, settings={**settings, "run.name": reason})
            self.assertEqual(len(result.warnings), 1, str(result))
            self.assertIn("runs/%s/checkpoints/latest: cannot be made a link to step-00000002.h5" % reason,
                          result.warnings[0])
        # Retention has removed what it should, and kept the best; resuming finds the newest by itself.
        self.train("linked", 1, settings)
        whole = [name for name in os.listdir(self.run_path("linked", "checkpoints")) if name.startswith("step-")]
        self.assertEqual(sorted(os.listdir(self.run_path("EPERM", "checkpoints"))), sorted(whole))
        self.assertEqual(self.summary("EPERM")["best_step"], self.summary("linked")["best_step"])
        newest = "checkpoints/step-00000010.h5"
        self.assert_same_state(self.run_path("EPERM", newest), self.run_path("linked", newest))
        result = self.train_where("symlink:EPERM", settings={**settings, "run.name": "EPERM"})
        self.assertIn("already complete", result.err)
        result = self.train_where("symlink:EPERM", settings=settings, words=(
            "--evaluate", "runs/EPERM/checkpoints/step-%08d.h5" % self.summary("EPERM")["best_step"]))
        self.assertIn("evaluate loss=", result.out)

    def test_a_link_that_cannot_be_moved_is_removed_rather_than_left_wrong(self):
        self.train("run", 1, {**SHORT, "train.max_steps": 2})
        self.assertEqual(os.path.basename(self.latest("run")), "step-00000002.h5")
        self.train_where("symlink:EPERM")
        self.assertEqual(self.checkpoints(), ["step-00000002.h5", "step-00000005.h5"])
        self.assertNotIn("latest", self.names("checkpoints"))

    # ---- syncing ----

    def test_a_file_system_that_cannot_sync_gets_one_warning(self):
        for call, reason in (("fsync", "EINVAL"), ("fsync", "ENOSYS"), ("fsync", "ENOTSUP"), ("fsync_folder", "EINVAL"),
                             ("fsync_folder", "EBADF")):
            name = call + reason
            result = self.train_where("%s:%s" % (call, reason), settings={"run.name": name, "checkpoint.every_steps": 1})
            self.assertEqual(len(result.warnings), 1, str(result))
            self.assertIn("a power failure may take what was written last", result.warnings[0])
            self.assertEqual(self.summary(name)["status"], "complete")

    def test_a_disk_that_fails_to_sync_fails_the_checkpoint(self):
        for call in ("fsync", "fsync_folder"):
            result = self.train_where(call + ":EIO:/checkpoints", code=IO_ERROR)
            self.assert_error(result, "runs/run/checkpoints", "Input/output error")
            self.assertEqual([name for name in self.names("checkpoints") if "part" in name], [])

    def test_names_are_synced_as_well_as_contents(self):
        result = self.train_where("fsync_folder:EIO:runs", code=IO_ERROR)
        self.assertNotIn("steps.csv", os.listdir(self.run_path("run")) if os.path.exists(self.run_path("run")) else [])
        self.train("run", 1, {**SHORT, "checkpoint.every_steps": 1})
        result = self.train_where("fsync_folder:EIO:/checkpoints", code=IO_ERROR, words=(
            "--resume", "runs/run/checkpoints/step-00000003.h5"))
        self.assertNotIn("in a row", result.errors[0], "the checkpoints that are set aside must be synced first")

    # ---- renaming, removing, making ----

    def test_a_file_system_that_does_not_rename_over_a_file(self):
        self.train("run", 1, {**SHORT, "train.max_steps": 2})
        for reason, steps in (("EEXIST", 4), ("EPERM", 5)):
            self.train_where("rename:" + reason, settings={"train.max_steps": steps})
            self.assertEqual(self.summary("run")["step"], steps)
            self.assertEqual(os.path.basename(self.latest("run")), "step-%08d.h5" % steps)
            self.assertEqual([name for name in self.names() + self.names("checkpoints") if "part" in name], [])

    def test_old_checkpoints_that_cannot_be_removed_get_one_warning(self):
        result = self.train_where("unlink:EBUSY:/step-", settings={"checkpoint.every_steps": 1, "checkpoint.keep": 1})
        self.assertEqual(len(result.warnings), 1, str(result))
        self.assertIn("an old checkpoint cannot be removed", result.warnings[0])
        self.assertEqual(len(self.checkpoints()), 5)

    def test_a_folder_of_checkpoints_that_cannot_be_read_is_not_empty(self):
        self.train("run", 1, SHORT)
        before = os.stat(self.run_path("run", "steps.csv")).st_mtime_ns
        result = self.train_where("readdir:EIO:/checkpoints", code=harness.NO_INPUT)
        self.assert_error(result, "runs/run/checkpoints: cannot be read", "Input/output error")
        self.assertEqual(os.stat(self.run_path("run", "steps.csv")).st_mtime_ns, before)

    def test_a_folder_that_is_there_need_not_be_made(self):
        os.makedirs(self.path("runs"))
        os.makedirs(self.run_path("run", "checkpoints"))
        for reason in ("EACCES", "EROFS", "ENOSYS"):
            self.train_where("mkdir:%s:runs" % reason, settings={"train.epochs": 1})

    def test_a_log_with_nothing_to_cut_is_not_cut(self):
        self.train_where("ftruncate:EPERM:.csv")
        self.assertEqual(len(self.rows("run", "steps.csv")), 5)

    def test_advice_that_the_system_does_not_take(self):
        result = self.train_where("madvise:EINVAL prctl:EINVAL")
        self.assertEqual(result.warnings, [])

    def test_a_close_that_was_interrupted_has_closed(self):
        self.assertEqual(self.train_where("close:EINTR:.part").warnings, [])

    def test_more_processors_than_a_fixed_set_holds(self):
        settings = {"train.max_steps": 1, "run.threads": 0}
        threads = []
        for rules in ("", "sched_getaffinity:EINVAL"):
            self.train_where(rules, settings={**settings, "run.name": "r" + rules[:5]}, OMP_NUM_THREADS="")
            threads.append(self.summary("r" + rules[:5])["threads"])
        self.assertEqual(threads[0], threads[1])

    # ---- locks ----

    def start_long(self, rules):
        config = self.write_config("run", {"train.epochs": 1000, "checkpoint.every_epochs": 0, "eval.every_epochs": 0})
        running = self.start([harness.PROGRAM, config], LD_PRELOAD=os.environ["SD_HOSTILE_LIBRARY"], SD_HOSTILE=rules)
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "step 2")
        return running

    def test_a_living_run_is_seen_where_flock_is_local_to_a_host(self):
        # As if each run was on a host of its own, both of one name: flock() always succeeds, and the second has another boot.
        running = self.start_long("flock:0")
        for rules in ("flock:0 open:ENOENT:boot_id", "flock:ENOTSUP"):
            result = self.train_where(rules, code=harness.BAD_CONFIG)
            self.assert_error(result, "used by another run: host ", "pid %d" % running.process.pid)
        self.assertIsNone(running.process.poll())

    def test_a_lock_is_touched_where_times_cannot_be_set(self):
        self.start_long("futimens:EPERM")
        lock = self.run_path("run", ".lock")
        with open(lock, encoding="utf-8") as file:
            text = file.read()
        first = os.stat(lock).st_mtime_ns
        wait_until(lambda: os.stat(lock).st_mtime_ns != first, "a touch", 30)
        with open(lock, encoding="utf-8") as file:
            self.assertEqual(file.read(), text)

    # ---- what a killed run has left ----

    def test_files_that_a_killed_run_was_writing_are_removed_and_others_are_not(self):
        self.train("run", 1, {**SHORT, "train.max_steps": 4})
        ours = ["checkpoints/step-00000010.h5.part", "checkpoints/step-00000003.h5.part", "checkpoints/.latest.part",
                "checkpoints/.best.part", "config.ini.part", "schedule.csv.part", "summary.json.part"]
        theirs = ["checkpoints/step-3.h5.part", "checkpoints/step-00000010.h5.part.1", "checkpoints/x.h5.part",
                  "notes.part", "checkpoints/step-00000010.h5.parts"]
        for name in ours + theirs:
            with open(self.run_path("run", name), "wb") as file:
                file.write(b"half")
        running = self.start([harness.PROGRAM, self.write_config("run", SHORT), "--evaluate",
                              "runs/run/checkpoints/latest"])
        self.assertEqual(running.finish().code, OK)
        for name in ours + theirs:
            self.assertTrue(os.path.exists(self.run_path("run", name)), "evaluating removes nothing: " + name)
        self.train("run", 1, SHORT)
        for name in ours:
            self.assertFalse(os.path.lexists(self.run_path("run", name)), name)
        for name in theirs:
            self.assertTrue(os.path.exists(self.run_path("run", name)), name)

    # ---- what a process is started with ----

    def test_closed_standard_streams_are_not_taken_by_files(self):
        config = self.write_config("run", {"train.epochs": 1000, "checkpoint.every_epochs": 0, "eval.every_epochs": 0})
        running = self.start(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", harness.PROGRAM, config])
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "step 2")
        for number in range(3):
            self.assertEqual(os.readlink("/proc/%d/fd/%d" % (running.process.pid, number)), "/dev/null")

    def test_a_huge_file_that_is_no_checkpoint_is_not_read(self):
        for name, begin in (("other", b"x"), ("grown", b"SDTRAIN\n" + bytes([1] + [0] * 7) + bytes([0, 2] + [0] * 6))):
            with open(self.path(name), "wb") as file:
                file.write(begin)
                file.truncate(1 << 40)
            words = ["bash", "-c", 'ulimit -v 8000000 && exec "$@"', "bash", harness.PROGRAM,
                     self.write_config("run"), "--evaluate", name]
            result = self.expect(words, (BAD_DATA,), harness.LIMIT_SECONDS, {})
            self.assert_error(result, "has grown" if name == "grown" else "is not a checkpoint of sdtrain-mpi")


if __name__ == "__main__":
    harness.main()
