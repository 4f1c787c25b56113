# SPDX-License-Identifier: Apache-2.0
"""Depth on demand: an evaluation of some of the blocks."""
import os
import re
import subprocess

import harness
from harness import BAD_CONFIG, OK, USAGE, TINY, TINY_VIT, RunTest

NUMBERS = re.compile(r"evaluate loss=(\S+) top1=(\S+) top5=(\S+) images=(\d+)(?: kept=(\S*))?")


class DepthTest(RunTest):
    def sdtrain(self, *words, code=OK):
        program = os.path.join(os.path.dirname(harness.PROGRAM), "sdtrain")
        result = subprocess.run([program, *words], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, code, "%s\n%s%s" % (words, result.stdout, result.stderr))
        return result.stdout if code == OK else result.stderr

    def evaluate(self, name, *words, ranks=1):
        result = self.mpirun(ranks, name + ".ini", "--evaluate", self.latest(name), *words)
        return NUMBERS.search(result.out).groups()

    def test_all_blocks_are_the_whole_network_and_fewer_are_less(self):
        for base, name, blocks in ((TINY_VIT, "vit", 12), (TINY, "resnet", 7)):
            for scale in ("inference", "training", "none"):
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

    def test_a_pruned_network_is_the_masked_one_to_the_bit_and_goes_on(self):
        texts = {**TINY, "data.dataset": "synthetic_text", "data.sequence": 16, "model.name": "bert_L4_H32_A2",
                 "stochastic_depth.unit": "block", "stochastic_depth.schedule": "constant", "lr.base": 0.001}
        cases = [("vit" + scale, TINY_VIT, scale, "every_other:6", 6) for scale in ("inference", "training", "none")]
        for name, base, scale, rule, left in (*cases, ("bert", texts, "none", "0,2,3", 3)):
            settings = {"stochastic_depth.scale": scale, "optimizer.name": "adamw"}
            self.train(name, 1, settings, base)
            masked = self.evaluate(name, "--keep", rule)
            small = self.path(name + ".h5")
            self.assertIn("%d of" % left, self.sdtrain("prune", self.latest(name), "--keep", rule, small))
            self.assertIn("good", self.sdtrain("verify", small))
            config = self.sdtrain("inspect", small, "--config")
            config = config[config.index("[run]"):].replace("name = %s\n" % name, "name = small_%s\n" % name, 1)
            with open(self.path("small_%s.ini" % name), "w", encoding="utf-8") as file:
                file.write(config)
            whole = self.mpirun(2, "small_%s.ini" % name, "--evaluate", small).out
            self.assertEqual(NUMBERS.search(whole).groups()[:4], masked[:4])
            self.mpirun(2, "small_%s.ini" % name, "--resume", small, "--set", "train.max_steps=1000")
            self.assertEqual(len(self.rows("small_" + name, "schedule.csv")), left * (1 if name == "bert" else 2))
            for words in (("export", self.path(name + ".safetensors")), ("export", "--onnx", self.path(name + ".onnx"))):
                self.sdtrain(words[0], small, *words[1:])
            masked_out = self.path(name + "_masked.safetensors")
            self.sdtrain("export", self.latest(name), masked_out, "--keep", rule)
            with open(masked_out, "rb") as a, open(self.path(name + ".safetensors"), "rb") as b:
                self.assertEqual(a.read()[-4096:], b.read()[-4096:])

    def test_what_cannot_be_pruned_is_refused(self):
        self.train("run", 1)
        for words, code, said in (((self.latest("run"), "--keep", "first:2", "x.h5"), BAD_CONFIG, "resnet20 cannot be pruned"),
                                  ((self.latest("run"), "x.h5"), USAGE, "--keep RULE"),
                                  ((self.latest("run"), "--keep", "first:9", "x.h5"), USAGE, "7 blocks"),
                                  ((self.latest("run"), "--keep", "first:2", "x.safetensors"), USAGE, ".h5")):
            result = self.sdtrain("prune", *words, code=code)
            self.assertIn(said, result)
            self.assertFalse(os.path.exists(self.path("x.h5")))

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
