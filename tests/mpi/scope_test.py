# SPDX-License-Identifier: Apache-2.0
"""stochastic_depth.scope: who shares a decision."""
import re

import harness
from harness import BAD_CONFIG, INTERNAL, TINY, TINY_VIT, RunTest

SCOPES = ("global", "rank", "sample")


def scope(name, **more):
    return {"stochastic_depth.scope": name, **more}


class ScopeTest(RunTest):
    def kept(self, name):
        """decisions.csv: what a row says, its strings taken apart."""
        return [re.split("[/ ]", row["kept"]) for row in self.rows(name, "decisions.csv")]

    def test_every_scope_trains_on_any_number_of_ranks(self):
        for ranks in (1, 2, 3):
            for who in SCOPES:
                name = "%s%d" % (who, ranks)
                self.train(name, ranks, scope(who))  # check_every = 1 compares the weights of all ranks
                rows = self.kept(name)
                self.assertEqual(len(rows), 10)
                shares = [8 * (rank + 1) // ranks - 8 * rank // ranks for rank in range(ranks)]
                for row, kept in zip(rows, self.column(name, "steps.csv", "kept", float)):
                    if who == "global":
                        self.assertEqual([len(string) for string in row], [9])
                        images = [8 * int(bit) for bit in row[0]]
                    elif who == "rank":
                        self.assertEqual([len(string) for string in row], [9] * ranks)
                        images = [sum(n * int(string[i]) for n, string in zip(shares, row)) for i in range(9)]
                    else:
                        images = [int(n) for n in row]
                        self.assertEqual(len(images), 9)
                        self.assertTrue(all(0 <= n <= 8 for n in images))
                    self.assertAlmostEqual(kept, sum(images) / 8, delta=1e-9)
                self.assertGreater(len(set(map(tuple, rows))), 1)
                fractions = self.column(name, "epochs.csv", "kept_fraction", float)
                steps = self.column(name, "steps.csv", "kept", float)
                for epoch, fraction in enumerate(fractions):
                    self.assertAlmostEqual(fraction, sum(steps[5 * epoch:5 * epoch + 5]) / 45, delta=1e-8)
                self.assertAlmostEqual(self.summary(name)["kept_fraction"], sum(steps) / 90, delta=1e-8)

    def test_with_one_rank_every_rank_decides_for_the_batch(self):
        self.train("rank", 1, scope("rank"))
        self.assertTrue(all(len(row) == 1 and len(row[0]) == 9 for row in self.kept("rank")))
        self.assertEqual([row[0].count("1") for row in self.kept("rank")],
                         self.column("rank", "steps.csv", "kept", int))

    def test_ranks_decide_apart(self):
        self.train("rank", 3, scope("rank"))
        self.assertTrue(any(len(set(row)) > 1 for row in self.kept("rank")))

    def test_samples_decide_alike_on_any_number_of_ranks(self):
        for ranks in (1, 2, 4):
            self.train("sample%d" % ranks, ranks, scope("sample"))
            self.assertEqual(self.rows("sample%d" % ranks, "decisions.csv"), self.rows("sample1", "decisions.csv"))

    def test_two_ranks_of_a_vit_with_deciding_samples_are_one(self):
        # No batch norm. float32 sums of 8 images in another order: errors of some 1e-7, grown by 5 small steps.
        for ranks in (1, 2):
            self.train("vit%d" % ranks, ranks, scope("sample"), TINY_VIT)
        one, two = (self.column("vit%d" % ranks, "steps.csv", "loss", float) for ranks in (1, 2))
        self.assertEqual(len(one), 5)
        self.assert_close(two, one, 1e-5)
        self.assertNotEqual(one[0], one[4])
        kept = [int(n) for row in self.kept("vit1") for n in row]
        self.assertTrue(any(0 < n < 8 for n in kept), "no branch has both: the test shows nothing")

    def test_only_branches_that_all_drop_are_not_sent(self):
        self.train("rank", 2, scope("rank", **{"train.batch_size": 4, "train.epochs": 1}))
        self.train("sample", 2, scope("sample", **{"train.batch_size": 2, "stochastic_depth.rate": 0.9,
                                                   "train.epochs": 1}), TINY_VIT)
        for name in ("rank", "sample"):
            parameters = self.column(name, "schedule.csv", "parameters", int)
            full = 4 * self.summary(name)["parameters"]
            expected = []
            for row in self.kept(name):
                if name == "rank":
                    dropped = [all(string[i] == "0" for string in row) for i in range(len(parameters))]
                else:
                    dropped = [n == "0" for n in row]
                expected.append(full - 4 * sum(n for n, gone in zip(parameters, dropped) if gone))
            self.assertTrue(any(n < full for n in expected), "all is sent: the test shows nothing")
            self.assertEqual(self.column(name, "steps.csv", "bytes_reduced", int), expected)

    def test_sent_or_not_the_bits_are_the_same(self):
        for who in ("rank", "sample"):
            self.train(who, 2, scope(who))
            self.train(who + "_all", 2, scope(who, **{"communication.skip_dropped": "false"}))
            self.assert_same_state(self.latest(who), self.latest(who + "_all"))

    def test_a_stopped_run_goes_on_with_the_same_bits(self):
        for who in ("rank", "sample"):
            settings = scope(who, **{"stochastic_depth.scale": "training", "optimizer.name": "adamw",
                                     "stochastic_depth.dropped_update": "freeze", "lr.base": 0.001})
            self.train(who, 2, settings)
            for steps in (3, 7, 0):
                self.train(who + "_cut", 2, {**settings, "train.max_steps": steps})
            self.assert_same_run(who, who + "_cut")

    def test_threads_do_not_change_a_bit(self):
        for who in ("rank", "sample"):
            for threads in (1, 3):
                self.train("%s%d" % (who, threads), 2, scope(who, **{"run.threads": threads}))
            self.assert_same_state(self.latest(who + "1"), self.latest(who + "3"))

    def test_single_values_of_batch_norm_are_trained(self):
        # Maps of 1x1 in the last two stages, where a rank's 4 images keep a branch once or never in most steps.
        settings = scope("sample", **{"model.name": "resnet18", "model.stem": "imagenet", "data.image_size": 16,
                                      "stochastic_depth.rate": 0.8, "train.epochs": 1, "lr.base": 0.001})
        self.train("small", 2, settings)
        self.assertTrue(any("1" in row[4:] for row in self.kept("small")))
        variance = self.values(self.latest("small"), "/model/layer4.1.bn1.running_var")
        self.assertTrue(all(0 < v < 1e3 for v in variance), variance)

    def test_divisors_of_ranks_agree_where_all_keep(self):
        divisors = ("all", "kept")
        for rate in (0, 0.5):
            for divisor in divisors:
                self.train("%s%g" % (divisor, rate), 2, scope("rank", **{
                    "stochastic_depth.rate": rate, "stochastic_depth.rank_divisor": divisor}))
            same = self.equal_state(self.latest("all%g" % rate), self.latest("kept%g" % rate), "/model")
            self.assertEqual(same, rate == 0)

    def test_the_divisor_of_kept_ranks_is_for_scope_rank(self):
        for who in ("global", "sample"):
            result = self.train(who, 1, scope(who, **{"stochastic_depth.rank_divisor": "kept"}), code=BAD_CONFIG)
            self.assert_error(result, "stochastic_depth.rank_divisor", "scope = rank")

    def test_another_scope_is_another_run(self):
        self.train("run", 1, scope("rank", **{"train.max_steps": 2}))
        result = self.train("run", 1, scope("sample"), code=BAD_CONFIG)
        self.assert_error(result, "stochastic_depth.scope = sample, not rank")
        result = self.train("run", 1, scope("rank", **{"stochastic_depth.rank_divisor": "kept"}), code=BAD_CONFIG)
        self.assert_error(result, "stochastic_depth.rank_divisor")

    def test_other_decisions_on_one_rank_end_the_run(self):
        config = self.write_config("run", scope("sample"))
        plain = [config, "--set", "communication.check_every=0"]
        for other in ("stochastic_depth.rate=0.9", "stochastic_depth.scope=rank"):
            result = self.mpirun_two(plain, [*plain, "--set", other], (INTERNAL, BAD_CONFIG), limit=15)
            self.assertRegex(result.errors[0], "decides|configuration")

    def test_evaluation_is_that_of_the_checkpoint(self):
        self.train("run", 2, scope("sample"))
        config = self.write_config("plain", {"stochastic_depth.rate": 0})
        line = self.mpirun(1, config, "--evaluate", self.latest("run")).out
        accuracy = float(re.search(r"top1=([\d.]+)", line).group(1))
        self.assertAlmostEqual(accuracy, self.summary("run")["val_accuracy"], delta=1e-6)


class SavingsTest(RunTest):
    TABLE = r"^(global|rank|sample) +([\d.]+) % +([\d.]+) % +([\d.]+) % +([\d.]+) %$"

    def table(self, ranks, settings):
        out = self.mpirun(ranks, self.write_config("run", settings), "--check").out
        rows = {row[0]: [float(number) for number in row[1:]] for row in re.findall(self.TABLE, out, re.M)}
        self.assertEqual(sorted(rows), sorted(SCOPES))
        return rows, out

    def test_check_compares_the_scopes(self):
        settings = {"stochastic_depth.rate": 0.5, "train.batch_size": 24}
        rows, out = self.table(3, settings)
        self.assertIn("200 drawn steps", out)
        for who in SCOPES:  # of whom the branches are is all the same to what is computed
            self.assertEqual(rows[who][:2], rows["global"][:2])
        branches, flops, slowest, sent = rows["global"]
        self.assertEqual(slowest, flops)
        self.assertAlmostEqual(branches, 100 * 0.5 * 5 / 9, delta=0.0051)
        parameters = [4672] * 3 + [13952, 18560, 18560, 55552, 73984, 73984]
        for who, voters in (("global", 1), ("rank", 3), ("sample", 24)):
            saved = sum((0.5 * (i + 1) / 9)**voters * n for i, n in enumerate(parameters)) / 269722
            self.assertAlmostEqual(rows[who][3], 100 * saved, delta=0.0051)
        self.assertLess(rows["rank"][2], rows["sample"][2])  # samples even out
        self.assertLess(rows["sample"][2], flops)
        self.assertGreater(rows["rank"][2], 0)
        for who in SCOPES:  # the lines above the table are about the scope of the run
            out = self.table(3, {**settings, "stochastic_depth.scope": who})[1]
            told = float(re.search(r"gradient bytes skipped +([\d.]+) %", out).group(1))
            self.assertEqual(told, rows[who][3])

    def test_one_rank_waits_for_nobody(self):
        rows, out = self.table(1, {"stochastic_depth.rate": 0.5})
        self.assertNotIn("drawn", out)
        self.assertEqual({row[2] for row in rows.values()}, {rows["global"][1]})

    def test_memory_of_gathering_is_told(self):
        told = {}
        for who in SCOPES:
            self.write_config("run", {**TINY, "stochastic_depth.scope": who, "train.batch_size": 40})
            out = self.mpirun(1, "run.ini", "--check").out
            told[who] = float(re.search(r"([\d.]+) activations", out).group(1))
        self.assertEqual(told["rank"], told["global"])
        # Three buffers of the largest activation, 40 images of 32 x 32 x 16.
        self.assertAlmostEqual(told["sample"] - told["global"], 3 * 40 * 32 * 32 * 16 * 4 / 2**20, delta=0.11)


if __name__ == "__main__":
    harness.main()
