# SPDX-License-Identifier: Apache-2.0
"""model.init: a new run begins with the weights of a file, to the bit, on all ranks; later starts never read it again."""
import json
import os
import random
import re
import struct

import harness
from harness import BAD_CONFIG, BAD_DATA, NO_INPUT, RunTest, TINY_VIT

# One step that moves no parameter.
STILL = {"train.max_steps": 1, "lr.base": 0, "stochastic_depth.rate": 0}


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape, bytes)}."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(content)]}
        end += len(content)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(content for _, _, content in tensors.values()))


def floats(shape, seed, positive=False):
    """Values that f32 holds exactly."""
    draw, n = random.Random(seed), 1
    for side in shape:
        n *= side
    return [draw.randrange(1 if positive else -64, 65) / 512 for _ in range(n)]


def packed(values):
    return struct.pack("<%df" % len(values), *values)


class InitTest(RunTest):
    def shapes(self, checkpoint):
        """Of all of /model: {name: shape}; () is a scalar."""
        shapes = {}
        for name, shape in re.findall(r"^(\S+)\s+Dataset \{(.*?)\}", self.tool("h5ls", checkpoint + "/model"), re.MULTILINE):
            shapes[name] = tuple(int(n) for n in re.findall(r"\d+", shape))
        self.assertGreater(len(shapes), 20)
        return shapes

    def make_file(self, name, base=None, other=(), prefix="", settings=None, without=()):
        """A file of random weights for a model of base; other: {name: shape} that differs; without: names that it lacks.
        Returns {name: values}."""
        run = "of_" + name.partition(".")[0]
        self.train(run, 1, {**STILL, **(settings or {})}, base)
        values, tensors = {}, {}
        for tensor, shape in {**self.shapes(self.latest(run)), **dict(other)}.items():
            if tensor in without:
                continue
            if tensor.endswith("num_batches_tracked"):
                tensors[prefix + tensor] = ("I64", [], struct.pack("<q", 77))
                continue
            values[tensor] = floats(shape, tensor, tensor.endswith("running_var"))
            tensors[prefix + tensor] = ("F32", list(shape), packed(values[tensor]))
        write_safetensors(self.path(name), tensors)
        return values

    def assert_parameters(self, run, values, but=()):
        """The run's checkpoint has these values; but: names that begin so. Running statistics have moved."""
        for name, expected in values.items():
            if "running" not in name and not name.startswith(tuple(but) or "\0"):
                self.assertEqual(self.values(self.latest(run), "/model/" + name), expected, name)

    def config(self, run):
        with open(self.run_path(run, "config.ini"), encoding="utf-8") as file:
            return dict(re.findall(r"^(\S+) = ?(.*)$", file.read(), re.MULTILINE))

    def assert_begun_from(self, run, file):
        """config.ini and /config hold path and digest. Returns the digest."""
        digest = self.config(run)["init_digest"]
        self.assertRegex(digest, "^[0-9a-f]{32}$")
        self.assertEqual(self.config(run)["init"], file)
        text = self.tool("h5dump", "-d", "/config", self.latest(run))
        self.assertIn("init = %s" % file, text)
        self.assertIn("init_digest = %s" % digest, text)
        return digest

    # ---- what a run begins with ----

    def test_safetensors(self):
        values = self.make_file("w.safetensors")
        for ranks in (1, 3):
            name = "ranks%d" % ranks
            result = self.train(name, ranks, {**STILL, "model.init": "w.safetensors"})
            self.assertRegex(result.err, r"model\.init: w\.safetensors \(XXH3-128 [0-9a-f]{32}\): (\d+) of \1 tensors adopted\n")
            self.assert_parameters(name, values)
            self.assert_begun_from(name, "w.safetensors")
            # One step of momentum 0.1 from the file's statistic: it is 0.9 of it and 0.1 of the batch's.
            before, after = values["bn1.running_var"], self.values(self.latest(name), "/model/bn1.running_var")
            self.assertTrue(all(b >= 0.9 * a - 1e-6 for a, b in zip(before, after)), (before, after))
            self.assertNotEqual(before, after)
        self.assertEqual(self.values(self.latest("ranks1"), "/model/bn1.num_batches_tracked"), [1])

    def test_prefixed_names_and_other_classes(self):
        values = self.make_file("w.safetensors", other={"fc.weight": (7, 64), "fc.bias": (7,)}, prefix="module.")
        result = self.train("run", 2, {**STILL, "model.init": "w.safetensors"})
        self.assertIn("the classifier keeps its initial values: the file has 7 classes, the network 10\n", result.err)
        self.assert_parameters("run", values, but=["fc."])
        self.train("fresh", 1, STILL)
        for name in ("fc.weight", "fc.bias"):
            self.assertEqual(*(self.values(self.latest(run), "/model/" + name) for run in ("run", "fresh")))

    def test_backbones(self):
        for kind, base, classifier in (("resnet", harness.TINY, "fc"), ("vit", TINY_VIT, "head")):
            with self.subTest(kind):
                names = ["%s.weight" % classifier, "%s.bias" % classifier]
                values = self.make_file(kind + ".safetensors", base, without=names)
                result = self.train(kind, 2, {**STILL, "model.init": kind + ".safetensors"}, base)
                self.assertIn("; the classifier keeps its initial values: the file has none\n", result.err)
                self.assert_parameters(kind, values)
                for name in names:
                    self.assertEqual(*(self.values(self.latest(run), "/model/" + name) for run in (kind, "of_" + kind)))

    def test_position_embeddings_of_another_size(self):
        values = self.make_file("w.safetensors", TINY_VIT, {"pos_embed": (1, 10, 192)})
        result = self.train("run", 2, {**STILL, "model.init": "w.safetensors"}, TINY_VIT)
        self.assertIn("; position embeddings resized from 3 x 3 to 2 x 2\n", result.err)
        self.assert_parameters("run", values, but=["pos_embed"])
        resized = self.values(self.latest("run"), "/model/pos_embed")
        self.assertEqual(resized[:192], values["pos_embed"][:192])
        self.assertEqual(len(resized), 5 * 192)

    def test_a_checkpoint(self):
        self.train("source", 2, {"run.seed": 3})
        source = os.path.relpath(self.latest("source"), self.folder)
        result = self.train("run", 2, {**STILL, "model.init": source})
        self.assertIn(" tensors adopted", result.err)
        self.assertEqual(result.warnings, [])
        for name in ("conv1.weight", "layer3.2.bn2.bias", "fc.bias"):
            self.assertTrue(self.equal_state(self.latest("source"), self.latest("run"), "/model/" + name), name)
        self.assert_begun_from("run", source)
        result = self.train("scaled", 1, {**STILL, "model.init": source, "stochastic_depth.scale": "training"})
        self.assertIn("scale = inference", result.warnings[0])
        result = self.train("layers", 1, {**STILL, "model.init": source, "stochastic_depth.scale": "none"})
        self.assertIn("scale = inference, and this run has none", result.warnings[0])
        result = self.train("again", 1, {**STILL, "model.init": self.latest("layers"), "stochastic_depth.scale": "training"})
        self.assertEqual(result.warnings, [])  # neither needs a factor at evaluation

    # ---- later starts ----

    def test_a_resume_does_not_read_it_and_keeps_its_name(self):
        self.make_file("w.safetensors")
        init = {"model.init": "w.safetensors"}
        self.train("undisturbed", settings=init)
        self.train("run", settings={**init, "train.max_steps": 3})
        os.remove(self.path("w.safetensors"))
        digest = self.assert_begun_from("run", "w.safetensors")
        result = self.train("run", settings=init)
        self.assertEqual(result.warnings, [])
        self.assert_same_run("run", "undisturbed")
        self.assertEqual(self.assert_begun_from("run", "w.safetensors"), digest)
        self.mpirun(2, "run.ini", "--check")
        self.mpirun(2, "run.ini", "--evaluate", self.latest("run"))

    def test_another_file_at_a_resume_is_a_warning(self):
        self.make_file("w.safetensors")
        self.train("run", settings={"model.init": "w.safetensors", "train.max_steps": 2})
        digest = self.assert_begun_from("run", "w.safetensors")
        os.remove(self.path("w.safetensors"))
        for i, (settings, warned) in enumerate((({"model.init": "moved/w.safetensors"}, True), ({}, True),
                                                ({"model.init": "moved/w.safetensors", "model.init_digest": digest}, False),
                                                ({"model.init": "w.safetensors", "model.init_digest": "0" * 32}, True))):
            result = self.train("run", settings={**settings, "train.max_steps": 3 + i})
            self.assertEqual(len(result.warnings), int(warned), result)
            if warned:
                self.assertIn("w.safetensors", result.warnings[0])
            self.assertEqual(self.assert_begun_from("run", "w.safetensors"), digest)

    # ---- refusals ----

    def fails(self, code, *parts, settings, base=None):
        """In training and in --check; no folder of a run is left."""
        for words in ((), ("--check",)):
            result = self.train("run", 2, {**STILL, **settings}, base, words, code)
            self.assert_error(result, *parts)
            self.assertFalse(os.path.exists(self.run_path("run", "config.ini")))
            self.assertFalse(os.path.exists(self.run_path("run", "checkpoints")))

    def test_check_says_what_is_adopted_and_writes_nothing(self):
        self.make_file("w.safetensors")
        result = self.train("run", 2, {**STILL, "model.init": "w.safetensors"}, words=["--check"])
        self.assertRegex(result.out, r"\nstart +from the beginning, with model\.init: w\.safetensors "
                                     r"\(XXH3-128 [0-9a-f]{32}\): (\d+) of \1 tensors adopted\n")
        self.assertFalse(os.path.exists(self.run_path("run")))

    def test_files_that_are_none(self):
        self.fails(NO_INPUT, "w.safetensors", "No such file", settings={"model.init": "w.safetensors"})
        os.mkdir(self.path("folder"))
        self.fails(BAD_DATA, "folder", "regular file", settings={"model.init": "folder"})
        for content, part in ((b"", "0 bytes"), (b"PK\x03\x04abcdefgh", "torch.save()"), (b"\x89HDF\r\n\x1a\n1234", "safetensors"),
                              (b"SDTRAIN\n1234", "is cut")):
            with open(self.path("w.st"), "wb") as file:
                file.write(content)
            self.fails(BAD_DATA, "w.st", part, settings={"model.init": "w.st"})

    def test_a_damaged_checkpoint(self):
        self.train("source", 1, STILL)
        with open(self.latest("source"), "rb") as file:
            content = bytearray(file.read())
        content[len(content) // 2] ^= 1
        with open(self.path("bad.h5"), "wb") as file:
            file.write(content)
        self.fails(BAD_DATA, "bad.h5", "is altered", settings={"model.init": "bad.h5"})

    def test_another_model(self):
        self.make_file("w.safetensors", settings={"model.name": "resnet32"})
        self.fails(BAD_DATA, "w.safetensors", "unexpected: layer1.3.bn1.bias, layer1.3.bn1.num_batches_tracked, "
                   "layer1.3.bn1.running_mean and 69 more", settings={"model.init": "w.safetensors"})
        self.make_file("small.safetensors")
        self.fails(BAD_DATA, "small.safetensors", "missing: ", " more", settings={
            "model.init": "small.safetensors", "model.name": "resnet32"})
        self.make_file("vit.safetensors", TINY_VIT)
        self.fails(BAD_DATA, "patch_embed.proj.weight is F32 [192, 3, 8, 8], where F32 [192, 3, 4, 4] is expected", settings={
            "model.init": "vit.safetensors", "model.patch_size": 4}, base=TINY_VIT)

    def test_values_that_are_not_finite(self):
        values = self.make_file("w.safetensors")
        tensors = {name: ("F32", list(shape), packed(values[name])) for name, shape in self.shapes(self.latest("of_w")).items()
                   if name in values}
        tensors["bn1.bias"] = ("F32", [16], packed([0] * 5 + [float("nan")] + [0] * 10))
        write_safetensors(self.path("w.safetensors"), tensors)
        self.fails(BAD_DATA, "w.safetensors", "bn1.bias: value 5 is ", "nan", settings={"model.init": "w.safetensors"})

    def test_the_digest_of_another_file(self):
        self.make_file("w.safetensors")
        self.train("first", 1, {**STILL, "model.init": "w.safetensors"})
        digest = self.config("first")["init_digest"]
        self.train("second", 1, {**STILL, "model.init": "w.safetensors", "model.init_digest": digest})
        other = digest[::-1]
        self.assertNotEqual(digest, other)
        self.fails(BAD_DATA, digest, other, settings={"model.init": "w.safetensors", "model.init_digest": other})
        for bad in ("abc", digest.upper() + "0", "g" * 32):
            self.fails(BAD_CONFIG, "model.init_digest", settings={"model.init": "w.safetensors", "model.init_digest": bad})
        self.fails(BAD_CONFIG, "model.init_digest", settings={"model.init_digest": digest})

    def test_a_run_of_config_ini_is_the_same_run(self):
        self.make_file("w.safetensors")
        self.train("run", 2, {"model.init": "w.safetensors", "train.max_steps": 4})
        with open(self.run_path("run", "config.ini"), encoding="utf-8") as file:
            text = file.read()
        with open(self.path("again.ini"), "w", encoding="utf-8") as file:
            file.write(text.replace("name = run\n", "name = again\n", 1))
        self.mpirun(2, "again.ini")
        self.assert_same_state(self.latest("run"), self.latest("again"))
        with open(self.path("w.safetensors"), "ab") as file:
            file.write(b"\0")
        result = self.mpirun(2, "again.ini", "--set", "run.name=third", code=BAD_DATA)
        self.assert_error(result, "w.safetensors")


if __name__ == "__main__":
    harness.main()
