#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of training steps: sdtrain-mpi against PyTorch, on the same cores, alternating A B A B.

usage: VENV/bin/python tests/bench/compare_pytorch.py SDTRAIN_MPI [--rounds 4] [--steps 8] [--ranks 2]
                                                      [--compile] [--markdown] [ROW ...]

Run it with the Python of a virtualenv that has tests/golden/requirements.txt; --compile needs a C++ compiler too. All sides: the
same model, the same global batch, one thread a rank, SGD with momentum; PyTorch with DistributedDataParallel over gloo,
channels_last for convolutions. Of texts: transformers' BertForSequenceClassification with torch's scaled dot-product attention, the
same texts, padded alike, on all sides, AdamW, no dropout; with a drop rate whole layers are dropped. With --compile the model under torch.compile is a third side: A B C A B C. Every round runs ours,
then PyTorch's; a figure is the median over rounds of ours / PyTorch's (lowest, highest). A round that does not count, in which
torch.compile compiles, comes first, and steps that do not count before the timed ones of each round. With a drop rate all sides
draw new decisions each round.

speed    images/s, ours / PyTorch's: above 1 ours is faster. Absolute speeds drift with the machine and are for orientation only.
memory   peak resident memory of the largest rank so far, ours / PyTorch's: below 1 ours is smaller. It counts all a rank has in
         memory, with the pages of its libraries; of torch.compile's ranks also what compiling took.
"""

import argparse
import csv
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
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
    sequence: int = 0  # of texts; 0: images


@dataclass(frozen=True)
class Sample:
    """What the timed steps of one round took, and the peak memory of the largest rank."""

    seconds: float
    peak_bytes: int


class Failure(Exception):
    """A side cannot do its steps; the reason in a line."""


ROWS = {
    "resnet110": Row("resnet110", 32, 128),
    "resnet110-mask": Row("resnet110", 32, 128, rate=0.5, drop="mask"),
    "resnet110-skip": Row("resnet110", 32, 128, rate=0.5, drop="skip"),
    "resnet50-32": Row("resnet50", 32, 128, stem="imagenet"),
    "resnet50-224": Row("resnet50", 224, 16),
    "vit_tiny-32": Row("vit_tiny", 32, 64, patch_size=4),
    "vit_tiny-224": Row("vit_tiny", 224, 16, patch_size=16),
    "bert": Row("bert_L12_H256", 0, 32, sequence=128),
    "bert-skip": Row("bert_L12_H256", 0, 32, sequence=128, rate=0.5, drop="skip"),
    "bert-mask": Row("bert_L12_H256", 0, 32, sequence=128, rate=0.5, drop="mask"),
}

# ---- texts -----------------------------------------------------------------------------------------

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = 30522 - len(SPECIAL)


def texts_of(row: Row) -> list[tuple[list[int], int]]:
    """A global batch: numbers of words, from an eighth of the sequence to all of it, and a label."""
    random_numbers = random.Random(1)
    lengths = [random_numbers.randrange(row.sequence // 8, row.sequence - 1) for _ in range(row.batch)]
    return [([random_numbers.randrange(WORDS) for _ in range(n)], i % 2) for i, n in enumerate(lengths)]


# ---- PyTorch ---------------------------------------------------------------------------------------


def own_peak_bytes() -> int:
    """Of this process; not getrusage(), which after exec() remembers what ran before."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def train_texts(row: Row, ranks: int, rank: int) -> None:
    """As train(), of texts. A layer that is dropped is its input; with "mask" all are computed."""
    import torch
    import torch.distributed as dist
    from transformers import BertConfig, BertForSequenceClassification

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    layers, width = (int(part[1:]) for part in row.model.split("_")[1:3])
    model = BertForSequenceClassification(BertConfig(
        vocab_size=WORDS + len(SPECIAL), hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        intermediate_size=4 * width, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="sdpa"))  # fmt: skip
    model.train()
    dropped: set[int] = set()
    is_skipping = row.rate > 0 and row.drop == "skip"
    for i, layer in enumerate(model.bert.encoder.layer):

        def forward(x, *arguments, i=i, compute=layer.forward, **named):
            return x if i in dropped else compute(x, *arguments, **named)

        layer.forward = forward
    ddp = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=is_skipping)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mine = texts_of(row)[rank * row.batch // ranks : (rank + 1) * row.batch // ranks]
    ids = torch.zeros(len(mine), row.sequence, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (words, _) in enumerate(mine):
        numbers = [SPECIAL.index("[CLS]"), *(len(SPECIAL) + word for word in words), SPECIAL.index("[SEP]")]
        ids[i, : len(numbers)] = torch.tensor(numbers)
        mask[i, : len(numbers)] = 1
    labels = torch.tensor([label for _, label in mine])
    for line in sys.stdin:
        steps, seed = map(int, line.split())
        generator = torch.Generator().manual_seed(seed)
        dist.barrier()
        for step in range(WARM_UP_STEPS + steps):
            if step == WARM_UP_STEPS:
                begin = time.perf_counter()
            drawn = torch.rand(layers, generator=generator)
            dropped.clear()
            dropped.update(i for i in range(layers) if is_skipping and drawn[i] < row.rate)
            optimizer.zero_grad(set_to_none=True)
            ddp(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
            optimizer.step()
        answer(rank, begin)


def answer(rank: int, begin: float) -> None:
    """Rank 0 prints the Sample of the steps since then."""
    import torch
    import torch.distributed as dist

    dist.barrier()
    seconds = time.perf_counter() - begin
    peak_bytes = torch.tensor(own_peak_bytes())
    dist.all_reduce(peak_bytes, dist.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes.item()}), flush=True)


def train(row: Row, ranks: int, rank: int, is_compiled: bool) -> None:
    """A DDP rank: for each line "steps seed" on standard input does so many steps; rank 0 answers with a Sample as JSON."""
    sys.path.insert(0, str(GOLDEN))
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from reference_models import Branch, branches_of, build, residual_blocks, set_linear_rates

    def masked_add(branch: Branch, x: torch.Tensor, shortcut: torch.Tensor, compute, training: bool) -> torch.Tensor:
        return shortcut + compute(x) * branch.mask

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    model = build(row.model, 10, row.image_size, row.patch_size, cifar_stem=row.stem == "cifar")
    if row.model.startswith("resnet"):
        model = model.to(memory_format=torch.channels_last)
    set_linear_rates(model, row.rate, "inference")
    branches = branches_of(model)
    for branch in branches:
        branch.mask = torch.ones(())  # a tensor: a Python number would be compiled in, and its every change compiled anew
    is_skipping = row.rate > 0 and row.drop == "skip"
    if row.drop == "mask":
        Branch.add = masked_add
    model.train()
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it would go on in eager mode, and be taken for compiled
    if is_compiled and is_skipping:  # what is computed changes each step; the branches themselves do not
        for block in residual_blocks(model):
            block.residual = torch.compile(block.residual)
    ddp = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=is_skipping)
    forward = torch.compile(ddp) if is_compiled and not is_skipping else ddp
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
                branch.mask.fill_(branch.kept)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(forward(images), labels).backward()
            optimizer.step()
        answer(rank, begin)


def worker(name: str, ranks: int, rank: int, is_compiled: bool) -> int:
    """train(), whose failure is one more answer; the whole of it goes to standard error."""
    try:
        if ROWS[name].sequence and is_compiled:
            raise NotImplementedError("texts are compared with eager PyTorch only")
        if ROWS[name].sequence:
            train_texts(ROWS[name], ranks, rank)
        else:
            train(ROWS[name], ranks, rank, is_compiled)
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().splitlines()
        print(json.dumps({"failure": f"{type(error).__name__}: {text[0] if text else ''}"}), flush=True)
        return 1
    return 0


class TorchSide:
    """The DDP ranks of one row, each bound to a core of its own."""

    def __init__(self, name: str, ranks: int, is_compiled: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
        self.ranks = [
            subprocess.Popen([sys.executable, __file__, "--worker", name, str(ranks), str(rank), str(int(is_compiled))],
                             env=environment, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                             preexec_fn=lambda rank=rank: os.sched_setaffinity(0, {rank % os.cpu_count()}))
            for rank in range(ranks)
        ]  # fmt: skip

    def run(self, steps: int, seed: int) -> Sample:
        for rank in self.ranks:
            try:
                rank.stdin.write(f"{steps} {seed}\n")
                rank.stdin.flush()
            except BrokenPipeError:
                pass  # it has ended: rank 0 says why, or ends too
        answer = json.loads(self.ranks[0].stdout.readline() or '{"failure": "rank 0 has ended"}')
        if "failure" in answer:
            raise Failure(answer["failure"])
        return Sample(**answer)

    def close(self) -> None:
        for rank in self.ranks:
            rank.terminate()
        for rank in self.ranks:
            rank.wait()


# ---- ours ------------------------------------------------------------------------------------------


def our_rank(folder: str, command: list[str]) -> int:
    """Runs one rank of ours and leaves its peak memory in a file of that folder."""
    code = subprocess.run(command, check=False).returncode
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    Path(folder, f"{os.getpid()}.peak_bytes").write_text(str(peak_bytes))
    return code


class OurSide:
    """A run on synthetic images, started anew each round."""

    def __init__(self, name: str, ranks: int, program: str) -> None:
        self.row, self.ranks, self.program = ROWS[name], ranks, program

    def samples(self, folder: str) -> str:
        """What is trained on: sections of the configuration. Texts are written into the folder."""
        row = self.row
        if not row.sequence:
            return f"""
[data]
image_size = {row.image_size}
train_samples = {row.batch * 4}
val_samples = 16
[model]
stem = {row.stem}
patch_size = {row.patch_size}
[stochastic_depth]
rate = {row.rate}
"""
        table = "text\tlabel\n" + "".join(" ".join(f"w{word}x" for word in words) + f"\t{label}\n" for words, label in texts_of(row))
        for name in ("train.tsv", "dev.tsv"):
            Path(folder, name).write_text(table)
        Path(folder, "vocab.txt").write_text("\n".join([*SPECIAL, *(f"w{word}x" for word in range(WORDS))]) + "\n")
        return f"""
[data]
dataset = text
path = {folder}
sequence = {row.sequence}
[stochastic_depth]
rate = {row.rate}
schedule = constant
scale = none
unit = block
[optimizer]
name = adamw
"""

    def configuration(self, folder: str, steps: int, seed: int) -> str:
        row = self.row
        return self.samples(folder) + f"""
[run]
output = {folder}
name = bench
seed = {seed}
threads = 1
[model]
name = {row.model}
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
"""

    def run(self, steps: int, seed: int) -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "bench.ini")
            config.write_text(self.configuration(folder, steps, seed))
            rank = [sys.executable, __file__, "--our-rank", folder, self.program, str(config)]
            job = subprocess.run(["mpirun", "-np", str(self.ranks), "--bind-to", "core", *rank],
                                 check=False, capture_output=True, text=True)  # fmt: skip
            if job.returncode != 0:
                print(job.stderr, file=sys.stderr)
                raise Failure(next((line for line in job.stderr.splitlines() if "error: " in line), f"exit code {job.returncode}"))
            with open(Path(folder, "bench", "steps.csv")) as file:
                seconds = sum(float(line["seconds"]) for line in list(csv.DictReader(file))[WARM_UP_STEPS:])
            return Sample(seconds, max(int(file.read_text()) for file in Path(folder).glob("*.peak_bytes")))

    def close(self) -> None:
        pass


# ---- the table -------------------------------------------------------------------------------------


def measure(sides: dict[str, OurSide | TorchSide], rounds: int, steps: int) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """Alternates the sides. Their samples, and why those that failed did: they have no samples.

    Round 0 does not count: PyTorch's ranks start and compile in it, and would take the cores from ours.
    """
    samples: dict[str, list[Sample]] = {side: [] for side in sides}
    failures: dict[str, str] = {}
    for seed in range(rounds + 1):
        for name, side in sides.items():
            if name in failures or "ours" in failures:
                continue
            try:
                sample = side.run(steps if seed > 0 else 1, seed)
                if seed > 0:
                    samples[name].append(sample)
            except Failure as failure:
                failures[name] = str(failure)
                samples[name] = []  # of some rounds only, they would not compare
                side.close()  # its ranks shall not wait on the cores of the others
    return samples, failures


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"


def cells(row: Row, steps: int, samples: dict[str, list[Sample]], failures: dict[str, str]) -> list[str]:
    """One line of the table, without the row's name: speed and memory against each PyTorch, then absolute figures."""
    line = []
    for theirs in list(samples)[1:]:
        pairs = list(zip(samples["ours"], samples[theirs], strict=False))
        if pairs:
            line.append(spread([b.seconds / a.seconds for a, b in pairs]))
            line.append(spread([a.peak_bytes / b.peak_bytes for a, b in pairs]))
        else:
            culprit = "ours" if "ours" in failures else theirs
            line += [f"{culprit} failed: {failures[culprit][:120]}", "-"]
    speeds = [f"{row.batch * steps / statistics.median(s.seconds for s in side):.1f}" if side else "-" for side in samples.values()]
    peaks = [f"{max(s.peak_bytes for s in side) / 2**20:.0f}" if side else "-" for side in samples.values()]
    return [*line, ", ".join(speeds), ", ".join(peaks)]


def print_line(texts: list[str], is_markdown: bool) -> None:
    if is_markdown:
        print("| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |", flush=True)
    else:
        print(f"{texts[0]:<16}" + "".join(f"  {text:<22}" for text in texts[1:]).rstrip(), flush=True)


def print_head(sides: list[str], is_markdown: bool) -> None:
    head = ["row"]
    for theirs in sides[1:]:
        head += [f"speed, {theirs}", f"memory, {theirs}"]
    head += ["images/s", "MiB a rank"]
    print(f"ours / PyTorch's, median of rounds (lowest, highest); images/s and MiB: {', '.join(sides)}\n")
    print_line(head, is_markdown)
    if is_markdown:
        print("|---" * len(head) + "|")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="SDTRAIN_MPI")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="also against torch.compile")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS))
    arguments = parser.parse_intermixed_args()  # rows may stand before and after options
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if min(arguments.rounds, arguments.steps, arguments.ranks) < 1:
        parser.error("--rounds, --steps and --ranks are at least 1")
    if not (os.path.isfile(arguments.program) and os.access(arguments.program, os.X_OK)):
        parser.error(f"{arguments.program} is not a program")
    return arguments


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1")
    if sys.argv[1:2] == ["--our-rank"]:
        return our_rank(sys.argv[2], sys.argv[3:])
    arguments = parse_arguments()
    print_head(["ours", "eager", "compiled"] if arguments.compile else ["ours", "eager"], arguments.markdown)
    has_failed = False
    for name in arguments.rows or ROWS:
        sides = {"ours": OurSide(name, arguments.ranks, arguments.program), "eager": TorchSide(name, arguments.ranks, False)}
        if arguments.compile:
            sides["compiled"] = TorchSide(name, arguments.ranks, True)
        try:
            samples, failures = measure(sides, arguments.rounds, arguments.steps)
        finally:
            for side in sides.values():
                side.close()
        print_line([name, *cells(ROWS[name], arguments.steps, samples, failures)], arguments.markdown)
        has_failed = has_failed or "ours" in failures or "eager" in failures
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
