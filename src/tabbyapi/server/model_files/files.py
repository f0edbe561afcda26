"""Model files: the one that comes with the package, those in a folder, and what a header says."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .gguf import read_header

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
    context = header.get(f"{architecture}.context_length")
    template = header.get("tokenizer.chat_template")
    return ModelFile(
        path=path,
        name=name or path.stem,
        title=title,
        trained_context=context if isinstance(context, int) and context > 0 else 0,
        chat_template=template if isinstance(template, str) else None,
        pools=f"{architecture}.pooling_type" in header,
        is_demo=path == default_model(),
    )


def default_model() -> Path:
    """The demo model that comes with the package."""
    with as_file(files("tabbyapi.server") / "data" / "demo.gguf") as path:
        return path
