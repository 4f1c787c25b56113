# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder: a living one is named, what a dead one has left is taken over."""
import os
import socket
import threading
import time

import harness
from harness import BAD_CONFIG, OK, RunTest, count_lines, wait_until

LONG = {"train.epochs": 1000, "checkpoint.every_epochs": 0, "eval.every_epochs": 0}
SHORT = {"train.epochs": 1}
FAR = "host far.away, pid 4711, since 2025-01-01 12:00:00, Slurm job 99"
OTHER_BOOT = "01234567-89ab-cdef-0123-456789abcdef"


class LockTest(RunTest):
    def lock(self, name="run"):
        return self.run_path(name, ".lock")

    def start_long(self, **env):
        running = self.start(harness.mpirun(2, self.write_config("run", LONG)), **env)
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "step 2")
        return running

    def foreign(self, text=FAR, name="run"):
        os.makedirs(self.run_path(name))
        with open(self.lock(name), "w", encoding="utf-8") as file:
            file.write(text)

    def refused_while_touched(self, seconds):
        """A run that finds the lock touched, by a clock that is so many seconds ahead."""
        end = threading.Event()

        def touch():
            os.utime(self.lock(), (time.time() + seconds,) * 2)

        def live():
            while not end.wait(0.5):
                touch()

        touch()
        thread = threading.Thread(target=live)
        thread.start()
        try:
            result = self.train("run", 2, SHORT, code=BAD_CONFIG)
        finally:
            end.set()
            thread.join()
        self.assert_error(result, "used by another run: host ", ", pid 4711")
        self.assertEqual(os.listdir(self.run_path("run")), [".lock"])
        return result

    def taken_over(self):
        result = self.train("run", 2, SHORT)
        self.assertIn(".lock: taken over from a run that did not end well", result.err)
        self.assertFalse(os.path.exists(self.lock()))
        return result

    def test_two_runs_at_once(self):
        running = self.start_long(SLURM_JOB_ID="123")
        steps = count_lines(self.run_path("run", "steps.csv"))
        with open(self.lock(), encoding="utf-8") as file:
            self.assertRegex(file.read(), r"^host %s, pid \d+, since [0-9-]+ [0-9:]+, Slurm job 123, "
                             r"boot [0-9a-f-]{36}/\d+$" % socket.gethostname())
        pids = "|".join(map(str, running.ranks()))
        result = self.mpirun(2, "run.ini", code=BAD_CONFIG)
        self.assert_error(result, "runs/run/.lock", "used by another run", "run.name", "Slurm job 123")
        self.assertRegex(result.errors[0], r"host %s, pid (%s)," % (socket.gethostname(), pids))
        self.assertNotIn("boot", result.errors[0])
        # That did no harm; checking and evaluating take no lock.
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > steps, "a step after that")
        self.mpirun(1, "run.ini", "--check")
        self.assertTrue(os.path.exists(self.lock()))

    def test_the_lock_goes_with_the_run(self):
        self.train("run", 2, SHORT)
        self.assertFalse(os.path.exists(self.lock()))
        self.train("run", 2, SHORT)  # already complete
        self.assertFalse(os.path.exists(self.lock()))

    def test_a_job_of_an_odd_name_knows_its_own_lock(self):
        self.train("run", 2, SHORT, SLURM_JOB_ID="12\t3\u00e9")
        self.assertFalse(os.path.exists(self.lock()))

    def test_the_lock_of_a_killed_run_is_taken_over_at_once(self):
        self.start_long().kill()
        self.assertTrue(os.path.exists(self.lock()))
        begin = time.monotonic()
        self.taken_over()
        self.assertEqual(self.summary("run")["status"], "complete")
        self.assertLess(time.monotonic() - begin, 12, "it was watched as that of another host is")

    def test_the_lock_of_a_dead_run_that_may_be_of_another_machine_is_watched_first(self):
        here = "host %s, pid 4711, since 2025-01-01 12:00:00" % socket.gethostname()
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
        texts = {"fresh": FAR, "old": FAR, "older_version": here, "other_boot": "%s, boot %s/1" % (here, OTHER_BOOT),
                 "other_container": "%s, boot %s/1" % (here, boot)}
        for name, text in texts.items():
            self.foreign(text, name)
        os.utime(self.lock("old"), (time.time() - 7200,) * 2)
        begin = time.monotonic()
        runs = {name: self.start([harness.PROGRAM, self.write_config(name, SHORT)]) for name in texts}
        ends = {}
        while len(ends) < len(runs):
            ends.update({name: time.monotonic() - begin for name, running in runs.items()
                         if name not in ends and running.process.poll() is not None})
            time.sleep(0.02)
            self.assertLess(time.monotonic() - begin, harness.LIMIT_SECONDS)
        for name, running in runs.items():
            result = running.finish()
            self.assertEqual(result.code, OK, str(result))
            self.assertIn(".lock: taken over from a run that did not end well (host ", result.err)
            self.assertGreater(ends[name], 12, name)
            self.assertFalse(os.path.exists(self.lock(name)))

    def test_the_lock_of_a_living_run_on_another_host(self):
        self.foreign()
        self.assert_error(self.refused_while_touched(0), "host far.away, pid 4711", "Slurm job 99")

    def test_no_clock_is_compared_with_the_time_of_a_lock(self):
        self.foreign()
        for hours in (-2, 2):
            self.refused_while_touched(hours * 3600)

    def test_a_living_run_on_another_machine_of_the_same_name(self):
        self.foreign("host %s, pid 4711, since 2025-01-01 12:00:00, boot %s/4026531836" %
                     (socket.gethostname(), OTHER_BOOT))
        self.refused_while_touched(0)

    def test_a_living_run_of_an_older_version_in_a_container_of_the_same_name(self):
        self.foreign("host %s, pid 4711, since 2025-01-01 12:00:00" % socket.gethostname())
        self.refused_while_touched(0)

    def test_a_lock_that_goes_away_while_it_is_watched(self):
        self.foreign()
        running = self.start([harness.PROGRAM, self.write_config("run", LONG)])
        self.addCleanup(lambda: running.out.closed or running.kill())
        time.sleep(2)
        os.unlink(self.lock())
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > 2, "step 2")
        with open(self.lock(), encoding="utf-8") as file:
            self.assertIn("pid %d," % running.process.pid, file.read())

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
