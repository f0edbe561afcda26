"""What a model file's header says is not trusted: it is read within the file, or refused."""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

import pytest

from tabbyapi.server.model_files.files import open_model
from tabbyapi.server.model_files.folders import find_gguf, gguf_names, names
from tabbyapi.server.model_files.gguf import NotAModelError, read_header, read_token_types

UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def file_of(folder: Path, *entries: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
    return path


@pytest.mark.parametrize(
    "lie",
    [
        entry(b"a", ARRAY, array(UINT32, 2**63)),
        entry(b"a", ARRAY, array(UINT32, 2**62)),
        entry(b"a", ARRAY, array(STRING, 2**63, text(b"x"))),
        entry(b"a", ARRAY, array(STRING, 1, struct.pack("<Q", 2**64 - 1))),
        entry(b"a", ARRAY, array(ARRAY, 1) * 100_000),
        entry(b"a", STRING, struct.pack("<Q", 2**40)),
        entry(b"a", 99, b""),
    ],
    ids=["numbers", "fewer_numbers", "strings", "a_string_of_many", "nested", "a_string", "kind"],
)
def test_a_header_that_reaches_beyond_its_file_is_refused(tmp_path: Path, lie: bytes) -> None:
    path = file_of(tmp_path, lie)
    for reader in (read_header, read_token_types, open_model):
        with pytest.raises(NotAModelError, match=r"cut off|broken"):
            reader(path)


@pytest.mark.parametrize(
    "items",
    [array(FLOAT32, 1, struct.pack("<f", float("nan"))), array(5, 9)],
    ids=["no_integers", "too_few"],
)
def test_token_types_that_are_none_are_refused(tmp_path: Path, items: bytes) -> None:
    with pytest.raises(NotAModelError):
        read_token_types(file_of(tmp_path, entry(b"tokenizer.ggml.token_type", ARRAY, items)))


def test_entries_of_another_type_count_as_missing(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        entry(b"general.architecture", STRING, text(b"llama")),
        entry(b"general.name", UINT32, struct.pack("<I", 7)),
        entry(b"llama.context_length", FLOAT32, struct.pack("<f", float("inf"))),
        entry(b"tokenizer.chat_template", UINT32, struct.pack("<I", 7)),
    )
    model = open_model(path)
    assert (model.title, model.trained_context, model.chat_template) == ("7", 0, None)
    assert model.context(None) == 4096


def test_a_header_that_would_take_for_ever_to_read_is_refused_soon(tmp_path: Path) -> None:
    # Zeros are empty strings: a sparse file of a gigabyte holds 130 million of them.
    path = file_of(tmp_path, entry(b"a", ARRAY, array(STRING, 130_000_000)))
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    begin = time.monotonic()
    for read in (read_header, read_token_types):
        with pytest.raises(NotAModelError, match="too large"):
            read(path)
    assert time.monotonic() - begin < 5


def test_a_header_with_more_text_than_any_model_has_is_refused(tmp_path: Path) -> None:
    size = 40 << 20
    path = file_of(tmp_path, *[text(b"k") + struct.pack("<IQ", STRING, size) + b"x" * size] * 2)
    with pytest.raises(NotAModelError, match="too large"):
        read_header(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux")
def test_files_whose_names_are_no_text_are_passed_over(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"fine.gguf", b"UPPER.GGUF", b"odd-\xff.gguf", b"odd-\xff.jinja"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"")
    os.mkdir(folder + b"/folder-\xfe")
    Path(os.fsdecode(folder + b"/folder-\xfe/model.gguf")).write_bytes(b"")
    assert gguf_names(tmp_path) == ["UPPER", "fine"]
    assert names(tmp_path, ".jinja") == []
    assert find_gguf(tmp_path, "UPPER") == tmp_path / "UPPER.GGUF"


def test_a_header_of_countless_entries_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "countless.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40))
    with pytest.raises(NotAModelError, match="claims 1,099,511,627,776 entries"):
        read_header(path)
