#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What --check --ranks predicts, against steps of real runs on emulated hosts (tests/cluster/netns.sh), alternating A B A B.

usage: tests/bench/validate_prediction.py SDTRAIN_MPI NETNS_SH [--hosts 2] [--rates 1gbit,100mbit] [--rounds 3] [--steps 20]
                                          [--latency-us 50] [--markdown] [--set section.key=value ...] [ROW ...]

Every round calibrates and predicts on as many ranks as there are hosts, then trains so many steps on the hosts, one rank each, over
links of that rate. A figure is the median over rounds; in brackets its lowest and highest. Steps that do not count
come first, and the slowest and fastest tenth of the rest is left out. Machines that do other work at the time spoil both
sides. Exit code: 0, all predictions are within 15 % of what was measured; 1, some are not; 77, no emulation here.
"""

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

WARM_UP_STEPS = 3
ALLOWED = 0.15
SKIPPED = 77
UNITS = {"gbit": 1.0, "mbit": 1e-3, "kbit": 1e-6}
ROOT = Path(__file__).resolve().parent.parent.parent

ROWS = {
    "resnet110": {"model.name": "resnet110", "train.batch_size": 128},
    "resnet110-sd": {"model.name": "resnet110", "train.batch_size": 128, "stochastic_depth.rate": 0.5},
    "resnet50": {"model.name": "resnet50", "model.stem": "imagenet", "train.batch_size": 128},
    "resnet50-sd": {"model.name": "resnet50", "model.stem": "imagenet", "train.batch_size": 128,
                    "stochastic_depth.rate": 0.5},
}


class Failure(Exception):
    """A program cannot do its part; the reason in a line."""


@dataclass(frozen=True)
class Prediction:
    """Seconds of the row of as many ranks as there are hosts."""

    compute: float
    communication: float
    exposed: float
    step: float


def gigabits(rate):
    match = re.fullmatch(r"(\d+)(gbit|mbit|kbit)", rate)
    if not match:
        raise Failure("%s is no rate such as 1gbit or 100mbit" % rate)
    return int(match.group(1)) * UNITS[match.group(2)]


def environment():
    """launch/mpi-env.sh's settings, and one thread a rank."""
    text = (ROOT / "launch" / "mpi-env.sh").read_text(encoding="utf-8")
    return {**os.environ, **dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE)), "OMP_NUM_THREADS": "1"}


def call(words, folder):
    result = subprocess.run([str(word) for word in words], cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, check=False)
    if result.returncode == SKIPPED:
        print(result.stderr.strip(), file=sys.stderr)
        sys.exit(SKIPPED)
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise Failure("%s: exit code %d: %s" % (words[0], result.returncode,
                                                next((x for x in lines if "error:" in x), lines[-1] if lines else "")))
    return result.stdout


def write_config(folder, row, options):
    # Enough images for all steps, the same for prediction and run.
    settings = {"data.train_samples": (options.steps + WARM_UP_STEPS) * row["train.batch_size"],
                "data.val_samples": 10, "eval.every_epochs": 0, "lr.base": 1e-4, "lr.schedule": "constant",
                "train.epochs": 1, "train.max_steps": options.steps + WARM_UP_STEPS, "checkpoint.every_epochs": 0,
                "communication.check_every": 0, "log.every_steps": 1, "log.progress": "off",
                "run.output": "runs", "run.threads": 1, "checkpoint.resume": "never", **row,
                **dict(word.split("=", 1) for word in options.settings)}
    path = Path(folder, "validate.ini")
    with open(path, "w", encoding="utf-8") as file:
        for key, value in settings.items():
            section, _, name = key.partition(".")
            file.write("[%s]\n%s = %s\n" % (section, name, value))
    return path


def predict(options, config, rate, drops):
    with tempfile.TemporaryDirectory() as folder:
        out = call(["mpirun", "-np", options.hosts, options.program, config, "--check", "--ranks", options.hosts,
                    "--link-gbit", "%g" % gigabits(rate), "--latency-us", options.latency_us], folder)
    for line in out[out.index("\nprediction"):].splitlines():
        if re.match(r" *%d +\d+ +(ring|halving|doubling) " % options.hosts, line):
            values = [float(word) * 1e-3 for word in re.findall(r"\d+\.\d+", line)]
            return Prediction(*values[6:10] if drops else values[:4])
    raise Failure("the prediction has no row of %d ranks:\n%s" % (options.hosts, out))


def measure(options, config, rate):
    """Mean seconds of a step, without the warm-up and the tenths at both ends."""
    with tempfile.TemporaryDirectory() as folder:
        call([options.netns, options.hosts, rate, options.program, config], folder)
        with open(Path(folder, "runs", "validate", "steps.csv"), encoding="utf-8", newline="") as file:
            seconds = sorted(float(row["seconds"]) for row in list(csv.DictReader(file))[WARM_UP_STEPS:])
    cut = len(seconds) // 10
    return statistics.mean(seconds[cut:len(seconds) - cut])


def spread(values, form="%.3f"):
    return (form + " (" + form + ", " + form + ")") % (statistics.median(values), min(values), max(values))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("program", type=lambda path: Path(path).resolve())
    parser.add_argument("netns", type=lambda path: Path(path).resolve())
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS))
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--rates", default="1gbit,100mbit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--latency-us", type=float, default=50)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_intermixed_args()
    for name in options.rows:
        if name not in ROWS:
            raise Failure("there is no row %s; there are %s" % (name, ", ".join(ROWS)))

    columns = ["row", "link", "predicted s", "of it compute", "exposed", "measured s", "predicted / measured"]
    form = "| " + " | ".join(["%s"] * len(columns)) + " |" if options.markdown else \
        "%-13s %-8s %-22s %-14s %-9s %-22s %s"
    print(form % tuple(columns))
    if options.markdown:
        print("|" + "---|" * len(columns))
    good = True
    for name in options.rows or ROWS:
        for rate in options.rates.split(","):
            with tempfile.TemporaryDirectory() as folder:
                config = write_config(folder, ROWS[name], options)
                predicted, measured = [], []
                for _ in range(options.rounds):
                    predicted.append(predict(options, config, rate, "stochastic_depth.rate" in ROWS[name]))
                    measured.append(measure(options, config, rate))
            ratios = [p.step / m for p, m in zip(predicted, measured)]
            good = good and abs(statistics.median(ratios) - 1) <= ALLOWED
            print(form % (name, rate, spread([p.step for p in predicted]),
                          "%.3f" % statistics.median(p.compute for p in predicted),
                          "%.3f" % statistics.median(p.exposed for p in predicted), spread(measured),
                          spread(ratios, "%.2f")), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print("validate_prediction: %s" % failure, file=sys.stderr)
        sys.exit(1)
