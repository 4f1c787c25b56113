# SPDX-License-Identifier: Apache-2.0
"""Scores a checkpoint of sdtrain-mpi with PyTorch on a CIFAR-10 file, as --evaluate does.

Shows that the weights load into torchvision's and timm's networks with strict=True and mean
there what they mean here. Prints `evaluate loss=L top1=A top5=B images=N`.
"""

import argparse
import configparser
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from reference_models import build, set_linear_rates
from torch import Tensor, nn

IMAGE_SIZE = 32
RECORD_BYTES = 1 + 3 * IMAGE_SIZE * IMAGE_SIZE  # label, then red, green and blue planes
BATCH = 250


def read_config(file: h5py.File) -> configparser.ConfigParser:
    text = file["config"][()]
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(text.decode() if isinstance(text, bytes) else text)
    return config


def build_model(config: configparser.ConfigParser) -> nn.Module:
    """The network of the config, its branches scaled as evaluation does."""
    section = config["model"]
    model = build(
        section["name"],
        section.getint("classes", fallback=0) or 10,
        IMAGE_SIZE,
        patch_size=section.getint("patch_size", fallback=4),
        cifar_stem=section.get("stem", "auto") != "imagenet",  # auto: cifar up to 64 pixels
    )
    drop = config["stochastic_depth"] if config.has_section("stochastic_depth") else {}
    rate = float(drop["rate"]) if drop.get("rate") else 1.0 - float(drop.get("survival_prob") or 1.0)
    scale, schedule = drop.get("scale", "inference"), drop.get("schedule", "linear")
    if scale not in ("inference", "training"):
        raise SystemExit(f"check_checkpoint: scale={scale} is neither inference nor training")
    if scale == "inference" and rate > 0.0 and schedule != "linear":
        raise SystemExit(f"check_checkpoint: schedule={schedule} is not supported, only linear")
    set_linear_rates(model, rate, scale)
    return model


def read_images(path: Path, mean: np.ndarray, std: np.ndarray) -> tuple[Tensor, Tensor]:
    """Normalised NCHW images and labels of a CIFAR-10 binary file."""
    raw = np.fromfile(path, dtype=np.uint8)
    if raw.size == 0 or raw.size % RECORD_BYTES:
        raise SystemExit(f"check_checkpoint: {path} is not a whole number of CIFAR-10 records")
    records = raw.reshape(-1, RECORD_BYTES)
    pixels = records[:, 1:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE).astype(np.float32) / 255
    images = (pixels - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(records[:, 0].astype(np.int64))


def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Mean cross entropy, top-1 and top-5 accuracy as fractions."""
    model.eval()
    loss, top1, top5 = 0.0, 0, 0
    with torch.no_grad():
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            logits = model(x)
            loss += F.cross_entropy(logits.double(), y, reduction="sum").item()
            hits = logits.topk(min(5, logits.shape[1])).indices == y[:, None]
            top1 += int(hits[:, 0].sum())
            top5 += int(hits.sum())
    return loss / len(labels), top1 / len(labels), top5 / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.h5")
    parser.add_argument("test_batch", type=Path, metavar="TEST_BATCH.bin",
                        help="CIFAR-10 binary file, 3073 bytes a record")  # fmt: skip
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    with h5py.File(arguments.checkpoint, "r") as file:
        model = build_model(read_config(file))
        state = {name: torch.from_numpy(np.asarray(data[()])) for name, data in file["model"].items()}
        mean, std = (np.asarray(file[f"data/{name}"], dtype=np.float32) for name in ("mean", "std"))
    model.load_state_dict(state, strict=True)
    images, labels = read_images(arguments.test_batch, mean, std)
    loss, top1, top5 = evaluate(model, images, labels)
    print(f"evaluate loss={loss:.6f} top1={top1:.6f} top5={top5:.6f} images={len(labels)}")


if __name__ == "__main__":
    main()
