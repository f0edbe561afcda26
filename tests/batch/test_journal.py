"""The results file: what survives, what is refused, what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabbyapi.batch.journal import Failure, Journal, JournalError, Reply, Result, digest_of


def add(journal: Journal, index: int, *, failed: bool = False) -> None:
    digest = digest_of(b"line %d" % index)
    error = Failure("server_error", "it broke", 500, 1) if failed else None
    reply = None if failed else Reply(200, msgspec.Raw(b'{"a": "\xc3\xa9"}'))
    text = None if failed else f"answer {index}"
    journal.append(Result(index, None, text, error, reply, f"{digest:016x}"), digest)


def has(journal: Journal, index: int) -> bool:
    return journal.has(index, digest_of(b"line %d" % index))


def indices(path: Path) -> list[int]:
    return [json.loads(line)["index"] for line in path.read_bytes().splitlines()]


@given(order=st.permutations(range(6)), data=st.data())
def test_a_file_cut_off_anywhere_goes_on_from_its_last_whole_result(
    order: list[int], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        with Journal(path) as journal:
            for index in order:
                add(journal, index)
        whole = path.read_bytes()
        kept = whole[: data.draw(st.integers(0, len(whole)))]
        path.write_bytes(kept)
        with Journal(path) as journal:
            there = [index for index in range(6) if has(journal, index)]
            assert there == sorted(order[: kept.count(b"\n")])
            assert journal.done == len(there)
            for index in order:
                if not has(journal, index):
                    add(journal, index)
            assert path.read_bytes() == whole
            journal.put_in_order()
        assert sorted(whole.splitlines()) == path.read_bytes().splitlines()


def test_what_a_disk_never_filled_after_a_power_failure_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        add(journal, 0)
    good = path.read_bytes()
    path.write_bytes(good + b"\0" * 300)
    with Journal(path) as journal:
        assert journal.done == 1
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    "content",
    [
        b"my notes\n",
        b"my notes",
        b'{"prompt": "not a result"}\n',
        b'{"index":0,"digest":"zz","error":null}\n',
        b'{"index":-1,"digest":"1","error":null}\n',
        b'{"index":99999999999999999,"digest":"1","error":null}\n',
        b'{"index":0,"digest":"\xff","error":null}\n',
        b'{"index":0,"dig\n{"index":1,"digest":"1","error":null}\n',
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="something else than results"):
        Journal(path)
    assert path.read_bytes() == content
    with Journal(path, overwrite=True) as journal:
        assert journal.done == 0
    assert path.read_bytes() == b""


def test_two_runs_cannot_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        add(journal, 1)
        add(journal, 0)
        with pytest.raises(JournalError, match="another run is writing"):
            Journal(path)
        journal.put_in_order()  # which puts another file in its place
        with pytest.raises(JournalError, match="another run is writing"):
            Journal(path)
    with Journal(path) as journal:
        assert journal.done == 2


def test_a_result_of_another_line_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with Journal(tmp_path / "out.jsonl") as journal:
        add(journal, 0)
        with pytest.raises(JournalError, match="for line 1, but of another line"):
            journal.has(0, digest_of(b"edited"))


def test_failed_results_can_be_dropped_to_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        for index in range(5):
            add(journal, index, failed=index % 2 == 1)
        assert (journal.done, journal.failed) == (5, 2)
    with Journal(path) as journal:  # they stay, unless told otherwise
        assert (journal.done, journal.failed) == (5, 2)
    with Journal(path, retry_failed=True) as journal:
        assert (journal.done, journal.failed) == (3, 0)
        assert not has(journal, 1)
        add(journal, 3)
        add(journal, 1)
        journal.put_in_order()
    assert indices(path) == [0, 1, 2, 3, 4]


def test_putting_in_order_leaves_no_other_file_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    # A run killed while it sorted has left this.
    (tmp_path / ".out.jsonl.rewriting").write_bytes(b'{"index":0')
    with Journal(path) as journal:
        for index in (2, 0, 7):
            add(journal, index)
        journal.put_in_order()
        add(journal, 9)
    assert indices(path) == [0, 2, 7, 9]
    assert list(tmp_path.iterdir()) == [path]


def test_a_body_over_several_lines_becomes_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path) as journal:
        body = msgspec.Raw(b'{\r\n  "a": "x\\ny"\n}')
        journal.append(Result(0, "c", "t", None, Reply(200, body), "01"), 1)
    assert json.loads(path.read_bytes())["response"]["body"] == {"a": "x\ny"}
    assert path.read_bytes().count(b"\n") == 1
