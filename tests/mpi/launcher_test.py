# SPDX-License-Identifier: Apache-2.0
"""Processes of a launcher that does not work with this MPI are refused; a single one that somebody means is not."""
import os

import harness
from harness import OK, TINY, USAGE, RunTest

SRUN = {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}
BATCH_STEP = {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}


class LauncherTest(RunTest):
    def alone(self, name, variables, *options):
        return self.start([harness.PROGRAM, self.write_config(name, TINY), *options], **variables).finish()

    def assert_refused(self, result, n_processes, variable):
        self.assertEqual(result.code, USAGE, str(result))
        self.assertEqual(len(result.errors), 1, str(result))
        self.assertIn("MPI has 1 rank where the launcher started %s processes (%s=" % (n_processes, variable),
                      result.errors[0])
        self.assertIn("srun --mpi=pmix", result.errors[0])

    def test_a_process_of_several_is_refused_and_the_first_says_so(self):
        for variables, n_processes, variable in (
                (SRUN, "4", "SLURM_STEP_NUM_TASKS"),
                ({"PMI_SIZE": "3", "PMI_RANK": "0"}, "3", "PMI_SIZE"),
                ({"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"}, "2", "MV2_COMM_WORLD_SIZE"),
                ({"PALS_RANKID": "2"}, "at least 3", "PALS_RANKID"),
                ({"ALPS_APP_PE": "1"}, "at least 2", "ALPS_APP_PE")):
            with self.subTest(variable=variable):
                self.assert_refused(self.alone("refused", variables), n_processes, variable)
        for variables in ({**SRUN, "SLURM_PROCID": "3"}, {"PMI_SIZE": "3", "PMI_RANK": "2"}):
            with self.subTest(variables=variables):
                result = self.alone("silent", variables)
                self.assertEqual(result.code, USAGE, str(result))
                self.assertEqual(result.out + result.err, "")
        self.assertEqual(self.alone("refused", SRUN, "--check").code, USAGE)
        self.assertFalse(os.path.exists(self.path("runs")))

    def test_one_process_that_somebody_means_is_not(self):
        for i, variables in enumerate((BATCH_STEP,  # in the script of sbatch, or the shell of salloc
                                       {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
                                       {**SRUN, "SLURM_PTY_PORT": "34183"},  # in the shell of srun --pty
                                       {"PMI_SIZE": "1", "PMI_RANK": "0"}, {"PALS_RANKID": "0"})):
            with self.subTest(variables=variables):
                result = self.alone("one-%d" % i, variables, "--check")
                self.assertEqual(result.code, OK, str(result))
        self.assertEqual(self.alone("help", SRUN, "--version").code, OK)

    def test_mpirun_is_believed_before_what_started_its_daemons(self):
        for ranks in (1, 2):
            words = harness.mpirun(ranks, self.write_config("mpirun", TINY), "--check")
            result = self.start(words, **SRUN, PMI_SIZE="3", PMI_RANK="1").finish()
            self.assertEqual(result.code, OK, str(result))


if __name__ == "__main__":
    harness.main()
