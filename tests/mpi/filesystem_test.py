"""File systems and containers that lack something: what is a convenience is done without, what is essential is an error."""
import os

import harness
from harness import BAD_DATA, IO_ERROR, OK, RunTest

SHORT = {"train.epochs": 1, "log.decisions": "false"}  # five steps; a checkpoint at their end


class FilesystemTest(RunTest):
    def train_where(self, rules, name="run", settings=None, code=OK, words=()):
        """A run in one process, whose system calls fail as hostile.c says."""
        config = self.write_config(name, {**SHORT, **(settings or {})})
        return self.expect([harness.PROGRAM, config, *words], (code,), harness.LIMIT_SECONDS,
                           {"LD_PRELOAD": os.environ["SD_HOSTILE_LIBRARY"], "SD_HOSTILE": rules})

    def names(self, *parts):
        return sorted(os.listdir(self.run_path("run", *parts)))

    def checkpoints(self):
        return [name for name in self.names("checkpoints") if name.startswith("step-")]

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

    # ---- renaming, removing, making ----

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

    # ---- what a process is started with ----

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
