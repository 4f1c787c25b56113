# SPDX-License-Identifier: Apache-2.0
"""The files of DESIGN.md, section 5: that they are there, their columns, and what the numbers mean."""
import math
import os
import re

import harness
from harness import RunTest, TINY_VIT

HEADERS = {
    "schedule.csv": "branch,name,depth,drop_rate,parameters,flops",
    "steps.csv": "step,epoch,lr,loss,accuracy,branches,kept,bytes_reduced,bytes_full,seconds,images_per_second",
    "epochs.csv": "epoch,step,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_top5_accuracy,"
                  "train_eval_accuracy,gap,kept_fraction,seconds,images_per_second",
    "timing.csv": "epoch,rank,host,data,forward,backward,communication,optimizer,evaluation,checkpoint,other,total,wait",
    "decisions.csv": "step,kept",
}


class FilesTest(RunTest):
    def test_every_file_is_there_with_its_columns(self):
        self.train("run", 2)
        for file, header in HEADERS.items():
            self.assertEqual(self.header("run", file), header, file)
            self.assertGreater(len(self.rows("run", file)), 0, file)
        self.assertEqual(set(os.listdir(self.run_path("run"))), {*HEADERS, "config.ini", "summary.json", "checkpoints"})
        self.train("quiet", 2, {"log.decisions": "false"})
        self.assertNotIn("decisions.csv", os.listdir(self.run_path("quiet")))

    def test_steps(self):
        self.train("run", 2, {"data.last_batch": "keep", "data.train_samples": 44})
        rows = self.rows("run", "steps.csv")
        self.assertEqual([int(row["step"]) for row in rows], list(range(1, 13)))
        self.assertEqual([int(row["epoch"]) for row in rows], [1] * 6 + [2] * 6)
        for row in rows:
            images = 4 if int(row["step"]) % 6 == 0 else 8
            correct = float(row["accuracy"]) * images
            self.assertTrue(abs(correct - round(correct)) < 1e-6 and 0 <= correct <= images, row)
            self.assertGreater(float(row["seconds"]), 0)
            # seconds has six digits after the point, so short steps limit what can be compared.
            self.assertAlmostEqual(float(row["images_per_second"]) * float(row["seconds"]) / images, 1, delta=1e-3)
        self.train("third", 2, {"log.every_steps": 3})
        self.assertEqual(self.column("third", "steps.csv", "step"), ["3", "6", "9"])
        self.train("never", 2, {"log.every_steps": 0})
        self.assertEqual(self.rows("never", "steps.csv"), [])

    def test_epochs_are_the_sums_of_their_steps(self):
        self.train("run", 2, {"eval.train_samples": 20, "train.epochs": 3})
        steps, epochs, decisions = (self.rows("run", "%s.csv" % name) for name in ("steps", "epochs", "decisions"))
        self.assertEqual([(row["epoch"], row["step"]) for row in epochs], [("1", "5"), ("2", "10"), ("3", "15")])
        for epoch, row in enumerate(epochs):
            mine = steps[5 * epoch:5 * epoch + 5]
            kept = "".join(step["kept"] for step in decisions[5 * epoch:5 * epoch + 5])
            self.assert_close([float(row["train_loss"])], [sum(float(step["loss"]) for step in mine) / 5], 1e-6)
            self.assert_close([float(row["train_accuracy"]) + 1],
                              [sum(float(step["accuracy"]) for step in mine) / 5 + 1], 1e-6)
            self.assert_close([float(row["kept_fraction"])], [kept.count("1") / len(kept)], 1e-8)
            self.assertEqual(row["lr"], mine[-1]["lr"])
            self.assertTrue(math.isclose(float(row["gap"]), float(row["train_eval_accuracy"]) -
                                         float(row["val_accuracy"]), abs_tol=1e-8))
            for column in ("val_accuracy", "val_top5_accuracy", "train_eval_accuracy"):
                self.assertTrue(0 <= float(row[column]) <= 1)
            self.assertGreaterEqual(float(row["val_top5_accuracy"]), float(row["val_accuracy"]))

    def test_missing_values_are_empty(self):
        self.train("run", 2, {"eval.every_epochs": 2, "train.epochs": 3})
        missing = [[column for column, value in row.items() if value == ""] for row in self.rows("run", "epochs.csv")]
        scores = ["val_loss", "val_accuracy", "val_top5_accuracy", "train_eval_accuracy", "gap"]
        # Without eval.train_samples there is no gap; the last epoch is always scored.
        self.assertEqual(missing, [scores, scores[3:], scores[3:]])

    def test_timing_adds_up(self):
        self.train("run", 3, {"checkpoint.every_steps": 2})
        rows = self.rows("run", "timing.csv")
        self.assertEqual([(row["epoch"], row["rank"]) for row in rows],
                         [(str(epoch), str(rank)) for epoch in (1, 2) for rank in range(3)])
        parts = [column for column in HEADERS["timing.csv"].split(",")[3:] if column != "total"]
        for row in rows:
            self.assertEqual(row["host"], os.uname().nodename)
            seconds = {part: float(row[part]) for part in parts}
            self.assertTrue(all(value >= 0 for value in seconds.values()), row)
            self.assertAlmostEqual(sum(seconds.values()), float(row["total"]), delta=1e-5)
            for part in ("forward", "backward", "communication", "optimizer", "evaluation", "checkpoint"):
                self.assertGreater(seconds[part], 0, (part, row))
        for epoch in ("1", "2"):  # ranks go through an epoch together
            totals = [float(row["total"]) for row in rows if row["epoch"] == epoch]
            self.assertLess(max(totals) - min(totals), 0.5 * max(totals))

    def test_summary(self):
        self.train("run", 2, {"eval.train_samples": 20})
        summary, last = self.summary("run"), self.rows("run", "epochs.csv")[-1]
        for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_top5_accuracy",
                    "train_eval_accuracy", "gap"):
            self.assertTrue(math.isclose(summary[key], float(last[key]), rel_tol=1e-8, abs_tol=1e-8), key)
        expected = {"status": "complete", "step": 10, "epoch": 2, "images": 80, "ranks": 2, "threads": 1,
                    "parameters": 269722, "host": os.uname().nodename}
        self.assertEqual({key: summary[key] for key in expected}, expected)
        self.assertGreater(summary["seconds"], 0)
        self.assertRegex(summary["version"], r"^\d+\.\d+\.\d+$")
        self.assertIn("Open MPI", summary["mpi"])
        best = max(self.column("run", "epochs.csv", "val_accuracy", float))
        self.assertTrue(math.isclose(summary["best_accuracy"], best, rel_tol=1e-8))

    def test_config_runs_again_as_it_is(self):
        self.train("run", 2, {"lr.schedule": "cosine", "lr.base": 1 / 3, "data.augment": "crop_flip",
                              "stochastic_depth.schedule": "list", "stochastic_depth.rate": 0,
                              "stochastic_depth.rates": ", ".join(["0.123456789"] * 8) + ",\n    0.75"})
        os.rename(self.run_path("run"), self.path("first"))
        os.rename(self.path("first", "config.ini"), self.path("again.ini"))
        self.mpirun(2, "again.ini")
        self.assert_same_state(self.path("first", "checkpoints", "latest"), self.latest("run"))
        with open(self.path("again.ini"), encoding="utf-8") as a, open(self.run_path("run", "config.ini"),
                                                                       encoding="utf-8") as b:
            self.assertEqual(a.read(), b.read())

    def test_config_keeps_settings_of_the_command_line(self):
        self.write_config("run")
        odd = "a name; with # marks = and  blanks"
        self.mpirun(2, "run.ini", "--set", "run.name=" + odd, "--set", "train.epochs=1", "--set", "lr.base=0.02")
        with open(self.run_path(odd, "config.ini"), encoding="utf-8") as file:
            text = file.read()
        for line in ("epochs = 1", "base = 0.02", "max_steps = 0"):
            self.assertIn("\n%s\n" % line, text)
        result = self.mpirun(2, os.path.join("runs", odd, "config.ini"))
        self.assertIn("already complete", result.err)

    def test_links_are_relative_and_retention_keeps_the_best(self):
        self.train("run", 2, {"checkpoint.every_steps": 1, "checkpoint.keep": 2})
        folder = self.run_path("run", "checkpoints")
        links = {name: os.readlink(os.path.join(folder, name)) for name in ("latest", "best")}
        accuracy = self.column("run", "epochs.csv", "val_accuracy", float)
        best = 5 * (1 + accuracy.index(max(accuracy)))
        self.assertEqual(links, {"latest": "step-00000010.h5", "best": "step-%08d.h5" % best})
        self.assertEqual({name for name in os.listdir(folder) if name not in links},
                         {"step-00000009.h5", "step-00000010.h5", "step-%08d.h5" % best})

    def test_checkpoint_holds_pytorch_names_and_shapes(self):
        self.train("run", 2, {"train.max_steps": 2})
        text = self.tool("h5ls", "-r", self.latest("run"))
        listing = dict(re.findall(r"^(\S+)\s+Dataset \{(.*)\}$", text, re.M))
        for name, shape in {"/model/conv1.weight": "16, 3, 3, 3", "/model/layer2.0.conv1.weight": "32, 16, 3, 3",
                            "/model/layer3.2.bn2.running_var": "64", "/model/bn1.num_batches_tracked": "SCALAR",
                            "/model/fc.weight": "10, 64", "/optimizer/momentum/fc.bias": "10",
                            "/progress/step": "SCALAR", "/config": "SCALAR"}.items():
            self.assertEqual(listing.get(name), shape, name)
        with open(self.latest("run"), "rb") as file:
            block = file.read(520)
        self.assertEqual((block[:8], block[512:520]), (b"SDTRAIN\n", b"\x89HDF\r\n\x1a\n"))
        self.assertEqual(int.from_bytes(block[16:24], "little"), os.path.getsize(self.latest("run")))
        attributes = self.tool("h5dump", "-a", "/seed", "-a", "/ranks", "-a", "/isa", "-a", "/scale",
                               "-a", "/format_version", self.latest("run"))
        self.assertEqual(re.findall(r"\(0\): (\S+)", attributes)[:2], ["7", "2"])

    def test_batch_norm_counters_count_kept_steps_only(self):
        self.train("run", 2)
        tracked = self.values(self.latest("run"), "/model/layer3.2.bn1.num_batches_tracked")
        self.assertEqual(tracked, [sum(row["kept"][8] == "1" for row in self.rows("run", "decisions.csv"))])
        self.assertLess(tracked[0], 10)

    def test_no_terminal_means_plain_lines(self):
        result = self.train("run", 2)
        self.assertNotIn("\r", result.out + result.err)
        self.assertNotIn("\x1b", result.out + result.err)
        self.assertEqual(len([line for line in result.lines if line.startswith("epoch ")]), 2)
        self.assertNotIn("nan", (result.out + result.err).lower())


class LearningRateTest(RunTest):
    """lr of every step against the formulas of DESIGN.md and PyTorch. 3 epochs of 5 steps."""

    def check(self, settings, expected):
        self.train("run", 1, {"train.epochs": 3, "eval.every_epochs": 0, "checkpoint.every_epochs": 0, "lr.base": 0.08,
                              "model.name": "resnet20", "data.image_size": 8, **settings})
        self.assert_close(self.column("run", "steps.csv", "lr", float), expected, 1e-8)

    def test_step_with_warmup(self):
        warmup = 7.5  # 1.5 epochs of 5 steps; never above the schedule
        plain = [0.08] * 5 + [0.02] * 5 + [0.005] * 5
        expected = [lr * min(1, (t + 1) / warmup) for t, lr in enumerate(plain)]
        self.check({"lr.schedule": "step", "lr.milestones": "1, 2", "lr.gamma": 0.25, "lr.warmup_epochs": 1.5},
                   expected)

    def test_cosine_with_minimum(self):
        self.check({"lr.schedule": "cosine", "lr.minimum": 0.01},
                   [0.01 + 0.07 * (1 + math.cos(math.pi * t / 15)) / 2 for t in range(15)])

    def test_linear_after_warmup(self):
        # transformers' get_linear_schedule_with_warmup(5, 15) from its fifth step, the end of its warm-up.
        self.check({"lr.schedule": "linear", "lr.warmup_epochs": 1, "lr.minimum": 0.01},
                   [0.08 * (t + 1) / 5 for t in range(5)] + [0.01 + 0.07 * (15 - t) / 10 for t in range(5, 15)])

    def test_constant(self):
        self.check({"lr.schedule": "constant"}, [0.08] * 15)

    def test_onecycle(self):
        # torch.optim.lr_scheduler.OneCycleLR(max_lr=0.08, total_steps=15): pct_start 0.3, div_factor 25, final 1e4.
        def anneal(start, end, share):
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        up = 0.3 * 15 - 1
        self.check({"lr.schedule": "onecycle"},
                   [anneal(0.0032, 0.08, t / up) if t <= up else anneal(0.08, 0.0032 / 1e4, (t - up) / (14 - up))
                    for t in range(15)])


class ScheduleTest(RunTest):
    """schedule.csv against the rules of DESIGN.md: l = 1..9 of resnet20, l = 1..12 of a ViT."""

    def rates(self, name, base=None, **settings):
        settings = {"stochastic_depth." + key: value for key, value in settings.items()}
        self.train(name, 1, {"train.max_steps": 1, "eval.every_epochs": 0, **settings}, base)
        return self.column(name, "schedule.csv", "drop_rate", float)

    def test_rules(self):
        rules = {"linear": lambda l, L: l / L, "linspace": lambda l, L: (l - 1) / (L - 1),
                 "zero_based": lambda l, L: (l - 1) / L, "constant": lambda l, L: 1}
        for rule, share in rules.items():
            rates = self.rates(rule, schedule=rule, rate=0.4)
            for l, rate in enumerate(rates, 1):
                self.assertAlmostEqual(rate, 0.4 * share(l, 9), delta=1e-15)
            self.assertEqual(self.column(rule, "schedule.csv", "branch", int), list(range(1, 10)))
            self.assertEqual(self.column(rule, "schedule.csv", "depth", int), list(range(1, 10)))

    def test_list(self):
        given = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1]
        self.assertEqual(self.rates("list", schedule="list", rate=0, rates=", ".join(map(str, given))), given)
        self.assertEqual(self.rows("list", "decisions.csv")[0]["kept"][0], "1")
        self.assertEqual(self.rows("list", "decisions.csv")[0]["kept"][8], "0")

    def test_units_of_a_vit(self):
        rates = self.rates("branch", TINY_VIT, rate=0.12)
        rows = self.rows("branch", "schedule.csv")
        self.assertEqual([row["name"] for row in rows[:4]], ["blocks.0.attn", "blocks.0.mlp", "blocks.1.attn",
                                                             "blocks.1.mlp"])
        for i, (row, rate) in enumerate(zip(rows, rates)):
            self.assertEqual(int(row["depth"]), i // 2 + 1)
            self.assertAlmostEqual(rate, 0.01 * (i // 2 + 1), delta=1e-15)
        # 5 tokens of 192: QKV, scores and weighted sum, projection; MLP of 768.
        attention = 2 * 5 * (192 * 576 + 192 * 192 + 2 * 5 * 192)
        mlp = 2 * 5 * 2 * 192 * 768
        self.assertEqual([float(row["flops"]) for row in rows], [attention, mlp] * 12)
        self.assertEqual([int(row["parameters"]) for row in rows],
                         [384 + 192 * 576 + 576 + 192 * 192 + 192, 384 + 2 * 192 * 768 + 768 + 192] * 12)
        rates = self.rates("block", TINY_VIT, rate=0.12, unit="block")
        self.assertEqual(len(rates), 12)
        self.assertEqual(self.column("block", "schedule.csv", "flops", float), [attention + mlp] * 12)

    def test_flops_of_a_resnet(self):
        self.rates("run")
        # Two 3x3 convolutions a block; maps of 32, 16 and 8 pixels. The first block of a stage halves the map.
        same = [2 * 2 * 32 * 32 * 16 * 16 * 9, 2 * 2 * 16 * 16 * 32 * 32 * 9, 2 * 2 * 8 * 8 * 64 * 64 * 9]
        down = [2 * 16 * 16 * 9 * (16 * 32 + 32 * 32), 2 * 8 * 8 * 9 * (32 * 64 + 64 * 64)]
        self.assertEqual(self.column("run", "schedule.csv", "flops", float),
                         [same[0]] * 3 + [down[0]] + [same[1]] * 2 + [down[1]] + [same[2]] * 2)


if __name__ == "__main__":
    harness.main()
