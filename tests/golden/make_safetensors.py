# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of safetensors, with the safetensors library, and prints their XXH3-128.

dtypes.safetensors  every kind of dtype that is read: floats with their special values, integers with their ends, some that are
                    listed without values; a scalar, an empty tensor, names that JSON must escape
export.safetensors  F32 and I64 only: what sd_safetensors_write() must write to the byte

The tensors are in the test as well (tests/unit/test_safetensors.c); the values here are bit patterns.
"""

import argparse
import ctypes
import struct
from pathlib import Path

import xxhash
from safetensors import TensorSpec, serialize


def numbers(code: str, *values: int) -> bytes:
    """Whole numbers or bit patterns, little-endian; code as in struct."""
    return struct.pack(f"<{len(values)}{code}", *values)


# name: (dtype, shape, bytes)
DTYPES: dict[str, tuple[str, list[int], bytes]] = {
    # 1/3, 1e300 (beyond f32), 1 + 2^-24 (a tie, to even), 2^-149 and 2^-150 (the least f32, and a tie with 0)
    "f64": ("float64", [5], numbers("Q", 0x3FD5555555555555, 0x7E37E43C8800759C, 0x3FF0000010000000, 0x36A0000000000000, 0x3690000000000000)),
    # 1, -0, the least denormal, the greatest number, infinity, a quiet and a signalling NaN with payloads
    "f32": ("float32", [1, 7], numbers("I", 0x3F800000, 0x80000000, 1, 0x7F7FFFFF, 0xFF800000, 0x7FC12345, 0xFFA00001)),
    "f16": ("float16", [2, 2], numbers("H", 0x3C00, 0x8001, 0x7C00, 0x7E01)),
    "bf16": ("bfloat16", [3], numbers("H", 0x3F80, 0x8001, 0x7FC1)),
    "bool": ("bool", [3], numbers("B", 0, 1, 1)),
    "i8": ("int8", [2], numbers("b", -128, 127)),
    "u8": ("uint8", [3], numbers("B", 0, 128, 255)),
    "i16": ("int16", [2], numbers("h", -32768, 32767)),
    "u16": ("uint16", [1], numbers("H", 65535)),
    "i32": ("int32", [2], numbers("i", -(2**31), 2**31 - 1)),
    "u32": ("uint32", [1], numbers("I", 2**32 - 1)),
    "i64": ("int64", [2], numbers("q", -(2**63), 2**63 - 1)),
    "u64": ("uint64", [1], numbers("Q", 2**64 - 1)),
    "f8": ("float8_e4m3fn", [3], b"abc"),
    "scalar": ("float32", [], numbers("I", 0x40490FDB)),
    "empty": ("float32", [3, 0, 2], b""),
    'a "quoted\\ name\n\x01\x7f/é😀': ("uint8", [1], b"\x07"),
}

EXPORT: dict[str, tuple[str, list[int], bytes]] = {
    "layer.weight": ("float32", [2, 3], numbers("I", 0x3F800000, 0x80000000, 1, 0x7F7FFFFF, 0x7FC12345, 0xFFA00001)),
    "layer.bias": ("float32", [], numbers("I", 0x40490FDB)),
    "bn.num_batches_tracked": ("int64", [], numbers("q", 2**53 + 1)),
    "none": ("float32", [0, 4], b""),
    'a "quoted\\ name\n\x01\x7f/é😀': ("float32", [1], numbers("I", 0xC0000000)),
}


def file_of(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str]) -> bytes:
    """What the library writes. One key of metadata only: the library's order of keys is random."""
    keep = {name: ctypes.create_string_buffer(data, len(data)) for name, (_, _, data) in tensors.items()}
    specs = {name: TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(keep[name]), data_len=len(data))
             for name, (dtype, shape, data) in tensors.items()}  # fmt: skip
    return bytes(serialize(specs, metadata=metadata))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    output: Path = parser.parse_args().output
    for name, tensors, metadata in (("dtypes", DTYPES, {"key\t\x1f": 'a "value" é'}), ("export", EXPORT, {"format": "pt"})):
        data = file_of(tensors, metadata)
        (output / f"{name}.safetensors").write_bytes(data)
        print(f"{name}.safetensors: {len(data)} bytes, XXH3-128 {xxhash.xxh3_128_hexdigest(data)}")


if __name__ == "__main__":
    main()
