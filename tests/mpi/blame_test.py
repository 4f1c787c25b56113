# SPDX-License-Identifier: Apache-2.0
"""Who is at fault: a rank whose decisions or weights differ is named, and so is one that others wait for. Run with the program
that faulty.c is linked into."""
import os
import shutil

import harness
from harness import BAD_DATA, INTERNAL, IO_ERROR, RunTest

HOST = os.uname().nodename


class OddRankTest(RunTest):
    def odd(self, ranks, fault, settings=None):
        result = self.train("run", ranks, {"log.decisions": "false", "communication.check_every": 2, **(settings or {})},
                            code=INTERNAL, SD_FAULT=fault)
        return result.errors[0]

    def test_a_rank_with_another_plan_is_named_in_that_step(self):
        for settings in ({}, {"communication.progress": "poll"}, {"communication.reduction": "reproducible",
                                                                   "communication.shards": 4}):
            error = self.odd(4, "seed:2:3", settings)
            self.assertIn("ranks disagree about the drop plan", error)
            self.assertIn("rank 2 on %s differs from the rest" % HOST, error)
            self.assertEqual(self.column("run", "steps.csv", "step", int), [1, 2])
            shutil.rmtree(self.path("runs"))

    def test_with_two_ranks_both_are_named(self):
        error = self.odd(2, "seed:1:4")
        self.assertIn("rank 0 on %s, rank 1 on %s differ" % (HOST, HOST), error)

    def test_another_seed_is_found_where_nothing_is_dropped(self):
        error = self.odd(3, "seed:0:1", {"stochastic_depth.rate": 0})
        self.assertIn("rank 0 on %s differs from the rest" % HOST, error)

    def test_a_rank_whose_processor_rounds_otherwise_holds_the_same_weights(self):
        settings = {"communication.check_every": 1, "train.max_steps": 4}
        for rate in ({"lr.schedule": "cosine"}, {"communication.reduction": "reproducible", "communication.shards": 4}):
            self.train("plain", 2, {**settings, **rate})
            self.train("libm", 2, {**settings, **rate}, SD_FAULT="libm:1:0")
            self.assert_same_state(self.latest("plain"), self.latest("libm"))
            shutil.rmtree(self.path("runs"))

    def test_a_flipped_bit_of_a_weight_is_found_within_check_every_steps(self):
        error = self.odd(3, "weight:1:3")
        self.assertIn("ranks disagree about the weights", error)
        self.assertIn("rank 1 on %s differs from the rest" % HOST, error)
        self.assertEqual(self.column("run", "steps.csv", "step", int), [1, 2, 3, 4])


class FailedSaveTest(RunTest):
    def test_ranks_that_wait_to_hand_over_their_state_hear_that_there_is_no_checkpoint(self):
        result = self.train("run", 3, {"communication.wire": "bf16", "train.max_steps": 1}, code=IO_ERROR,
                            SD_FAULT="sync:0:1")
        self.assert_error(result, "the logs cannot be measured")


class OtherDataTest(RunTest):
    def test_a_rank_with_another_copy_of_the_data_set_is_named(self):
        result = self.train("run", 3, code=INTERNAL, SD_FAULT="copy:2:0")
        self.assert_error(result, "ranks disagree about the data set", "rank 2 on %s differs from the rest" % HOST)


class UnreadableImageTest(RunTest):
    def test_all_ranks_end_in_the_step_whose_images_one_of_them_cannot_read(self):
        for settings in ({}, {"communication.progress": "poll"}, {"communication.reduction": "reproducible",
                                                                   "communication.shards": 8}):
            result = self.train("run", 4, settings, code=BAD_DATA, SD_FAULT="read:1:3")
            self.assert_error(result, "images/0042.jpg: is cut off")
            self.assertEqual(self.column("run", "steps.csv", "step", int), [1, 2])
            shutil.rmtree(self.path("runs"))

    def test_all_ranks_end_the_scoring_in_which_one_cannot_read_its_images(self):
        result = self.train("run", 3, code=BAD_DATA, SD_FAULT="read.evaluation:2:0")
        self.assert_error(result, "images/0042.jpg: is cut off")
        self.assertEqual(self.rows("run", "epochs.csv"), [])
        shutil.rmtree(self.path("runs"))
        self.train("run", 2)
        result = self.mpirun(3, "run.ini", "--evaluate", self.latest("run"), code=BAD_DATA,
                             SD_FAULT="read.evaluation:2:0")
        self.assert_error(result, "images/0042.jpg: is cut off")


class SlowRankTest(RunTest):
    def test_ranks_wait_for_the_slow_one_and_it_is_named(self):
        result = self.train("run", 3, {"train.epochs": 1, "communication.check_every": 0, "log.decisions": "false"},
                            SD_FAULT="nap:1:200")
        wait = {int(row["rank"]): float(row["wait"]) for row in self.rows("run", "timing.csv")}
        steps = 5
        for rank in (0, 2):
            self.assertGreater(wait[rank], 0.6 * steps * 0.2, wait)
        self.assertLess(wait[1], 0.3 * steps * 0.2, wait)
        self.assertIn("rank 1 on %s" % HOST, result.out)

    def test_nobody_is_named_where_nobody_stands_out(self):
        result = self.train("run", 1, {"train.epochs": 1})
        self.assertNotIn("waited", result.out)


if __name__ == "__main__":
    harness.main()
