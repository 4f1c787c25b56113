# SPDX-License-Identifier: Apache-2.0
"""sdtrain pack and data.dataset = hdf5: the file trains as its source does, or is not there."""
import os
import random
import resource
import signal
import subprocess
import time
import unittest

import harness
from harness import BAD_CONFIG, BAD_DATA, IO_ERROR, NO_INPUT, OK, RunTest, STOPPED, USAGE, write_images

FOLDER = {
    **harness.TINY,
    "data.dataset": "folder",
    "data.path": "images",
    "data.image_size": 24,
    "data.normalise": "dataset",
    "data.train_samples": 0,
    "data.val_samples": 0,
    "eval.train_samples": 30,
    "train.batch_size": 12,
}
PACKED = {**FOLDER, "data.dataset": "hdf5", "data.path": "set.h5"}


class PackedTest(RunTest):
    def sdtrain(self, *words, code=OK, limit=60, before=None):
        done = subprocess.run([os.environ["SD_SDTRAIN"], *words], cwd=self.folder, capture_output=True, text=True, timeout=limit,
                              check=False, env=harness.environment(), preexec_fn=before)
        self.assertEqual(done.returncode, code, "%s\n%s%s" % (words, done.stdout, done.stderr))
        return done

    def pack(self, *options, source="images", code=OK, **keywords):
        return self.sdtrain("pack", source, "set.h5", *options, code=code, **keywords)

    def assert_nothing_is_left(self):
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("set.h5")], [])

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)

    def assert_same_training(self, run, other):
        self.assert_same_run(run, other)
        found = self.sdtrain("diff", self.latest(run), self.latest(other), code=1).stdout
        self.assertIn("first difference: /data/hash", found)  # which is of the files
        self.assertRegex(found, r"different: 1 of \d+ values in 1 of")
        self.assert_same_state(self.latest(run), self.latest(other), ("/model", "/optimizer", "/data/mean", "/data/std",
                                                                      "/data/images", "/data/samples", "/data/classes"))

    # ---- training ----

    def test_it_trains_as_the_folder_does(self):
        write_images(self.path("images"), size=lambda i: (17 + i % 40, 23 + (7 * i) % 50))
        self.assertRegex(self.pack().stdout, r"60 training and 20 test images in 10 classes, encoded, .* verified")
        for ranks in (1, 2):
            for augment, workers in (("none", 1), ("resized_crop", 4)):
                with self.subTest(ranks=ranks, augment=augment):
                    settings, name = {"data.augment": augment, "data.workers": workers}, "%s_%d" % (augment, ranks)
                    self.train("folder_" + name, ranks, settings, FOLDER)
                    self.train("packed_" + name, ranks, settings, PACKED)
                    self.assert_same_training("folder_" + name, "packed_" + name)
        result = self.mpirun(1, "packed_none_1.ini", "--evaluate", self.latest("packed_none_1"))
        self.assertRegex(result.out, "images=20")
        self.sdtrain("verify", self.latest("packed_none_1"))
        with open(self.run_path("packed_none_1", "classes.txt"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "".join("class_%02d\n" % c for c in range(10)))

    def test_decoded_pixels_train_as_the_folder_does_and_auto_is_dataset(self):
        write_images(self.path("images"))
        self.assertRegex(self.pack("--decoded").stdout, "of 32 x 32 pixels in 10 classes, decoded")
        own = {"data.image_size": 0, "data.augment": "crop_flip"}
        self.train("folder", 2, {**own, "data.image_size": 32}, FOLDER)
        self.train("packed", 2, {**own, "data.normalise": "auto"}, PACKED)
        self.assert_same_training("folder", "packed")

    def test_parts_of_it_train_as_the_same_parts_of_the_folder(self):
        write_images(self.path("images"), size=lambda i: (17 + i % 40, 23 + (7 * i) % 50))
        self.pack()
        self.train("whole", 1, None, PACKED)
        for name, part in (("held_out", {"data.validation": 20}), ("first", {"data.train_samples": 36}),
                           ("both", {"data.validation": 10, "data.train_samples": 30})):
            with self.subTest(part=name):
                self.train("folder_" + name, 2, part, FOLDER)
                self.train("packed_" + name, 2, {**part, "data.normalise": "auto"}, PACKED)
                self.assert_same_training("folder_" + name, "packed_" + name)
                self.assertFalse(self.equal_state(self.latest("whole"), self.latest("packed_" + name), "/data/mean"))

    def test_a_resume_goes_on_and_refuses_another_set(self):
        write_images(self.path("images"))
        self.pack()
        self.train("whole", 2, None, PACKED)
        self.train("parts", 2, {"train.epochs": 1}, PACKED)
        self.train("parts", 1, {"train.epochs": 2}, PACKED)
        self.assertEqual(self.column("whole", "epochs.csv", "epoch"), self.column("parts", "epochs.csv", "epoch"))
        write_images(self.path("images"), size=lambda i: (31, 32))
        self.pack()
        result = self.train("parts", 1, {"train.epochs": 3}, PACKED, code=BAD_DATA)
        self.assertIn("was trained on other data", result.errors[0])

    def test_bad_files_end_a_run_with_what_to_do(self):
        write_images(self.path("images"), classes=2)
        self.pack()
        good = self.read("set.h5")
        for content, word in ((good[:-1], "is cut"), (good[:9] + b"\x07" + good[10:], "another version"),
                              (good[:200] + b"\x07" + good[201:], "altered"), (b"\x89HDF\r\n\x1a\n" + good[8:], "sdtrain pack")):
            self.write("set.h5", content)
            result = self.train("bad", 2, None, PACKED, code=BAD_DATA)
            self.assertIn("set.h5: ", result.errors[0])
            self.assertIn(word, result.errors[0])
        os.remove(self.path("set.h5"))
        self.assertIn("set.h5", self.train("bad", 2, None, PACKED, code=NO_INPUT).errors[0])
        self.write("set.h5", good)
        self.train("bad", 2, {"model.classes": 3}, PACKED, code=BAD_CONFIG)

    def test_an_image_that_is_altered_ends_the_run_and_verify_says_where(self):
        write_images(self.path("images"), classes=2)
        self.pack()
        bytes_now = bytearray(self.read("set.h5"))
        bytes_now[bytes_now.index(b"IDAT") + 9] ^= 0xff
        self.write("set.h5", bytes_now)
        result = self.train("bad", 2, None, PACKED, code=BAD_DATA)
        self.assertIn("set.h5: /train image 0: ", result.errors[0])
        self.assertIn("set.h5: BAD: /train/encoded is altered", self.sdtrain("verify", "set.h5", code=BAD_DATA).stdout)
        self.train("skipped", 2, {"data.on_bad_image": "skip"}, PACKED)
        with open(self.run_path("skipped", "bad_images.txt"), encoding="utf-8") as file:
            self.assertIn("/train image 0", file.read())

    # ---- packing ----

    def test_bad_images_are_named_or_left_out(self):
        write_images(self.path("images"), classes=2)
        path = self.path("images", "train", "class_01", "003.png")
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        self.assertIn("class_01/003.png", self.pack(code=BAD_DATA).stderr)
        self.assert_nothing_is_left()
        for options in (("--skip-bad",), ("--skip-bad", "--decoded")):
            done = self.pack(*options)
            self.assertIn("class_01/003.png", done.stderr)
            self.assertIn("11 training and 4 test images", done.stdout)
            self.assertIn("1 bad images left out", done.stdout)
            os.remove(self.path("set.h5"))

    def test_wrong_commands(self):
        write_images(self.path("images"), classes=1, train=1, test=1)
        for words in (("images",), (), ("images", "set.h5", "more"), ("images", "set.h5", "--size")):
            self.sdtrain("pack", *words, code=USAGE)
        self.pack(source="missing", code=NO_INPUT)
        os.mkdir(self.path("empty"))
        self.pack(source="empty", code=BAD_DATA)
        self.sdtrain("pack", "images", "no/such/folder/set.h5", code=IO_ERROR)
        os.mkdir(self.path("set.h5"))
        self.pack(code=IO_ERROR)
        self.assertEqual(os.listdir(self.path("set.h5")), [])
        os.rmdir(self.path("set.h5"))
        self.pack()
        self.sdtrain("pack", "set.h5", "again.h5", code=BAD_DATA)
        self.assertFalse(os.path.exists(self.path("again.h5")))

    def test_signals_leave_nothing_and_an_older_file_stays(self):
        write_images(self.path("images"), classes=2, train=600, test=1, size=lambda i: (160, 160))
        for number, older in ((signal.SIGINT, None), (signal.SIGTERM, b"older")):
            if older:
                self.write("set.h5", older)
            process = subprocess.Popen([os.environ["SD_SDTRAIN"], "pack", "images", "set.h5"], cwd=self.folder,
                                       stderr=subprocess.PIPE, text=True, env=harness.environment())
            while not os.path.exists(self.path("set.h5.part")) and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(number)
            error = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, STOPPED, error)
            self.assertIn("set.h5 was not written", error)
            self.assertFalse(os.path.exists(self.path("set.h5.part")))
            self.assertEqual(os.path.exists(self.path("set.h5")), older is not None)
        self.assertEqual(self.read("set.h5"), b"older")

    def test_a_killed_pack_is_replaced_by_the_next(self):
        write_images(self.path("images"), classes=2)
        self.write("set.h5.part", b"left by a killed one")
        self.pack()
        self.assertFalse(os.path.exists(self.path("set.h5.part")))
        self.sdtrain("verify", "set.h5")

    def test_a_limit_on_files_leaves_nothing(self):
        write_images(self.path("images"), classes=2)
        self.pack()
        whole = os.path.getsize(self.path("set.h5"))
        os.remove(self.path("set.h5"))
        for limit in (100, 3000, whole // 2, whole - 100):
            done = self.pack(code=IO_ERROR, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertIn("set.h5.part: ", done.stderr)
            self.assert_nothing_is_left()

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount")
    def test_a_full_disk_leaves_nothing(self):
        write_images(self.path("images"), classes=2)
        os.mkdir(self.path("disk"))
        for kilobytes in (4, 16, 48, 64, 100):
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dk" % kilobytes, "tmpfs", self.path("disk")],
                                     check=False, capture_output=True)
            if mounted.returncode != 0:
                self.skipTest("tmpfs cannot be mounted here")
            try:
                done = self.sdtrain("pack", "images", "disk/set.h5", code=IO_ERROR)
                self.assertIn("No space left", done.stderr)
                self.assertEqual(os.listdir(self.path("disk")), [])
            finally:
                subprocess.run(["umount", self.path("disk")], check=True)

    # ---- plain HDF5 ----

    def plain(self):
        """A decoded set without its header is a plain HDF5 file, with a user block that says nothing."""
        write_images(self.path("images"), classes=3)
        self.pack("--decoded")
        return bytes(512) + self.read("set.h5")[512:]

    def test_a_plain_file_gives_the_set_that_it_is(self):
        self.write("plain.h5", self.plain())
        dump = self.tool("h5dump", "-y", "-d", "/train/images", "set.h5")
        self.pack(source="plain.h5")
        self.assertEqual(self.tool("h5dump", "-y", "-d", "/train/images", "set.h5"), dump)
        self.sdtrain("verify", "set.h5")
        self.train("run", 1, {"data.image_size": 32}, PACKED)
        self.sdtrain("pack", "plain.h5", "./plain.h5", code=USAGE)

    def test_damaged_plain_files_are_refused_or_packed_but_crash_nothing(self):
        good = self.plain()
        noise = random.Random(5)
        codes = {}
        for i in range(120):
            content = bytearray(good)
            for _ in range(1 + i % 4):
                content[noise.randrange(512, 8000)] = noise.randrange(256)
            self.write("plain.h5", content)
            done = subprocess.run([os.environ["SD_SDTRAIN"], "pack", "plain.h5", "new.h5"], cwd=self.folder,
                                  capture_output=True, text=True, timeout=60, check=False, env=harness.environment())
            codes[done.returncode] = codes.get(done.returncode, 0) + 1
            self.assertIn(done.returncode, (OK, BAD_DATA, NO_INPUT, harness.INTERNAL), done.stderr)
            self.assertEqual(done.stderr.count("error:"), int(done.returncode != OK), done.stderr)
            self.assertFalse(os.path.exists(self.path("new.h5.part")))
        self.assertGreater(codes[BAD_DATA], 5, codes)


if __name__ == "__main__":
    harness.main()
