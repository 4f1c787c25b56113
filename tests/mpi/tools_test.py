# SPDX-License-Identifier: Apache-2.0
"""sdtrain verify, inspect and diff: what is wrong with a file is said, whatever it is, and what is right is not complained about.

The tools and the program that alters sealed files (alter.c) are named by the environment: SD_SDTRAIN, SD_ALTER.
"""
import json
import os
import re
import struct
import subprocess
import unittest

import harness
from harness import BAD_DATA, NO_INPUT, OK, USAGE, RunTest, TINY_VIT

SEAL_BYTES, DIFFERENT = 512, 1
STEPS = 10  # of TINY


class ToolsTest(RunTest):
    made = {}  # the bytes of checkpoints, trained once for all tests

    def setUp(self):
        super().setUp()
        if not self.made:
            self.train("run")
            self.train("again", settings={"run.threads": 2})
            self.train("other", settings={"run.seed": 8})
            self.train("larger", 1, {"model.name": "resnet32", "train.max_steps": 1})
            self.train("vit", 1, {"optimizer.name": "adamw", "stochastic_depth.unit": "block"}, TINY_VIT)
            for name in ("run", "again", "other", "larger", "vit"):
                with open(self.latest(name), "rb") as file:
                    self.made[name] = file.read()
        for name, content in self.made.items():
            self.write(name + ".h5", content)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return name

    def altered(self, *words, source="run"):
        """A copy of a good checkpoint with one change, sealed anew."""
        self.write("altered.h5", self.made[source])
        self.tool(os.environ["SD_ALTER"], "altered.h5", *map(str, words))
        return "altered.h5"

    def sdtrain(self, *words, code=OK):
        done = subprocess.run([os.environ["SD_SDTRAIN"], *words], cwd=self.folder, capture_output=True, text=True, timeout=60,
                              check=False, env=harness.environment())
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        if code in (OK, DIFFERENT):
            self.assertEqual(done.stderr, "")
        return done

    def assert_bad(self, name, *parts, code=BAD_DATA):
        line = self.sdtrain("verify", name, code=code).stdout
        self.assertEqual(line.count("\n"), 1, line)
        self.assertTrue(line.startswith(name + ": BAD: "), line)
        for part in parts:
            self.assertIn(part, line)

    # ---- verify ----

    def test_good_files_are_good(self):
        lines = self.sdtrain("verify", "run.h5", "again.h5", "vit.h5", "larger.h5").stdout.splitlines()
        self.assertRegex(lines[0], r"^run\.h5: good, step %d, \d+ tensors, %d bytes$" % (STEPS, len(self.made["run"])))
        self.assertEqual([line.split(":")[1][:5] for line in lines], [" good"] * 4)

    def test_a_flipped_bit_anywhere_is_found(self):
        good = self.made["run"]
        places = {0: "first bytes", 9: "version", 17: "was written with", 30: "XXH3-128", 300: "XXH3-128", SEAL_BYTES: "XXH3-128",
                  SEAL_BYTES + 9: "XXH3-128", len(good) // 2: "XXH3-128", len(good) - 1: "XXH3-128"}
        for place, word in places.items():
            with self.subTest(byte=place):
                content = bytearray(good)
                content[place] ^= 0x10
                self.assert_bad(self.write("bad.h5", content), word)

    def test_a_file_of_another_length_is_found(self):
        good = self.made["run"]
        for content, word in ((good[:-1], "is cut: it has %d bytes, and was written with %d" % (len(good) - 1, len(good))),
                              (good[:SEAL_BYTES], "is cut"), (good[:100], "is cut: of its first 512 bytes, 100 are left"), (b"", "is empty"),
                              (good + b"\0", "has grown"), (b"[run]\nname = x\n" * 100, "first bytes")):
            self.assert_bad(self.write("bad.h5", content), word)

    def test_what_is_no_file(self):
        os.mkdir(self.path("folder"))
        self.assert_bad("folder", "regular file")
        self.assert_bad("missing.h5", "No such file", code=NO_INPUT)

    def test_all_files_are_looked_at_and_the_worst_counts(self):
        self.write("bad.h5", b"")
        for files, code in ((["run.h5", "missing.h5"], NO_INPUT), (["bad.h5", "missing.h5", "run.h5"], BAD_DATA),
                            (["missing.h5", "bad.h5", "run.h5"], BAD_DATA)):
            lines = self.sdtrain("verify", *files, code=code).stdout.splitlines()
            self.assertEqual([line.split(":")[0] for line in lines], files)

    def test_a_number_that_is_not_finite_is_named_with_its_place(self):
        # conv1.weight: [16, 3, 3, 3]; value 41 is [1, 1, 1, 2].
        self.assert_bad(self.altered("set", "/model/conv1.weight", 41, "nan"), "/model/conv1.weight [1, 1, 1, 2] is nan")
        self.assert_bad(self.altered("set", "/optimizer/momentum/fc.bias", 9, "-inf"),
                        "/optimizer/momentum/fc.bias [9] is -inf")
        self.assert_bad(self.altered("set", "/progress/timing", 10, "inf"), "/progress/timing [1, 1] is inf")
        self.assert_bad(self.altered("set", "/progress/kept", 0, "nan"), "/progress/kept is nan")
        self.assert_bad(self.altered("set", "/progress/train_loss", 0, "inf"), "/progress/train_loss is inf")
        self.assert_bad(self.altered("set", "/progress/val_loss", 0, "-inf"), "/progress/val_loss is -inf")

    def test_what_a_run_may_save_is_good(self):
        for value in ("nan", "inf"):  # no value yet; logits of a validation image that overflow, which stops no run
            self.sdtrain("verify", self.altered("set", "/progress/val_loss", 0, value))
            result = self.train("run", settings={"run.name": "from_" + value}, words=["--resume", "altered.h5"])
            self.assertIn("already complete", result.err)

    def test_progress_that_cannot_be_is_found(self):
        for member, value, word in (("epoch", STEPS + 1, "epochs"), ("best_step", STEPS + 1, "best"),
                                    ("batch", STEPS + 1, "batches"), ("epoch_correct", 1, "correct"),
                                    ("val_accuracy", 1.5, "not in 0..1"), ("best_accuracy", "nan", "best")):
            with self.subTest(member):
                self.assert_bad(self.altered("set", "/progress/" + member, 0, value), word)
        self.assert_bad(self.altered("set", "/model/bn1.num_batches_tracked", 0, STEPS + 1), "num_batches_tracked is 11 ",
                        "after 10 steps")
        self.assert_bad(self.altered("set", "/optimizer/kept_steps", 3, -1), "kept_steps [3] is -1")
        self.assert_bad(self.altered("set", "/data/std", 2, 0), "/data/std 0 of channel 2")

    def test_the_model_must_be_that_of_the_configuration(self):
        self.assert_bad(self.altered("remove", "/model/fc.bias"), "has no /model/fc.bias")
        self.assert_bad(self.altered("remove", "/optimizer/momentum/fc.bias"), "has no /optimizer/momentum/fc.bias")
        self.assert_bad(self.altered("remove", "/progress/step"), "has no /progress/step")
        self.assert_bad(self.altered("remove", "/config"), "/config")
        self.assert_bad(self.altered("text", "/config", "[model]\nname = resnet32\n"), "layer1.3.conv1.weight")
        self.assert_bad(self.altered("text", "/config", "[model]\nname = resnet20\nclasses = 11\n"), "fc.weight")
        self.assert_bad(self.altered("text", "/config", "[model]\nname = resnet21\n"), "no network of this version")
        self.assert_bad(self.altered("text", "/config", "[model]\nnom = resnet20\n"), "no network of this version", "nom")

    def test_a_link_out_of_the_file_is_refused_and_not_followed(self):
        os.mkfifo(self.path("pipe"))  # whoever opened it would wait for ever
        name = self.altered("link", "/more", "pipe")
        self.assert_bad(name, "/more is a link to another file")
        for words in (("inspect", name), ("diff", "run.h5", name)):
            done = self.sdtrain(*words, code=BAD_DATA)
            self.assertIn("/more is a link to another file", done.stderr)
        self.assertIn("/more", self.mpirun(1, self.write_config("run"), "--evaluate", name, code=BAD_DATA).errors[0])

    # ---- inspect ----

    def test_inspect_shows_what_is_there(self):
        text = self.sdtrain("inspect", "run.h5", "--rates", "--tensors", "--config").stdout
        for part in ("run.h5, %d bytes" % len(self.made["run"]), "resnet20: 269722 parameters, 9 branches, 10 classes",
                     "rate 0.5, schedule linear, scope global, scale inference, min_kept 0, unit branch", "seed 7", "2 ranks x 1 thread",
                     "step %d: 2 epochs and 0 batches; 80 images" % STEPS, "[16, 3, 3, 3]", "batch_size = 8"):
            self.assertIn(part, text)
        self.assertRegex(text, r"(?m)^9 +layer3\.2 +9 +0\.500000$")
        self.assertNotRegex(text, r"\bnan\b")
        short = self.sdtrain("inspect", "run.h5").stdout
        self.assertTrue(text.startswith(short))
        self.assertNotIn("conv1.weight", short)

    def test_inspect_json_is_json_and_agrees_with_other_readers(self):
        for name in ("run", "vit"):
            data = json.loads(self.sdtrain("inspect", name + ".h5", "--json").stdout)
            self.assertEqual(data["bytes"], len(self.made[name]))
            progress = self.progress(self.path(name + ".h5"))
            self.assertEqual(set(progress), set(data["progress"]))
            for member, value in progress.items():
                if value == "nan":
                    self.assertIsNone(data["progress"][member], member)
                else:
                    self.assertAlmostEqual(float(value), data["progress"][member], delta=1e-14 * abs(float(value)), msg=member)
            self.assertIn("nan", progress.values())  # train_eval_accuracy was not asked for
            listed = {"model/" + tensor["name"]: tensor for tensor in data["tensors"]}
            names = re.findall(r"^/(model/\S+)\s+Dataset", self.tool("h5ls", "-r", name + ".h5"), re.MULTILINE)
            self.assertEqual(set(names), set(listed))
            self.assertIn("seed = 7", data["config"])
        run = json.loads(self.sdtrain("inspect", "run.h5", "--json").stdout)
        self.assertEqual((run["seed"], run["ranks"], run["threads"], run["format_version"]), (7, 2, 1, 1))
        self.assertEqual(run["model"], {"name": "resnet20", "parameters": 269722, "classes": 10, "image_size": 32})
        self.assertEqual([run["stochastic_depth"][key] for key in ("rate", "scale", "min_kept")], [0.5, "inference", 0])
        self.assertEqual([unit["drop_rate"] for unit in run["stochastic_depth"]["rates"]],
                         [0.5 * depth / 9 for depth in range(1, 10)])
        values = self.values(self.path("run.h5"), "/model/fc.bias")
        bias = next(tensor for tensor in run["tensors"] if tensor["name"] == "fc.bias")
        self.assertEqual((bias["shape"], bias["type"], bias["min"], bias["max"]),
                         ([10], "float32", min(values), max(values)))
        self.assert_close([bias["mean"], bias["l2"]], [sum(values) / 10, sum(v * v for v in values)**0.5], 1e-12)

    # ---- diff ----

    def test_runs_that_differ_in_circumstances_only_are_equal(self):
        self.assertTrue(self.sdtrain("diff", "run.h5", "run.h5").stdout.startswith("equal: step %d, " % STEPS))
        self.assertTrue(self.sdtrain("diff", "run.h5", "again.h5").stdout.startswith("equal: "))
        circumstances = self.sdtrain("diff", "run.h5", "again.h5", "--all").stdout
        for part in ("/config", "threads", "/progress/seconds", "equal: "):
            self.assertIn(part, circumstances)

    def test_one_bit_of_one_weight_is_found_in_its_place(self):
        # layer2.0.conv1.weight: [32, 16, 3, 3]; value 1000 is [6, 15, 0, 1].
        self.altered("nudge", "/model/layer2.0.conv1.weight", 1000)
        text = self.sdtrain("diff", "run.h5", "altered.h5", code=DIFFERENT).stdout
        values = [self.values(self.path(name), "/model/layer2.0.conv1.weight")[1000] for name in ("run.h5", "altered.h5")]
        self.assertIn("first difference: /model/layer2.0.conv1.weight [6, 15, 0, 1]\n", text)
        shown = [float.fromhex(number) for number in re.findall(r"\((-?0x[^)]*)\)", text)]
        self.assertEqual([struct.pack("f", v) for v in shown], [struct.pack("f", v) for v in values])
        self.assertIn(" 1 units in the last place\n", text)
        self.assertRegex(text, r"different: 1 of \d+ values in 1 of \d+ datasets")
        self.assertIn("%.9g in /model/layer2.0.conv1.weight [6, 15, 0, 1]\n" % abs(shown[0] - shown[1]), text)

    def test_signs_of_zero_and_not_a_number_count_as_bits(self):
        for value, other in (("0", "-0"), ("nan", "0")):
            self.altered("set", "/model/fc.bias", 3, value)
            os.rename(self.path("altered.h5"), self.path("zero.h5"))
            self.altered("set", "/model/fc.bias", 3, value)
            self.sdtrain("diff", "zero.h5", "altered.h5")
            self.altered("set", "/model/fc.bias", 3, other)
            self.assertIn("/model/fc.bias [3]\n", self.sdtrain("diff", "zero.h5", "altered.h5", code=DIFFERENT).stdout)

    def test_state_beside_the_weights_counts(self):
        for name, i in (("/optimizer/momentum/bn1.bias", 2), ("/optimizer/kept_steps", 4), ("/progress/epoch", 0),
                        ("/data/mean", 1), ("/model/layer3.2.bn2.num_batches_tracked", 0)):
            self.assertIn("first difference: " + name,
                          self.sdtrain("diff", "run.h5", self.altered("nudge", name, i), code=DIFFERENT).stdout)

    def test_a_member_that_an_older_file_lacks_counts_as_its_initial_value(self):
        older = self.altered("remove", "/progress/skipped_steps")
        self.sdtrain("verify", older)
        for files in (("run.h5", older), (older, "run.h5")):
            self.assertTrue(self.sdtrain("diff", *files).stdout.startswith("equal: "))
        self.assertIn("/progress/kept is in A only",
                      self.sdtrain("diff", "run.h5", self.altered("remove", "/progress/kept"), code=DIFFERENT).stdout)

    def test_other_states_differ(self):
        text = self.sdtrain("diff", "run.h5", "other.h5", code=DIFFERENT).stdout
        self.assertIn("first difference: /model/bn1.bias [0]", text)
        text = self.sdtrain("diff", "run.h5", "larger.h5", code=DIFFERENT).stdout
        self.assertIn("A is of step 10, B of step 1\n", text)
        self.altered("remove", "/model/fc.bias")
        os.rename(self.path("altered.h5"), self.path("without.h5"))
        self.assertIn("/model/fc.bias is in A only", self.sdtrain("diff", "run.h5", "without.h5", code=DIFFERENT).stdout)
        self.assertIn("is in B only", self.sdtrain("diff", self.altered("remove", "/model/bn1.bias"), "run.h5",
                                                   code=DIFFERENT).stdout)

    def test_files_that_cannot_be_compared(self):
        for files, code in ((("run.h5", "missing.h5"), NO_INPUT), ((self.write("bad.h5", b"x"), "run.h5"), BAD_DATA)):
            done = self.sdtrain("diff", *files, code=code)
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertTrue(done.stderr.startswith("sdtrain: error: "), done.stderr)

    # ---- command lines ----

    def test_wrong_words(self):
        for words in ((), ("check", "run.h5"), ("verify",), ("verify", "--all", "run.h5"), ("inspect",),
                      ("inspect", "run.h5", "vit.h5"), ("inspect", "run.h5", "--all"), ("diff", "run.h5"),
                      ("diff", "run.h5", "vit.h5", "other.h5"), ("diff", "run.h5", "vit.h5", "--json")):
            done = self.sdtrain(*words, code=USAGE)
            self.assertRegex(done.stderr, r"^sdtrain: error: [^\n]+\n$")
            self.assertEqual(done.stdout, "")

    def test_help_and_version(self):
        self.assertIn("sdtrain verify FILE", self.sdtrain("--help").stdout)
        self.assertRegex(self.sdtrain("--version").stdout, r"^sdtrain \d+\.\d+")

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([os.environ["SD_SDTRAIN"], "inspect", "run.h5"], cwd=self.folder, stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, harness.IO_ERROR, done.stderr)


if __name__ == "__main__":
    harness.main()
