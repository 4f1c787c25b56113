# SPDX-License-Identifier: Apache-2.0
"""Depth on demand: an evaluation of some of the blocks."""
import re

import harness
from harness import USAGE, TINY, TINY_VIT, RunTest

NUMBERS = re.compile(r"evaluate loss=(\S+) top1=(\S+) top5=(\S+) images=(\d+)(?: kept=(\S*))?")


class DepthTest(RunTest):
    def evaluate(self, name, *words, ranks=1):
        result = self.mpirun(ranks, name + ".ini", "--evaluate", self.latest(name), *words)
        return NUMBERS.search(result.out).groups()

    def test_all_blocks_are_the_whole_network_and_fewer_are_less(self):
        for base, name, blocks, scales in ((TINY_VIT, "vit", 12, ("inference", "none")), (TINY, "resnet", 7, ("inference",))):
            for scale in scales:
                self.train(name + scale, 1, {"stochastic_depth.scale": scale}, base)
                whole = self.evaluate(name + scale)
                self.assertIsNone(whole[4])
                every = self.evaluate(name + scale, "--keep", "every_other:%d" % blocks)
                self.assertEqual(every[:4], whole[:4])
                some = self.evaluate(name + scale, "--keep", "first:2")
                self.assertNotEqual(some[0], whole[0])
                self.assertEqual(some[4], "0,1" if name == "vit" else "0,1,3,6")
                self.assertEqual(self.evaluate(name + scale, "--keep", some[4], ranks=2)[3:], some[3:])

    def test_a_sweep_is_its_evaluations(self):
        self.train("run", 1, None, TINY_VIT)
        result = self.mpirun(2, "run.ini", "--evaluate", self.latest("run"), "--sweep")
        self.assertEqual(self.header("run", "sweep.csv"), "depth,kept,loss,top1,parameters,flops,seconds")
        rows = self.rows("run", "sweep.csv")
        self.assertEqual([int(row["depth"]) for row in rows], list(range(12, 0, -1)))
        self.assertEqual(rows[6]["kept"], "0 2 4 6 8 10")
        self.assertIn("sweep.csv", result.out)
        layer = 12 * 192 * 192 + 13 * 192
        for row in rows:
            missing = 12 - int(row["depth"])
            self.assertEqual(int(row["parameters"]), self.summary("run")["parameters"] - missing * layer)
            self.assertEqual(len(row["kept"].split()), int(row["depth"]))
            loss, top1 = self.evaluate("run", "--keep", row["kept"].replace(" ", ","), ranks=2)[:2]
            self.assertAlmostEqual(float(loss), float(row["loss"]), delta=2e-6)
            self.assertAlmostEqual(float(top1), float(row["top1"]), delta=1e-6)

    def test_a_sweep_of_a_resnet_keeps_what_changes_shapes(self):
        self.train("run", 1, {"train.max_steps": 1, "lr.base": 0})  # as it was drawn
        self.mpirun(2, "run.ini", "--evaluate", self.latest("run"), "--sweep")
        rows = self.rows("run", "sweep.csv")
        self.assertEqual([int(row["depth"]) for row in rows], list(range(9, 2, -1)))
        self.assertEqual(rows[0]["kept"], "0 1 2 3 4 5 6 7 8")
        self.assertEqual([row["kept"] for row in rows[-2:]], ["0 3 4 6", "0 3 6"])
        units = {int(unit["depth"]) - 1: unit for unit in self.rows("run", "schedule.csv")}
        for row in rows:
            left_out = [unit for block, unit in units.items() if str(block) not in row["kept"].split()]
            for column in ("parameters", "flops"):
                self.assertEqual(int(row[column]), int(rows[0][column]) - sum(int(unit[column]) for unit in left_out))

    def test_wrong_rules_are_refused_once(self):
        self.train("run", 1, None, TINY_VIT)
        for words, said in ((("--keep", "0,12"), "no block 12"), (("--keep", "some"), "every_other:K"),
                            (("--keep", "first:13"), "12 blocks"), (("--keep", "0", "--sweep"), "exclude")):
            result = self.mpirun(2, "run.ini", "--evaluate", self.latest("run"), *words, code=USAGE)
            self.assert_error(result, said)
        self.assert_error(self.mpirun(1, "run.ini", "--keep", "0", code=USAGE), "--evaluate")
        self.assert_error(self.mpirun(1, "run.ini", "--sweep", code=USAGE), "--evaluate")


if __name__ == "__main__":
    harness.main()
