# SPDX-License-Identifier: Apache-2.0
"""sdtrain predict: what an evaluation says of each image, in order, whatever else is asked for and whatever is damaged.

The tools and the program that alters sealed files (alter.c) are named by the environment: SD_SDTRAIN, SD_ALTER.
"""
import collections
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

import harness
from harness import BAD_CONFIG, BAD_DATA, IO_ERROR, NO_INPUT, OK, USAGE, RunTest, TINY, TINY_VIT, write_images

HEADER = ["path", "rank", "class", "label", "probability"]
NAMES = ['an "awkward", name', "plain", "\u00e4\u732b", "z" * 40]  # in the order of their bytes in UTF-8
NAMES.sort(key=lambda name: name.encode())

FOLDER = {
    **TINY,
    "data.dataset": "folder",
    "data.path": "images",
    "data.image_size": 24,
    "data.train_samples": 0,
    "data.val_samples": 0,
    "train.batch_size": 12,
    "train.epochs": 4,
}
RUNS = {
    # The centre of resized images, branches scaled by 1 - p, and figures of the data set.
    "resnet": {**FOLDER, "data.interpolation": "bicubic", "data.crop_pct": 0.8, "data.normalise": "dataset"},
    # Branches scaled in training, images decided apart, no batch norm.
    "vit": {**FOLDER, "model.name": "vit_tiny", "model.patch_size": 8, "lr.base": 0.001, "optimizer.name": "adamw",
            "stochastic_depth.scale": "training", "stochastic_depth.scope": "sample", "data.normalise": "half"},
}


def size_of(i):
    return 17 + i % 40, 23 + (7 * i) % 50


class PredictTest(RunTest):
    made = None  # a folder with images, and the checkpoints of RUNS; made once
    scores = {}  # of --evaluate

    @classmethod
    def tearDownClass(cls):
        if cls.made:
            shutil.rmtree(cls.made, ignore_errors=True)

    def setUp(self):
        super().setUp()
        if self.made:
            shutil.rmtree(self.folder)
            shutil.copytree(self.made, self.folder)
            return
        write_images(self.path("images"), classes=len(NAMES), train=12, test=10, size=size_of)
        for split in ("train", "val"):
            for label, name in enumerate(NAMES):
                os.rename(self.path("images", split, "class_%02d" % label), self.path("images", split, name))
        for name, settings in RUNS.items():
            self.train(name, 1, settings)
            result = self.mpirun(1, name + ".ini", "--evaluate", self.latest(name))
            PredictTest.scores[name] = re.search(r"top1=(\S+) top5=(\S+) images=(\d+)", result.out).groups()
            shutil.copy(self.latest(name), self.path(name + ".h5"))
        shutil.rmtree(self.path("runs"))
        PredictTest.made = self.folder + "-made"
        shutil.copytree(self.folder, self.made)

    def predict(self, *words, code=OK, **env):
        """Bytes, as names of files are."""
        done = subprocess.run([os.environ["SD_SDTRAIN"], "predict", *words], cwd=self.folder, capture_output=True,
                              timeout=harness.LIMIT_SECONDS, check=False, env={**harness.environment(), **env})
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        if code == OK:
            self.assertEqual(done.stderr, b"")
        return done

    def csv(self, *words, code=OK, **env):
        """{path: its rows} in order; paths with surrogates for bytes that are no UTF-8."""
        text = self.predict(*words, "--csv", code=code, **env).stdout.decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(rows.pop(0), HEADER)
        images = collections.OrderedDict()
        for row in rows:
            self.assertEqual(len(row), len(HEADER))
            images.setdefault(row[0], []).append(dict(zip(HEADER, row)))
        for rows in images.values():
            self.assertEqual([int(row["rank"]) for row in rows], list(range(1, len(rows) + 1)))
            probabilities = [float(row["probability"]) for row in rows]
            self.assertEqual(probabilities, sorted(probabilities, reverse=True))
            self.assertTrue(0 <= min(probabilities) and max(probabilities) <= 1)
        return images

    def validation(self):
        """Paths in the order in which a folder is walked: by folder, then by name, each by its bytes."""
        return [os.path.join("images/val", name, "%03d.png" % i) for name in NAMES for i in range(10)]

    def cut(self, path):
        with open(self.path(path), "r+b") as file:
            file.truncate(os.path.getsize(self.path(path)) // 2)

    def write(self, name, content):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(content)

    # ---- what is predicted ----

    def test_accuracy_is_that_of_an_evaluation(self):
        for run in RUNS:
            with self.subTest(run=run):
                top1, top5, n = self.scores[run]
                images = self.csv(run + ".h5", "images/val")
                self.assertEqual(list(images), self.validation())
                self.assertEqual(len(images), int(n))
                right = sum(rows[0]["class"] == os.path.basename(os.path.dirname(path)) for path, rows in images.items())
                self.assertEqual("%.6f" % (right / len(images)), top1)
                self.assertEqual(top5, "1.000000")  # of four classes
                self.assertGreater(right, len(images) // 4, "it has learned nothing, so this compares little")

    def test_all_classes_are_named_and_their_probabilities_are_one_together(self):
        for rows in self.csv("resnet.h5", "images/val", "--top", "9").values():
            self.assertEqual(len(rows), len(NAMES))
            self.assertEqual({int(row["label"]): row["class"] for row in rows}, dict(enumerate(NAMES)))
            self.assertLess(abs(sum(float(row["probability"]) for row in rows) - 1), 1e-7)
        for top in (1, 2):
            for rows in self.csv("resnet.h5", "images/val", "--top", str(top)).values():
                self.assertEqual(len(rows), top)

    def test_an_image_has_its_probabilities_whatever_else_is_predicted(self):
        """Which batch it lies in changes roundings only."""
        for run in RUNS:
            with self.subTest(run=run):
                together = self.csv(run + ".h5", "images/val")
                for path in self.validation()[::9]:
                    for alone in (self.csv(run + ".h5", path), self.csv(run + ".h5", path, *self.validation()[1:3])):
                        a, b = ({row["label"]: float(row["probability"]) for row in rows[path]}
                                for rows in (alone, together))
                        self.assertEqual(a.keys(), b.keys())
                        for label in a:
                            self.assertLessEqual(abs(a[label] - b[label]), 1e-6)

    def test_threads_do_not_matter_and_instruction_sets_hardly(self):
        one = self.predict("resnet.h5", "images/val", "--csv", "--threads", "1").stdout
        for threads in ("2", "5"):
            self.assertEqual(self.predict("resnet.h5", "images/val", "--csv", "--threads", threads).stdout, one)
        plain, ref = self.csv("resnet.h5", "images/val"), self.csv("resnet.h5", "images/val", SD_ISA="ref")
        for path, rows in plain.items():
            probability = {row["label"]: float(row["probability"]) for row in ref[path]}
            for row in rows:
                self.assertLess(abs(float(row["probability"]) - probability[row["label"]]), 1e-3)
        self.assertIn(b"SD_ISA", self.predict("resnet.h5", "images", code=BAD_CONFIG, SD_ISA="mmx").stderr)

    def test_classes_without_names_are_numbers(self):
        self.train("synthetic", 1, {"train.max_steps": 2}, {**TINY_VIT, "data.image_size": 32})
        shutil.copy(self.latest("synthetic"), self.path("synthetic.h5"))
        for rows in self.csv("synthetic.h5", "images/val", "--top", "10").values():
            self.assertEqual(sorted(row["class"] for row in rows), [str(label) for label in range(10)])
            self.assertEqual([row["class"] for row in rows], [row["label"] for row in rows])
        objects = json.loads(self.predict("synthetic.h5", "images/val", "--json").stdout)
        self.assertTrue(all(p["class"] == str(p["label"]) for image in objects for p in image["predictions"]))

    # ---- what it is asked for ----

    def test_the_order_is_that_of_the_inputs(self):
        paths = self.validation()
        inputs = [paths[30], "./" + paths[3], "images/val/plain/", paths[30], self.path(paths[1])]
        plain = ["images/val/plain/%03d.png" % i for i in range(10)]
        objects = json.loads(self.predict("resnet.h5", *inputs, "--json").stdout)
        self.assertEqual([image["path"] for image in objects], inputs[:2] + plain + inputs[3:])
        self.assertEqual(objects[0], objects[-2])
        os.link(self.path(paths[2]), self.path("-top.dat"))  # an image by what it holds
        dashed, same = json.loads(self.predict("--json", "resnet.h5", "--", "-top.dat", paths[2]).stdout)
        self.assertEqual((dashed["path"], dashed["predictions"]), ("-top.dat", same["predictions"]))

    def test_a_folder_is_walked_and_what_is_no_image_by_its_name_is_passed_by(self):
        source = self.path(self.validation()[0])
        for name in ("b/2.PNG", "b/10.png", "b c/x.jpeg", "a.JPG", ".hidden/.y.png", "b/c/d/e/deep.png"):
            os.makedirs(os.path.dirname(self.path("walk", name)), exist_ok=True)
            shutil.copy(source, self.path("walk", name))
        for name in ("walk/readme.txt", "walk/b/labels.csv", "walk/b/png", "walk/png.gz"):
            self.write(name, b"no image")
        os.symlink(self.path("walk/b c"), self.path("walk/linked"))
        os.symlink("nowhere", self.path("walk/dangling"))
        images = self.csv("resnet.h5", "walk")
        self.assertEqual(list(images), ["walk/" + name for name in (
            "a.JPG", ".hidden/.y.png", "b/10.png", "b/2.PNG", "b c/x.jpeg", "b/c/d/e/deep.png", "linked/x.jpeg")])

    def test_links_in_circles_are_named_and_not_followed(self):
        os.makedirs(self.path("walk/a/b"))
        shutil.copy(self.path(self.validation()[0]), self.path("walk/a/x.png"))
        os.symlink("../..", self.path("walk/a/b/up"))
        os.symlink(".", self.path("walk/a/self"))
        os.symlink("itself", self.path("walk/itself"))
        images = subprocess.run([os.environ["SD_SDTRAIN"], "predict", "resnet.h5", "walk"], cwd=self.folder, text=True,
                                capture_output=True, timeout=60, check=False, env=harness.environment())
        self.assertEqual(images.returncode, OK, images.stderr)
        self.assertEqual(images.stdout.count("\n"), 1)
        self.assertIn("walk/a/b/up: a link leads back to walk", images.stderr)
        self.assertIn("walk/a/self: a link leads back to walk/a", images.stderr)

    def test_paths_are_what_they_are(self):
        source = self.path(self.validation()[0])
        names = ['with "quotes".png', "new\nline.png", "carriage\rreturn.png", "comma,.png", "\u00e4\u732b.png",
                 "back\\slash.png", "\x1b[31mred.png", "tab\t.png", " .png"]
        for name in names + [os.fsdecode(b"latin\xe4\xff.png"), "c1\u0085.png"]:
            os.makedirs(self.path("odd"), exist_ok=True)
            shutil.copy(source, self.path("odd", name))
        expected = sorted(("odd/" + name for name in os.listdir(self.path("odd"))), key=os.fsencode)
        images = self.csv("resnet.h5", "odd")
        self.assertEqual(list(images), expected)
        objects = json.loads(self.predict("resnet.h5", "odd", "--json").stdout.decode("utf-8"))
        replaced = [os.fsencode(path).decode("utf-8", "replace") for path in expected]
        self.assertEqual([image["path"] for image in objects], replaced)
        lines = self.predict("resnet.h5", "odd").stdout.decode("utf-8").splitlines()
        self.assertEqual(len(lines), len(expected))
        for line in lines:
            self.assertTrue(line.isprintable(), repr(line))
        self.assertEqual(len({line.index(" %") for line in lines}), 1, "columns are not aligned")
        classes = [image["predictions"][0]["class"] for image in objects]
        self.assertEqual(set(classes) - set(NAMES), set())

    def test_formats_say_the_same(self):
        images = self.csv("resnet.h5", "images/val", "--top", "3")
        objects = json.loads(self.predict("resnet.h5", "images/val", "--top", "3", "--json").stdout)
        self.assertEqual([image["path"] for image in objects], list(images))
        lines = self.predict("resnet.h5", "images/val", "--top", "3").stdout.decode().splitlines()
        self.assertEqual(len(lines), len(images))
        for line, image, (path, rows) in zip(lines, objects, images.items()):
            self.assertEqual([(str(p["label"]), p["class"], "%.9g" % p["probability"]) for p in image["predictions"]],
                             [(row["label"], row["class"], row["probability"]) for row in rows])
            shown = path + "".join(" %s %.1f %%" % (row["class"], 100 * float(row["probability"])) for row in rows)
            self.assertEqual(re.sub(" +", " ", line), shown)

    # ---- what goes wrong ----

    def test_bad_images_are_named_and_the_others_go_on(self):
        good = self.csv("resnet.h5", "images/val")
        bad = self.validation()[3:35:7]
        for path in bad[:3]:
            self.cut(path)
        self.write(bad[3], b"RIFF\x10\0\0\0WEBPVP8 ")
        self.write(bad[4], b"")
        self.write("images/val/plain/other.webp", b"RIFF\x10\0\0\0WEBPVP8 ")
        os.mkfifo(self.path("images/val/plain/pipe.png"))
        bad += ["images/val/plain/other.webp", "images/val/plain/pipe.png"]
        done = self.predict("resnet.h5", "images/val", code=BAD_DATA).stderr.decode()
        self.assertEqual(done.count("\n"), len(bad), done)
        for path in bad:
            self.assertIn("sdtrain: %s: " % path, done)
        self.assertEqual(done.count("WebP"), 2)
        images = self.csv("resnet.h5", "images/val", code=BAD_DATA)
        self.assertEqual(images, {path: rows for path, rows in good.items() if path not in bad})
        objects = json.loads(self.predict("resnet.h5", "images/val", "--json", code=BAD_DATA).stdout)
        self.assertEqual({image["path"] for image in objects if "error" in image}, set(bad))
        for image in objects:
            self.assertEqual(sorted(image), ["error", "path"] if image["path"] in bad else ["path", "predictions"])
            self.assertFalse(image.get("error", "").startswith("images"), image)

    def test_all_images_of_a_batch_may_be_bad(self):
        for path in self.validation():
            self.cut(path)
        objects = json.loads(self.predict("resnet.h5", "images/val", "--json", code=BAD_DATA).stdout)
        self.assertEqual([sorted(image) for image in objects], [["error", "path"]] * 40)

    def test_missing_inputs_are_named_and_the_others_go_on(self):
        path = self.validation()[0]
        os.mkdir(self.path("empty"))
        os.symlink("nowhere", self.path("dangling.png"))
        for missing in ("missing.png", "no/folder/", "dangling.png", "empty", "x" * 300, "x/" * 2200 + "y.png", path + "/x"):
            with self.subTest(missing=missing[:20]):
                done = self.predict("resnet.h5", missing, path, code=NO_INPUT)
                self.assertEqual(done.stdout.count(b"\n"), 1)
                self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
                self.assertIn(missing[:80].encode(), done.stderr)
        self.cut(path)
        for inputs in ((path, "missing.png"), ("missing.png", path), ("empty", path)):
            self.predict("resnet.h5", *inputs, code=BAD_DATA)
        self.assertEqual(json.loads(self.predict("resnet.h5", "empty", "--json", code=NO_INPUT).stdout), [])
        self.assertEqual(self.csv("resnet.h5", "empty", code=NO_INPUT), {})

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_what_may_not_be_read_is_named_and_the_others_go_on(self):
        os.chmod(self.path("images/val/plain"), 0)
        self.addCleanup(os.chmod, self.path("images/val/plain"), 0o755)
        os.chmod(self.path(self.validation()[0]), 0)
        images = self.csv("resnet.h5", "images/val", code=NO_INPUT)
        self.assertEqual(list(images), [path for path in self.validation()[1:] if "/plain/" not in path])

    def test_a_network_whose_output_overflows_is_said(self):
        for feature in range(64):  # of class 0; they are not negative
            self.tool(os.environ["SD_ALTER"], "resnet.h5", "set", "/model/fc.weight", str(feature), "3.4e38")
        done = self.predict("resnet.h5", "images/val", "--json", code=BAD_DATA)
        self.assertTrue(all("not finite" in image["error"] for image in json.loads(done.stdout)))

    def test_checkpoints_that_cannot_be_used(self):
        for change, code, part in (("flip", BAD_DATA, "XXH3"), ("remove", NO_INPUT, "No such file"),
                                   (("remove", "/model/fc.bias"), BAD_DATA, "fc.bias"),
                                   (("text", "/data/classes", "one\ntwo\n"), BAD_DATA, "2 classes"),
                                   (("text", "/config", "[model]\nname = vgg\n"), BAD_DATA, "/config")):
            with self.subTest(change=change):
                shutil.copy(os.path.join(self.made, "resnet.h5"), self.path("bad.h5"))
                if change == "remove":
                    os.unlink(self.path("bad.h5"))
                elif change == "flip":
                    with open(self.path("bad.h5"), "r+b") as file:
                        file.seek(5000)
                        file.write(b"other bytes")
                else:
                    self.tool(os.environ["SD_ALTER"], "bad.h5", *change)
                done = self.predict("bad.h5", "images/val", "--csv", code=code)
                self.assertEqual(done.stdout, b"")
                self.assertRegex(done.stderr.decode(), r"^sdtrain: error: [^\n]*%s[^\n]*\n$" % part)

    def test_wrong_words(self):
        for words in ((), ("resnet.h5",), ("resnet.h5", "images", "--all"), ("resnet.h5", "images", "--top"),
                      ("resnet.h5", "images", "--top", "0"), ("resnet.h5", "images", "--top", "five"),
                      ("resnet.h5", "images", "--top", "99999999999999999999"), ("resnet.h5", "images", "--threads", "-1"),
                      ("resnet.h5", "images", "--csv", "--json"), ("--", "resnet.h5")):
            done = self.predict(*words, code=USAGE)
            self.assertRegex(done.stderr.decode(), r"^sdtrain: error: [^\n]+\n$")
            self.assertEqual(done.stdout, b"")

    # ---- standard output ----

    def test_a_reader_that_leaves_ends_it_without_a_word(self):
        for form in ((), ("--csv",), ("--json",)):
            words = [os.environ["SD_SDTRAIN"], "predict", "resnet.h5", *["images"] * 100, *form]
            for ignored in (False, True):  # by whoever started it
                with self.subTest(form=form, ignored=ignored):
                    run = subprocess.Popen(words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           env=harness.environment(), restore_signals=not ignored)
                    self.assertTrue(run.stdout.readline())
                    run.stdout.close()
                    self.assertEqual(run.stderr.read(), b"")
                    run.stderr.close()
                    self.assertEqual(run.wait(60), -signal.SIGPIPE)

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([os.environ["SD_SDTRAIN"], "predict", "resnet.h5", "images"], cwd=self.folder,
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, IO_ERROR, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    harness.main()
