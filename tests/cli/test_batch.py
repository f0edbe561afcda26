"""`tabbyapi batch`: killed, interrupted, in pipes and at a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from support.echo import EchoServer

from .scripted import PROGRAM, clean_environment, run

if TYPE_CHECKING:
    from tabbyapi import LocalServer


def write_lines(folder: Path, count: int) -> Path:
    """A file of prompts."""
    path = folder / "in.jsonl"
    items = ({"custom_id": f"c{i}", "prompt": f"p{i}"} for i in range(count))
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]


def complete(folder: Path, count: int) -> bool:
    """Whether there is exactly one right answer for each line, in order."""
    return [(r["index"], r["custom_id"], r["text"]) for r in results(folder)] == [
        (i, f"c{i}", f"echo: p{i}") for i in range(count)
    ]


def start(folder: Path, server: EchoServer, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "batch", "in.jsonl", "out.jsonl", "--url", server.url, *options],
        stderr=subprocess.PIPE,
        env=clean_environment(folder),
        cwd=folder,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status, and what it said."""
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def wait_for_answers(server: EchoServer, count: int, process: subprocess.Popen[str]) -> None:
    while server.answered < count and process.poll() is None:
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        (300, (1, 40, 41, 190)),
        (300, (298, 299, 300)),
        pytest.param(10_000, (1_500, 5_000, 9_900), marks=pytest.mark.soak),
    ],
    ids=str,
)
def test_killed_again_and_again_it_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, count: int, kills: Sequence[int]
) -> None:
    workers = 8
    write_lines(tmp_path, count)
    with EchoServer(delay=0.004) as server:
        for answers in kills:
            process = start(tmp_path, server, "-j", str(workers))
            wait_for_answers(server, answers, process)
            process.kill()
            finish(process)
        last = start(tmp_path, server, "-j", str(workers))
        assert finish(last) == (0, f"{count} lines answered.\n")
    assert complete(tmp_path, count)
    # Only what was under way when it was killed was asked again.
    assert server.asked.total() <= count + len(kills) * workers
    assert set(server.asked) == {f"p{i}" for i in range(count)}


def test_ctrl_c_stops_it_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_lines(tmp_path, 200)
    with EchoServer(delay=0.02) as server:
        process = start(tmp_path, server, "-j", "4")
        wait_for_answers(server, 20, process)
        process.send_signal(signal.SIGINT)
        status, said = finish(process)
        assert status == 130
        assert "lines answered. The same command goes on from here." in said
        assert "Traceback" not in said
        server.delay = 0
        assert finish(start(tmp_path, server))[0] == 0
    assert complete(tmp_path, 200)


def test_every_kind_of_request_of_openais_batches_is_answered(
    tmp_path: Path, local_server: LocalServer
) -> None:
    requests = {
        "chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
        "completions": {"prompt": "Once", "max_completion_tokens": 4, "seed": 1, "model": "x"},
        "embeddings": {"input": ["one", "two"], "model": "x"},
    }
    lines = (
        json.dumps({"custom_id": kind, "method": "POST", "url": f"/v1/{kind}", "body": body})
        for kind, body in requests.items()
    )
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    done = run(
        tmp_path,
        *("batch", "in.jsonl", "out.jsonl", "--url", local_server.url),
        TABBY_API_KEY=local_server.api_key,
    )
    assert (done.returncode, done.stderr) == (0, "3 lines answered.\n")
    chat, text, vectors = (result["response"]["body"] for result in results(tmp_path))
    assert chat["usage"]["completion_tokens"] <= 4
    assert text["usage"]["completion_tokens"] <= 4
    assert len(vectors["data"]) == 2
    assert [type(result["text"]) for result in results(tmp_path)] == [str, str, type(None)]


def test_a_finished_batch_asks_nothing_and_needs_no_server(tmp_path: Path) -> None:
    write_lines(tmp_path, 3)
    with EchoServer() as server:
        assert finish(start(tmp_path, server))[0] == 0
        before = (tmp_path / "out.jsonl").read_bytes()
    done = run(tmp_path, "batch", "in.jsonl", "out.jsonl", "--url", "http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (0, "3 lines answered.\n")
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_failed_lines_are_told_and_give_status_1(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"fine"\nnot json\n')
    with EchoServer() as server:
        done = run(tmp_path, "batch", "in.jsonl", "out.jsonl", "--url", server.url)
        quiet = run(tmp_path, "batch", "in.jsonl", "out.jsonl", "--url", server.url, "--quiet")
    assert done.returncode == quiet.returncode == 1
    assert "1 line answered, 1 failed." in done.stderr
    assert "--retry-failed" in done.stderr
    assert quiet.stderr == ""


def test_standard_input_is_a_source_too(tmp_path: Path) -> None:
    with EchoServer() as server:
        done = run(
            tmp_path,
            "batch",
            "-",
            "out.jsonl",
            "--text-only",
            "--url",
            server.url,
            stdin='"a"\n"b"',
        )
    assert done.returncode == 0
    assert [(r["text"], r["response"]) for r in results(tmp_path)] == [
        ("echo: a", None),
        ("echo: b", None),
    ]


def test_sampling_options_hold_for_every_line(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"a"\n{"prompt": "b", "temperature": 1}\n')
    with EchoServer() as server:
        server.keep_bodies = True
        options = ("--system", "Be brief.", "--temperature", "0", "--param", "dry_base=1.5")
        run(tmp_path, "batch", "in.jsonl", "out.jsonl", "--url", server.url, *options)
    by_text = {body["messages"][-1]["content"]: body for body in server.bodies}
    assert by_text["a"]["temperature"] == 0
    assert by_text["b"]["temperature"] == 1
    assert {body["dry_base"] for body in server.bodies} == {1.5}
    assert {body["messages"][0]["content"] for body in server.bodies} == {"Be brief."}


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ("in.jsonl", 2, "are the same file"),
        ("notes.txt", 2, "something else than results"),
        ("missing/out.jsonl", 2, "missing/out.jsonl: No such file or directory"),
        ("out.jsonl", 3, "cannot connect to http://127.0.0.1:9: connection refused"),
    ],
)
def test_what_cannot_begin_says_why(tmp_path: Path, output: str, status: int, message: str) -> None:
    write_lines(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("mine\n")
    done = run(tmp_path, "batch", "in.jsonl", output, "--url", "http://127.0.0.1:9")
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


def test_a_server_that_does_not_come_back_gives_status_3(tmp_path: Path) -> None:
    write_lines(tmp_path, 100)
    with EchoServer(delay=0.02) as server:
        process = start(tmp_path, server, "--wait", "1")
        wait_for_answers(server, 10, process)
        server.go_away()
        status, said = finish(process)
        server.come_back()
        assert status == 3
        assert "The server does not answer: waiting up to 1 s for it." in said
        assert "goes on from here" in said
        assert finish(start(tmp_path, server))[0] == 0
    assert complete(tmp_path, 100)


def test_a_terminal_sees_a_bar_with_rate_and_time_left(tmp_path: Path) -> None:
    write_lines(tmp_path, 400)
    with EchoServer(delay=0.05) as server:
        process = pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], "batch", "in.jsonl", "out.jsonl", "--url", server.url],
            env=clean_environment(tmp_path, TERM="xterm-256color"),
            cwd=str(tmp_path),
            dimensions=(24, 100),
            encoding="utf-8",
            timeout=60,
        )
        process.expect(r"\d+/400.*lines/s.*tokens/s.*\d\d:\d\d")
        process.expect("400 lines answered")
        process.expect(pexpect.EOF)
        process.close()
    assert process.exitstatus == 0
