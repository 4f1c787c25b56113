# SPDX-License-Identifier: Apache-2.0
"""LayerDrop: whole layers are dropped, nothing is scaled, and a plan keeps at least min_kept of them."""
import harness
from harness import BAD_CONFIG, TINY_VIT, RunTest

LAYERS = 12


def layerdrop(rate=0.5, **more):
    return {"stochastic_depth.rate": rate, "stochastic_depth.schedule": "constant", "stochastic_depth.scale": "none",
            "stochastic_depth.unit": "block", **more}


REPRODUCIBLE = {"communication.reduction": "reproducible", "communication.shards": 4}


class LayerDropTest(RunTest):
    def kept(self, name):
        return [row["kept"].count("1") for row in self.rows(name, "decisions.csv")]

    def test_layers_are_dropped_alike_on_any_number_of_ranks(self):
        for ranks in (1, 2, 4):
            self.train("ranks%d" % ranks, ranks, {**layerdrop(), **REPRODUCIBLE}, TINY_VIT)
            self.assert_same_state(self.latest("ranks%d" % ranks), self.latest("ranks1"))
        self.assertEqual({len(row["kept"]) for row in self.rows("ranks1", "decisions.csv")}, {LAYERS})
        self.assertGreater(len(set(self.kept("ranks1"))), 1)

    def test_a_run_goes_on_bit_for_bit(self):
        settings = {**layerdrop(**{"stochastic_depth.min_kept": 6}), **REPRODUCIBLE}
        self.train("whole", 2, settings, TINY_VIT)
        self.train("parts", 2, {**settings, "train.max_steps": 2}, TINY_VIT)
        self.train("parts", 2, settings, TINY_VIT, ["--resume", "auto"])
        self.assert_same_state(self.latest("parts"), self.latest("whole"))

    def test_layers_that_are_all_dropped_cost_nothing_and_stem_and_head_are_trained(self):
        for ranks in (1, 2):
            name = "none%d" % ranks
            self.train(name, ranks, layerdrop(1, **{"stochastic_depth.dropped_update": "freeze", "checkpoint.every_steps": 1,
                                                    "checkpoint.keep": 9}), TINY_VIT)
            self.assertEqual(set(self.kept(name)), {0})
            first, last = self.run_path(name, "checkpoints", "step-00000001.h5"), self.latest(name)
            for tensor in ("cls_token", "pos_embed", "norm.weight", "head.weight"):  # patches reach the head by attention alone
                self.assertNotEqual(self.values(first, "/model/" + tensor), self.values(last, "/model/" + tensor), tensor)
            for tensor in ("blocks.0.attn.qkv.weight", "blocks.11.norm2.bias"):
                self.assertEqual(self.values(first, "/model/" + tensor), self.values(last, "/model/" + tensor), tensor)
            layers = sum(self.column(name, "schedule.csv", "parameters", int))
            rest = self.summary(name)["parameters"] - layers
            reduced = set(self.column(name, "steps.csv", "bytes_reduced", int))
            self.assertEqual(reduced, {4 * rest if ranks > 1 else 0})

    def test_plans_keep_as_many_as_asked_for_and_the_rates_say_what_that_makes(self):
        settings = layerdrop(0.5, **{"stochastic_depth.min_kept": 8, "train.epochs": 4})
        self.train("some", 2, settings, TINY_VIT)
        kept = self.kept("some")
        self.assertGreaterEqual(min(kept), 8)
        # 12 layers at 1/2, at least 8 kept: their mean is sum k C(12, k) / sum C(12, k), k = 8 ... 12.
        ways = {8: 495, 9: 220, 10: 66, 11: 12, 12: 1}
        mean = sum(k * n for k, n in ways.items()) / sum(ways.values())
        for rate in self.column("some", "schedule.csv", "drop_rate", float):
            self.assertAlmostEqual(rate, 1 - mean / LAYERS, delta=1e-12)
        told = self.mpirun(2, "some.ini", "--check").out
        self.assertIn("%.2f %%   (%.2f of 12 kept, never fewer than 8)" % (100 * (1 - mean / LAYERS), mean), told)
        self.assertRegex(told, r"(?m)^global +%.2f %%" % (100 * (1 - mean / LAYERS)))
        self.assertNotRegex(told, r"(?m)^(rank|sample) +\d")
        changed = self.train("some", 2, {**settings, "stochastic_depth.min_kept": 7}, TINY_VIT, code=BAD_CONFIG)
        self.assert_error(changed, "stochastic_depth.min_kept")

    def test_what_cannot_be_kept_is_refused(self):
        for settings, said in (({"stochastic_depth.min_kept": 13}, "13 of 12"),
                               ({"stochastic_depth.min_kept": 11, "stochastic_depth.rate": 0.6}, "lower the rates"),
                               ({"stochastic_depth.min_kept": 1, "stochastic_depth.rate": 1}, "lower the rates"),
                               ({"stochastic_depth.min_kept": 2, "stochastic_depth.scope": "sample"}, "scope = global"),
                               ({"stochastic_depth.min_kept": 2, "stochastic_depth.scope": "rank"}, "scope = global")):
            result = self.train("bad", 1, {**layerdrop(), **settings}, TINY_VIT, code=BAD_CONFIG)
            self.assert_error(result, "stochastic_depth.min_kept", said)


if __name__ == "__main__":
    harness.main()
