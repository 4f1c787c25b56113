# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of the C tests: outputs, gradients, statistics and loss curves.

Weights, images and labels come from a counter-based generator that the C test has too, so the
files hold results only. README.md describes the format.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from reference_models import branches_of, build, residual_blocks, set_constant_rates, set_linear_rates
from torch import Tensor, nn

SEED = 20161009
RATE = 0.5
STEPS = 10
SKETCH_BUCKETS = 1024
SKETCH_COUNTER = 1  # second counter word of the sketch; 0 gives the tensor's values

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Spec:
    """One golden file. With layers, whole blocks are dropped at one rate, and nothing is scaled (LayerDrop)."""

    name: str
    batch: int
    image_size: int
    label_smoothing: float
    freeze_curves: bool
    candidates: int = 1  # batches to choose from (first_batch)
    lr_sgd: float = 0.01
    lr_adamw: float = 1e-3
    classes: int = 10
    layers: bool = False

    @property
    def scales(self) -> tuple[str, ...]:
        return ("none",) if self.layers else ("inference", "training")

    def model(self) -> nn.Module:
        return build(self.name.removeprefix("layerdrop_"), self.classes, self.image_size, layers=self.layers)

    def set_rates(self, model: nn.Module, scale: str) -> None:
        (set_constant_rates if self.layers else set_linear_rates)(model, RATE, scale)


SPECS = (
    Spec("resnet20", batch=8, image_size=32, label_smoothing=0.0, freeze_curves=True, candidates=400),
    # Small rates: float32 gradients of this net are off by percents (README), and curves diverge.
    Spec("resnet50", batch=8, image_size=64, label_smoothing=0.0, freeze_curves=False,
         lr_sgd=1e-6, lr_adamw=3e-6),  # fmt: skip
    Spec("vit_tiny", batch=4, image_size=32, label_smoothing=0.1, freeze_curves=True),
    Spec("layerdrop_vit_tiny", batch=4, image_size=32, label_smoothing=0.1, freeze_curves=True, layers=True),
)


# ---- random numbers: Philox 4x32-10 (Salmon et al. 2011) -----------------------------------------


def philox(counter: tuple, key: tuple[int, int]) -> list[np.ndarray]:
    """The four uint32 words of every counter; its entries are uint32 scalars or arrays."""
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low,
            (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low,
        )  # fmt: skip
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c.astype(np.uint32) for c in (c0, c1, c2, c3)]


def fnv1a(text: str) -> int:
    """FNV-1a hash, 32 bits: the stream of a named tensor."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def words(name: str, elements: int, c1: int) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Random words of the elements 0..elements-1 of `name`, in pieces that fit the cache."""
    piece = 1 << 16
    for first in range(0, elements, piece):
        index = np.arange(first, min(first + piece, elements))
        yield slice(first, first + index.size), philox((index, c1, 0, 0), (SEED, fnv1a(name)))


def uniform(name: str, elements: int, c1: int, center: float, halfwidth: float) -> np.ndarray:
    """float32(center + halfwidth * (2u - 1)), u = first word * 2^-32, computed in double."""
    values = np.empty(elements, dtype=np.float32)
    for place, (word, *_) in words(name, elements, c1):
        values[place] = center + halfwidth * (2.0 * (word * 2.0**-32) - 1.0)
    return values


def check_generators() -> None:
    """Known answers: Random123's kat_vectors for philox4x32-10, and the FNV authors' vectors."""
    ones = 0xFFFFFFFF
    known = (
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ones, ones, ones, ones), (ones, ones), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    )  # fmt: skip
    for counter, key, answer in known:
        assert " ".join(f"{int(word):08x}" for word in philox(counter, key)) == answer
    assert (fnv1a(""), fnv1a("a"), fnv1a("foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)


# ---- inputs --------------------------------------------------------------------------------------


def initial_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a parameter or running statistic before the first step."""
    fan_in = int(np.prod(shape[1:]))
    if name in ("pos_embed", "cls_token"):
        center, halfwidth = 0.0, 0.05
    elif name.endswith(".weight") and len(shape) == 4:
        center, halfwidth = 0.0, np.sqrt(6.0 / fan_in)
    elif name.endswith(".weight") and len(shape) == 2:
        center, halfwidth = 0.0, np.sqrt(3.0 / fan_in)
    elif name.endswith((".weight", ".running_var")) and len(shape) == 1:
        center, halfwidth = 1.0, 0.25
    elif name.endswith((".bias", ".running_mean")):
        center, halfwidth = 0.0, 0.1
    else:
        raise ValueError(f"no rule for tensor {name} of shape {shape}")
    return uniform(name, int(np.prod(shape)), 0, center, halfwidth).reshape(shape)


def initial_state(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict before the first step; every tensor must have a stream of its own."""
    names = list(model.state_dict())
    assert len({fnv1a(name) for name in [*names, "images", "labels"]}) == len(names) + 2
    return {
        name: value if name.endswith("num_batches_tracked")
        else torch.from_numpy(initial_tensor(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }  # fmt: skip


def batch_of(spec: Spec, batch: int) -> tuple[Tensor, Tensor]:
    """Images (drawn in NHWC order, given as NCHW float32) and labels of one batch."""
    shape = (spec.batch, spec.image_size, spec.image_size, 3)
    images = uniform("images", int(np.prod(shape)), batch, 0.0, np.sqrt(3.0)).reshape(shape)
    label_word = philox((np.arange(spec.batch), batch, 0, 0), (SEED, fnv1a("labels")))[0]
    labels = (label_word % np.uint32(spec.classes)).astype(np.int64)
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)


def draw_plans(spec: Spec, model: nn.Module, rates: np.ndarray) -> np.ndarray:
    """kept[step][unit]; each plan drops 2 to L/2 units, and plan 0 a block that changes the shape; with layers, one plan drops all."""
    blocks = residual_blocks(model)
    shape_changes = [getattr(block, "downsample", None) is not None for block in blocks]
    generator = np.random.default_rng(SEED)
    plans: list[np.ndarray] = []
    while len(plans) < STEPS:
        kept = generator.random(rates.size) >= rates
        enough = 2 <= np.sum(~kept) <= len(blocks) // 2
        if not plans and any(shape_changes):
            enough = enough and bool(np.any(~kept & shape_changes))
        if enough:
            plans.append(kept)
    if spec.layers:
        plans[STEPS // 2][:] = False
    return np.array(plans, dtype=np.uint8)


def first_batch(spec: Spec, plans: np.ndarray, state: dict[str, Tensor]) -> int:
    """The number of batch 0: of the candidates the one whose activations stay farthest from relu's kink.

    A gradient jumps where rounding moves an activation across zero, so near a kink two right programs differ. Distance:
    |input of a relu| / RMS of that input, exact zeros apart, least over plan 0 of both conventions."""
    if spec.candidates == 1:
        return 0
    distances: list[float] = []
    relu = F.relu

    def measuring_relu(x: Tensor) -> Tensor:
        size = x.abs()
        distances[-1] = min(distances[-1], (size[size > 0].min() / x.square().mean().sqrt()).item())
        return relu(x)

    runs = [Run(spec, scale, torch.float64, plans, state, []) for scale in ("inference", "training")]
    with torch.no_grad(), patch.object(F, "relu", measuring_relu):
        for number in range(spec.candidates):
            distances.append(np.inf)
            images, labels = batch_of(spec, number)
            for run in runs:
                run.batches = [(images.double(), labels)]
                run.restart(training=True)
                run.forward(0)
    best = int(np.argmax(distances))
    print(f"{spec.name}: batch {best} of {spec.candidates}, nearest kink {distances[best]:.2g}")
    return best


# ---- one model, one scale convention, one precision ----------------------------------------------


class Run:
    """A model in one precision and convention that can be put back to its initial weights."""

    def __init__(self, spec: Spec, scale: str, dtype: torch.dtype, plans: np.ndarray,
                 state: dict[str, Tensor], batches: list[tuple[Tensor, Tensor]]) -> None:  # fmt: skip
        self.spec, self.plans, self.state = spec, plans, state
        self.batches = [(images.to(dtype), labels) for images, labels in batches]
        self.model = spec.model().to(dtype)
        spec.set_rates(self.model, scale)

    def restart(self, training: bool) -> None:
        self.model.load_state_dict(self.state)
        self.model.zero_grad(set_to_none=True)
        self.model.train(training)

    def forward(self, step: int) -> tuple[Tensor, Tensor]:
        for branch, kept in zip(branches_of(self.model), self.plans[step], strict=True):
            branch.kept = bool(kept)
        images, labels = self.batches[step]
        logits = self.model(images)
        return logits, F.cross_entropy(logits, labels, label_smoothing=self.spec.label_smoothing)

    def evaluate(self) -> Arrays:
        """Logits and loss of batch 0 in eval mode, with the initial running statistics."""
        self.restart(training=False)
        with torch.no_grad():
            logits, loss = self.forward(0)
        return to_numpy({"eval_logits": logits, "eval_loss": loss})

    def step_zero(self) -> Arrays:
        """Forward and backward of batch 0 in training mode under plan 0."""
        self.restart(training=True)
        logits, loss = self.forward(0)
        loss.backward()
        results = {"logits": logits, "loss": loss}
        for name, parameter in self.model.named_parameters():
            gradient = parameter.grad
            results[f"grad/{name}"] = torch.zeros_like(parameter) if gradient is None else gradient
        for name, value in self.model.state_dict().items():
            if name.endswith((".running_mean", ".running_var")):
                results[f"stats/{name}"] = value
        return to_numpy(results)

    def curve(self, kind: str, freeze: bool) -> np.ndarray:
        """The training loss of each step before its update."""
        self.restart(training=True)
        optimizer = make_optimizer(kind, self.model, self.spec)
        losses = []
        for step in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            _, loss = self.forward(step)
            loss.backward()
            if not freeze:  # momentum and weight decay act on dropped branches too
                for parameter in self.model.parameters():
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses)


def to_numpy(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.detach().double().numpy().copy() for name, tensor in tensors.items()}


def make_optimizer(kind: str, model: nn.Module, spec: Spec) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=spec.lr_sgd, momentum=0.9, nesterov=True, weight_decay=5e-4,
            foreach=False,
        )  # fmt: skip
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim >= 2 and name not in ("pos_embed", "cls_token")].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": 0.05},
         {"params": groups[False], "weight_decay": 0.0}],
        lr=spec.lr_adamw, betas=(0.9, 0.999), eps=1e-8, foreach=False,
    )  # fmt: skip


# ---- output --------------------------------------------------------------------------------------


def l2_norm(values: np.ndarray) -> float:
    """Without BLAS (np.linalg.norm), whose last digits depend on threads and alignment."""
    return float(np.sqrt(np.sum(values * values)))


def relative_error(approximate: np.ndarray, exact: np.ndarray) -> float:
    """|approximate - exact|_2 / |exact|_2, and 0 where the exact value is 0."""
    norm = l2_norm(exact)
    return l2_norm(approximate - exact) / norm if norm else 0.0


def count_sketch(name: str, values: np.ndarray) -> np.ndarray:
    """Signed sums of the elements in random buckets; linear, and keeps L2 norms in expectation."""
    flat = values.reshape(-1)
    sketch = np.zeros(SKETCH_BUCKETS)
    for place, (bucket, sign, *_) in words(name, flat.size, SKETCH_COUNTER):
        signed = np.where(sign & np.uint32(1), flat[place], -flat[place])
        index = (bucket & np.uint32(SKETCH_BUCKETS - 1)).astype(np.int64)
        sketch += np.bincount(index, weights=signed, minlength=SKETCH_BUCKETS)
    return sketch


def write(group: h5py.Group, name: str, values: np.ndarray, **attributes) -> None:
    assert np.all(np.isfinite(values)), f"{group.name}/{name} is not finite"
    packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
    dataset = group.create_dataset(name, data=values, **(packed if values.size >= 64 else {}))
    for key, value in attributes.items():
        assert np.all(np.isfinite(value)), f"attribute {key} of {group.name}/{name} is not finite"
        dataset.attrs[key] = value


def write_result(group: h5py.Group, name: str, exact: np.ndarray, approximate: np.ndarray) -> None:
    """One result of the float64 run, with the error of the float32 run beside it."""
    error = relative_error(approximate, exact)
    if not name.startswith("grad/"):
        write(group, name, exact, f32_error=error)
        return
    sketched = exact.size > SKETCH_BUCKETS
    values = count_sketch(name.removeprefix("grad/"), exact) if sketched else exact
    write(group, name, values, norm=l2_norm(exact), f32_error=error,
          sketched=np.uint8(sketched))  # fmt: skip


def write_convention(group: h5py.Group, exact: Run, approximate: Run) -> None:
    for exact_results, approximate_results in (
        (exact.evaluate(), approximate.evaluate()),
        (exact.step_zero(), approximate.step_zero()),
    ):
        for name, values in exact_results.items():
            write_result(group, name, values, approximate_results[name])
    for kind in ("sgd", "adamw"):
        for freeze in (False, True) if exact.spec.freeze_curves else (False,):
            losses = exact.curve(kind, freeze)
            error = np.abs(approximate.curve(kind, freeze) - losses) / np.abs(losses)
            rate = exact.spec.lr_sgd if kind == "sgd" else exact.spec.lr_adamw
            write(group, f"curve_{kind}_freeze" if freeze else f"curve_{kind}", losses,
                  lr=rate, f32_error=error)  # fmt: skip


def write_golden(spec: Spec, path: Path) -> None:
    model = spec.model()
    spec.set_rates(model, spec.scales[0])
    rates = np.array([branch.rate for branch in branches_of(model)])
    plans = draw_plans(spec, model, rates)
    state = initial_state(model)
    first = first_batch(spec, plans, state)
    batches = [batch_of(spec, first + step) for step in range(STEPS)]
    # v110: what HDF5 1.10 can read; its chunk index also keeps files of many small datasets small.
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update(
            seed=np.uint32(SEED), first_batch=np.int64(first), batch=np.int64(spec.batch), image_size=np.int64(spec.image_size),
            classes=np.int64(spec.classes), units=np.int64(rates.size),
            label_smoothing=spec.label_smoothing, rate=RATE, torch=np.bytes_(torch.__version__),
            torchvision=np.bytes_(torchvision.__version__), timm=np.bytes_(timm.__version__),
        )  # fmt: skip
        write(file, "plans", plans)
        write(file, "rates", rates)
        for scale in spec.scales:
            exact, approximate = (
                Run(spec, scale, dtype, plans, state, batches)
                for dtype in (torch.float64, torch.float32)
            )
            write_convention(file.create_group(scale), exact, approximate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent,
                        help="folder of the files (default: beside this script)")  # fmt: skip
    parser.add_argument("models", nargs="*", metavar="MODEL",
                        help="resnet20, resnet50, vit_tiny, layerdrop_vit_tiny (default: all)")  # fmt: skip
    arguments = parser.parse_args()
    unknown = set(arguments.models) - {spec.name for spec in SPECS}
    if unknown:
        parser.error(f"unknown model: {', '.join(sorted(unknown))}")

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_generators()
    for spec in SPECS:
        if not arguments.models or spec.name in arguments.models:
            path = arguments.output / f"{spec.name}.h5"
            write_golden(spec, path)
            print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
