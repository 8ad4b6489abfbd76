"""Damaged DICOM films from seeds: the same bytes on every machine."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

#: Where tags end and pixels begin: damage in tags is rarer by size, and more varied in effect.
TAGS_SHARE = 0.6


def mutant(content: bytes, seed: int) -> bytes:
    """A film file with one kind of damage, in one or a few places."""
    random = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    kinds: tuple[Callable[[UInt8[np.ndarray, " n"], np.random.Generator], UInt8[np.ndarray, " m"]], ...]
    kinds = (_flipped, _random_bytes, _cut, _without_middle, _doubled, _extreme_number)
    return kinds[int(random.integers(len(kinds)))](data, random).tobytes()


def _place(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> int:
    """Anywhere, or within the tags at the start; never in the 132 bytes by which DICOM is known."""
    end = min(len(data), 1200) if random.random() < TAGS_SHARE else len(data)
    return int(random.integers(132, end))


def _flipped(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " n"]:
    for _ in range(int(random.integers(1, 8))):
        data[_place(data, random)] ^= np.uint8(1 << int(random.integers(8)))
    return data


def _random_bytes(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " n"]:
    for _ in range(int(random.integers(1, 4))):
        start = _place(data, random)
        stop = min(len(data), start + int(random.integers(1, 17)))
        data[start:stop] = random.integers(0, 256, stop - start, dtype=np.uint8)
    return data


def _cut(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " m"]:
    return data[: _place(data, random)]


def _without_middle(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " m"]:
    start = _place(data, random)
    return np.concatenate([data[:start], data[start + int(random.integers(1, 64)) :]])


def _doubled(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " m"]:
    start = _place(data, random)
    return np.concatenate([data[: start + int(random.integers(1, 64))], data[start:]])


def _extreme_number(data: UInt8[np.ndarray, " n"], random: np.random.Generator) -> UInt8[np.ndarray, " n"]:
    """Lengths, rows and bit depths become 0, the largest, or the largest of their sign."""
    start = _place(data, random)
    values = (b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xf0\xff\xff\xff")
    value = np.frombuffer(values[int(random.integers(len(values)))], np.uint8)[: len(data) - start]
    data[start : start + len(value)] = value
    return data


def deep_sequences(depth: int) -> bytes:
    """Explicit little endian: sequences within sequences, each of undefined length."""
    stream = io.BytesIO()
    for _ in range(depth):
        stream.write(b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff")
    return stream.getvalue()
