# SPDX-License-Identifier: Apache-2.0
"""launch/run.sh with real ranks: what it restarts ends in the same bits as what nothing disturbed."""
import os
import re
import signal

import harness
from harness import OK, STOPPED, RunTest, count_lines, wait_until

RUN = os.path.join(harness.REPOSITORY, "launch", "run.sh")
LONG = {"train.epochs": 30, "checkpoint.every_steps": 4, "data.augment": "crop_flip"}


class SupervisionTest(RunTest):
    def supervise(self, name, *options, settings=None):
        words = [RUN, "--back-off", "0", "--program", harness.PROGRAM, *options,
                 self.write_config(name, {**LONG, **(settings or {})})]
        return self.start(words, PATH=os.path.dirname(harness.mpirun(1)[0]) + ":" + os.environ["PATH"])

    def wait_for_steps(self, name, steps):
        wait_until(lambda: count_lines(self.run_path(name, "steps.csv")) > steps, "step %d of %s" % (steps, name))

    def trainers(self, running):
        """Ranks that train. Job control gives mpirun a process group, not a session."""
        found = []
        for process in harness.session_members(running.process.pid):
            try:
                with open("/proc/%d/cmdline" % process, "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if words[0] == harness.PROGRAM.encode() and b"--check" not in words:
                found.append(process)
        return sorted(found)

    def kill_a_rank(self, running, name, step, ranks):
        self.wait_for_steps(name, step)
        trainers = self.trainers(running)
        self.assertEqual(len(trainers), ranks)
        os.kill(trainers[-1], signal.SIGKILL)

    def said(self, running):
        return os.pread(running.err.fileno(), 1 << 20, 0).decode()  # its place is the writers' as well

    def starts(self, result):
        return [int(n) for n in re.findall(r"^run\.sh: .* starting (\d+) rank", result.err, re.MULTILINE)]

    def test_ranks_that_are_killed_leave_no_trace(self):
        self.train("whole", 2, LONG)
        running = self.supervise("run", "-n", "2")
        self.kill_a_rank(running, "run", 6, 2)
        wait_until(lambda: "going on from" in self.said(running), "the first restart")
        self.kill_a_rank(running, "run", 60, 2)
        result = running.finish()
        self.assertEqual(result.code, OK, str(result))
        self.assertEqual(self.starts(result), [2, 2, 2])
        self.assertEqual(len(re.findall(r"it ended with 137 \(signal KILL\) after progress from step", result.err)), 2)
        self.assert_same_run("whole", "run")

    def test_fewer_ranks_after_a_host_is_gone_give_the_same_bits(self):
        settings = {"communication.reduction": "reproducible", "communication.shards": 4, "train.epochs": 20}
        self.train("whole", 4, {**LONG, **settings})
        # Two names of this machine; one of them stops to answer.
        with open(self.path("hosts"), "w", encoding="utf-8") as file:
            file.write("localhost slots=3\nno-such-host.invalid slots=1\n")
        agent = self.path("agent")
        with open(agent, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nexit 1\n")
        os.chmod(agent, 0o755)
        self.write_config("run", {**LONG, **settings})
        running = self.start([RUN, "--back-off", "0", "--program", harness.PROGRAM, "-n", "4", "--hostfile", "hosts", "run.ini",
                              "--", "--mca", "plm_rsh_agent", agent])
        result = running.finish()
        self.assertEqual(result.code, OK, str(result))
        self.assertIn("left out: no-such-host.invalid", result.err)
        self.assertEqual(self.starts(result), [2])  # of the 3 slots that are left, 2 can share 4 shards
        self.assert_same_state(self.latest("whole"), self.latest("run"))

    def test_a_signal_stops_it_with_a_checkpoint(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            running = self.supervise("run", "-n", "2", settings={"train.epochs": 10000})
            wait_until(lambda: self.trainers(running), "ranks")
            wait_until(lambda: "going on from" in self.said(running) or number == signal.SIGINT, "the resume")
            self.wait_for_steps("run", 5)
            running.signal(number)
            result = running.finish()
            self.assertEqual(result.code, STOPPED, str(result))
            self.assertEqual(self.summary("run")["status"], "stopped")
            step = self.summary("run")["step"]
            self.assertEqual(os.path.basename(self.latest("run")), "step-%08d.h5" % step)
            self.assertIn("stopped, the checkpoint of step %d stands" % step, result.err)
            self.assertEqual(self.trainers(running), [])


if __name__ == "__main__":
    harness.main()
