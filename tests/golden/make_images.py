#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/images: small JPEG and PNG files, and their pixels as Pillow has them.

    VENV/bin/pip install pillow==13.0.0 numpy && VENV/bin/python tests/golden/make_images.py [--output DIR]

list.txt has a line `NAME WIDTH HEIGHT` for each file; expected.rgb holds Image.open(NAME).convert("RGB") of each, [height, width, 3]
bytes, in the order of these lines. wide.png is decoded too; bad-* are files that are not. Pillow writes the JPEG files; PNG files are written here,
as Pillow does not write all kinds there are. Two runs give equal files with the same versions of Pillow and its libraries.
"""
import argparse
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 21, 13  # odd, and more than one block of 4:2:0
GRAY, RGB, INDEXED, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types
CHANNELS = {GRAY: 1, RGB: 3, INDEXED: 1, GRAY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # x, y, dx, dy

random = np.random.default_rng(20160730)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, depth, colour, interlaced=False):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def packed_rows(values, depth):
    """values: [h, w, channels] of `depth` bits -> the bytes of each row."""
    for row in values.reshape(values.shape[0], -1):
        if depth == 16:
            yield row.astype(">u2").tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            yield np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()


def paeth(a, b, c):
    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def filtered(row, before, kind, pixel_bytes):
    out = bytearray([kind])
    for i, value in enumerate(row):
        a = row[i - pixel_bytes] if i >= pixel_bytes else 0
        b = before[i]
        c = before[i - pixel_bytes] if i >= pixel_bytes else 0
        out.append((value - [0, a, b, (a + b) // 2, paeth(a, b, c)][kind]) & 255)
    return bytes(out)


def png(values, depth, colour, before_pixels=b"", interlaced=False, pieces=1):
    """A PNG file of values [h, w, channels]; its rows have the filters 0 to 4 in turn."""
    height, width, channels = values.shape
    pixel_bytes = max(1, channels * depth // 8)
    raw = b""
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[y::dy, x::dx]
        if part.shape[0] == 0 or part.shape[1] == 0:
            continue
        before = None
        for i, row in enumerate(packed_rows(part, depth)):
            raw += filtered(row, before or bytes(len(row)), i % 5, pixel_bytes)
            before = row
    stream = zlib.compress(raw, 9)
    step = -(-len(stream) // pieces)
    data = b"".join(chunk(b"IDAT", stream[i : i + step]) for i in range(0, len(stream), step))
    return header(width, height, depth, colour, interlaced) + before_pixels + data + chunk(b"IEND", b"")


def random_values(depth, colour, width=WIDTH, height=HEIGHT):
    return random.integers(0, 1 << depth, (height, width, CHANNELS[colour]))


def photo(width=WIDTH, height=HEIGHT):
    """Smooth colours with an edge and some noise."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(0.2 * x + c) * np.cos(0.3 * y - c) for c in range(3)]
    image = np.stack(channels, axis=2) + random.normal(0, 8, (height, width, 3))
    image[y > x] *= 0.5
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 85, **options})
    return file.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    return jpeg(photo(), exif=exif)


def palette(entries):
    return chunk(b"PLTE", random.integers(0, 256, 3 * entries, dtype=np.uint8).tobytes())


def with_colours(data, transform):
    """A JPEG file of 4 components that says so of their colours: 0 CMYK, 2 YCCK, None nothing."""
    at = data.index(b"\xff\xee")
    length = 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    if transform is None:
        return data[:at] + data[at + length :]
    return data[: at + length - 1] + bytes([transform]) + data[at + length :]


def good_files():
    transparent = chunk(b"tRNS", bytes([0, 128, 255, 7]))
    yield "gray-1.png", png(random_values(1, GRAY), 1, GRAY)
    yield "gray-2.png", png(random_values(2, GRAY), 2, GRAY)
    yield "gray-4.png", png(random_values(4, GRAY), 4, GRAY)
    yield "gray-8.png", png(random_values(8, GRAY), 8, GRAY)
    yield "gray-8-trns.png", png(random_values(8, GRAY, 9, 5), 8, GRAY, chunk(b"tRNS", b"\0\x80"))
    few = random.integers(0, 300, (5, 9, 1))  # on both sides of 255, where Pillow clips
    yield "gray-16.png", png(few, 16, GRAY)
    yield "rgb-8.png", png(random_values(8, RGB), 8, RGB)
    yield "rgb-16.png", png(random_values(16, RGB, 9, 5), 16, RGB)
    yield "gray-alpha-8.png", png(random_values(8, GRAY_ALPHA), 8, GRAY_ALPHA)
    yield "gray-alpha-16.png", png(random_values(16, GRAY_ALPHA, 9, 5), 16, GRAY_ALPHA)
    yield "rgba-8.png", png(random_values(8, RGBA), 8, RGBA)
    yield "rgba-16.png", png(random_values(16, RGBA, 9, 5), 16, RGBA)
    yield "palette-1.png", png(random_values(1, INDEXED), 1, INDEXED, palette(2))
    yield "palette-2.png", png(random_values(2, INDEXED), 2, INDEXED, palette(4))
    yield "palette-4.png", png(random_values(4, INDEXED), 4, INDEXED, palette(16))
    yield "palette-8.png", png(random_values(8, INDEXED, 9, 5), 8, INDEXED, palette(256))
    yield "palette-trns.png", png(random_values(4, INDEXED), 4, INDEXED, palette(16) + transparent)
    yield "palette-short.png", png(random_values(4, INDEXED), 4, INDEXED, palette(11))  # 11 to 15 are black
    yield "interlaced-rgb.png", png(random_values(8, RGB), 8, RGB, interlaced=True)
    yield "interlaced-palette-2.png", png(random_values(2, INDEXED), 2, INDEXED, palette(4), interlaced=True)
    yield "interlaced-gray-16.png", png(random.integers(0, 300, (HEIGHT, WIDTH, 1)), 16, GRAY, interlaced=True)
    yield "interlaced-1x1.png", png(random_values(8, RGB, 1, 1), 8, RGB, interlaced=True)
    yield "interlaced-1x7.png", png(random_values(1, GRAY, 1, 7), 1, GRAY, interlaced=True)
    yield "interlaced-7x1.png", png(random_values(8, RGBA, 7, 1), 8, RGBA, interlaced=True)
    yield "1x1.png", png(random_values(8, RGB, 1, 1), 8, RGB)
    yield "1x7.png", png(random_values(8, RGB, 1, 7), 8, RGB)
    yield "pieces.png", png(random_values(8, RGB, 9, 5), 8, RGB, pieces=7)
    extras = chunk(b"gAMA", struct.pack(">I", 10000)) + chunk(b"tEXt", b"Comment\0" + bytes(range(32, 127)))
    yield "extras.png", png(random_values(8, RGB, 9, 5), 8, RGB, extras)
    yield "420.jpg", jpeg(photo(), subsampling="4:2:0")
    yield "422.jpg", jpeg(photo(), subsampling="4:2:2")
    yield "444.jpg", jpeg(photo(), subsampling="4:4:4")
    yield "411.jpg", jpeg(photo(40, 9), subsampling="4:1:1")
    yield "progressive.jpg", jpeg(photo(), progressive=True)
    yield "restarts.jpg", jpeg(photo(40, 33), restart_marker_blocks=2)
    yield "rough.jpg", jpeg(photo(), quality=5)
    yield "gray.jpg", jpeg(photo().convert("L"))
    yield "gray-progressive.jpg", jpeg(photo().convert("L"), progressive=True)
    cmyk = Image.merge("CMYK", [photo().getchannel(c) for c in (0, 1, 2, 0)])
    yield "cmyk.jpg", with_colours(jpeg(cmyk), 0)
    yield "cmyk-unmarked.jpg", with_colours(jpeg(cmyk), None)
    yield "ycck.jpg", with_colours(jpeg(cmyk), 2)
    yield "rgb.jpg", jpeg(photo(), keep_rgb=True)
    yield "1x1.jpg", jpeg(photo(1, 1))
    yield "1x7.jpg", jpeg(photo(1, 7))
    yield "exif-rotated.jpg", rotated()
    yield "png-in.jpg", png(random_values(8, RGB, 9, 5), 8, RGB)
    yield "jpeg-in.png", jpeg(photo(9, 5))


def wide_file():
    """Each 97th pixel is white: as good as the others, but the test knows its pixels without 60 kB of them."""
    return png((np.arange(20000) % 97 == 0).astype(int).reshape(1, -1, 1), 1, GRAY)


def bad_files():
    bomb = header(40000, 40000, 8, RGB) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    yield "bad-bomb.png", bomb
    yield "bad-wide.png", header(70000, 1, 1, GRAY) + chunk(b"IDAT", zlib.compress(bytes(8751))) + chunk(b"IEND", b"")
    few = header(3000, 3000, 8, RGB) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    yield "bad-few-bytes.png", few
    yield "bad-zero-width.png", header(0, 3, 8, GRAY) + chunk(b"IDAT", zlib.compress(bytes(3))) + chunk(b"IEND", b"")
    yield "bad-depth.png", header(3, 1, 3, GRAY) + chunk(b"IDAT", zlib.compress(bytes(3))) + chunk(b"IEND", b"")
    yield "bad-no-palette.png", png(random_values(8, INDEXED, 3, 1), 8, INDEXED)
    yield "bad-few-rows.png", header(3, 3, 8, GRAY) + chunk(b"IDAT", zlib.compress(bytes(8))) + chunk(b"IEND", b"")
    yield "bad-filter.png", header(3, 1, 8, GRAY) + chunk(b"IDAT", zlib.compress(b"\5abc")) + chunk(b"IEND", b"")
    long_text = struct.pack(">I", 0x30000000) + b"tEXtComment\0"  # a length beyond the file
    yield "bad-long-text.png", png(random_values(8, RGB), 8, RGB, long_text)
    yield "bad-critical.png", png(random_values(8, RGB, 3, 1), 8, RGB, chunk(b"ABCD", b"needed"))
    for name, format in ("gif", "GIF"), ("webp", "WEBP"), ("bmp", "BMP"), ("tiff", "TIFF"):
        file = io.BytesIO()
        photo(4, 3).save(file, format)
        yield f"bad-{name}.png", file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "images")
    output = parser.parse_args().output
    output.mkdir(exist_ok=True)
    lines, pixels = [], b""
    for name, data in good_files():
        (output / name).write_bytes(data)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        lines.append(f"{name} {image.width} {image.height}\n")
        pixels += image.tobytes()
    for name, data in [("wide.png", wide_file()), *bad_files()]:
        (output / name).write_bytes(data)
    (output / "list.txt").write_text("".join(lines))
    (output / "expected.rgb").write_bytes(pixels)


if __name__ == "__main__":
    main()
