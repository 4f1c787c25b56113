# SPDX-License-Identifier: Apache-2.0
"""Writes resize_goldens.h and crop_goldens.h: what Pillow, torchvision, timm and PyTorch make of pictures.

Pictures come from a formula that the C tests have too; of results only the CRC-32 of their bytes is kept,
[height, width, 3]. Crops are drawn from the words of data/draws.h, put in the place of both libraries' own.
"""

import argparse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL
import timm
import torch
import torchvision
from make_goldens import philox
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.data.transforms_factory import transforms_imagenet_eval
from timm.layers import resample_abs_pos_embed
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

MODES = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)  # in the order of sd_filter
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
SEED, AUGMENT, EPOCH = 20160730, 4, 7  # of data/draws.h; the stream is SD_STREAM_AUGMENT

# Picture, box (None: all of it), result.
RESIZES = (
    ((1, 1), None, (7, 7)), ((1, 1), None, (1, 1)), ((1, 9), None, (7, 3)), ((9, 1), None, (4, 5)),
    ((2, 2), None, (1, 1)), ((7, 5), None, (7, 5)), ((7, 5), None, (7, 9)), ((7, 5), None, (3, 5)),
    ((31, 17), None, (224, 224)), ((500, 375), None, (224, 224)), ((375, 500), None, (224, 224)),
    ((333, 500), None, (248, 372)), ((64, 64), None, (63, 65)), ((640, 481), None, (97, 1)),
    ((97, 640), None, (201, 32)), ((40, 60), None, (30, 40)), ((40, 61), None, (30, 40)),
    ((20000, 3), None, (224, 224)), ((3, 20000), None, (224, 224)), ((1, 3001), None, (5, 5)),
    ((60, 40), (3, 5, 33, 25), (30, 20)), ((60, 40), (3, 5, 33, 25), (30, 7)), ((60, 40), (3, 5, 33, 25), (17, 20)),
    ((60, 40), (3, 5, 57, 38), (20, 20)), ((60, 40), (0.5, 0.25, 59.75, 39.5), (32, 32)),
    ((60, 40), (10.1, 20.2, 10.9, 20.7), (9, 8)), ((60, 40), (59.9, 39.9, 60, 40), (3, 3)),
    ((400, 300), (0.3, 0.7, 399.6, 299.1), (33, 34)), ((300, 400), (1 / 3, 2 / 3, 299.9, 1.1), (50, 10)),
)  # fmt: skip

# Picture, shorter side, size.
CENTERS = (
    ((500, 375), 256, 224), ((375, 500), 248, 224), ((224, 224), 224, 224), ((33, 50), 37, 32), ((50, 33), 36, 31),
    ((32, 32), 20, 32), ((40, 32), 29, 33), ((32, 40), 31, 32), ((1, 1), 8, 5),
    ((20000, 3), 256, 224), ((3, 20000), 256, 224),
)  # fmt: skip

# Picture, (left, top, width, height), size.
CROPS = (
    ((500, 375), (100, 3, 301, 260), 224), ((50, 70), (7, 9, 20, 61), 32), ((50, 70), (0, 0, 50, 70), 24),
    ((50, 70), (49, 69, 1, 1), 8), ((50, 70), (18, 38, 32, 32), 32),
)  # fmt: skip

# Area, ratio.
LAWS = (
    ((0.08, 1.0), (3.0 / 4.0, 4.0 / 3.0)),
    ((0.5, 1.0), (0.9, 1.1)),
    ((0.9, 1.0), (1.5, 2.5)),
)  # fmt: skip
LAW_PICTURES = (
    (500, 375), (375, 500), (224, 224), (32, 32), (33, 31), (5, 7), (3, 2), (1, 1), (1, 400), (400, 1), (1600, 900),
    (480, 640), (300, 299), (1000, 600), (640, 427), (20000, 3),
)  # fmt: skip
LAW_DRAWS = 4  # of each picture by each law


def picture(width: int, height: int, edges: bool) -> np.ndarray:
    """Bytes of a hash of their place; or, with edges, only 0 and 255, so that bicubic sums must be clipped."""
    x = np.arange(width * height * 3, dtype=np.uint64) * 2654435761 + 12345 & 0xFFFFFFFF
    x ^= x >> 16
    x = x * 2246822519 & 0xFFFFFFFF
    x ^= x >> 13
    byte = (x >> 24).astype(np.uint8)
    if edges:
        byte = (byte >> 7) * np.uint8(255)
    return byte.reshape(height, width, 3)


def crc(image: Image.Image) -> str:
    return f"0x{zlib.crc32(np.asarray(image).tobytes()):08x}"


def braces(*values: object) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def resizes() -> Iterator[str]:
    for (width, height), box, size in RESIZES:
        images = [Image.fromarray(picture(width, height, edges)) for edges in (False, True)]
        place = box or (0, 0, width, height)
        digests = [braces(*(crc(image.resize(size, filter, place)) for filter in FILTERS)) for image in images]
        yield braces(width, height, braces(*(f"{value:.9g}" for value in place)), *size, braces(*digests))


def centers() -> Iterator[str]:
    for (width, height), shorter, size in CENTERS:
        image = Image.fromarray(picture(width, height, False))
        digests = [crc(TF.center_crop(TF.resize(image, shorter, mode), size)) for mode in MODES]
        yield braces(width, height, shorter, size, braces(*digests))


def crops() -> Iterator[str]:
    for (width, height), (left, top, w, h), size in CROPS:
        image = Image.fromarray(picture(width, height, False))
        results = [TF.resized_crop(image, top, left, h, w, [size, size], mode) for mode in MODES]
        digests = braces(*map(crc, results)), braces(*(crc(TF.hflip(result)) for result in results))
        yield braces(width, height, braces(left, top, w, h), size, *digests)


def sides() -> Iterator[str]:
    for width, height, shorter in ((500, 375, 256), (375, 500, 256), (333, 500, 248), (1, 1, 7), (3, 20000, 256),
                                   (1999, 1000, 333), (1000, 1999, 37), (7, 7, 5)):  # fmt: skip
        result = TF._compute_resized_output_size((height, width), [shorter])
        yield braces(width, height, shorter, *reversed(result))


def percentages() -> Iterator[str]:
    for size in (32, 224, 225, 288, 384):
        for crop_pct in (0.875, 0.9, 0.95, 0.96, 1.0):
            resize = transforms_imagenet_eval(size, crop_pct=crop_pct).transforms[0]
            yield braces(size, crop_pct, resize.size)


def offsets() -> Iterator[str]:
    """Where CenterCrop begins: found in a picture whose pixels are their places from 1 on; 0 is padding."""
    for length in range(1, 12):
        for crop in range(1, 12):
            row = Image.fromarray(np.arange(1, length + 1, dtype=np.uint8)[None])
            result = list(np.asarray(TF.center_crop(row, [1, crop]))[0])
            first = next(i for i, value in enumerate(result) if value)
            yield braces(length, crop, int(result[first]) - 1 - first)


class Draws:
    """The words of data/draws.h, as what both libraries ask for."""

    def __init__(self, sample: int) -> None:
        self.sample, self.next = sample, 0

    def word(self) -> int:
        n = self.next
        self.next += 1
        return int(philox((self.sample, n // 4, EPOCH, 0), (SEED, AUGMENT))[n % 4])

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * (self.word() * 2.0**-32)

    def index(self, n: int) -> int:
        return self.word() * n >> 32


class Empty:
    """torch.empty(1), to be filled."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws

    def uniform_(self, low: float, high: float) -> torch.Tensor:
        return torch.tensor([self.draws.uniform(float(low), float(high))])


def torchvision_crop(image: Image.Image, scale: tuple, ratio: tuple, draws: Draws) -> tuple:
    def randint(low: int, high: int, size: tuple) -> torch.Tensor:
        return torch.tensor([low + draws.index(high - low)])

    with patch("torch.empty", lambda *_: Empty(draws)), patch("torch.randint", randint):
        return tuple(RandomResizedCrop.get_params(image, scale, ratio))


def timm_crop(image: Image.Image, scale: tuple, ratio: tuple, draws: Draws) -> tuple:
    def randint(low: int, high: int) -> int:
        return low + draws.index(high - low + 1)

    with patch("random.uniform", draws.uniform), patch("random.randint", randint):
        return tuple(RandomResizedCropAndInterpolation.get_params(image, scale, ratio))


def draws() -> Iterator[str]:
    torch.set_default_dtype(torch.float64)  # torchvision's area and ratio, else in float: as timm's and ours
    sample = 0
    for law, (scale, ratio) in enumerate(LAWS):
        for width, height in LAW_PICTURES:
            image = Image.new("RGB", (width, height))
            for _ in range(LAW_DRAWS):
                words = Draws(sample)
                box = torchvision_crop(image, scale, ratio, words)
                # timm accepts rectangles without pixels and draws on from other words; else it must find the same.
                theirs = timm_crop(image, scale, ratio, Draws(sample))
                assert box == theirs or 0 in theirs, (width, height, box, theirs)
                top, left, h, w = map(int, box)
                yield braces(sample, law, width, height, braces(left, top, w, h), words.next)
                sample += 1
    torch.set_default_dtype(torch.float32)


def grid(side: int, channels: int) -> torch.Tensor:
    """Values in [-1, 1): bytes of a picture."""
    values = picture(side * side, channels, False).reshape(-1)[: side * side * channels]
    return torch.from_numpy(values.astype(np.float32) / 128 - 1).reshape(1, side * side, channels)


def embeddings() -> Iterator[str]:
    for old, new in ((14, 6), (4, 7), (7, 7), (8, 3)):
        result = resample_abs_pos_embed(grid(old, 2), [new, new], num_prefix_tokens=0)
        values = [f"{value:.9g}" for value in result.reshape(-1).tolist()]
        lines = [", ".join(values[i : i + 8]) for i in range(0, len(values), 8)]
        yield braces(old, new, "{\n     " + ",\n     ".join(lines) + "}")


Table = tuple[str, str, str, Callable[[], Iterator[str]]]
RESIZE_TABLES: tuple[Table, ...] = (
    ("Image.resize(): picture, box, result, CRC-32 of [without, with edges] and [sd_filter].", "resize_golden",
     "int width, height; float box[4]; int to_width, to_height; uint32_t crc[2][2];", resizes),
    ("resample_abs_pos_embed(): sides of the grids; result [to, to, 2].", "embedding_golden",
     "int from, to; float values[98];", embeddings),
)  # fmt: skip
CROP_TABLES: tuple[Table, ...] = (
    ("Resize(shorter), CenterCrop(size); CRC-32 of [sd_filter].", "center_golden",
     "int width, height, shorter, size; uint32_t crc[2];", centers),
    ("resized_crop(), and hflip() of it; CRC-32 of [sd_filter].", "crop_golden",
     "int width, height; sd_rect crop; int size; uint32_t crc[2], flipped[2];", crops),
    ("Sizes of Resize(shorter).", "side_golden", "int width, height, shorter, to_width, to_height;", sides),
    ("timm's Resize before a crop of `size`.", "percentage_golden", "int size; double crop_pct; int shorter;",
     percentages),
    ("Where CenterCrop begins along one side.", "offset_golden", "int length, crop, offset;", offsets),
    ("RandomResizedCrop.get_params() by a law of draw_laws; how many words it drew.", "draw_golden",
     "int sample, law, width, height; sd_rect crop; int words;", draws),
)  # fmt: skip


def write(path: Path, begin: list[str], tables: tuple[Table, ...]) -> None:
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (PIL, torch, torchvision, timm))
    text = ["/* SPDX-License-Identifier: Apache-2.0 */", "/* Made by make_resize.py, not to be edited:",
            f" * {versions} */", "/* clang-format off */", *begin]  # fmt: skip
    for title, name, members, rows in tables:
        text += ["", f"/* {title} */", f"static const struct {name} {{ {members} }}", f"{name}s[] = {{"]
        text += [f"    {row}," for row in rows()] + ["};"]
    path.write_text("\n".join(text) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent,
                        help="folder of the files (default: beside this script)")  # fmt: skip
    output = parser.parse_args().output
    write(output / "resize_goldens.h", [], RESIZE_TABLES)
    laws = [f"    {braces(braces(*scale), braces(*ratio))}," for scale, ratio in LAWS]
    begin = [f"enum {{ DRAW_SEED = {SEED}, DRAW_EPOCH = {EPOCH} }};", "static const sd_random_crop draw_laws[] = {"]
    write(output / "crop_goldens.h", [*begin, *laws, "};"], CROP_TABLES)


if __name__ == "__main__":
    main()
