#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images/s of reading, decoding and augmenting: sdtrain-mpi's loader against torch's DataLoader with torchvision's
transforms, on the same images and cores, alternating A B A B.

usage: VENV/bin/python tests/bench/compare_loader.py SDTRAIN_BENCH FOLDER [--size 224] [--workers 2] [--rounds 5]
                                                     [--augment resized_crop|none]

FOLDER: train/CLASS/*.jpg. Run it with the Python of a virtualenv that has tests/golden/requirements.txt. Both sides: batches of 32
in random order, so many worker threads (ours) or processes (torch's), ImageNet's normalisation; an epoch a round, after one that
does not count. A figure is the median over rounds of ours / torch's (lowest, highest): above 1 ours is faster.
"""
import argparse
import re
import statistics
import subprocess
import tempfile
import time

import torch
import torchvision
from torchvision import transforms

BATCH = 32


def torch_epochs(arguments):
    """Yields images/s of one epoch after another."""
    normalise = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    geometry = {
        "resized_crop": [transforms.RandomResizedCrop(arguments.size), transforms.RandomHorizontalFlip()],
        "none": [transforms.Resize(int(arguments.size / 0.875)), transforms.CenterCrop(arguments.size)],
    }[arguments.augment]
    dataset = torchvision.datasets.ImageFolder(arguments.folder + "/train", transforms.Compose(geometry + normalise))
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=arguments.workers,
                                         drop_last=True, persistent_workers=True)
    while True:
        images, begin = 0, time.perf_counter()
        for pixels, _ in loader:
            images += len(pixels)
        yield images / (time.perf_counter() - begin)


def our_epoch(arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as config:
        config.write("[data]\ndataset = folder\npath = %s\nimage_size = %d\naugment = %s\nworkers = %d\n"
                     "[train]\nbatch_size = %d\n" % (arguments.folder, arguments.size, arguments.augment,
                                                     arguments.workers, BATCH))
        config.flush()
        result = subprocess.run([arguments.bench, "loader", config.name, "--rounds", "1"], capture_output=True,
                                text=True, check=True)
    return float(re.search(r"images/s\s+(\S+)", result.stdout).group(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--augment", choices=("resized_crop", "none"), default="resized_crop")
    arguments = parser.parse_args()
    theirs = torch_epochs(arguments)
    next(theirs)
    pairs = [(our_epoch(arguments), next(theirs)) for _ in range(arguments.rounds)]
    ratios = [ours / torchs for ours, torchs in pairs]
    print("%s, %d pixels, %d workers: ours / torch's %.2f (%.2f, %.2f); %.0f and %.0f images/s" % (
        arguments.augment, arguments.size, arguments.workers, statistics.median(ratios), min(ratios), max(ratios),
        statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)))


if __name__ == "__main__":
    main()
