#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes on the wire, and time lost to the network, on emulated hosts (tests/cluster/netns.sh; needs what that needs).

usage: python3 tests/bench/network.py SDTRAIN_MPI [--only bytes|time] [--models resnet110 resnet50] [--hosts 4 8] [--rounds 3]
                                      [--steps 4] [--images 0] [--time-hosts 2] [--markdown]

Each host is one rank of one thread; images of 32 pixels, synthetic.

bytes    bytes a step that leave a host's interface, mean of hosts, by the kernel's counters; of two runs, one with --steps steps
         more than the other, whose difference has no start-up and no end in it. Against bytes_reduced of the same steps (what a
         rank hands to reductions): a ring of N sends 2 (N-1)/N of it. Saved: against the first variant.
time     2 hosts, or as many as --time-hosts says, never more than there are cores: with fewer cores than ranks slow compute hides
         the network. Seconds a step, and the share of them exposed to communication (timing.csv: communication and, where there
         is one, wait; mean of ranks). Variants alternate A B A B, a round not counted first; a figure is the median over rounds of
         variant / first variant (lowest, highest). Absolute times are for orientation only.

A variant that the program refuses (78, not in this version) is left out, and named.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NETNS = Path(__file__).resolve().parent.parent / "cluster" / "netns.sh"
BAD_CONFIG = 78
RATES = ("1gbit", "100mbit")


@dataclass(frozen=True)
class Model:
    """images: of a host and step, so that a step of a core takes about a second."""

    stem: str
    images: int


MODELS = {"resnet110": Model("cifar", 64), "resnet50": Model("imagenet", 64)}

# Settings over the common ones; the first is what the others are compared with.
BYTES_VARIANTS = {
    "rate 0": {"stochastic_depth.rate": "0"},
    "rate 0.5, send all": {"stochastic_depth.rate": "0.5", "communication.skip_dropped": "false"},
    "rate 0.5, skip dropped": {"stochastic_depth.rate": "0.5", "communication.skip_dropped": "true"},
}
TIME_VARIANTS = {
    "rate 0": {"stochastic_depth.rate": "0"},
    "rate 0, poll": {"stochastic_depth.rate": "0", "communication.progress": "poll"},
    "rate 0, one bucket after backward": {"stochastic_depth.rate": "0", "communication.bucket_bytes": "2147483648"},
    "rate 0.5, send all": {"stochastic_depth.rate": "0.5", "communication.skip_dropped": "false"},
    "rate 0.5, skip dropped": {"stochastic_depth.rate": "0.5", "communication.skip_dropped": "true"},
}


class Refused(Exception):
    """The program does not know this variant."""


@dataclass(frozen=True)
class Sample:
    """One run: sums over its steps, means over its hosts."""

    seconds: float
    exposed_seconds: float
    tx_bytes: float
    bytes_reduced: int


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def run(program: str, name: str, hosts: int, rate: str, variant: dict[str, str], steps: int, images: int = 0) -> Sample:
    """One epoch of so many steps. images: of a host and step; 0 for the model's own."""
    batch = hosts * (images or MODELS[name].images)
    settings = {
        "run.name": "bench", "run.seed": "1", "run.threads": "1", "data.train_samples": batch * steps, "data.val_samples": 16,
        "model.name": name, "model.stem": MODELS[name].stem, "lr.schedule": "constant", "lr.base": "1e-4",
        "train.epochs": 1, "train.batch_size": batch, "eval.every_epochs": 0, "checkpoint.every_epochs": 0,
        "communication.check_every": 0, "log.every_steps": 1, **variant,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        counters, config = Path(folder, "counters.csv"), Path(folder, "bench.ini")
        config.touch()
        words = [NETNS, "-c", counters, str(hosts), rate, os.path.abspath(program), config, "--set", f"run.output={folder}"]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        job = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if job.returncode == BAD_CONFIG:
            raise Refused(next((line for line in job.stderr.splitlines() if "error: " in line), "refused"))
        if job.returncode != 0:
            sys.stderr.write(job.stderr)
            sys.exit(job.returncode)
        rows, ranks = read_csv(Path(folder, "bench", "steps.csv")), read_csv(Path(folder, "bench", "timing.csv"))
        return Sample(
            sum(float(row["seconds"]) for row in rows),
            statistics.mean(float(row["communication"]) + float(row.get("wait") or 0) for row in ranks),
            statistics.mean(int(row["tx_bytes"]) for row in read_csv(counters)),
            sum(int(row["bytes_reduced"]) for row in rows),
        )


# ---- tables ----------------------------------------------------------------------------------------


class Table:
    def __init__(self, head: list[str], is_markdown: bool) -> None:
        self.is_markdown = is_markdown
        print()
        self.line(head)
        if is_markdown:
            print("|---" * len(head) + "|")

    def line(self, texts: list[str]) -> None:
        if self.is_markdown:
            print("| " + " | ".join(texts) + " |", flush=True)
        else:
            print(f"{texts[0]:<48}" + "".join(f"  {text:<19}" for text in texts[1:]).rstrip(), flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def measure_bytes(arguments: argparse.Namespace) -> None:
    head = ["model, hosts, variant", "MB a step sent", "MB bytes_reduced", "sent / reduced", "sent saved", "reduced saved"]
    table = Table(head, arguments.markdown)
    for name in arguments.models:
        for hosts in arguments.hosts:
            base = None
            for label, variant in BYTES_VARIANTS.items():
                short, long = (
                    run(arguments.program, name, hosts, RATES[0], variant, steps, arguments.images)
                    for steps in (1, 1 + arguments.steps)
                )
                sent = (long.tx_bytes - short.tx_bytes) / arguments.steps
                reduced = (long.bytes_reduced - short.bytes_reduced) / arguments.steps
                base = base or (sent, reduced)
                table.line([f"{name}, {hosts}, {label}", f"{sent / 1e6:.2f}", f"{reduced / 1e6:.2f}", f"{sent / reduced:.3f}",
                            f"{100 * (1 - sent / base[0]):.1f} %", f"{100 * (1 - reduced / base[1]):.1f} %"])  # fmt: skip


def measure_time(arguments: argparse.Namespace) -> None:
    head = ["model, hosts, link, variant", "step, ratio", "exposed, ratio", "s a step", "exposed share"]
    table = Table(head, arguments.markdown)
    refused: dict[str, str] = {}
    for name in arguments.models:
        for rate in RATES:
            samples: dict[str, list[Sample]] = {label: [] for label in TIME_VARIANTS}
            for count in range(arguments.rounds + 1):
                for label, variant in TIME_VARIANTS.items():
                    if label in refused:
                        continue
                    try:
                        steps = arguments.steps if count > 0 else 1
                        sample = run(arguments.program, name, arguments.time_hosts, rate, variant, steps, arguments.images)
                    except Refused as refusal:
                        refused[label] = str(refusal)
                        continue
                    if count > 0:
                        samples[label].append(sample)
            first = next(iter(samples.values()))
            for label, taken in samples.items():
                if taken:
                    pairs = list(zip(taken, first, strict=True))
                    seconds = statistics.median(s.seconds for s in taken)
                    table.line([
                        f"{name}, {arguments.time_hosts}, {rate}, {label}",
                        spread([a.seconds / b.seconds for a, b in pairs]),
                        spread([a.exposed_seconds / b.exposed_seconds for a, b in pairs]),
                        f"{seconds / arguments.steps:.3f}",
                        f"{100 * statistics.median(s.exposed_seconds / s.seconds for s in taken):.0f} %",
                    ])  # fmt: skip
    for label, reason in refused.items():
        print(f"left out: {label}: {reason}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="SDTRAIN_MPI")
    parser.add_argument("--only", choices=("bytes", "time"))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--hosts", nargs="+", type=int, default=[4, 8], help="of the table of bytes")
    parser.add_argument("--time-hosts", type=int, default=2, help="of the table of times; no more than cores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--images", type=int, default=0, help="of a host and step; default: about a second's worth")
    parser.add_argument("--markdown", action="store_true", help="the tables as Markdown")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.steps) < 1 or arguments.images < 0:
        parser.error("--rounds and --steps are at least 1, --images at least 0")
    if min(arguments.time_hosts, *arguments.hosts) < 2:
        parser.error("one host sends nothing: --hosts and --time-hosts are at least 2")
    if arguments.time_hosts > len(os.sched_getaffinity(0)) and arguments.only != "bytes":
        parser.error(f"--time-hosts {arguments.time_hosts}: there are {len(os.sched_getaffinity(0))} cores")
    if not (os.path.isfile(arguments.program) and os.access(arguments.program, os.X_OK)):
        parser.error(f"{arguments.program} is not a program")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exception: the run under way ends too
    probe = subprocess.run([NETNS, "2", RATES[0], "true"], check=False, capture_output=True, text=True)
    if probe.returncode != 0:
        sys.stderr.write(probe.stderr)
        return probe.returncode
    if arguments.only != "time":
        measure_bytes(arguments)
    if arguments.only != "bytes":
        measure_time(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
