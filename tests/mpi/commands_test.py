# SPDX-License-Identifier: Apache-2.0
"""--help, --version, --check and --evaluate."""
import os
import re
import subprocess

import harness
from harness import OK, RunTest, TINY_VIT

# The table of DESIGN.md, section 5, without what is not in this version (log.tensorboard; rank,
# sample), and with what was added since.
KEYS = {
    "run": "name output seed threads max_seconds convolution stall_seconds",
    "data": "dataset path vocab lower_case sequence text_columns label_column image_size interpolation crop_pct "
            "normalise on_bad_image train_samples val_samples validation augment last_batch workers",
    "model": "name classes layers stem patch_size dropout hidden_dropout attention_dropout freeze zero_init_residual init init_digest",
    "stochastic_depth": "rate survival_prob schedule rates scope rank_divisor scale min_kept unit dropped_update",
    "optimizer": "name momentum nesterov weight_decay decay layer_decay beta1 beta2 epsilon clip_norm",
    "lr": "schedule base warmup_epochs milestones gamma minimum",
    "train": "epochs max_steps batch_size objective label_smoothing on_nonfinite",
    "eval": "every_epochs train_samples",
    "checkpoint": "every_steps every_epochs every_seconds keep keep_every compression max_failures resume",
    "communication": "bucket_bytes skip_dropped reduction shards progress wire check_every",
    "log": "every_steps decisions trace trace_step progress",
}


class HelpTest(RunTest):
    def test_help_lists_every_key_once_and_no_other(self):
        result = self.mpirun(3, "--help")
        listed, section = {}, None
        for line in result.out.splitlines():
            if re.fullmatch(r"\[\w+\]", line):
                section = line[1:-1]
            elif section and (key := re.match(r"  (\w+) = ", line)):
                listed.setdefault(section, []).append(key.group(1))
        self.assertEqual(listed, {section: keys.split() for section, keys in KEYS.items()})
        self.assertNotIn("tensorboard", result.out)
        for option in ("--set", "--resume", "--check", "--evaluate", "--help", "--version"):
            self.assertIn(option, result.out)

    def test_help_shows_the_defaults_that_a_run_has(self):
        shown = {}
        for line in self.mpirun(1, "--help").out.splitlines():
            if re.fullmatch(r"\[\w+\]", line):
                section = line[1:-1]
            elif (key := re.match(r"  (\w+) = ?(.*?)(?:  .*)?$", line)):
                shown[section, key.group(1)] = key.group(2).partition("|")[0].strip()
        with open(self.path("run.ini"), "w", encoding="utf-8") as file:
            file.write("[train]\nmax_steps = 1\nbatch_size = 8\n[data]\ntrain_samples = 8\nval_samples = 8\n")
        self.mpirun(1, "run.ini")
        with open(self.run_path("run", "config.ini"), encoding="utf-8") as file:
            for line in file:
                if line.startswith("["):
                    section = line.strip()[1:-1]
                elif "=" in line:
                    key, _, value = (part.strip() for part in line.partition("="))
                    if (section, key) not in {("run", "name"), ("train", "max_steps"), ("train", "batch_size"),
                                              ("data", "train_samples"), ("data", "val_samples"),
                                              ("lr", "milestones"), ("model", "layers"),
                                              ("stochastic_depth", "rates")}:
                        self.assertEqual(shown[section, key], value, (section, key))

    def test_version(self):
        result = self.mpirun(3, "--version")
        self.assertEqual(len(result.out.splitlines()), 1)
        self.assertRegex(result.out, r"^sdtrain-mpi \d+\.\d+\.\d+ .*Open MPI")

    def test_without_mpirun(self):
        for words in (["--version"], [self.write_config("run", {"train.max_steps": 1})]):
            result = self.start([harness.PROGRAM, *words]).finish()
            self.assertEqual(result.code, OK, str(result))
        self.assertEqual(self.summary("run")["ranks"], 1)


class CheckTest(RunTest):
    def test_shards_and_what_batch_norm_sees(self):
        self.write_config("run", {"train.batch_size": 20})
        self.assertIn("batch norm sees 7 images at a time (batch / ranks)", self.mpirun(3, "run.ini", "--check").out)
        words = ["--set", "communication.reduction=reproducible", "--set", "communication.shards=4"]
        self.assertIn("4, 2 a rank: batch norm sees 5 images at a time", self.mpirun(2, "run.ini", "--check", *words).out)

    def test_more_threads_than_processors_is_warned_of(self):
        self.write_config("run")
        self.assertIn("run.threads", self.mpirun(1, "run.ini", "--check", "--set", "run.threads=1000").warnings[0])
        self.assertEqual(self.mpirun(8, "run.ini", "--check", "--set", "run.threads=1").warnings, [])

    def share(self, text, what):
        return float(re.search(r"%s skipped\s+([\d.]+) %%" % what, text).group(1))

    def test_rates_shares_and_memory(self):
        self.write_config("run", {"stochastic_depth.rate": 0.5})
        out = self.mpirun(2, "run.ini", "--check").out
        self.train("run", 2, {"train.max_steps": 1})
        units = self.rows("run", "schedule.csv")
        table = re.findall(r"^ +(\d+)  (\S+) +(\d+) +([\d.]+) +(\d+) +([\d.]+)$", out, re.M)
        self.assertEqual(len(table), 9)
        for row, unit in zip(table, units):
            self.assertEqual([row[0], row[1], row[2], row[4]],
                             [unit["branch"], unit["name"], unit["depth"], unit["parameters"]])
            self.assertAlmostEqual(float(row[3]), float(unit["drop_rate"]), delta=1e-6)
            self.assertAlmostEqual(float(row[5]), float(unit["flops"]) * 1e-6, delta=1e-3)
        # By hand. Beside the blocks: a 3x3 stem of 16 channels on 32 x 32 pixels, a head of 64 x 10.
        rates = [0.5 * l / 9 for l in range(1, 10)]
        flops = [float(unit["flops"]) for unit in units]
        parameters = [int(unit["parameters"]) for unit in units]
        all_flops = sum(flops) + 2 * 32 * 32 * 27 * 16 + 2 * 64 * 10
        all_parameters = sum(parameters) + 432 + 32 + 650
        expected = {"branches": sum(rates) / 9, "FLOPs": sum(p * f for p, f in zip(rates, flops)) / all_flops,
                    "gradient bytes": sum(p * n for p, n in zip(rates, parameters)) / all_parameters}
        for what, share in expected.items():
            self.assertAlmostEqual(self.share(out, what), 100 * share, delta=0.0051, msg=what)
        memory = [float(number) for number in re.search(
            r"memory +([\d.]+) MiB a rank: ([\d.]+) .*; ([\d.]+) activations; ([\d.]+) images; "
            r"([\d.]+) program; ([\d.]+) while", out).groups()]
        self.assertAlmostEqual(memory[0], sum(memory[1:]), delta=0.2)
        # Values, gradients and momentum: at least 12 bytes a parameter, and not much more.
        self.assertTrue(12 * all_parameters <= memory[1] * 2**20 + 60000 <= 14 * all_parameters, memory)

    def test_the_memory_it_tells_is_what_a_run_uses(self):
        for name, settings in (("wide", {"train.batch_size": 40}), ("vit", TINY_VIT)):
            self.write_config(name, {**settings, "train.epochs": 1})
            told = float(re.search(r"memory +([\d.]+) MiB", self.mpirun(1, f"{name}.ini", "--check").out).group(1))
            process = subprocess.Popen([harness.PROGRAM, f"{name}.ini"], cwd=self.folder, env=harness.environment(),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0)
            used = usage.ru_maxrss / 1024
            self.assertTrue(0.9 <= told / used <= 1.1, f"{name}: told {told} MiB, used {used:.1f} MiB")

    def test_check_writes_nothing(self):
        self.write_config("run")
        self.mpirun(3, "run.ini", "--check")
        self.assertEqual(os.listdir(self.folder), ["run.ini"])
        self.train("run")
        before = {name: os.stat(self.run_path("run", name)).st_mtime_ns for name in os.listdir(self.run_path("run"))}
        self.mpirun(2, "run.ini", "--check")
        self.assertEqual({name: os.stat(self.run_path("run", name)).st_mtime_ns
                          for name in os.listdir(self.run_path("run"))}, before)

    def test_advice(self):
        self.write_config("run", {"stochastic_depth.schedule": "constant", "stochastic_depth.rate": 0.5,
                                  "model.dropout": 0.2, "train.label_smoothing": 0.1})
        result = self.mpirun(3, "run.ini", "--check")
        self.assertEqual(len(result.warnings), 2, str(result))
        self.write_config("run", {"stochastic_depth.rate": 0.3})
        self.assertEqual(self.mpirun(3, "run.ini", "--check").warnings, [])

    def test_shipped_configurations(self):
        folder = os.path.join(harness.REPOSITORY, "configs")
        names = sorted(name for name in os.listdir(folder) if name.endswith(".ini"))
        self.assertGreater(len(names), 0)
        harness.write_cifar10(self.path("data", "cifar-10-batches-bin"), images_a_file=130)
        harness.write_cifar100(self.path("data", "cifar-100-binary"), train=650, test=100)
        for name in ("images", "imagenet"):
            harness.write_images(self.path("data", name), classes=3)
        for name in names:
            with self.subTest(name):
                # The tiny stand-ins for CIFAR are too few for the samples that some ask for, and this machine may be
                # too small for their batches.
                words = ["--set", "eval.train_samples=0", "--set", "data.val_samples=0", "--set", "train.batch_size=8"]
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                if re.search(r"^validation *= *\d", text, re.M):
                    words += ["--set", "data.validation=60"]
                if re.search(r"^init *= *\S", text, re.M):  # mpi/init_test.py is about such files
                    words += ["--set", "model.init="]
                self.mpirun(2, os.path.join(folder, name), "--check", *words)


class EvaluateTest(RunTest):
    LINE = r"evaluate loss=\d+\.\d+ top1=[01]\.\d+ top5=[01]\.\d+ images=24"

    def test_one_line_and_no_file(self):
        self.train("run", 2)
        checkpoint = self.latest("run")
        os.rename(self.run_path("run"), self.path("elsewhere"))
        checkpoint = checkpoint.replace(os.path.realpath(self.run_path("run")), self.path("elsewhere"))
        before = sorted(os.listdir(self.folder))
        result = self.mpirun(3, "run.ini", "--evaluate", checkpoint)
        self.assertEqual(len(result.out.splitlines()), 1)
        self.assertRegex(result.out, "^" + self.LINE + "$")
        self.assertEqual(result.err, "")
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        self.assertEqual(os.listdir(self.path("runs")), [])

    def test_stochastic_depth_is_the_checkpoints(self):
        # scale = inference multiplies every branch by its survival probability; asking for other rates must not.
        self.train("run", 2)
        lines = {self.mpirun(2, self.write_config("ask%d" % i, {
            "stochastic_depth.rate": rate, "stochastic_depth.scale": scale}), "--evaluate", self.latest("run")).out
            for i, (rate, scale) in enumerate([(0.5, "inference"), (0, "inference"), (0.9, "training")])}
        self.assertEqual(len(lines), 1, lines)

    def test_held_out_images_are_those_of_the_checkpoint(self):
        # They are drawn by the seed; with that of another configuration, --evaluate would score training images.
        held_out = {"data.validation": 24, "data.val_samples": 0}
        self.train("run", 2, held_out)
        lines = {self.mpirun(2, self.write_config("ask", {**held_out, "run.seed": seed}), "--evaluate",
                             self.latest("run")).out for seed in (7, 8)}
        self.assertEqual(len(lines), 1, lines)

    def test_best_link(self):
        self.train("run", 2)
        best = self.run_path("run", "checkpoints", "best")
        top1 = float(re.search(r"top1=(\S+)", self.mpirun(2, "run.ini", "--evaluate", best).out).group(1))
        self.assertAlmostEqual(top1, max(self.column("run", "epochs.csv", "val_accuracy", float)), delta=1e-6)

    def test_vit_trained_with_scaling_in_training(self):
        self.train("run", 2, {"stochastic_depth.scale": "training", "optimizer.name": "adamw"}, TINY_VIT)
        out = self.mpirun(3, "run.ini", "--evaluate", self.latest("run")).out
        loss = float(re.search(r"loss=(\S+)", out).group(1))
        self.assert_close([loss], [float(self.rows("run", "epochs.csv")[-1]["val_loss"])], 1e-5)


if __name__ == "__main__":
    harness.main()
