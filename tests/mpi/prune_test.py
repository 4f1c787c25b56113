# SPDX-License-Identifier: Apache-2.0
"""sdtrain prune and export --keep: what is left of a checkpoint is a network of its own, which computes what an evaluation of these
blocks does, and is trained, exported and used as any. (That logits are equal to the bit is unit/test_keep.c's question.)

The tools are named by the environment: SD_SDTRAIN.
"""
import configparser
import os
import re
import subprocess

import harness
from harness import BAD_CONFIG, BAD_DATA, IO_ERROR, NO_INPUT, OK, TINY, TINY_VIT, USAGE, RunTest, read_safetensors

LINE = re.compile(r"evaluate (loss=\S+ top1=\S+ top5=\S+ images=\d+)")

TEXTS = {**TINY, "data.dataset": "synthetic_text", "data.sequence": 16, "model.name": "bert_L4_H32_A2",
         "stochastic_depth.unit": "block", "stochastic_depth.schedule": "constant", "lr.base": 0.001}
RESNET50 = {**TINY, "model.name": "resnet50", "data.image_size": 16, "train.epochs": 1, "train.max_steps": 2}


class PruneTest(RunTest):
    def sdtrain(self, *words, code=OK):
        done = subprocess.run([os.environ["SD_SDTRAIN"], *words], cwd=self.folder, capture_output=True, text=True, timeout=60,
                              check=False, env=harness.environment())
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        return done

    def prune(self, name, rule, *words, code=OK):
        """Makes small.h5 and small.ini of the run's last checkpoint."""
        return self.sdtrain("prune", self.latest(name), "--keep", rule, "small.h5", "--config", "small.ini", *words, code=code)

    def evaluate(self, config, checkpoint, *words, ranks=2):
        return LINE.search(self.mpirun(ranks, config, "--evaluate", checkpoint, *words).out).group(1)

    def config(self, file):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.path(file), encoding="utf-8")
        return {(section, key): value.replace("\n", " ") for section in parser.sections() for key, value in parser[section].items()}

    # ---- it computes what --keep does ----

    def assert_is_masked(self, name, base, settings, rule, layers):
        self.train(name, 1, settings, base)
        masked = self.evaluate(name + ".ini", self.latest(name), "--keep", rule)
        self.assertNotEqual(masked, self.evaluate(name + ".ini", self.latest(name)))
        self.prune(name, rule)
        self.assertEqual(self.config("small.ini")["model", "layers"], layers)
        for config in ("small.ini", name + ".ini"):  # which has no model.layers: the checkpoint's count
            self.assertEqual(self.evaluate(config, "small.h5"), masked)
        self.assertRegex(self.sdtrain("verify", "small.h5").stdout, "^small.h5: good, step")

    def test_with_every_scale(self):
        for scale in ("inference", "training", "none"):
            for name, base, rule, layers in (("vit", TINY_VIT, "every_other:6", "6"),
                                             ("resnet20", {**TINY, "train.max_steps": 4}, "0,3,4,6,8", "1, 2, 2"),
                                             ("resnet50", RESNET50, "every_other:4", "2, 2, 3, 1")):
                with self.subTest(name, scale=scale):
                    self.assert_is_masked(name + scale, base, {"stochastic_depth.scale": scale}, rule, layers)

    def test_layers_of_texts(self):
        self.assert_is_masked("bert", TEXTS, {"stochastic_depth.scale": "none", "optimizer.name": "adamw"}, "0,2,3", "3")

    def test_an_empty_first_stage(self):
        self.assert_is_masked("run", TINY, {"train.max_steps": 2}, "last:2", "0, 1, 3")

    def test_rates_that_min_kept_has_made(self):
        settings = {"stochastic_depth.unit": "block", "stochastic_depth.schedule": "constant", "stochastic_depth.min_kept": 7}
        self.assert_is_masked("run", TINY_VIT, settings, "first:3", "3")
        drop = {key: value for (section, key), value in self.config("small.ini").items() if section == "stochastic_depth"}
        rates = [float(rate) for rate in drop["rates"].split(", ")]
        self.assertEqual(len(rates), 3)
        self.assertTrue(0.3 < rates[0] < 0.5, rates)
        self.assertEqual((drop["schedule"], drop["min_kept"], drop["rate"]), ("list", "0", "0"))

    def test_a_sweep_of_what_is_left_is_a_part_of_the_sweep(self):
        self.train("run", 1, {"train.max_steps": 3}, TINY_VIT)
        self.prune("run", "every_other:6")
        self.mpirun(2, "run.ini", "--evaluate", self.latest("run"), "--sweep")
        self.mpirun(2, "small.ini", "--evaluate", "small.h5", "--sweep")
        with open(self.path("sweep.csv"), encoding="utf-8") as file:  # small.h5 is in no run's folder
            small = [line.rstrip("\n").split(",") for line in file][1:]
        whole = {row["depth"]: row for row in self.rows("run", "sweep.csv")}
        self.assertEqual([row[0] for row in small], ["6", "5", "4", "3", "2", "1"])
        columns = ("loss", "top1", "parameters", "flops")
        self.assertEqual(small[0][2:6], [whole["6"][column] for column in columns])
        self.assertEqual(small[3][2:6], [whole["3"][column] for column in columns])  # 0, 2, 4 of these are 0, 4, 8

    # ---- it is what the file holds ----

    def test_tensors_and_their_optimizer_state(self):
        self.train("run", 1, {"optimizer.name": "adamw"}, TINY_VIT)
        done = self.prune("run", "1,11,4")
        self.assertRegex(done.stdout, r"^small\.h5: 3 of 12 blocks \(1,4,11\), \d+ of \d+ parameters\n$")
        for group in ("/model", "/optimizer/exp_avg", "/optimizer/exp_avg_sq"):
            for to, block in ((0, 1), (1, 4), (2, 11)):
                for tensor in ("norm1.weight", "attn.qkv.bias", "mlp.fc2.weight"):
                    self.assertEqual(self.values("small.h5", "%s/blocks.%d.%s" % (group, to, tensor)),
                                     self.values(self.latest("run"), "%s/blocks.%d.%s" % (group, block, tensor)))
            self.assertEqual(self.values("small.h5", group + "/head.weight"), self.values(self.latest("run"), group + "/head.weight"))
        before, after = self.progress(self.latest("run")), self.progress("small.h5")
        for member in ("step", "epoch", "batch", "images", "kept", "decisions"):
            self.assertEqual(after[member], before[member])
        for member in ("val_accuracy", "best_accuracy", "train_loss"):
            self.assertEqual(after[member], "nan")

    def test_steps_of_batch_norms(self):
        self.train("run", 1, {"stochastic_depth.schedule": "constant"})
        self.prune("run", "2,3,6")
        for to, block in (("layer1.0", "layer1.2"), ("layer2.0", "layer2.0"), ("layer3.0", "layer3.0")):
            for tensor in ("bn1.num_batches_tracked", "bn2.running_var"):
                self.assertEqual(self.values("small.h5", "/model/%s.%s" % (to, tensor)),
                                 self.values(self.latest("run"), "/model/%s.%s" % (block, tensor)))

    # ---- it goes on ----

    def test_pruned_resumed_exported_and_used(self):
        harness.write_images(self.path("images"), classes=3, train=12, test=4)
        for name, base, rule, layers in (("vit", TINY_VIT, "every_other:4", 4), ("resnet", TINY, "first:3", 5)):
            with self.subTest(name):
                self.train(name, 2, {"data.dataset": "folder", "data.path": "images", "data.image_size": 16,
                                     "data.train_samples": 0, "data.val_samples": 0, "train.batch_size": 9,
                                     "train.max_steps": 3}, base)
                logs = [self.rows(name, "steps.csv"), os.listdir(self.run_path(name, "checkpoints"))]
                self.prune(name, rule)
                self.mpirun(2, "small.ini", "--resume", "small.h5", "--set", "train.epochs=2", "--set", "train.max_steps=0")
                self.assertEqual(self.column("small", "steps.csv", "step", int), list(range(4, 9)))
                self.assertEqual(len(set(self.column("small", "schedule.csv", "depth"))), layers)
                self.assertEqual(self.summary("small")["status"], "complete")
                self.assertEqual([self.rows(name, "steps.csv"), os.listdir(self.run_path(name, "checkpoints"))], logs)
                trained = self.latest("small")
                self.mpirun(1, "small.ini", "--evaluate", trained)
                self.assertIn("good, step 8", self.sdtrain("verify", trained).stdout)
                self.assertIn("class_0", self.sdtrain("predict", trained, "images/val").stdout)
                self.sdtrain("export", trained, "out.safetensors", "--fold")
                self.sdtrain("export", trained, "--onnx", "out.onnx")
                self.mpirun(2, "small.ini", "--set", "model.init=small.h5", "--set", "run.name=begun_" + name)
                os.rename(self.run_path("small"), self.run_path("small_" + name))

    def test_in_the_middle_of_an_epoch_with_error_feedback(self):
        self.train("run", 2, {"communication.wire": "bf16", "train.max_steps": 7})
        self.prune("run", "3,6,7")
        for rank in (0, 1):
            for to, block in (("layer2.0", "layer2.0"), ("layer3.1", "layer3.1")):
                tensor = "/communication/error/%d/%s.conv1.weight"
                self.assertEqual(self.values("small.h5", tensor % (rank, to)), self.values(self.latest("run"), tensor % (rank, block)))
        self.mpirun(2, "small.ini", "--resume", "small.h5", "--set", "train.max_steps=0")
        self.assertEqual(self.column("small", "steps.csv", "step", int), [8, 9, 10])

    def test_patterns_of_frozen_parameters(self):
        self.train("run", 1, {"model.freeze": "pos_embed, blocks.0.*", "train.max_steps": 1}, TINY_VIT)
        for rule, stays in (("0,5", True), ("3,5", False)):
            done = self.prune("run", rule)
            self.assertEqual("model.freeze" in done.stderr, not stays, done.stderr)
            self.assertEqual(self.config("small.ini")["model", "freeze"], "pos_embed, blocks.0.*" if stays else "")

    def test_another_configuration_does_not_go_on_from_it(self):
        self.train("run", 1, {"train.max_steps": 2}, TINY_VIT)
        self.prune("run", "first:2")
        self.assert_error(self.mpirun(1, "run.ini", "--resume", "small.h5", code=BAD_CONFIG), "model.layers", "not 2")
        self.assert_error(self.mpirun(1, "run.ini", "--set", "model.layers=2, 2", "--check", code=BAD_CONFIG), "model.layers")
        self.assert_error(self.mpirun(1, "run.ini", "--set", "model.layers=2.5", "--check", code=BAD_CONFIG), "whole numbers")

    # ---- exported at once ----

    def test_export_keeps_blocks(self):
        for name, base, rule in (("vit", TINY_VIT, "2,3,7"), ("resnet", TINY, "1,3,6,8")):
            self.train(name, 1, {"train.max_steps": 2}, base)
            self.prune(name, rule)
            for words in ((), ("--fold",)):
                self.sdtrain("export", "small.h5", "pruned.safetensors", *words)
                self.sdtrain("export", self.latest(name), "kept.safetensors", "--keep", rule, *words)
                kept, pruned = (read_safetensors(self.path(file + ".safetensors")) for file in ("kept", "pruned"))
                self.assertEqual(kept, pruned)
            self.assertEqual(kept[1]["layers"], "3" if name == "vit" else "1, 1, 2")
            self.assertEqual(len(kept[1]["rates"].split(", ")), 6 if name == "vit" else 4)
            contents = []
            for words in (("small.h5", "--onnx", "a.onnx"), (self.latest(name), "--onnx", "b.onnx", "--keep", rule)):
                self.sdtrain("export", *words)
                with open(self.path(words[2]), "rb") as file:
                    contents.append(file.read())
            self.assertEqual(*contents)

    # ---- refusals ----

    def test_wrong_use(self):
        self.train("run", 1, {"train.max_steps": 1}, TINY_VIT)
        file = self.latest("run")
        with open(file, "rb") as content:
            before = content.read()
        for words, part in (((file, "x.h5"), "--keep RULE"), ((file, "--keep", "first:2"), "name of the new file"),
                            ((file, "x.h5", "--keep"), "--keep needs"), ((file, "x.h5", "y.h5", "--keep", "0"), "y.h5"),
                            ((file, "x.h5", "--keep", "0", "--kepe"), "--kepe"), ((file, file, "--keep", "0"), "another name"),
                            ((file, "x.safetensors", "--keep", "0"), ".h5"), ((file, "x.h5", "--keep", "first:13"), "12 blocks"),
                            ((file, "x.h5", "--keep", "first:0"), "at least one"), ((file, "x.h5", "--keep", "half"), "every_other:K"),
                            ((file, "x.h5", "--keep", "0,0"), "named twice")):
            self.assertIn(part, self.sdtrain("prune", *words, code=USAGE).stderr)
        self.assertIn("12 blocks", self.sdtrain("export", file, "x.safetensors", "--keep", "last:13", code=USAGE).stderr)
        self.sdtrain("prune", "none.h5", "x.h5", "--keep", "0", code=NO_INPUT)
        self.sdtrain("prune", file, "nowhere/x.h5", "--keep", "0", code=IO_ERROR)
        with open(self.path("cut.h5"), "wb") as cut:
            cut.write(before[:-1])
        self.sdtrain("prune", "cut.h5", "x.h5", "--keep", "0", code=BAD_DATA)
        self.assertFalse(os.path.exists(self.path("x.h5")))
        with open(file, "rb") as content:
            self.assertEqual(content.read(), before)


if __name__ == "__main__":
    harness.main()
