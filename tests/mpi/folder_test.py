# SPDX-License-Identifier: Apache-2.0
"""data.dataset = folder: images in folders that are classes."""
import os
import re
import struct
import zlib

import harness
from harness import BAD_CONFIG, BAD_DATA, NO_INPUT, RunTest, write_images

# 60 images in batches of 12.
FOLDER = {
    **harness.TINY,
    "data.dataset": "folder",
    "data.path": "images",
    "data.image_size": 32,
    "data.train_samples": 0,
    "data.val_samples": 0,
    "train.batch_size": 12,
}


def pixels(path):
    """Of a PNG of write_png()."""
    with open(path, "rb") as file:
        data = file.read()
    width, height = struct.unpack(">II", data[16:24])
    length = struct.unpack(">I", data[33:37])[0]
    rows = zlib.decompress(data[41:41 + length])
    return b"".join(rows[(3 * width + 1) * y + 1:(3 * width + 1) * (y + 1)] for y in range(height))


class FolderTest(RunTest):
    def images(self, split):
        """Paths in the order of a listing."""
        found = []
        for folder, folders, files in os.walk(self.path("images", split)):
            folders.sort()
            found += [os.path.join(folder, file) for file in sorted(files)]
        return found

    def damage(self, *paths):
        for path in paths:
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)

    def bad_images(self, run):
        with open(self.run_path(run, "bad_images.txt"), encoding="utf-8") as file:
            return file.read()

    def write_cifar10_of(self, folder):
        """The same pixels in CIFAR-10's binary files, in the same order."""
        os.makedirs(self.path(folder))
        train, test = self.images("train"), self.images("val")
        parts = [train[12 * i:12 * (i + 1)] for i in range(5)] + [test]
        for part, name in zip(parts, ["data_batch_%d.bin" % i for i in range(1, 6)] + ["test_batch.bin"]):
            with open(self.path(folder, name), "wb") as file:
                for path in part:
                    rgb = pixels(path)
                    file.write(bytes([int(os.path.basename(os.path.dirname(path))[-2:])]) +
                               b"".join(rgb[c::3] for c in range(3)))

    def assert_same_training(self, run, other):
        """On other numbers of ranks, with reduction = reproducible."""
        self.assert_same_state(self.latest(run), self.latest(other))
        for column in ("step", "loss", "accuracy", "kept"):
            self.assertEqual(self.column(run, "steps.csv", column), self.column(other, "steps.csv", column))
        for column in ("val_loss", "val_accuracy"):
            self.assertEqual(self.column(run, "epochs.csv", column), self.column(other, "epochs.csv", column))

    def test_it_trains_as_the_binary_files_of_the_same_pixels(self):
        write_images(self.path("images"))
        self.write_cifar10_of("binary")
        for augment in ("none", "crop_flip", "resized_crop"):
            with self.subTest(augment=augment):
                settings = {"data.augment": augment, "data.normalise": "dataset", "eval.train_samples": 30}
                self.train("folder_" + augment, 2, settings, FOLDER)
                self.train("binary_" + augment, 2, {**settings, "data.dataset": "cifar10", "data.path": "binary"},
                           FOLDER)
                self.assert_same_run("folder_" + augment, "binary_" + augment)
                self.assert_same_state(self.latest("folder_" + augment), self.latest("binary_" + augment),
                                       ("/model", "/optimizer", "/data/mean", "/data/std", "/data/images",
                                        "/data/samples"))

    def test_ranks_and_workers_do_not_matter_and_images_may_have_any_size(self):
        write_images(self.path("images"), size=lambda i: (17 + i % 40, 23 + (7 * i) % 50))
        settings = {"data.image_size": 24, "data.augment": "resized_crop", "data.interpolation": "bicubic",
                    "communication.reduction": "reproducible", "communication.shards": 4}
        for run, ranks, workers in (("one", 1, 1), ("two", 2, 4), ("four", 4, 1)):
            self.train(run, ranks, {**settings, "data.workers": workers}, FOLDER)
        self.assert_same_training("one", "two")
        self.assert_same_training("one", "four")
        self.train("other", 1, {**settings, "data.interpolation": "bilinear"}, FOLDER)
        self.assertFalse(self.equal_state(self.latest("one"), self.latest("other"), "/model"))

    def test_classes_are_named_and_an_evaluation_scores_what_training_scored(self):
        write_images(self.path("images"), classes=3, train=20, test=5)
        self.train("run", 2, None, FOLDER)
        with open(self.run_path("run", "classes.txt"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "class_00\nclass_01\nclass_02\n")
        self.assertIn("class_01", self.tool("h5dump", "-d", "/data/classes", self.latest("run")))
        self.assertEqual(self.values(self.latest("run"), "/data/samples"), [32, 3])
        self.assertEqual(self.values(self.latest("run"), "/data/mean"), [0.48500001430511475, 0.45600000023841858,
                                                                         0.40599998831748962])
        result = self.mpirun(1, "run.ini", "--evaluate", self.latest("run"))
        scored = re.search(r"top1=(\S+) top5=(\S+) images=15", result.out)
        self.assertAlmostEqual(float(scored.group(1)), float(self.rows("run", "epochs.csv")[-1]["val_accuracy"]), 5)

    def test_a_damaged_image_ends_the_run_by_name(self):
        write_images(self.path("images"))
        bad = self.images("train")[17]
        self.damage(bad)
        self.assert_error(self.train("run", 2, None, FOLDER, code=BAD_DATA), "images/train/class_02/005.png")
        os.unlink(bad)
        self.mpirun(2, "run.ini", "--set", "run.name=without", "--set", "train.batch_size=8")

    def test_with_skip_damaged_images_are_listed_whatever_ranks_and_stops_there_were(self):
        write_images(self.path("images"))
        bad = self.images("train")[7::11] + self.images("val")[3::7]
        self.damage(*bad)
        settings = {"data.on_bad_image": "skip", "communication.reduction": "reproducible", "communication.shards": 4}
        for run, ranks in (("one", 1), ("two", 2)):
            self.train(run, ranks, {**settings, "data.workers": ranks}, FOLDER)
            lines = self.bad_images(run).splitlines()
            self.assertEqual(sorted(os.path.relpath(path, self.folder) for path in bad),
                             [line.split(": ")[0] for line in lines])
            self.assertIn("cut short", lines[0])
        self.assert_same_training("one", "two")
        # 3 of 20 test images are bad: accuracies are seventeenths.
        accuracy = float(self.rows("one", "epochs.csv")[-1]["val_accuracy"]) * 17
        self.assertAlmostEqual(accuracy, round(accuracy), 5)

        self.train("parts", 2, {**settings, "train.max_steps": 3}, FOLDER)
        self.assertLess(len(self.bad_images("parts").splitlines()), len(bad))
        self.mpirun(1, "parts.ini", "--set", "train.max_steps=0")
        self.assert_same_state(self.latest("one"), self.latest("parts"))
        self.assertEqual(self.bad_images("one"), self.bad_images("parts"))

    def test_a_folder_that_has_changed_is_refused_on_resume(self):
        write_images(self.path("images"))
        self.train("run", 2, {"train.max_steps": 2}, FOLDER)
        last = self.images("train")[-1]
        os.rename(last, last.replace(".png", "x.png"))
        result = self.mpirun(2, "run.ini", "--set", "train.max_steps=0", code=BAD_DATA)
        self.assert_error(result, "names, lengths or order of the files")
        os.rename(last.replace(".png", "x.png"), last)
        self.mpirun(1, "run.ini", "--set", "train.max_steps=0")

    def test_what_is_no_such_folder_is_refused(self):
        self.assert_error(self.train("gone", 2, None, FOLDER, code=NO_INPUT), "images")
        os.makedirs(self.path("images"))
        self.assert_error(self.train("empty", 2, None, FOLDER, code=BAD_DATA), "images")
        write_images(self.path("images"), classes=3)
        self.assert_error(self.train("classes", 2, {"model.classes": 4}, FOLDER, code=BAD_CONFIG), "model.classes", "3")
        self.assert_error(self.train("norm", 2, {"data.normalise": "0.5,0.5"}, FOLDER, code=BAD_CONFIG),
                          "data.normalise")


if __name__ == "__main__":
    harness.main()
