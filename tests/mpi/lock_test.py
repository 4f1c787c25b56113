"""One run at a time in a folder: a living one is named, what a dead one has left is taken over."""
import os
import socket
import threading
import time

import harness
from harness import BAD_CONFIG, RunTest, count_lines, wait_until

LONG = {"train.epochs": 1000, "checkpoint.every_epochs": 0, "eval.every_epochs": 0}
SHORT = {"train.epochs": 1}


class LockTest(RunTest):
    def lock(self, name="run"):
        return self.run_path(name, ".lock")

    def start_long(self, **env):
        running = self.start(harness.mpirun(2, self.write_config("run", LONG)), **env)
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "step 2")
        return running

    def foreign(self, text="host far.away, pid 4711, since 2025-01-01 12:00:00, Slurm job 99"):
        os.makedirs(self.run_path("run"))
        with open(self.lock(), "w", encoding="utf-8") as file:
            file.write(text)

    def taken_over(self):
        result = self.train("run", 2, SHORT)
        self.assertIn(".lock: taken over from a run that did not end well", result.err)
        self.assertFalse(os.path.exists(self.lock()))
        return result

    def test_two_runs_at_once(self):
        running = self.start_long(SLURM_JOB_ID="123")
        steps = count_lines(self.run_path("run", "steps.csv"))
        with open(self.lock(), encoding="utf-8") as file:
            self.assertRegex(file.read(), r"^host %s, pid \d+, since [0-9-]+ [0-9:]+, Slurm job 123$" %
                             socket.gethostname())
        pids = "|".join(map(str, running.ranks()))
        result = self.mpirun(2, "run.ini", code=BAD_CONFIG)
        self.assert_error(result, "runs/run/.lock", "used by another run", "run.name", "Slurm job 123")
        self.assertRegex(result.errors[0], r"host %s, pid (%s)," % (socket.gethostname(), pids))
        # That did no harm; checking and evaluating take no lock.
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > steps, "a step after that")
        self.mpirun(1, "run.ini", "--check")
        self.assertTrue(os.path.exists(self.lock()))

    def test_the_lock_goes_with_the_run(self):
        self.train("run", 2, SHORT)
        self.assertFalse(os.path.exists(self.lock()))
        self.train("run", 2, SHORT)  # already complete
        self.assertFalse(os.path.exists(self.lock()))

    def test_the_lock_of_a_killed_run_is_taken_over_at_once(self):
        self.start_long().kill()
        self.assertTrue(os.path.exists(self.lock()))
        begin = time.monotonic()
        self.taken_over()
        self.assertEqual(self.summary("run")["status"], "complete")
        self.assertLess(time.monotonic() - begin, 12, "it was watched as that of another host is")

    def test_the_lock_of_another_host_that_nobody_has_touched_for_long(self):
        self.foreign()
        os.utime(self.lock(), (time.time() - 7200,) * 2)
        result = self.taken_over()
        self.assertIn("host far.away, pid 4711", result.err)

    def test_the_fresh_lock_of_a_dead_run_on_another_host_is_watched_first(self):
        self.foreign()
        begin = time.monotonic()
        self.taken_over()
        self.assertGreater(time.monotonic() - begin, 12)

    def test_the_lock_of_a_living_run_on_another_host(self):
        self.foreign()
        end = threading.Event()

        def live():
            while not end.wait(1):
                os.utime(self.lock())

        thread = threading.Thread(target=live)
        thread.start()
        try:
            result = self.train("run", 2, SHORT, code=BAD_CONFIG)
        finally:
            end.set()
            thread.join()
        self.assert_error(result, "used by another run: host far.away, pid 4711", "Slurm job 99")
        self.assertEqual(os.listdir(self.run_path("run")), [".lock"])

    def test_a_run_whose_folder_is_taken_ends(self):
        running = self.start_long()
        with open(self.lock(), "w", encoding="utf-8") as file:
            file.write("host far.away, pid 1, since now")
        result = running.finish()
        self.assertEqual(result.code, harness.INTERNAL, str(result))
        self.assertEqual(len(result.errors), 1, str(result))
        self.assert_error(result, "another run has taken this run's folder over")
        with open(self.lock(), encoding="utf-8") as file:
            self.assertEqual(file.read(), "host far.away, pid 1, since now")

    def test_no_link_is_followed(self):
        os.makedirs(self.run_path("run"))
        with open(self.path("precious"), "w", encoding="utf-8") as file:
            file.write("text")
        os.symlink(self.path("precious"), self.lock())
        result = self.train("run", 2, SHORT, code=harness.IO_ERROR)
        self.assert_error(result, "runs/run/.lock")
        with open(self.path("precious"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "text")

    def test_what_a_lock_says_is_printed_harmlessly(self):
        self.foreign("host \x1b[2J\nevil\r, pid 1\n")
        os.utime(self.lock(), (1, 1))
        result = self.taken_over()
        self.assertIn("host ?[2J?evil?, pid 1?", result.err)
        self.assertNotIn("\x1b", result.err)


if __name__ == "__main__":
    harness.main()
