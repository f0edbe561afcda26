"""A model file, and what its header says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .default_model import DEFAULT
from .gguf import read_header

__all__ = ["ModelFile", "open_model"]

_LARGEST_DEFAULT_CONTEXT = 8192
_LONGEST_TITLE = 200  # characters


@dataclass(frozen=True)
class ModelFile:
    """A GGUF file and what its header says."""

    path: Path
    name: str
    title: str
    trained_context: int
    chat_template: str | None
    sampling: Mapping[str, float] = field(default_factory=dict)
    """The engine's sampling parameters where a request names none."""
    pools: bool = False
    """True if the file names a pooling, as embedding models do."""

    def context(self, wanted: int | None) -> int:
        """The context to load it with."""
        return wanted or min(self.trained_context or 4096, _LARGEST_DEFAULT_CONTEXT)


def open_model(path: Path, name: str | None = None) -> ModelFile:
    """Read a model's header. `name` is what it is called, by default as its file.

    Raises `NotAModelError` or OSError.
    """
    header: dict[str, Any] = read_header(path)
    architecture = header.get("general.architecture", "")
    title = str(header.get("general.name") or path.stem)[:_LONGEST_TITLE]
    context = header.get(f"{architecture}.context_length")
    template = header.get("tokenizer.chat_template")
    known = path.name == DEFAULT.file and path.stat().st_size == DEFAULT.size
    if known:
        template = DEFAULT.chat_template
    return ModelFile(
        path=path,
        name=name or path.stem.encode("utf-8", "replace").decode(),
        title=title,
        trained_context=context if isinstance(context, int) and context > 0 else 0,
        chat_template=template if isinstance(template, str) else None,
        sampling=DEFAULT.sampling if known else {},
        pools=f"{architecture}.pooling_type" in header,
    )
