"""Names and the files they stand for, in folders that the owner of the server fills.

A name comes from the network: it is compared with what is in the folder, never joined to a path.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["TEMPLATE_SUFFIXES", "find", "find_gguf", "find_projector", "gguf_names", "names"]

TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")

_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}$")
_FIRST_PART = re.compile(r"-00001-of-\d{5}$")
_PROJECTOR = "mmproj"  # the part of a vision model that is not the model


def names(folder: Path | None, *suffixes: str) -> list[str]:
    """Names of the files with one of these endings, sorted."""
    return sorted({path.stem for path in _files(folder, suffixes)})


def find(folder: Path | None, name: str, *suffixes: str) -> Path | None:
    """The file of this name; the endings are tried in order."""
    found = {path.suffix.lower(): path for path in _files(folder, suffixes) if path.stem == name}
    return next((found[suffix] for suffix in suffixes if suffix in found), None)


def gguf_names(folder: Path | None) -> list[str]:
    """Names of the models: GGUF files, and folders that hold one."""
    return sorted(_gguf(folder))


def find_gguf(folder: Path | None, name: str) -> Path | None:
    """The GGUF file of a model."""
    return _gguf(folder).get(name)


def find_projector(model: Path) -> Path | None:
    """The projector that lets a model see: beside it, and named after it or alone with it.

    `vision.gguf` goes with `mmproj-vision-f16.gguf`; in a folder with one model and one
    projector the names do not matter.
    """
    beside = _files(model.parent, (".gguf",))
    projectors = sorted(path for path in beside if _PROJECTOR in path.name)
    named = [path for path in projectors if model.stem in path.name]
    models = sum(_is_model(path) for path in beside)
    if not named and models == 1 and len(projectors) == 1:
        named = projectors
    return named[0] if named else None


def _gguf(folder: Path | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if folder is None or not folder.is_dir():
        return found
    for child in folder.iterdir():
        if child.is_dir() and _is_text(child.name):
            held = sorted(path for path in _files(child, (".gguf",)) if _is_model(path))
            if held:
                found[child.name] = held[0]
    for path in _files(folder, (".gguf",)):
        if _is_model(path):
            found[_FIRST_PART.sub("", path.stem)] = path
    return found


def _is_model(path: Path) -> bool:
    return not _LATER_PART.search(path.stem) and _PROJECTOR not in path.name


def _files(folder: Path | None, suffixes: tuple[str, ...]) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and _is_text(path.name) and path.is_file()
    ]


def _is_text(name: str) -> bool:
    """True if a file's name is UTF-8; others cannot be named in JSON."""
    return not any("\udc80" <= char <= "\udcff" for char in name)
