# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: tiny configurations, mpirun, and readers of what a run leaves behind.

A test file is called with the program under test as its first argument, then unittest's own:
    python3 tests/mpi/ranks_test.py build/src/sdtrain-mpi [-v] [RanksTest.test_x]
Needs mpirun (Open MPI) and hdf5-tools (h5dump, h5diff, h5ls); no network, no files outside the repository and a
temporary folder.
"""
import csv
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
PROGRAM = None  # set by main()
LIMIT_SECONDS = 90  # for one run; every run here takes a few seconds, so reaching it means that something hangs

OK, USAGE, BAD_DATA, NO_INPUT, INTERNAL, IO_ERROR, STOPPED, BAD_CONFIG = 0, 64, 65, 66, 70, 74, 75, 78

ERROR_PREFIX = "sdtrain-mpi: error:"
WARNING_PREFIX = "sdtrain-mpi: warning:"

# 40 images in batches of 8: 5 steps an epoch, 10 steps in all, about a third of a second.
TINY = {
    "run.seed": 7,
    "data.train_samples": 40,
    "data.val_samples": 24,
    "model.name": "resnet20",
    "stochastic_depth.rate": 0.5,
    "lr.base": 0.01,
    "train.epochs": 2,
    "train.batch_size": 8,
    "communication.check_every": 1,
    "log.every_steps": 1,
    "log.decisions": "true",
}

# 16 pixels in patches of 8: five tokens, and no batch norm, so results do not depend on how a batch is shared out.
TINY_VIT = {
    **TINY,
    "data.image_size": 16,
    "model.name": "vit_tiny",
    "model.patch_size": 8,
    "lr.base": 0.001,
    "train.epochs": 1,
}


def environment():
    """launch/mpi-env.sh's settings, one thread a rank, and nothing of the caller's that changes results."""
    values = {k: v for k, v in os.environ.items() if not k.startswith("SD_") and k != "OMP_NUM_THREADS"}
    with open(os.path.join(REPOSITORY, "launch", "mpi-env.sh"), encoding="utf-8") as script:
        values.update(re.findall(r"^export (\w+)=(\S+)$", script.read(), re.MULTILINE))
    values["OMP_NUM_THREADS"] = "1"
    values.setdefault("ASAN_OPTIONS", "detect_leaks=0")  # of a sanitised build; MPI libraries leak at their end
    return values


class Result:
    """A finished command: exit code and what it printed."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.lines = (out + "\n" + err).splitlines()
        self.errors = [line for line in self.lines if line.startswith(ERROR_PREFIX)]
        self.warnings = [line for line in self.lines if line.startswith(WARNING_PREFIX)]

    def __str__(self):
        return "exit code %d\n--- stdout\n%s\n--- stderr\n%s" % (self.code, self.out, self.err)


def session_members(session):
    """Processes of a session: mpirun and the ranks it started (which have process groups of their own)."""
    members = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(name))
    return members


class Running:
    """A command under way in a session of its own."""

    def __init__(self, words, cwd, env):
        self.out = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.err = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(words, cwd=cwd, env={**environment(), **env}, stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.err, start_new_session=True)

    def ranks(self):
        return [pid for pid in session_members(self.process.pid) if pid != self.process.pid]

    def signal(self, number):
        """As a user does: to mpirun, which hands it on."""
        self.process.send_signal(number)

    def kill(self):
        """Everything at once, as a node that loses its power does."""
        for pid in session_members(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.finish()

    def finish(self, limit=LIMIT_SECONDS):
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            for pid in session_members(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError("it hangs: no end after %d s\n%s" % (limit, self._result())) from None
        return self._result()

    def _result(self):
        texts = []
        for stream in (self.out, self.err):
            stream.seek(0)
            texts.append(stream.read())
            stream.close()
        return Result(self.process.returncode, *texts)


def mpirun(ranks, *words):
    return [os.environ.get("SD_MPIRUN") or "mpirun", "-np", str(ranks), PROGRAM, *map(str, words)]


class RunTest(unittest.TestCase):
    """A temporary folder, and runs in it: configuration NAME.ini, output runs/NAME."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sdtrain-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    # ---- starting ----

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def run_path(self, name, *parts):
        return self.path("runs", name, *parts)

    def latest(self, name):
        return os.path.realpath(self.run_path(name, "checkpoints", "latest"))

    def write_config(self, name, settings=None, base=None):
        """settings: {"section.key": value}, over those of base (TINY)."""
        sections = {}
        for key, value in {"run.output": "runs", **(TINY if base is None else base), **(settings or {})}.items():
            section, _, plain = key.partition(".")
            sections.setdefault(section, []).append("%s = %s" % (plain, value))
        with open(self.path(name + ".ini"), "w", encoding="utf-8") as file:
            for section, lines in sections.items():
                file.write("[%s]\n%s\n\n" % (section, "\n".join(lines)))
        return name + ".ini"

    def start(self, words, **env):
        return Running(words, self.folder, env)

    def mpirun(self, ranks, *words, code=OK, limit=LIMIT_SECONDS, **env):
        """Runs to its end; expects this exit code, and an error line if and only if that says failure."""
        return self.expect(mpirun(ranks, *words), (code,), limit, env)

    def mpirun_two(self, first, second, codes, limit=LIMIT_SECONDS, place=(), program=None):
        """Two ranks with words of their own, by mpirun's ':'. place: options of mpirun for the second."""
        words = mpirun(1, *first) + [":", "-np", "1", *place, *(program or [PROGRAM]), *second]
        return self.expect(words, codes, limit, {})

    def expect(self, words, codes, limit, env):
        failed = codes[0] not in (OK, STOPPED)
        if failed:  # mpirun waits 2 s for the rest of a failed job; it need not here
            env = {"OMPI_MCA_odls_base_sigkill_timeout": "0", **env}
        result = self.start(words, **env).finish(limit)
        self.assertIn(result.code, codes, str(result))
        self.assertEqual(len(result.errors), int(failed), "error lines; %d are expected\n%s" % (failed, result))
        return result

    def train(self, name, ranks=2, settings=None, base=None, words=(), code=OK, **env):
        return self.mpirun(ranks, self.write_config(name, settings, base), *words, code=code, **env)

    # ---- reading ----

    def header(self, name, file):
        with open(self.run_path(name, file), encoding="utf-8", newline="") as text:
            return text.readline().rstrip("\n")

    def rows(self, name, file):
        with open(self.run_path(name, file), encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        for row in rows:
            self.assertNotIn(None, row, "%s: a row has more fields than its header" % file)
            self.assertNotIn(None, row.values(), "%s: a row has fewer fields than its header" % file)
        return rows

    def column(self, name, file, column, kind=str):
        return [kind(row[column]) for row in self.rows(name, file)]

    def summary(self, name):
        with open(self.run_path(name, "summary.json"), encoding="utf-8") as file:
            return json.load(file)

    def progress(self, checkpoint):
        """The scalars of /progress, as text with all their digits."""
        text = self.tool("h5dump", "-y", "-m", "%.17g", "-g", "/progress", checkpoint)
        scalar = r'DATASET "(\w+)" \{\s*DATATYPE\s+\S+\s*DATASPACE\s+SCALAR\s*DATA \{\s*(\S+)\s*\}'
        return dict(re.findall(scalar, text))

    def values(self, checkpoint, dataset):
        """A dataset of numbers, flat."""
        text = self.tool("h5dump", "-y", "-m", "%.17g", "-d", dataset, checkpoint)
        return [float(number) for number in re.search(r" DATA \{([^}]*)\}", text).group(1).split(",")]

    def tool(self, *words):
        result = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 0, "%s\n%s%s" % (words, result.stdout, result.stderr))
        return result.stdout

    # ---- comparing ----

    def equal_state(self, checkpoint, other, group):
        """Whether all datasets of a group have the same bits."""
        result = subprocess.run(["h5diff", "-q", checkpoint, other, group], capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertIn(result.returncode, (0, 1), "h5diff %s %s: %s" % (checkpoint, other, result.stderr))
        return result.returncode == 0

    def assert_same_state(self, checkpoint, other, groups=("/model", "/optimizer")):
        for group in groups:
            self.assertTrue(self.equal_state(checkpoint, other, group), "%s and %s differ in %s" %
                            (checkpoint, other, group))

    def assert_same_run(self, name, other):
        """Two finished runs: same bits, and logs that differ in nothing but what things took."""
        a, b = self.latest(name), self.latest(other)
        self.assertEqual(os.path.basename(a), os.path.basename(b))
        self.assert_same_state(a, b)
        progress = [without_times([self.progress(checkpoint)], "/progress")[0] for checkpoint in (a, b)]
        self.assertGreater(len(progress[0]), 15)
        self.assertEqual(*progress)
        for file in ("steps.csv", "epochs.csv", "decisions.csv"):
            rows = [without_times(self.rows(run, file), file) for run in (name, other)]
            self.assertEqual(*rows, file)
        timing = [[(row["epoch"], row["rank"]) for row in self.rows(run, "timing.csv")] for run in (name, other)]
        self.assertEqual(*timing)
        best = [os.readlink(self.run_path(run, "checkpoints", "best")) for run in (name, other)]
        self.assertEqual(*best)

    def assert_close(self, values, expected, tolerance):
        """Relative; both must be finite."""
        self.assertEqual(len(values), len(expected))
        for i, (a, b) in enumerate(zip(values, expected)):
            self.assertTrue(abs(a - b) <= tolerance * abs(b), "item %d: %.9g, where %.9g +- %g is expected\n%s\n%s" %
                            (i, a, b, tolerance * abs(b), values, expected))

    def assert_error(self, result, *parts):
        """Its one error line holds all of these."""
        for part in parts:
            self.assertIn(part, result.errors[0])


# What takes its time differs from run to run, and so does the length of a log that writes times down.
TIMES_OF = {
    "steps.csv": {"seconds", "images_per_second"},
    "epochs.csv": {"seconds", "images_per_second"},
    "decisions.csv": set(),
    "/progress": {"run_id", "seconds", "epoch_seconds", "steps_csv_bytes", "epochs_csv_bytes", "timing_csv_bytes"},
}


def without_times(rows, file):
    return [{k: v for k, v in row.items() if k not in TIMES_OF[file]} for row in rows]


def wait_until(condition, what, limit=LIMIT_SECONDS):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited %d s for %s" % (limit, what))
        time.sleep(0.005)


def count_lines(path):
    try:
        with open(path, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def read_safetensors(path):
    """{name: (dtype, shape, values)}, metadata."""
    with open(path, "rb") as file:
        content = file.read()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:begin])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        part = content[begin + entry["data_offsets"][0]:begin + entry["data_offsets"][1]]
        kind = {"F32": "f", "I64": "q"}[entry["dtype"]]
        tensors[name] = entry["dtype"], entry["shape"], list(struct.unpack("<%d%s" % (len(part) // struct.calcsize(kind), kind), part))
    return tensors, metadata


# ---- data ----

def write_cifar10(folder, images_a_file=12, label=lambda i: i % 10):
    """CIFAR-10's official layout: five training files and one for testing, records of a label and 3 x 1024 bytes."""
    os.makedirs(folder, exist_ok=True)
    names = ["data_batch_%d.bin" % i for i in range(1, 6)] + ["test_batch.bin"]
    for f, name in enumerate(names):
        with open(os.path.join(folder, name), "wb") as file:
            for i in range(images_a_file):
                planes = b"".join(bytes((17 * i + 31 * f + 7 * c + p) % 256 for p in range(1024)) for c in range(3))
                file.write(struct.pack("B", label(i)) + planes)


def write_cifar100(folder, train=40, test=20):
    os.makedirs(folder, exist_ok=True)
    for name, images in (("train.bin", train), ("test.bin", test)):
        with open(os.path.join(folder, name), "wb") as file:
            for i in range(images):
                file.write(bytes([i % 20, i % 100]) + bytes((13 * i + p) % 256 for p in range(3072)))


def write_png(path, width, height, rgb):
    """rgb: bytes of [height, width, 3]."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + rgb[3 * width * y:3 * width * (y + 1)] for y in range(height))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_images(folder, classes=10, train=6, test=2, size=lambda i: (32, 32)):
    """An image folder: train/CLASS/NNN.png and val/CLASS/NNN.png, so many a class, of noise about a class's colour.
    size: (width, height) of image i."""
    for split, images in (("train", train), ("val", test)):
        for i in range(classes * images):
            label, number = divmod(i, images)
            width, height = size(i)
            noise = random.Random("%s %d" % (split, i))
            rgb = bytes((25 * label + 80 * c + noise.randrange(64)) % 256
                        for _ in range(width * height) for c in range(3))
            write_png(os.path.join(folder, split, "class_%02d" % label, "%03d.png" % number), width, height, rgb)


def main():
    global PROGRAM
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: %s PROGRAM [unittest arguments]" % sys.argv[0])
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(module="__main__")
