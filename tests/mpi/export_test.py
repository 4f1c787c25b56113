# SPDX-License-Identifier: Apache-2.0
"""sdtrain export: the file holds what the checkpoint holds, folded it gives the logits of an evaluation, and a run can begin with it;
an ONNX file has the factors of an evaluation.

The tools are named by the environment: SD_SDTRAIN.
"""
import os
import re
import shutil
import struct
import subprocess

import harness
from harness import BAD_DATA, NO_INPUT, OK, USAGE, RunTest, TINY_VIT, read_safetensors

STEPS = 10  # of TINY
STILL = {"train.max_steps": 1, "lr.base": 0, "stochastic_depth.rate": 0}


def rounded(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


class ExportTest(RunTest):
    made = {}  # the bytes of checkpoints, trained once for all tests

    def setUp(self):
        super().setUp()
        if not self.made:
            self.train("run")
            self.train("trained", settings={"stochastic_depth.scale": "training", "train.max_steps": 2})
            self.train("vit", settings={"optimizer.name": "adamw"}, base=TINY_VIT)
            self.train("layers", settings={"stochastic_depth.scale": "none", "stochastic_depth.unit": "block",
                                           "train.max_steps": 2}, base=TINY_VIT)
            for name in ("run", "trained", "vit", "layers"):
                with open(self.latest(name), "rb") as file:
                    self.made[name] = file.read()
        for name, content in self.made.items():
            with open(self.path(name + ".h5"), "wb") as file:
                file.write(content)

    def export(self, *words, code=OK):
        done = subprocess.run([os.environ["SD_SDTRAIN"], "export", *words], cwd=self.folder, capture_output=True, text=True,
                              timeout=60, check=False, env=harness.environment())
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        return done

    def shapes(self, checkpoint):
        return {name: [int(n) for n in re.findall(r"\d+", shape)] for name, shape in
                re.findall(r"^(\S+)\s+Dataset \{(.*?)\}", self.tool("h5ls", checkpoint + "/model"), re.MULTILINE)}

    def score(self, config, checkpoint):
        return float(re.search(r"loss=(\S+)", self.mpirun(1, config, "--evaluate", checkpoint).out).group(1))

    # ---- what is in it ----

    def test_all_of_model_is_in_it(self):
        for name, tensors_expected in (("run", 116), ("vit", 152)):
            done = self.export(name + ".h5", "out.safetensors")
            self.assertRegex(done.stdout, r"^out\.safetensors: %d tensors, \d+ parameters\n$" % tensors_expected)
            tensors, _ = read_safetensors(self.path("out.safetensors"))
            shapes = self.shapes(name + ".h5")
            self.assertEqual({tensor: shape for tensor, (_, shape, _) in tensors.items()},
                             {tensor: [] if tensor.endswith("num_batches_tracked") else shape for tensor, shape in shapes.items()})
            for tensor in list(shapes)[::9] + [t for t in shapes if t.endswith("num_batches_tracked")]:
                self.assertEqual(tensors[tensor][2], self.values(name + ".h5", "/model/" + tensor), tensor)
                self.assertEqual(tensors[tensor][0], "I64" if tensor.endswith("num_batches_tracked") else "F32")

    def test_metadata_says_what_it_is(self):
        self.export("run.h5", "out.safetensors")
        _, metadata = read_safetensors(self.path("out.safetensors"))
        self.assertRegex(metadata.pop("sdtrain"), r"^\d+\.\d+")
        rates = [float(rate) for rate in metadata.pop("rates").split(",")]
        self.assert_close(rates, [0.5 * block / 9 for block in range(1, 10)], 1e-14)
        for key in ("mean", "std"):
            self.assert_close([float(value) for value in metadata.pop(key).split(",")], self.values("run.h5", "/data/" + key), 1e-8)
        self.assertEqual(metadata, {"format": "pt", "model": "resnet20", "classes": "10", "image_size": "32", "step": str(STEPS),
                                    "scale": "inference"})

    # ---- --fold ----

    def assert_folded(self, name, ends, factor):
        """Tensors whose names match ends are multiplied, the others not."""
        self.export(name + ".h5", "plain.safetensors")
        self.assertIn(", branches times 1-p\n", self.export(name + ".h5", "fold.safetensors", "--fold").stdout)
        plain, before = read_safetensors(self.path("plain.safetensors"))
        folded, after = read_safetensors(self.path("fold.safetensors"))
        changed = 0
        for tensor, (_, _, values) in plain.items():
            end = re.match(ends, tensor)
            expected = [rounded(value * rounded(factor(end))) for value in values] if end else values
            self.assertEqual(folded[tensor][2], expected, tensor)
            changed += bool(end)
        self.assertEqual(after, {**before, "scale": "training", "folded": "true"})
        return changed

    def test_folded_resnet(self):
        ends = r"layer(\d)\.(\d)\.bn2\.(weight|bias)$"
        changed = self.assert_folded("run", ends, lambda end: 1 - 0.5 * (3 * int(end.group(1)) - 2 + int(end.group(2))) / 9)
        self.assertEqual(changed, 18)

    def test_folded_vit(self):
        ends = r"blocks\.(\d+)\.(attn\.proj|mlp\.fc2)\.(weight|bias)$"
        changed = self.assert_folded("vit", ends, lambda end: 1 - 0.5 * (int(end.group(1)) + 1) / 12)
        self.assertEqual(changed, 48)

    def test_folded_by_the_rates_of_plans_that_keep_enough(self):
        self.train("some", settings={"stochastic_depth.min_kept": 7, "train.max_steps": 1})
        shutil.copy(self.latest("some"), self.path("some.h5"))
        rates = self.column("some", "schedule.csv", "drop_rate", float)
        self.assertLess(rates[8], 0.45)  # a draw drops it at 0.5
        changed = self.assert_folded("some", r"layer(\d)\.(\d)\.bn2\.(weight|bias)$",
                                     lambda end: 1 - rates[3 * int(end.group(1)) - 3 + int(end.group(2))])
        self.assertEqual(changed, 18)
        _, metadata = read_safetensors(self.path("fold.safetensors"))
        self.assert_close([float(rate) for rate in metadata["rates"].split(",")], rates, 1e-14)

    def test_nothing_is_folded_where_branches_have_their_strength(self):
        for name, scale, tensors in (("trained", "training", 116), ("layers", "none", 152)):
            self.export(name + ".h5", "plain.safetensors")
            done = self.export(name + ".h5", "fold.safetensors", "--fold")
            self.assertRegex(done.stdout, r"^%s\.h5: .*scale = %s.* nothing is folded\nfold\.safetensors: %d tensors, \d+ parameters\n$" %
                             (name, scale, tensors))
            contents = []
            for file_name in ("plain", "fold"):
                with open(self.path(file_name + ".safetensors"), "rb") as file:
                    contents.append(file.read())
            self.assertEqual(*contents)
            _, metadata = read_safetensors(self.path("fold.safetensors"))
            self.assertEqual((metadata["scale"], metadata.get("folded")), (scale, None))

    def test_folded_weights_give_the_scores_of_an_evaluation(self):
        # No batch norm: one step that moves no parameter leaves the function as it is.
        expected = self.score(self.write_config("vit", {"optimizer.name": "adamw"}, TINY_VIT), "vit.h5")
        for words, is_equal in ((["--fold"], True), ([], False)):
            self.export("vit.h5", "out.safetensors", *words)
            name = "again%d" % is_equal
            still = {**STILL, "model.init": "out.safetensors", "stochastic_depth.scale": "training"}
            self.train(name, 1, still, TINY_VIT)
            score = self.score(self.write_config(name, still, TINY_VIT), self.latest(name))
            self.assertEqual(abs(score - expected) <= 2e-6, is_equal, (score, expected))  # printed to 1e-6

    def test_a_run_can_begin_with_it(self):
        self.export("run.h5", "out.safetensors")
        for name, init in (("direct", "run.h5"), ("by_file", "out.safetensors")):
            self.train(name, 2, {"model.init": init, "train.max_steps": 2})
        self.assert_same_state(self.latest("direct"), self.latest("by_file"))

    # ---- --onnx: what the file computes is unit/test_onnx.c's question ----

    def onnx(self, name):
        self.assertRegex(self.export(name + ".h5", "--onnx", "out.onnx").stdout, r"^out\.onnx: \d+ operations, \d+ parameters\n$")
        with open(self.path("out.onnx"), "rb") as file:
            return file.read()

    def test_onnx_branches_have_the_factors_of_an_evaluation(self):
        # A scalar initializer: its name (field 8) and its bytes (field 9, of length 4).
        factor = re.compile(rb"\x42.scale_\d+\.factor\x4a\x04(.{4})", re.DOTALL)
        for name, expected in (("run", [1 - 0.5 * block / 9 for block in range(1, 10)]), ("trained", []), ("layers", []),
                               ("vit", [1 - 0.5 * (unit // 2 + 1) / 12 for unit in range(24)])):
            with self.subTest(name):
                factors = [struct.unpack("<f", value)[0] for value in factor.findall(self.onnx(name))]
                self.assertEqual(factors, [rounded(value) for value in expected])

    def test_onnx_metadata_say_what_it_is(self):
        text = self.onnx("run")
        for key, value in (("model", "resnet20"), ("step", str(STEPS)), ("scale", "training"), ("folded", "true")):
            self.assertIn(b"\x0a%c%s\x12%c%s" % (len(key), key.encode(), len(value), value.encode()), text)
        for key in ("mean", "std"):
            found = re.search(rb"%s\x12.(\S+), (\S+), ([\d.]+)" % key.encode(), text, re.DOTALL)
            self.assert_close([float(value) for value in found.groups()], self.values("run.h5", "/data/" + key), 1e-8)

    # ---- refusals ----

    def test_wrong_use(self):
        for words, part in (((), "needs a checkpoint"), (("run.h5",), "needs a checkpoint"), (("run.h5", "vit.h5"), "vit.h5"),
                            (("run.h5", "a.safetensors", "b.safetensors"), "b.safetensors"), (("run.h5", "--flod"), "--flod"),
                            (("run.h5", ".safetensors"), ".safetensors"), (("run.h5", "--onnx"), "needs a checkpoint"),
                            (("run.h5", "vit.h5", "--onnx"), "vit.h5"), (("run.h5", "out.safetensors", "--onnx"), "ONNX"),
                            (("run.h5", "out.onnx"), "safetensors"), (("run.h5", "out.onnx", "--onnx", "--fold"), "--fold")):
            self.assertIn(part, self.export(*words, code=USAGE).stderr)
        with open(self.path("vit.h5"), "rb") as file:
            self.assertEqual(file.read(), self.made["vit"])

    def test_bad_files_leave_the_onnx_file_that_was_there(self):
        older = self.onnx("run")
        with open(self.path("bad.h5"), "wb") as file:
            file.write(self.made["vit"][:-1])
        self.export("bad.h5", "--onnx", "out.onnx", code=BAD_DATA)
        self.export("run.h5", "--onnx", "nowhere/out.onnx", code=harness.IO_ERROR)
        with open(self.path("out.onnx"), "rb") as file:
            self.assertEqual(file.read(), older)

    def test_bad_files_leave_what_was_there(self):
        with open(self.path("out.safetensors"), "w", encoding="utf-8") as file:
            file.write("older")
        with open(self.path("bad.h5"), "wb") as file:
            file.write(self.made["run"][:-1])
        self.assertIn("bad.h5: is cut", self.export("bad.h5", "out.safetensors", code=BAD_DATA).stderr)
        self.assertIn("No such file", self.export("missing.h5", "out.safetensors", code=NO_INPUT).stderr)
        self.assertIn("nowhere", self.export("run.h5", "nowhere/out.safetensors", code=harness.IO_ERROR).stderr)
        with open(self.path("out.safetensors"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "older")
        self.export("run.h5", "out.safetensors")
        self.assertEqual(len(read_safetensors(self.path("out.safetensors"))[0]), 116)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".part")], [])


if __name__ == "__main__":
    harness.main()
