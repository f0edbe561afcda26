"""Reads the metadata of a GGUF file without the engine: name, context, template.

Reads the key-value section only, from the start of the file; arrays (the vocabulary) are
skipped, not kept. What is read is bounded, whatever the file says of itself. A vocabulary of
150,000 takes about 0.1 s, so an event loop leaves this to a thread.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["CONTROL", "NotAModelError", "read_header", "read_token_types"]

# struct codes of the scalar types, by their number in the format
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_TOKEN_TYPES = "tokenizer.ggml.token_type"

CONTROL = 3
"""The type of tokens that are markup, such as `<|im_end|>`."""

# Bounds of a whole header, which no sound one comes near: bytes kept, and strings passed over.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_STRINGS = 4_000_000
_MOST_TOKENS = 4_000_000
_MOST_ENTRIES = 65_536  # models have some dozens


class NotAModelError(ValueError):
    """The file is no GGUF model, or is cut off."""


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self._size = os.fstat(file.fileno()).st_size
        self._bytes = self._strings = 0

    def take(self, size: int) -> bytes:
        self._bytes += size
        if self._bytes > _MOST_BYTES:
            raise self._large()
        data = self.file.read(size)
        if len(data) != size:
            raise self._short()
        return data

    def _large(self) -> NotAModelError:
        return NotAModelError(f"{self.path} is broken: its header is too large")

    def skip_strings(self, count: int) -> None:
        self._strings += count
        if self._strings > _MOST_STRINGS:
            raise self._large()
        for _ in range(count):
            self.skip(self.number("Q"))

    def skip(self, size: int) -> None:
        if size > self._size - self.file.tell():
            raise self._short()
        self.file.seek(size, os.SEEK_CUR)

    def _short(self) -> NotAModelError:
        return NotAModelError(f"{self.path} is cut off or broken: its header ends too early")

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode(errors="replace")

    def integers(self) -> list[int]:
        item, count = self.number("I"), self.number("Q")
        code = _SCALARS.get(item, "f")
        if code in "fd":
            raise NotAModelError(f"{self.path} is broken: token types that are no integers")
        if count > _MOST_TOKENS:
            raise NotAModelError(f"{self.path} is broken: it has {count:,} token types")
        data = self.take(struct.calcsize("<" + code) * count)
        return [int(number) for (number,) in struct.iter_unpack("<" + code, data)]

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            item, count = self.number("I"), self.number("Q")
            if item in _SCALARS:
                self.skip(struct.calcsize("<" + _SCALARS[item]) * count)
            elif item == _STRING:
                self.skip_strings(count)
            else:
                raise self._unknown(item)
            return None
        if kind not in _SCALARS:
            raise self._unknown(kind)
        return self.number(_SCALARS[kind])

    def _unknown(self, kind: int) -> NotAModelError:
        return NotAModelError(f"{self.path} is broken: unknown value type {kind} in its header")


def read_header(path: Path) -> dict[str, Any]:
    """The metadata of the model at `path`; arrays are None. Raises `NotAModelError`, OSError."""
    with path.open("rb") as file:
        reader = _Reader(file, path)
        return {key: reader.value(kind) for key, kind in _entries(reader)}


def read_token_types(path: Path) -> list[int]:
    """The type of each token of the vocabulary, [] if the model does not tell."""
    with path.open("rb") as file:
        reader = _Reader(file, path)
        for key, kind in _entries(reader):
            if key == _TOKEN_TYPES and kind == _ARRAY:
                return reader.integers()
            reader.value(kind)
    return []


def _entries(reader: _Reader) -> Iterator[tuple[str, int]]:
    """Name and type of each entry. The caller reads the value before it asks for the next one."""
    path = reader.path
    if reader.file.read(4) != b"GGUF":
        raise NotAModelError(f"{path} is not a GGUF model file")
    version = reader.number("I")
    if version not in (2, 3):
        raise NotAModelError(f"{path} has GGUF version {version}; 2 and 3 can be read")
    reader.number("Q")  # tensors
    count = reader.number("Q")
    if count > _MOST_ENTRIES:
        raise NotAModelError(f"{path} is broken: its header claims {count:,} entries")
    for _ in range(count):
        yield reader.string(), reader.number("I")
