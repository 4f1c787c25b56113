# SPDX-License-Identifier: Apache-2.0
"""Signals and kills: nothing hangs, nothing is lost, and what goes on afterwards ends in the same bits."""
import os
import random
import resource
import signal
import subprocess
import time

import harness
from harness import IO_ERROR, OK, STOPPED, RunTest, count_lines, wait_until

# Steps of some 20 ms; long enough to be hit on the way.
LONG = {"train.epochs": 8, "data.augment": "crop_flip", "checkpoint.every_steps": 3}


class InterruptionTest(RunTest):
    def start_training(self, name, ranks=2, settings=None):
        return self.start(harness.mpirun(ranks, self.write_config(name, {**LONG, **(settings or {})})))

    def start_slow(self):
        """Steps of many seconds, in one process without mpirun, which would end it at a SIGINT as well."""
        settings = {"model.name": "resnet110", "data.train_samples": 1024, "train.batch_size": 1024}
        running = self.start([harness.PROGRAM, self.write_config("run", {**LONG, **settings})])
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: b"files in runs/run" in os.pread(running.err.fileno(), 1 << 16, 0), "the first step")
        return running

    def wait_for_steps(self, name, steps):
        wait_until(lambda: count_lines(self.run_path(name, "steps.csv")) > steps, "step %d of %s" % (steps, name))

    def checkpoints(self, name):
        return sorted(file for file in os.listdir(self.run_path(name, "checkpoints")) if file.startswith("step-"))

    def test_sigusr1_stops_with_a_checkpoint(self):
        self.train("whole", 2, LONG)
        running = self.start_training("stopped")
        self.wait_for_steps("stopped", 7)
        running.signal(signal.SIGUSR1)
        result = running.finish()
        self.assertEqual(result.code, STOPPED, str(result))
        self.assertEqual(result.errors, [])
        step = self.summary("stopped")["step"]
        self.assertEqual(self.summary("stopped")["status"], "stopped")
        self.assertTrue(7 <= step < 40, step)
        self.assertEqual(os.path.basename(self.latest("stopped")), "step-%08d.h5" % step)
        self.assertEqual(len(self.rows("stopped", "steps.csv")), step)
        self.assertEqual(len([line for line in result.lines if "stopped by a signal after step %d" % step in line]), 1)
        self.train("stopped", 2, LONG)
        self.assert_same_run("whole", "stopped")

    def test_signal_in_the_last_step_of_an_epoch(self):
        # Epochs of one step: whenever the signal comes, an epoch ends with the step under way.
        settings = {"data.train_samples": 8, "train.epochs": 40, "checkpoint.every_steps": 0,
                    "checkpoint.every_epochs": 7, "eval.every_epochs": 3, "lr.base": 0.05}
        self.train("whole", 2, {**LONG, **settings})
        for steps in (4, 20):
            running = self.start_training("stopped", 2, settings)
            self.wait_for_steps("stopped", steps)
            running.signal(signal.SIGUSR1)
            result = running.finish()
            self.assertEqual(result.code, STOPPED, str(result))
            step = self.summary("stopped")["step"]
            self.assertEqual(os.path.basename(self.latest("stopped")), "step-%08d.h5" % step)
        self.mpirun(2, "stopped.ini")
        self.assert_same_run("whole", "stopped")

    def test_sigterm_to_one_rank_stops_all(self):
        running = self.start_training("run", 3)
        self.wait_for_steps("run", 3)
        os.kill(max(running.ranks()), signal.SIGTERM)
        result = running.finish()
        self.assertEqual(result.code, STOPPED, str(result))
        self.mpirun(3, "run.ini")
        self.assertEqual(self.summary("run")["status"], "complete")

    def test_a_second_sigint_does_not_wait_for_the_step(self):
        running = self.start_slow()
        running.signal(signal.SIGINT)
        time.sleep(0.2)
        self.assertIsNone(running.process.poll(), "the first ends it as well")
        running.signal(signal.SIGINT)
        result = running.finish(10)
        self.assertEqual(result.code, -signal.SIGINT, str(result))
        self.assertEqual(self.checkpoints("run"), [])

    def test_the_first_sigint_after_a_sigterm_is_not_the_second(self):
        running = self.start_slow()
        running.signal(signal.SIGTERM)
        time.sleep(0.2)
        running.signal(signal.SIGINT)
        time.sleep(0.2)
        self.assertIsNone(running.process.poll(), "it ends within the step")
        running.signal(signal.SIGINT)
        self.assertEqual(running.finish(10).code, -signal.SIGINT)

    def test_what_terminals_and_batch_systems_send_stops_with_a_checkpoint(self):
        for ranks, number in ((1, signal.SIGHUP), (2, signal.SIGUSR2), (1, signal.SIGXCPU)):
            name = number.name.lower()
            running = self.start_training(name, ranks)
            self.wait_for_steps(name, 3)
            os.kill(max(running.ranks()), number)
            result = running.finish()
            self.assertEqual(result.code, STOPPED, str(result))
            self.assertEqual(self.latest(name), self.run_path(name, "checkpoints", "step-%08d.h5" %
                                                              self.summary(name)["step"]))

    def test_a_limit_on_processor_time_stops_with_a_checkpoint(self):
        running = self.start([harness.PROGRAM, self.write_config("run", {**LONG, "train.epochs": 1000})])
        self.wait_for_steps("run", 3)
        resource.prlimit(running.process.pid, resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))
        result = running.finish()
        self.assertEqual(result.code, STOPPED, str(result))
        self.assertEqual(self.summary("run")["status"], "stopped")

    def test_a_signal_that_was_ignored_at_the_start_stays_ignored(self):
        config = self.write_config("run", {**LONG, "train.epochs": 1000})
        running = self.start(["bash", "-c", "trap '' HUP INT; exec \"$@\"", "bash", harness.PROGRAM, config])
        self.addCleanup(lambda: running.out.closed or running.kill())
        self.wait_for_steps("run", 3)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT):
            running.signal(number)
        steps = count_lines(self.run_path("run", "steps.csv"))
        wait_until(lambda: count_lines(self.run_path("run", "steps.csv")) > steps + 5 or
                   running.process.poll() is not None, "five more steps")
        self.assertIsNone(running.process.poll())
        running.signal(signal.SIGTERM)
        self.assertEqual(running.finish().code, STOPPED)

    def test_messages_that_nobody_reads_end_nothing(self):
        reading, writing = os.pipe()
        os.close(reading)
        config = self.write_config("run", {"log.progress": "on"})
        done = subprocess.run([harness.PROGRAM, config], cwd=self.folder, env=harness.environment(), stdout=writing,
                              stderr=writing, timeout=harness.LIMIT_SECONDS, check=False)
        os.close(writing)
        self.assertEqual(done.returncode, OK)
        self.assertEqual(self.summary("run")["status"], "complete")

    def test_a_limit_on_the_size_of_files_is_a_full_disk(self):
        # Set when MPI has made its own files, some of which are larger than a checkpoint.
        running = self.start([harness.PROGRAM, self.write_config("run", {**LONG, "train.epochs": 1000})])
        self.addCleanup(lambda: running.out.closed or running.kill())
        wait_until(lambda: os.path.exists(self.run_path("run", "checkpoints", "latest")), "the first checkpoint")
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        result = running.finish()
        self.assertEqual(result.code, IO_ERROR, str(result))
        self.assertIn("File too large", result.errors[0])
        self.assertEqual([name for name in os.listdir(self.run_path("run", "checkpoints")) if "part" in name], [])
        self.assertGreater(int(self.progress(self.latest("run"))["step"]), 0)

    def test_killed_again_and_again_at_random_moments(self):
        seed = random.SystemRandom().randrange(10**6)
        chance = random.Random(seed)
        self.train("whole", 2, LONG)
        kills = 0
        with self.subTest("delays of seed %d" % seed):
            while True:
                before = count_lines(self.run_path("killed", "steps.csv"))
                running = self.start_training("killed")
                if kills == 5:
                    result = running.finish()
                    self.assertEqual(result.code, OK, str(result))
                    break
                # The first row of this run: the log grows beyond, or is cut back to, where the checkpoint was.
                wait_until(lambda: running.process.poll() is not None or
                           count_lines(self.run_path("killed", "steps.csv")) not in (0, before), "a step")
                time.sleep(chance.uniform(0, 0.3))
                running.kill()
                kills += 1
                for name in os.listdir(self.run_path("killed", "checkpoints")):
                    # Under a final name there is never half a file.
                    if name.endswith(".h5"):
                        self.progress(self.run_path("killed", "checkpoints", name))
            self.assert_same_run("whole", "killed")

    def test_killed_before_the_first_checkpoint(self):
        settings = {"checkpoint.every_steps": 0, "checkpoint.every_epochs": 0}
        running = self.start_training("killed", 2, settings)
        self.wait_for_steps("killed", 4)
        running.kill()
        self.assertEqual(self.checkpoints("killed"), [])
        self.train("killed", 2, {**LONG, **settings})
        self.train("whole", 2, {**LONG, **settings})
        self.assert_same_state(self.latest("whole"), self.latest("killed"))
        self.assertEqual(len(self.rows("killed", "steps.csv")), 40)

    def test_death_of_one_rank_ends_all(self):
        running = self.start_training("run", 3, {"train.epochs": 1000})
        self.wait_for_steps("run", 4)
        victim = sorted(running.ranks())[-1]
        os.kill(victim, signal.SIGKILL)
        result = running.finish(20)
        self.assertNotIn(result.code, (OK, STOPPED), str(result))
        wait_until(lambda: not harness.session_members(running.process.pid), "all ranks to end", 20)

    def test_leftovers_of_a_killed_save_do_no_harm(self):
        self.train("run", 2, {"train.max_steps": 4})
        for name in ("step-00000010.h5.part", "step-00000007.h5.part", ".latest.part"):
            with open(self.run_path("run", "checkpoints", name), "wb") as file:
                file.write(b"half of a file")
        self.train("run", 2)
        self.train("whole", 2)
        self.assert_same_run("whole", "run")

    def test_disk_that_fills_up(self):
        # 9 MiB hold four checkpoints of 2.2 MB, not the thirteen of this run.
        self.mount("runs", "9m")
        result = self.train("full", 3, {**LONG, "checkpoint.keep": 99}, code=IO_ERROR)
        self.assert_error(result, "runs/full/checkpoints/step-", "No space left on device")
        self.assertEqual(len(self.checkpoints("full")), 4)
        self.assertEqual([name for name in os.listdir(self.run_path("full", "checkpoints")) if "part" in name], [])
        # With room again it goes on, to the same bits.
        subprocess.run(["mount", "-o", "remount,size=64m", self.path("runs")], check=True)
        self.train("full", 3, {**LONG, "checkpoint.keep": 99})
        self.train("whole", 3, LONG)
        self.assert_same_run("whole", "full")

    def mount(self, name, size):
        """A tmpfs of this size, gone at the end of the test."""
        os.mkdir(self.path(name))
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", self.path(name)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest("a small file system cannot be mounted here: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", self.path(name)], check=True)


if __name__ == "__main__":
    harness.main()
