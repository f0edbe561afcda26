"""The results of a batch on disk: one JSON line each, appended as they complete.

States of the file: locked by one run while it is open; in the order of completion, then sorted by
`put_in_order`. Only `append` and `_replace` write to it.

Invariant: the file is whole results, but for a last line that a kill or a power failure cut off.
So a run can be killed at any instant and resumed: a result goes out in one write, opening the
file cuts off a torn last line, and rewriting (sorting, dropping failures) makes a new file that is
renamed into place. A result names its line by index and by a digest of the request, so that a
changed input is noticed.

Cost: 8 bytes of memory a line for the digests, 8 more while the file is sorted; one `fsync` a
second (`sync`).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import msgspec

from .._files import sync_folder
from ..errors import ValidationError

try:
    import fcntl
except ImportError:  # Windows: two runs can open one file there
    fcntl = None  # type: ignore[assignment]

__all__ = ["Failure", "Journal", "JournalError", "Reply", "Result", "digest_of"]

_BEGINNING = b'{"index":'
_MOST_LINES = 2**32


class JournalError(ValidationError):
    """The results file cannot be used by this run."""

    code = "journal_error"


class Reply(msgspec.Struct):
    """The server's answer."""

    status_code: int
    body: msgspec.Raw


class Failure(msgspec.Struct, omit_defaults=True):
    """Why a line has no answer.

    Attributes:
        code: code of the error, as in `tabbyapi.errors`.
        message: what was wrong, and what to do about it.
        status_code: HTTP status of the server's answer, None if there was none.
        attempts: how often the line was sent; 0 if it was refused before sending.
    """

    code: str
    message: str
    status_code: int | None = None
    attempts: int = 0


class Result(msgspec.Struct):
    """One line of the results file."""

    index: int
    custom_id: str | None
    text: str | None
    error: Failure | None
    response: Reply | None
    digest: str


class _Head(msgspec.Struct):
    """The fields of a result that are read when a file is opened."""

    index: int
    digest: str
    error: msgspec.Raw

    @property
    def failed(self) -> bool:
        return bytes(self.error) != b"null"


_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode


def digest_of(line: bytes, options: bytes = b"") -> int:
    """Hash a line and the options it is answered with to 64 bits; never 0."""
    return int.from_bytes(blake2b(line, digest_size=8, key=options).digest()) or 1


class Journal:
    """The results file, opened for one run. Use it as a context manager.

    Args:
        path: the file; created if it is missing.
        retry_failed: drop results that are errors, so that their lines are sent again.
        overwrite: drop all content, whatever it is.

    Attributes:
        done, failed: how many lines have a result, and how many of those are errors.

    Raises:
        JournalError: another run has the file open, or it holds something else than results.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, *, retry_failed: bool = False, overwrite: bool = False) -> None:
        self._path = path
        self._digests = array("Q")
        self._dirty = False
        self.done: int = 0
        self.failed: int = 0
        self._file = _opened(path)
        try:
            if overwrite:
                os.ftruncate(self._file.fileno(), 0)
            self._size = self._recover()
            if retry_failed and self.failed:
                self._drop_failed()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.sync()
        finally:
            self._file.close()

    def has(self, index: int, digest: int) -> bool:
        """True if a line has a result.

        Raises:
            JournalError: it has a result of another line: the input has changed.
        """
        known = self._digests[index] if index < len(self._digests) else 0
        if known not in (0, digest):
            raise JournalError(
                f"{self._path} has a result for line {index + 1}, but of another line or made "
                "with other options: the input has changed since. Go on with the same input and "
                "options, take another output file, or begin anew with --overwrite"
            )
        return known != 0

    def append(self, result: Result, digest: int) -> None:
        """Add a result. After that, killing the process does not lose it.

        Raises:
            OSError: it cannot be written (the disk is full). No part of it is left in the file.
        """
        line = _encode(result)
        if b"\n" in line:  # the server pretty-prints; JSON strings hold no raw line breaks
            line = line.replace(b"\r", b"").replace(b"\n", b" ")
        line += b"\n"
        try:
            written = self._file.write(line)
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._size += len(line)
        self._dirty = True
        self._note(result.index, digest, failed=result.error is not None)

    def sync(self) -> None:
        """Flush results to disk, so that a power failure does not lose them."""
        if self._dirty:
            self._dirty = False
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._path)) from None

    def put_in_order(self) -> None:
        """Sort the results by the lines of the input, atomically."""
        offsets, last, sorted_already = array("Q", bytes(8 * len(self._digests))), -1, True
        for offset, _, head in self._heads():
            offsets[head.index] = offset + 1
            sorted_already &= head.index > last
            last = head.index
        if not sorted_already:
            self._replace(self._lines_at(offset - 1 for offset in offsets if offset))

    def _drop_failed(self) -> None:
        self._replace(line for _, line, head in self._heads() if not head.failed)
        self._digests, self.done, self.failed = array("Q"), 0, 0
        self._size = self._recover()

    def _note(self, index: int, digest: int, *, failed: bool) -> None:
        missing = index + 1 - len(self._digests)
        if missing > 0:
            self._digests.frombytes(bytes(8 * missing))
        self.done += not self._digests[index]
        self.failed += failed
        self._digests[index] = digest

    def _recover(self) -> int:
        """Read what is done, cut off a torn last line, and return the size."""
        size = 0
        for offset, line, head in self._heads():
            self._note(head.index, int(head.digest, 16), failed=head.failed)
            size = offset + len(line)
        if os.fstat(self._file.fileno()).st_size > size:
            os.ftruncate(self._file.fileno(), size)
        self._file.seek(size)
        return size

    def _heads(self) -> Iterator[tuple[int, bytes, _Head]]:
        """Yield each whole result with its offset, up to a torn last line."""
        offset = 0
        with self._path.open("rb") as lines:
            for line in lines:
                head = _head_of(line)
                if head is None:
                    rest = line + lines.read(1)
                    if rest != line or not _torn(line):
                        raise JournalError(
                            f"{self._path} holds something else than results of a batch (at byte "
                            f"{offset}): take another output file, or replace it with --overwrite"
                        )
                    return
                yield offset, line, head
                offset += len(line)

    def _lines_at(self, offsets: Iterator[int]) -> Iterator[bytes]:
        with self._path.open("rb") as lines:
            for offset in offsets:
                lines.seek(offset)
                yield lines.readline()

    def _replace(self, lines: Iterator[bytes]) -> None:
        """Replace the file by these lines, atomically. The new file is locked before that."""
        temporary = self._path.with_name(f".{self._path.name}.rewriting")
        file = temporary.open("w+b")
        try:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:  # where no open file can be replaced
                file.close()
                self._file.close()
            else:
                _lock(file, self._path)
            os.replace(temporary, self._path)
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self._path.parent)
        if fcntl is None:
            self._file = _opened(self._path)
        else:
            self._file.close()
            self._file = file.detach()
        self._file.seek(0, os.SEEK_END)


def _head_of(line: bytes) -> _Head | None:
    if not line.endswith(b"\n") or not line.startswith(_BEGINNING):
        return None
    try:
        head = _head(line)
        return head if 0 <= head.index < _MOST_LINES and int(head.digest, 16) else None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return None


def _torn(line: bytes) -> bool:
    """True for the beginning of a result, or zeros: the file grew, its data was never written."""
    whole = line.startswith(_BEGINNING[: len(line)])
    return (whole and not line.endswith(b"\n")) or not line.strip(b"\0")


def _opened(path: Path) -> Any:
    """Open and lock the file: of two runs with one output, the second one must not begin."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            _lock(file, path)
            # The run that held the lock before may have replaced the file.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalError(f"another run is writing to {path}") from None
