# SPDX-License-Identifier: Apache-2.0
"""How many threads a rank takes: OMP_NUM_THREADS, and the CPU quota of its control group."""
import os
import re
import shutil
import subprocess

import harness
from harness import RunTest

# In a mount namespace of its own, the quota of the group that is mounted becomes one of QUOTA processors; then the command.
WITH_QUOTA = """
set -e
if point=$(awk '/ - cgroup2 / && $4 == "/" { print $5; found = 1; exit } END { exit !found }' /proc/self/mountinfo) &&
    ! grep -q ':cpu[:,]' /proc/self/cgroup; then
    mount -t tmpfs none "$point"
    echo "$QUOTA 100000" >"$point/cpu.max"
else
    point=$(awk '/ - cgroup / && $NF ~ /(^|,)cpu(,|$)/ { print $5; exit }' /proc/self/mountinfo)
    mount -t tmpfs none "$point"
    echo "$QUOTA" >"$point/cpu.cfs_quota_us"
    echo 100000 >"$point/cpu.cfs_period_us"
fi
exec "$@"
"""


class ThreadsTest(RunTest):
    def threads(self, result):
        return int(re.search(r"x (\d+) threads?, \w+ kernels", result.err).group(1))

    def trained(self, settings=None, ranks=1, **env):
        shutil.rmtree(self.path("runs"), ignore_errors=True)
        return self.train("run", ranks, {"train.max_steps": 1, **(settings or {})}, **env)

    def test_environment_gives_the_number(self):
        self.assertEqual(self.threads(self.trained(OMP_NUM_THREADS="3")), 3)
        self.assertEqual(self.threads(self.trained({"run.threads": 2}, OMP_NUM_THREADS="3")), 2)

    def test_of_nested_teams_the_first_counts(self):
        result = self.trained(OMP_NUM_THREADS=" 3 , 2")
        self.assertEqual(self.threads(result), 3)
        self.assertNotIn("OMP_NUM_THREADS", "".join(result.warnings))

    def test_what_is_no_number_of_threads_is_said_and_not_used(self):
        for text in ("20000", "99999999999999999999", "0", "-3", "junk", "3x", "3,", "3,junk"):
            with self.subTest(text):
                result = self.trained(OMP_NUM_THREADS=text)
                self.assertLessEqual(self.threads(result), len(os.sched_getaffinity(0)))
                self.assertTrue(any("OMP_NUM_THREADS = " + text in line and "1024" in line for line in result.warnings),
                                str(result))
        self.assertNotIn("OMP_NUM_THREADS", "".join(self.trained(OMP_NUM_THREADS="").warnings))

    # ---- a container's quota ----

    def with_quota(self, quota, ranks, settings=None):
        shutil.rmtree(self.path("runs"), ignore_errors=True)
        words = ["unshare", "-m", "sh", "-c", WITH_QUOTA, "sh"]
        env = {"QUOTA": str(quota), "OMP_NUM_THREADS": ""}
        if subprocess.run([*words, "true"], env={**os.environ, **env}, capture_output=True, check=False).returncode != 0:
            self.skipTest("a control group's files cannot be imitated here (unshare -m, mount)")
        config = self.write_config("run", {"train.max_steps": 1, **(settings or {})})
        place = ["--bind-to", "none"]
        command = harness.mpirun(ranks, config)
        return self.expect([*words, command[0], *place, *command[1:]], (0,), harness.LIMIT_SECONDS, env)

    def test_a_quota_bounds_the_threads(self):
        allowed = len(os.sched_getaffinity(0))
        self.assertEqual(self.threads(self.with_quota(100000, 1)), 1)
        self.assertEqual(self.threads(self.with_quota(40000, 1)), 1)  # a part of a processor
        self.assertEqual(self.threads(self.with_quota(140000, 1)), min(2, allowed))
        self.assertEqual(self.threads(self.with_quota(-1, 1)), allowed)  # none

    def test_ranks_of_a_group_share_its_quota(self):
        self.assertEqual(self.threads(self.with_quota(200000, 2)), 1)

    def test_more_threads_than_the_quota_are_warned_of(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("needs two processors")
        result = self.with_quota(100000, 1, {"run.threads": 2})
        self.assertEqual(self.threads(result), 2)
        self.assertTrue(any("quota" in line and "run.threads = 1" in line for line in result.warnings), str(result))


if __name__ == "__main__":
    harness.main()
