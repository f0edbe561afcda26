"""Download one file over HTTP: resumed after an interruption, checked, and never half there.

The bytes are gathered in `.NAME.part` beside the target, which is renamed into place once they
are complete and right. Within one call, and across processes where the checksum is known, a
transfer goes on where it broke off.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ..._version import __version__
from ...errors import TabbyError

__all__ = [
    "DownloadError",
    "Progress",
    "download",
    "exclusive",
    "get",
    "has_sha256",
    "without_keys",
]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all (None: unknown)."""

_TIMEOUT = 30.0  # seconds without a byte
_MOST_FAILURES = 4  # in a row, without a byte between them
_PIECE = 1024 * 1024


class DownloadError(TabbyError):
    """A model file that could not be fetched; the message says why."""

    code = "download_error"


class _Broken(Exception):
    """A transfer that broke off and may be tried again."""


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    magic: bytes = b"",
    token: str = "",
    progress: Progress | None = None,
) -> None:
    """Fetch `url` into the file `target`, whole or not at all.

    Args:
        url: address; a user and password in it are sent as basic authentication.
        target: the file. Its folder is made if it is missing.
        size: expected length in bytes, for the progress.
        sha256: expected checksum, in hexadecimal.
        magic: bytes that the file must begin with.
        token: bearer token; not sent on to where the address redirects.
        progress: told of every piece.

    Raises:
        DownloadError: the server refused, the transfer broke off again and again, or the bytes
            are not those expected.
        OSError: the file cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if sha256 is None:
        part.unlink(missing_ok=True)  # whose bytes these are cannot be told
    resumed = part.exists()
    _complete(url, part, size, token, progress)
    if sha256 is not None and resumed and not has_sha256(part, sha256):
        part.unlink()
        _complete(url, part, size, token, progress)
    try:
        if sha256 is not None and not has_sha256(part, sha256):
            raise DownloadError(
                f"{without_keys(url)} is not the expected file: its SHA-256 differs"
            )
        with part.open("rb") as file:
            if file.read(len(magic)) != magic:
                raise DownloadError(f"{without_keys(url)} is not a GGUF model file")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _complete(
    url: str, part: Path, size: int | None, token: str, progress: Progress | None
) -> None:
    """Append to `part` until it is complete."""
    failures, validator = 0, ""
    while True:
        there = part.stat().st_size if part.exists() else 0
        if size is not None and there == size:
            return
        try:
            with part.open("ab") as file:
                for tag, total, piece in _pieces(url, there, validator, token):
                    validator = tag
                    if piece is None:  # all bytes follow, from the first
                        there = file.truncate(0)
                        continue
                    file.write(piece)
                    there += len(piece)
                    failures = 0
                    if progress is not None:
                        progress(there, size or total)
            return
        except _Broken as error:
            failures += 1
            if failures == _MOST_FAILURES:
                if not there:
                    part.unlink(missing_ok=True)
                raise DownloadError(f"{without_keys(url)}: {error}") from None
            time.sleep(0.2 * 2**failures)


def _pieces(
    url: str, start: int, validator: str, token: str
) -> Iterator[tuple[str, int | None, bytes | None]]:
    """Pieces of the file from `start` on, each with the file's validator and total length.

    A piece of None says that all bytes follow, from the first.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and validator:
        headers["If-Range"] = validator
    try:
        with _open(url, headers, token) as response:
            if start and response.status != 206:
                yield "", None, None
                start = 0
            length = response.headers.get("Content-Length")
            total = None if length is None else start + int(length)
            tag = response.headers.get("ETag") or ""
            while piece := response.read1(_PIECE):
                start += len(piece)
                yield "" if tag.startswith("W/") else tag, total, piece
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            yield "", None, None
            raise _Broken("the server has fewer bytes than are here") from None
        if error.code in (429, 500, 502, 503, 504):
            raise _Broken(f"the server answered {error.code} {error.reason}") from None
        raise DownloadError(f"{without_keys(url)}: {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Broken(_reason(error.reason)) from None
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from None
    if total is not None and start < total:
        raise _Broken(f"the connection ended after {start} of {total} bytes")


def get(url: str, *, accept: str, token: str = "") -> bytes:
    """The body of a small page. Raises `DownloadError`."""
    try:
        with _open(url, {"Accept": accept}, token) as response:
            body: bytes = response.read(64 * _PIECE)
            return body
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{without_keys(url)}: {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise DownloadError(f"{without_keys(url)}: {_reason(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{without_keys(url)}: {_reason(error)}") from None


def _open(url: str, headers: dict[str, str], token: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers=headers)
    request.add_header("User-Agent", f"py-tabbyapi/{__version__}")
    # Unredirected: what the address redirects to gets no key.
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    elif at:
        basic = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    return response


def without_keys(url: str) -> str:
    """The address without user, password and query, which may hold keys."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def has_sha256(path: Path, sha256: str) -> bool:
    """True if the file has this checksum."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


@contextmanager
def exclusive(target: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from fetching the same file during the block.

    Args:
        target: the file; the lock is a hidden file beside it, and ends with the process.
        tell: gets a line if another process is at it.
    """
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        tell(f"Another process is fetching {target.name}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _reason(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return os.fsdecode(error.strerror)
    return str(error) or type(error).__name__
