# SPDX-License-Identifier: Apache-2.0
"""Nothing hangs: a rank that is stopped, killed, or does not see its data ends the job, and the others say where they are. Run with the
program that faulty.c is linked into."""
import os
import re
import signal
import time

import harness
from harness import INTERNAL, NO_INPUT, OK, RunTest, wait_until

RANKS = 3
STALL = 5  # seconds: longer than anything here takes on a busy machine
ABORTED = 60  # seconds within which a hung job must be gone; of an idle machine it takes STALL + 2 to 4
KILLED = 30  # the same for a job with a dead rank, which takes a second
SETTINGS = {"run.stall_seconds": STALL, "log.decisions": "false", "checkpoint.every_steps": 3}
PHASES = ["open", "data", "forward", "backward", "optimizer", "evaluation", "checkpoint"]
PLACE = re.compile(r"sdtrain-mpi: rank (\d+) on (\S+): no progress for (\d+) s (at the start|in step \d+): (.+)")


class HangTest(RunTest):
    def gone(self, words, codes, limit, **env):
        """Runs to its end, which must come in time and leave no process."""
        running = self.start(words, OMPI_MCA_odls_base_sigkill_timeout="0", **env)
        result = running.finish(limit)
        self.assertIn(result.code, codes, str(result))
        wait_until(lambda: not harness.session_members(running.process.pid), "all processes to end", 20)
        return result

    def stopped(self, phase, rank, step=2, settings=None):
        """The places of the ranks that were not stopped."""
        words = harness.mpirun(RANKS, self.write_config("run", {**SETTINGS, **(settings or {})}))
        result = self.gone(words, (INTERNAL,), ABORTED, SD_FAULT="stop.%s:%d:%d" % (phase, rank, step))
        self.assertEqual(len(result.errors), 1, str(result))
        self.assertIn("run.stall_seconds", result.errors[0])
        places = {}
        for line in result.lines:
            match = PLACE.match(line)
            if match:
                self.assertEqual(match[2], os.uname().nodename)
                self.assertGreaterEqual(int(match[3]), STALL)
                places[int(match[1])] = (match[4], match[5])
        self.assertEqual(set(places), set(range(RANKS)) - {rank}, str(result))
        return places

    def test_a_rank_stopped_in_its_backward_pass(self):
        for settings in ({}, {"communication.progress": "poll"}):
            for where, what in self.stopped("backward", 1, settings=settings).values():
                self.assertEqual(where, "in step 2")
                # The first operation that asks the stopped rank for something; it may have given nothing before it stopped.
                self.assertRegex(what, r"^summing gradients over ranks; not complete: (agree on the plan|allreduce) "
                                 r"\(operation [12] of \d+ begun, \d+\.\d\d MB\)$")

    def test_rank_0_stopped_in_its_forward_pass(self):
        for where, what in self.stopped("forward", 0).values():
            self.assertEqual(where, "in step 2")
            self.assertIn("not complete: ", what)

    def test_a_rank_stopped_at_the_start(self):
        for where, what in self.stopped("open", 2, 0).values():
            self.assertEqual(where, "at the start")
            self.assertIn("waiting for the other ranks to be set up; not complete: agreement of all ranks", what)

    def test_a_rank_stopped_in_an_evaluation(self):
        for where, what in self.stopped("evaluation", 0).values():
            self.assertEqual((where, what), ("in step 5", "evaluation: whether to stop; not complete: maximum over ranks"))

    def test_rank_0_stopped_in_a_checkpoint(self):
        for where, what in self.stopped("checkpoint", 0).values():
            self.assertEqual(where, "in step 3")
            self.assertTrue(what.startswith("checkpoint; not complete: "), what)

    def test_killed_in_each_phase(self):
        words = harness.mpirun(RANKS, self.write_config("run", SETTINGS))
        for i, phase in enumerate(PHASES):
            with self.subTest(phase):
                result = self.gone(words, (128 + signal.SIGKILL,), KILLED, SD_FAULT="kill.%s:%d:0" % (phase, i % RANKS))
                self.assertEqual(result.errors, [])

    def test_a_rank_that_does_not_see_its_data(self):
        for rank in (0, 2):
            words = harness.mpirun(RANKS, self.write_config("run", SETTINGS))
            result = self.gone(words, (NO_INPUT,), KILLED, SD_FAULT="open:%d:0" % rank)
            self.assertEqual(result.errors, ["sdtrain-mpi: error: images.bin: Stale file handle"])
            self.assertFalse(os.path.exists(self.run_path("run")))

    def test_a_stopped_rank_and_no_limit(self):
        words = harness.mpirun(2, self.write_config("run", {**SETTINGS, "run.stall_seconds": 0}))
        running = self.start(words, SD_FAULT="stop.forward:1:2")
        wait_until(lambda: harness.count_lines(self.run_path("run", "steps.csv")) == 2, "step 1")
        with self.assertRaises(AssertionError):
            running.finish(3)


class NoHangTest(RunTest):
    """What only looks like a hang."""

    def test_work_that_goes_on_takes_longer_than_the_limit(self):
        # 24 images in passes of 6: four naps.
        settings = {"run.stall_seconds": 2, "train.epochs": 1, "train.batch_size": 6}
        begin = time.monotonic()
        result = self.train("run", 1, settings, SD_FAULT="slow:0:700")
        self.assertGreater(time.monotonic() - begin, 2.8)
        self.assertNotIn("no progress", result.err)

    def test_a_suspended_job_goes_on(self):
        running = self.start(harness.mpirun(2, self.write_config("run", {"run.stall_seconds": 2, "train.epochs": 40})))
        wait_until(lambda: harness.count_lines(self.run_path("run", "steps.csv")) > 3, "step 3")
        ranks = running.ranks()
        for number, seconds in ((signal.SIGSTOP, 5), (signal.SIGCONT, 0)):
            for pid in ranks:
                os.kill(pid, number)
            time.sleep(seconds)
        result = running.finish()
        self.assertEqual(result.code, OK, str(result))
        self.assertNotIn("no progress", result.err)


if __name__ == "__main__":
    harness.main()
