#!/usr/bin/env python3
"""Images per second of training steps: sdtrain-mpi against PyTorch, on the same cores, alternating A B A B.

usage: VENV/bin/python tests/bench/compare_pytorch.py SDTRAIN_MPI [--rounds 4] [--steps 8] [--ranks 2] [ROW ...]

Run it with the Python of a virtualenv that has tests/golden/requirements.txt. Both sides: the same model, the same global batch,
one thread a rank, SGD with momentum; PyTorch with DistributedDataParallel over gloo, channels_last for convolutions. Every round
runs ours, then PyTorch's; a row's figure is the median over rounds of ours / PyTorch's. Absolute speeds drift with the machine
and are shown for orientation only. With a drop rate both sides draw new decisions each round.
"""

import argparse
import csv
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

WARM_UP_STEPS = 2
GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True)
class Row:
    """One line of the table. drop: how PyTorch treats a dropped branch, "mask" (times 0) or "skip" (not computed)."""

    model: str
    image_size: int
    batch: int
    patch_size: int = 16
    stem: str = "auto"
    rate: float = 0.0
    drop: str = "mask"


ROWS = {
    "resnet110": Row("resnet110", 32, 128),
    "resnet110-mask": Row("resnet110", 32, 128, rate=0.5, drop="mask"),
    "resnet110-skip": Row("resnet110", 32, 128, rate=0.5, drop="skip"),
    "resnet50-32": Row("resnet50", 32, 128, stem="imagenet"),
    "resnet50-224": Row("resnet50", 224, 16),
    "vit_tiny-32": Row("vit_tiny", 32, 64, patch_size=4),
    "vit_tiny-224": Row("vit_tiny", 224, 16, patch_size=16),
}


# ---- PyTorch ---------------------------------------------------------------------------------------


def worker(row: Row, rank: int, ranks: int) -> None:
    """A DDP rank: for each line "steps seed" on standard input does so many steps; rank 0 prints the seconds they took."""
    sys.path.insert(0, str(GOLDEN))
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from reference_models import Branch, branches_of, build, set_linear_rates

    def masked_add(branch: Branch, shortcut: torch.Tensor, compute, training: bool) -> torch.Tensor:
        return shortcut + compute() * float(branch.kept)

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    model = build(row.model, 10, row.image_size, row.patch_size, cifar_stem=row.stem == "cifar")
    if row.model.startswith("resnet"):
        model = model.to(memory_format=torch.channels_last)
    set_linear_rates(model, row.rate, "inference")
    branches = branches_of(model)
    if row.drop == "mask":
        Branch.add = masked_add
    model.train()
    ddp = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=row.rate > 0 and row.drop == "skip")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images = torch.randn(row.batch // ranks, 3, row.image_size, row.image_size)
    if row.model.startswith("resnet"):
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (row.batch // ranks,))
    for line in sys.stdin:
        steps, seed = map(int, line.split())
        generator = torch.Generator().manual_seed(seed)
        dist.barrier()
        for step in range(WARM_UP_STEPS + steps):
            if step == WARM_UP_STEPS:
                begin = time.perf_counter()
            for branch in branches:
                branch.kept = bool(torch.rand((), generator=generator) >= branch.rate)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(ddp(images), labels).backward()
            optimizer.step()
        dist.barrier()
        if rank == 0:
            print(time.perf_counter() - begin, flush=True)


class TorchSide:
    """The DDP ranks of one row, each bound to a core of its own."""

    def __init__(self, name: str, ranks: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
        self.ranks = [
            subprocess.Popen([sys.executable, __file__, "--worker", name, str(rank), str(ranks)], env=environment, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                             preexec_fn=lambda rank=rank: os.sched_setaffinity(0, {rank % os.cpu_count()}))
            for rank in range(ranks)
        ]  # fmt: skip

    def seconds(self, steps: int, seed: int) -> float:
        for rank in self.ranks:
            rank.stdin.write(f"{steps} {seed}\n")
            rank.stdin.flush()
        return float(self.ranks[0].stdout.readline())

    def close(self) -> None:
        for rank in self.ranks:
            rank.stdin.close()
        for rank in self.ranks:
            rank.wait()


# ---- ours ------------------------------------------------------------------------------------------


def our_seconds(program: str, row: Row, ranks: int, steps: int, seed: int) -> float:
    """Seconds of so many steps of a run on synthetic images."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.ini"
        config.write_text(f"""
[run]
output = {folder}
name = bench
seed = {seed}
threads = 1
[data]
image_size = {row.image_size}
train_samples = {row.batch * 4}
val_samples = 16
[model]
name = {row.model}
stem = {row.stem}
patch_size = {row.patch_size}
[stochastic_depth]
rate = {row.rate}
[lr]
schedule = constant
base = 1e-4
[train]
batch_size = {row.batch}
epochs = 1000
max_steps = {WARM_UP_STEPS + steps}
[eval]
every_epochs = 0
[checkpoint]
every_epochs = 0
[communication]
check_every = 0
[log]
every_steps = 1
""")
        subprocess.run(["mpirun", "-np", str(ranks), "--bind-to", "core", program, str(config)], check=True, capture_output=True)
        with open(Path(folder) / "bench" / "steps.csv") as file:
            return sum(float(line["seconds"]) for line in list(csv.DictReader(file))[WARM_UP_STEPS:])


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(ROWS[sys.argv[2]], int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="SDTRAIN_MPI")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS))
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}")

    print(f"{'row':<16}{'ours/PyTorch':>14}{'lowest':>9}{'highest':>9}{'ours img/s':>13}{'PyTorch img/s':>15}")
    for name in arguments.rows or ROWS:
        row, steps = ROWS[name], arguments.steps
        torch_side = TorchSide(name, arguments.ranks)
        ours, theirs = [], []
        for seed in range(1, arguments.rounds + 1):
            ours.append(row.batch * steps / our_seconds(arguments.program, row, arguments.ranks, steps, seed))
            theirs.append(row.batch * steps / torch_side.seconds(steps, seed))
        torch_side.close()
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(f"{name:<16}{statistics.median(ratios):>14.2f}{min(ratios):>9.2f}{max(ratios):>9.2f}"
              f"{statistics.median(ours):>13.1f}{statistics.median(theirs):>15.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
