# SPDX-License-Identifier: Apache-2.0
"""Training on four hosts over a network: the results of one host, the bytes that are said to be sent, no trace left.

    python3 tests/cluster/hosts_test.py build/src/sdtrain-mpi [-v] [HostsTest.test_x]

The hosts are network namespaces of this machine (netns.sh). Where they are not allowed it says so and exits with 77."""
import csv
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "mpi"))

import harness  # noqa: E402
from harness import BAD_CONFIG, OK, TINY_VIT, RunTest  # noqa: E402

NETNS = os.path.join(HERE, "netns.sh")
HOSTS = 4
SKIPPED = 77


class HostsTest(RunTest):
    def on_hosts(self, hosts, *words, rate="1gbit"):
        return [NETNS, "-c", "counters.csv", str(hosts), rate, harness.PROGRAM, *words]

    def train_on_hosts(self, name, settings=None, base=None, hosts=HOSTS, rate="1gbit", code=OK):
        """Returns what the kernel counted: a row a host."""
        config = self.write_config(name, settings, base)
        self.expect(self.on_hosts(hosts, config, rate=rate), (code,), harness.LIMIT_SECONDS, {})
        with open(self.path("counters.csv"), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def test_four_hosts_end_in_the_bits_of_one(self):
        settings = {"communication.reduction": "reproducible", "communication.shards": 8, "train.epochs": 1}
        self.train_on_hosts("one", settings, hosts=1)
        self.train_on_hosts("four", settings)
        self.assert_same_state(self.latest("one"), self.latest("four"))
        self.assertEqual(*[self.column(name, "steps.csv", "loss") for name in ("one", "four")])

    def test_fast_reduction_differs_by_rounding_only(self):
        # float32 sums of 8 images in another order: errors of some 1e-7, grown by 5 small steps.
        self.train_on_hosts("one", base=TINY_VIT, hosts=1)
        self.train_on_hosts("four", base=TINY_VIT)
        one, four = (self.column(name, "steps.csv", "loss", float) for name in ("one", "four"))
        self.assertEqual(len(one), 5)
        self.assert_close(four, one, 1e-5)

    def test_every_rank_is_on_a_host_of_its_own(self):
        self.train_on_hosts("run", {"train.epochs": 1})
        places = {row["rank"]: row["host"] for row in self.rows("run", "timing.csv")}
        self.assertEqual(places, {str(rank): "host%d" % (rank + 1) for rank in range(HOSTS)})

    def test_bytes_of_dropped_branches_are_not_on_the_wire(self):
        # Whatever the algorithm of an allreduce, each rank sends each of its values at least once.
        sent, reduced = {}, {}
        for skip in ("true", "false"):
            counters = self.train_on_hosts(skip, {"communication.skip_dropped": skip, "stochastic_depth.rate": 0.9,
                                                  "stochastic_depth.schedule": "constant", "train.epochs": 1})
            self.assertEqual([row["host"] for row in counters], ["host%d" % (i + 1) for i in range(HOSTS)])
            sent[skip] = [int(row["tx_bytes"]) for row in counters]
            reduced[skip] = sum(self.column(skip, "steps.csv", "bytes_reduced", int))
            self.assertGreaterEqual(min(sent[skip]), reduced[skip])
        self.assertLess(reduced["true"], reduced["false"] / 2)
        for skipping, sending in zip(sent["true"], sent["false"]):
            self.assertGreaterEqual(sending - skipping, reduced["false"] - reduced["true"])

    def test_link_keeps_to_its_rate(self):
        # 1 MB a step at 20 Mbit/s: at least 0.43 s. The link may be ahead by the 1 ms of its burst.
        rate_bytes_per_s = 20e6 / 8
        self.train_on_hosts("slow", {"stochastic_depth.rate": 0, "train.max_steps": 2}, hosts=2, rate="20mbit")
        least = [bytes_reduced / rate_bytes_per_s for bytes_reduced in self.column("slow", "steps.csv", "bytes_reduced", int)]
        self.assertEqual(len(least), 2)
        self.assertGreater(min(least), 0.4)
        for seconds, bound in zip(self.column("slow", "steps.csv", "seconds", float), least):
            self.assertGreater(seconds, 0.98 * bound)

    def test_exit_code_of_a_failed_run_comes_through(self):
        self.train_on_hosts("bad", {"train.batch_size": 3}, code=BAD_CONFIG)  # fewer images than ranks

    def processes(self):
        """Whatever was started from our folder and lives: hosts, daemons of mpirun, ranks."""
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink("/proc/%s/cwd" % process) == os.path.realpath(self.folder):
                    found.append(process)
            except OSError:  # it has ended, or is a kernel thread
                pass
        return found

    def test_nothing_is_left_behind(self):
        os.mkdir(self.path("tmp"))
        ways = {  # to the script alone, or to its process group, as Ctrl-C and timeout(1) do
            "int": lambda pid: os.kill(pid, signal.SIGINT),
            "kill": lambda pid: os.kill(pid, signal.SIGKILL),
            "group_int": lambda pid: os.killpg(pid, signal.SIGINT),
            "group_term": lambda pid: os.killpg(pid, signal.SIGTERM),
        }
        for name, end in ways.items():
            config = self.write_config(name, {"train.epochs": 1000000})
            run = self.start(self.on_hosts(HOSTS, config), TMPDIR=self.path("tmp"))
            harness.wait_until(lambda n=name: harness.count_lines(self.run_path(n, "steps.csv")) > 2, "two steps")
            self.assertGreater(len(self.processes()), 3 * HOSTS)  # a holder, a daemon and a rank each
            end(run.process.pid)
            result = run.finish()
            self.assertNotEqual(result.code, OK)
            harness.wait_until(lambda: not self.processes(), "all processes to end", 10)
            harness.wait_until(lambda: not os.listdir(self.path("tmp")), "temporary files to go", 10)


if __name__ == "__main__":
    probe = subprocess.run([NETNS, "2", "1gbit", "true"], capture_output=True, text=True, check=False)
    if probe.returncode == SKIPPED:
        print(probe.stderr, end="")
        sys.exit(SKIPPED)
    harness.main()
