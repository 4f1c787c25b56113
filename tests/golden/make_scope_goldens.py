# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of scope = rank and sample: one training step whose samples keep other branches.

Inputs and format are those of make_goldens.py. A case is a batch with a mask [units, samples], computed by
one or more simulated ranks: each runs its samples through its own copy of the model, as DDP would, and
what they find is added up.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from make_goldens import (
    RATE, SEED, SKETCH_BUCKETS, Arrays, Spec, batch_of, check_generators, count_sketch, initial_state, l2_norm,
    relative_error, to_numpy, write,
)  # fmt: skip
from reference_models import branches_of, build, residual_blocks, set_linear_rates, take_few_values
from torch import Tensor, nn

SCALE = "training"  # where kept branches are scaled in training


@dataclass(frozen=True)
class Case:
    """One file: by_rank masks are equal for all samples of a rank; masks of some units may be given, "0100" = the second."""

    name: str
    spec: Spec
    ranks: int
    by_rank: bool = False
    cifar_stem: bool = False
    kink_by_rounding: bool = False  # how the batch is chosen
    given: dict[int, str] = field(default_factory=dict)

    def model(self) -> nn.Module:
        return build(self.spec.name, self.spec.classes, self.spec.image_size, cifar_stem=self.cifar_stem)


def spec_of(model: str, batch: int, image_size: int, smoothing: float, candidates: int) -> Spec:
    return Spec(model, batch=batch, image_size=image_size, label_smoothing=smoothing, freeze_curves=False,
                candidates=candidates)  # fmt: skip


CASES = (
    Case("sample_resnet20", spec_of("resnet20", 8, 32, 0.0, 200), ranks=1),
    # 4 pixels: the last stage has 1x1, so one kept sample is one value a channel.
    Case("sample_resnet20_4px", spec_of("resnet20", 8, 4, 0.0, 400), ranks=2),
    Case("sample_vit_tiny", spec_of("vit_tiny", 4, 32, 0.1, 1), ranks=1),
    # Blocks with a projection are 2, 4, 6. On the two ranks: some and one; none and none; all and none.
    Case("sample_resnet18", spec_of("resnet18", 8, 16, 0.0, 150), ranks=2, cifar_stem=True,
         given={2: "01100100", 6: "11110000"}),
    # Those are 0, 3, 7, 13: all, some, one, none. The last stage has 1x1, of which two values would be -1 and 1 whatever they are.
    Case("sample_resnet50", spec_of("resnet50", 6, 32, 0.0, 400), ranks=1, kink_by_rounding=True,
         given={3: "101100", 7: "000100", 9: "000000", 13: "000000", 15: "110110"}),
    Case("rank_resnet20", spec_of("resnet20", 8, 32, 0.0, 200), ranks=2, by_rank=True),
    Case("rank_vit_tiny", spec_of("vit_tiny", 4, 32, 0.1, 1), ranks=2, by_rank=True),
)  # fmt: skip


def draw_masks(case: Case, rates: np.ndarray) -> np.ndarray:
    """kept[unit][sample]: drawn, but for units that show what a draw might not."""
    batch, ranks = case.spec.batch, case.ranks
    generator = np.random.default_rng(SEED)
    voters = ranks if case.by_rank else batch
    kept = generator.random((rates.size, voters)) >= rates[:, None]
    kept[0] = True
    kept[rates.size // 2] = False  # nobody: skipped
    if case.by_rank:
        kept[1], kept[-2], kept[-1] = (True, False), (False, True), (True, True)
        kept[3] = (True, False)  # changes the shape
        return np.repeat(kept, batch // ranks, axis=1).astype(np.uint8)
    kept[1] = np.arange(batch) == batch - 2  # one sample
    kept[-1] = np.arange(batch) % 3 == 1
    kept[-2] = np.arange(batch) == 1
    if ranks > 1:
        kept[-3] = np.arange(batch) % (batch // ranks) == 2  # one sample of each rank; changes the shape
    for unit, mask in case.given.items():
        kept[unit] = [voter == "1" for voter in mask]
    return kept.astype(np.uint8)


class Ranks:
    """The case in one precision: one model, put back to its initial weights for each rank's samples."""

    def __init__(self, case: Case, dtype: torch.dtype, masks: np.ndarray, state: dict[str, Tensor]) -> None:
        self.case, self.masks, self.state, self.dtype = case, masks, state, dtype
        self.model = case.model().to(dtype)
        set_linear_rates(self.model, RATE, SCALE)
        take_few_values(self.model)
        self.unit_of = units_by_parameter(self.model)

    def forward(self, rank: int, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of a rank's samples, and their part of the loss of the batch."""
        images, labels = batch
        each = self.case.spec.batch // self.case.ranks
        mine = slice(rank * each, (rank + 1) * each)
        self.model.load_state_dict(self.state)
        self.model.zero_grad(set_to_none=True)
        self.model.train()
        for branch, kept in zip(branches_of(self.model), self.masks[:, mine], strict=True):
            branch.kept = bool(kept.any())
            branch.places = torch.from_numpy(np.flatnonzero(kept))
        logits = self.model(images[mine].to(self.dtype))
        loss = F.cross_entropy(logits, labels[mine], label_smoothing=self.case.spec.label_smoothing, reduction="sum")
        return logits, loss / self.case.spec.batch

    def share(self, name: str, rank: int) -> float:
        """A rank's part of those who saw a tensor's branch."""
        each = self.case.spec.batch // self.case.ranks
        unit = self.unit_of.get(name)
        if unit is None:
            return 1.0 / self.case.ranks
        kept = self.masks[unit]
        return float(kept[rank * each : (rank + 1) * each].sum()) / float(kept.sum()) if kept.any() else 0.0

    def step(self, batch: tuple[Tensor, Tensor]) -> Arrays:
        results: dict[str, Tensor] = {}
        logits_of_ranks = []
        for rank in range(self.case.ranks):
            logits, loss = self.forward(rank, batch)
            loss.backward()
            logits_of_ranks.append(logits)
            add(results, "loss", loss)
            for name, parameter in self.model.named_parameters():
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                add(results, f"grad/{name}", gradient)
            for name, value in self.model.state_dict().items():
                if name.endswith((".running_mean", ".running_var")):
                    # Running values move linearly with the batch's, so their mean is what the mean of the batches' gives.
                    add(results, f"stats/{name}", value * self.share(name, rank))
        for name, value in self.state.items():
            unit = self.unit_of.get(name)
            if f"stats/{name}" in results and unit is not None and not self.masks[unit].any():
                results[f"stats/{name}"] = value.to(self.dtype)
        if self.case.by_rank:  # divided by the samples of those ranks alone that kept the branch
            for name, unit in self.unit_of.items():
                kept = int(self.masks[unit].sum())
                if f"grad/{name}" in results and 0 < kept < self.case.spec.batch:
                    results[f"grad_kept/{name}"] = results[f"grad/{name}"] * (self.case.spec.batch / kept)
        results["logits"] = torch.cat(logits_of_ranks)
        return to_numpy(results)


def add(results: dict[str, Tensor], name: str, value: Tensor) -> None:
    value = value.detach().clone()
    results[name] = results[name] + value if name in results else value


def units_by_parameter(model: nn.Module) -> dict[str, int]:
    """The decision unit of every tensor of a branch; a ViT block's attention and MLP are two."""
    units: dict[str, int] = {}
    names = {id(module): name for name, module in model.named_modules()}
    unit = 0
    for block in residual_blocks(model):
        for name in block.state_dict():
            if name.startswith("downsample"):
                continue
            second = len(block.branches) == 2 and name.startswith(("norm2", "mlp"))
            units[f"{names[id(block)]}.{name}"] = unit + int(second)
        unit += len(block.branches)
    return units


def choose_batch(case: Case, masks: np.ndarray, state: dict[str, Tensor]) -> int:
    """As first_batch() of make_goldens.py: the batch whose activations stay farthest from relu's kink, relative to the RMS
    of their layer, or of its rounding error: that of resnet50 grows hundredfold over its layers."""
    if case.spec.candidates == 1:
        return 0
    relu, seen, distances = F.relu, [], []

    def recording_relu(x: Tensor, inplace: bool = False) -> Tensor:
        seen.append(x.detach().clone())
        return relu(x, inplace)

    precisions = (torch.float64, torch.float32) if case.kink_by_rounding else (torch.float64,)
    runs = [Ranks(case, dtype, masks, state) for dtype in precisions]
    with torch.no_grad(), patch.object(F, "relu", recording_relu):
        for number in range(case.spec.candidates):
            batch = batch_of(case.spec, number)
            seen.clear()
            for run in runs:
                for rank in range(case.ranks):
                    run.forward(rank, batch)
            exact = seen[: len(seen) // len(runs)]
            units = [x - x32 for x, x32 in zip(exact, seen[len(exact) :], strict=True)] if case.kink_by_rounding else exact
            distances.append(min((x.abs()[x != 0].min() / unit.square().mean().sqrt()).item()
                                 for x, unit in zip(exact, units, strict=True)))  # fmt: skip
    best = int(np.argmax(distances))
    print(f"{case.name}: batch {best} of {case.spec.candidates}, nearest kink {distances[best]:.2g}")
    return best


def write_case(case: Case, path: Path) -> None:
    spec = case.spec
    model = case.model()
    set_linear_rates(model, RATE, SCALE)
    rates = np.array([branch.rate for branch in branches_of(model)])
    masks = draw_masks(case, rates)
    state = initial_state(model)
    first = choose_batch(case, masks, state)
    batch = batch_of(spec, first)
    exact, approximate = (Ranks(case, dtype, masks, state).step(batch) for dtype in (torch.float64, torch.float32))
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update(
            seed=np.uint32(SEED), first_batch=np.int64(first), batch=np.int64(spec.batch),
            image_size=np.int64(spec.image_size), classes=np.int64(spec.classes), units=np.int64(rates.size),
            ranks=np.int64(case.ranks), label_smoothing=spec.label_smoothing, rate=RATE,
            torch=np.bytes_(torch.__version__), torchvision=np.bytes_(torchvision.__version__),
            timm=np.bytes_(timm.__version__),
        )  # fmt: skip
        write(file, "masks", masks)
        write(file, "rates", rates)
        group = file.create_group(SCALE)
        for name, values in exact.items():
            # float32 holds them to 6e-8, which no tolerance here is near.
            error = relative_error(approximate[name], values)
            if not name.startswith("grad"):
                write(group, name, values.astype(np.float32), f32_error=error)
                continue
            sketched = values.size > SKETCH_BUCKETS
            stored = count_sketch(name.partition("/")[2], values) if sketched else values
            write(group, name, stored.astype(np.float32), norm=l2_norm(values), f32_error=error,
                  sketched=np.uint8(sketched))  # fmt: skip
    worst = max(relative_error(approximate[name], values) for name, values in exact.items())
    print(f"{path}: {path.stat().st_size} bytes, largest f32_error {worst:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent,
                        help="folder of the files (default: beside this script)")  # fmt: skip
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_generators()
    for case in CASES:
        if not arguments.cases or case.name in arguments.cases:
            write_case(case, arguments.output / f"{case.name}.h5")


if __name__ == "__main__":
    main()
