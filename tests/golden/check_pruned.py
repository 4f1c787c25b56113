# SPDX-License-Identifier: Apache-2.0
"""Loads what `sdtrain export --keep RULE --fold` leaves of a network into timm's and torchvision's own smaller networks.

    check_pruned.py BUILD [CASE ...]

BUILD is the folder of a build. For each case it trains a network a few steps, exports some of its blocks, loads the file with
strict=True into a network of that depth, and compares its logits with ours of the pruned checkpoint (logits.c):
max |difference| <= 1e-4 max |logit|. The logits of the whole network must differ by ten times that.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from check_onnx import SMALL, VIT, our_logits, relative_error, train
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

TOLERANCE = 1e-4  # of max |logit|; float32 sums of another order
SAMPLES = 5

STEMMED = {**SMALL, "model.stem": "imagenet", "data.image_size": 64}


def vit(depth: int) -> nn.Module:
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=192, depth=depth, num_heads=3, num_classes=10)


# name: settings, rule, the smaller network
CASES = {
    "vit_tiny": ({**VIT, "data.image_size": 32, "model.patch_size": 8}, "every_other:6", lambda: vit(6)),
    "vit_tiny-block": ({**VIT, "data.image_size": 32, "model.patch_size": 8, "stochastic_depth.unit": "block",
                        "stochastic_depth.schedule": "constant", "stochastic_depth.scale": "none"}, "0,3,11", lambda: vit(3)),
    "resnet18": ({**STEMMED, "model.name": "resnet18"}, "first:2", lambda: ResNet(BasicBlock, [2, 1, 1, 1], num_classes=10)),
    "resnet50": ({**STEMMED, "model.name": "resnet50"}, "every_other:6", lambda: ResNet(Bottleneck, [2, 3, 3, 2], num_classes=10)),
    "resnet50-training": ({**STEMMED, "model.name": "resnet50", "stochastic_depth.scale": "training"}, "last:3",
                          lambda: ResNet(Bottleneck, [1, 1, 2, 3], num_classes=10)),
}  # fmt: skip


def check(build: Path, checkpoint: Path, folder: Path, rule: str, model: nn.Module, size: int) -> str:
    pruned, exported = folder / "pruned.h5", folder / "kept.safetensors"
    sdtrain = build / "src/sdtrain"
    subprocess.run([sdtrain, "prune", checkpoint, "--keep", rule, pruned], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sdtrain, "export", checkpoint, exported, "--keep", rule, "--fold"], check=True, stdout=subprocess.DEVNULL)
    model.load_state_dict(load_file(exported), strict=True)
    images = np.random.default_rng(0).standard_normal((SAMPLES, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    error = relative_error(our_logits(build, pruned, images), logits)
    whole = relative_error(our_logits(build, checkpoint, images), logits)
    text = f"{len(model.state_dict())} tensors, error {error:.1e}, of the whole network {whole:.1e}"
    if not error <= TOLERANCE:
        raise SystemExit(f"check_pruned: {text}: more than {TOLERANCE:g}")
    if not whole >= 10 * TOLERANCE:
        raise SystemExit(f"check_pruned: {text}: the blocks make no difference, so this checks nothing")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, metavar="BUILD")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.cases or CASES:
        settings, rule, model = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = train(arguments.build, Path(folder), name, settings)
            size = settings.get("data.image_size", 32)
            print(f"{name}: {check(arguments.build, checkpoint, Path(folder), rule, model(), size)}", flush=True)


if __name__ == "__main__":
    main()
