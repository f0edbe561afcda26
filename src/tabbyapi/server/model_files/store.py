"""The models on this machine: fetched ones, by name, and fetching more.

They lie in one folder (`models_folder`): files of the hub as OWNER/REPOSITORY/FILE, all others
directly in it. A model in several parts is known by its first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ..._folders import models_folder
from .default_model import DEFAULT, default_model, fetch_default
from .fetch import DownloadError, Progress, download, exclusive, get, without_keys

__all__ = ["StoredModel", "find_model", "pull", "remove", "stored_models"]

_PREFERRED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)")
_HUB = "https://huggingface.co"
_MAGIC = b"GGUF"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class StoredModel:
    """A fetched model.

    Attributes:
        name: what `--model` and `rm` know it by.
        path: its file, or the first of its parts.
        size: bytes of all parts.
    """

    name: str
    path: Path
    size: int

    @property
    def parts(self) -> list[Path]:
        """All files of the model."""
        return [self.path.with_name(name) for name in _parts(self.path.name)]


def stored_models() -> list[StoredModel]:
    """The models in the folder of fetched ones, by name."""
    folder, found = models_folder(), []
    for path in [*folder.glob("*.gguf"), *folder.glob("*/*/*.gguf")]:
        if path.name != _parts(path.name)[0]:
            continue
        parts = path.relative_to(folder).parts
        name = path.stem if len(parts) == 1 else f"hf:{parts[0]}/{parts[1]}:{parts[2]}"
        files = [path.with_name(part) for part in _parts(path.name)]
        found.append(StoredModel(name, path, sum(p.stat().st_size for p in files if p.exists())))
    return sorted(found, key=lambda model: model.name.lower())


def find_model(
    spec: str | Path | None,
    *,
    tell: Tell = lambda line: None,
    progress: Progress | None = None,
) -> Path:
    """The file that `--model` means: one of the disk, a fetched one, or one to fetch now.

    Args:
        spec: a path, the name of a fetched model, `hf:owner/repo[:file]`, a URL, or None for the
            default model.
        tell: gets a line about each download.
        progress: told how far it is.

    Raises:
        DownloadError: there is none, or it cannot be fetched.
    """
    if spec is None:
        return default_model(tell=tell, progress=progress)
    path = Path(spec).expanduser().absolute()
    if isinstance(spec, Path) or path.exists():
        return path
    if spec.startswith(("hf:", "https://", "http://")):
        return pull(spec, tell=tell, progress=progress)
    if spec == DEFAULT.name:
        return fetch_default(tell=tell, progress=progress)
    found = _stored(spec)
    if found is None and not spec.endswith(".gguf") and os.sep not in spec:
        raise DownloadError(
            f"There is no file and no fetched model {spec!r}; 'tabbyapi list' shows what there is."
        )
    return found.path if found else path


def pull(
    spec: str | None = None,
    *,
    tell: Tell = lambda line: None,
    progress: Progress | None = None,
    endpoint: str | None = None,
) -> Path:
    """Fetch a model unless it is here, and return its file.

    Args:
        spec: `hf:owner/repo`, of which a file of middling size is chosen; `hf:owner/repo:file`;
            the URL of a GGUF file; None for the default model.
        tell: gets a line about what is fetched, or that it is here.
        progress: told how far it is.
        endpoint: the hub; default: HF_ENDPOINT, else Hugging Face's.

    Raises:
        DownloadError: it cannot be fetched.
    """
    if spec is None or spec == DEFAULT.name:
        return fetch_default(tell=tell, progress=progress)
    found = _stored(spec)
    if found is not None:
        return found.path
    if spec.startswith("hf:"):
        hub = (endpoint or os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        return _pull_from_hub(spec, hub, tell, progress)
    if not spec.startswith(("https://", "http://")):
        raise DownloadError(
            f"{spec!r} is no model to fetch: give hf:OWNER/REPOSITORY[:FILE], or the URL of a "
            "GGUF file"
        )
    name = _name_of(spec)
    if not re.fullmatch(r"[\w][\w .()+-]*\.gguf", name):
        raise DownloadError(f"{without_keys(spec)} does not end with the name of a GGUF file")
    target = models_folder() / name
    _get(spec, target, None, None, "", tell, progress)
    return target


def remove(name: str) -> StoredModel:
    """Delete a fetched model. Raises `DownloadError` if there is none of this name, and OSError."""
    found = _stored(name)
    if found is None:
        names = ", ".join(model.name for model in stored_models()) or "none"
        raise DownloadError(f"There is no fetched model {name!r}; there are: {names}")
    for path in found.parts:
        path.unlink(missing_ok=True)
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
    folder = found.path.parent
    while folder != models_folder() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
    return found


def _stored(spec: str) -> StoredModel | None:
    """The fetched model of this name; that of a repository or a URL, if it was fetched before."""
    models = stored_models()
    if spec.startswith(("https://", "http://")):
        return next((m for m in models if m.path == models_folder() / _name_of(spec)), None)
    if spec.startswith("hf:") and ":" not in spec[3:]:
        held = {m.path.name: m for m in models if m.name.startswith(f"{spec}:")}
        names = [name for name in held if "mmproj" not in name]
        return held[_choose(names)] if names else None
    if spec == DEFAULT.name:
        spec = Path(DEFAULT.file).stem
    return next((m for m in models if spec in (m.name, f"{m.name}.gguf")), None)


def _pull_from_hub(spec: str, hub: str, tell: Tell, progress: Progress | None) -> Path:
    repository, _, wanted = spec.removeprefix("hf:").partition(":")
    if not _REPOSITORY.fullmatch(repository) or "/." in f"/{repository}":
        raise DownloadError(f"{spec!r} is not of the form hf:OWNER/REPOSITORY[:FILE]")
    token = os.environ.get("HF_TOKEN", "")
    page = f"{hub}/api/models/{repository}/tree/main?recursive=true"
    try:
        entries = json.loads(get(page, accept="application/json", token=token))
        files = {entry["path"]: entry for entry in entries if entry["type"] == "file"}
    except (ValueError, KeyError, TypeError):
        raise DownloadError(f"{page} does not answer as a hub does") from None
    found = [name for name in files if name.endswith(".gguf")]
    if not found:
        raise DownloadError(f"{repository} holds no GGUF file")
    if not wanted:
        wanted = _choose([name for name in found if "mmproj" not in name] or found)
    elif wanted not in found:
        raise DownloadError(f"{repository} holds no {wanted}; it has {', '.join(sorted(found))}")
    folder = models_folder() / repository
    for name in _parts(wanted):
        if name not in files:
            raise DownloadError(f"{repository} lacks a part of the model: {name}")
        entry = files[name]
        sha256 = entry.get("lfs", {}).get("oid")
        url = f"{hub}/{repository}/resolve/main/{quote(name)}"
        _get(url, folder / Path(name).name, entry.get("size"), sha256, token, tell, progress)
    return folder / Path(_parts(wanted)[0]).name


def _get(
    url: str,
    target: Path,
    size: int | None,
    sha256: str | None,
    token: str,
    tell: Tell,
    progress: Progress | None,
) -> None:
    try:
        with exclusive(target, tell):
            if not target.exists():
                shown = f" ({size / 1e6:.0f} MB)" if size else ""
                tell(f"Fetching {target.name}{shown} to {target}.")
                download(
                    url,
                    target,
                    size=size,
                    sha256=sha256,
                    magic=_MAGIC,
                    token=token,
                    progress=progress,
                )
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from None


def _choose(names: list[str]) -> str:
    """A quantization of middling size."""
    for kind in _PREFERRED:
        for name in sorted(names):
            if kind in name.upper():
                return name
    return min(names)


def _parts(name: str) -> list[str]:
    """The names of all parts of a model of which one part is `name`."""
    match = _PART.search(name)
    if match is None:
        return [name]
    count = int(match[2])
    return [_PART.sub(f"-{number:05}-of-{match[2]}", name) for number in range(1, count + 1)]


def _name_of(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]
