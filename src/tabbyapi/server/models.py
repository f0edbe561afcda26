"""Model files: the one that comes with the package, those in a folder, and what a header says."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .gguf_header import read_header
from .paths import cache_folder

__all__ = ["ModelFile", "default_model", "open_model"]

_LARGEST_DEFAULT_CONTEXT = 8192


@dataclass(frozen=True)
class ModelFile:
    """A GGUF file and what its header says."""

    path: Path
    name: str
    title: str
    trained_context: int
    chat_template: str | None
    is_demo: bool
    pools: bool = False
    """Whether the file names a pooling, which embedding models do."""

    def context(self, wanted: int | None) -> int:
        """The context to load it with."""
        return wanted or min(self.trained_context or 4096, _LARGEST_DEFAULT_CONTEXT)


def open_model(path: Path, name: str | None = None) -> ModelFile:
    """Read a model's header. `name` is what it is called, by default as its file.

    Raises `NotAModelError` or OSError.
    """
    header: dict[str, Any] = read_header(path)
    architecture = header.get("general.architecture", "")
    title = str(header.get("general.name") or path.stem)
    return ModelFile(
        path=path,
        name=name or path.stem,
        title=title,
        trained_context=int(header.get(f"{architecture}.context_length") or 0),
        chat_template=header.get("tokenizer.chat_template"),
        pools=f"{architecture}.pooling_type" in header,
        is_demo=path == _unpacked() or "demo" in title.lower(),
    )


def default_model() -> Path:
    """The model that comes with the package, unpacked to the cache on first use."""
    data = files("tabbyapi.server") / "data"
    plain = data / "demo.gguf"
    if plain.is_file():
        with as_file(plain) as path:
            return path
    packed = (data / "demo.gguf.gz").read_bytes()
    target = _unpacked()
    # The last four bytes of a gzip file are the length of what is in it.
    if target.exists() and target.stat().st_size == int.from_bytes(packed[-4:], "little"):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a second process never sees half a file.
    handle, name = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(gzip.decompress(packed))
    os.replace(name, target)
    return target


def _unpacked() -> Path:
    return cache_folder() / "demo.gguf"
