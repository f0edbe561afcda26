"""`tabbyapi ask`: questions, answers, exit statuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support.replay import ReplayServer, json_reply

from .scripted import (
    PROGRAM,
    answering,
    bodies,
    clean_environment,
    plain,
    run,
    streamed,
    unfinished,
)


def test_the_answer_is_plain_text_that_ends_with_a_line_break(tmp_path: Path) -> None:
    with ReplayServer(streamed("The **sky**", " is", " blue.")) as server:
        done = run(tmp_path, "ask", "Why?", "--url", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "The **sky** is blue.\n", "")


def test_arguments_files_and_standard_input_are_asked_together(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("from the file\n")
    with ReplayServer(streamed("ok")) as server:
        done = run(
            tmp_path,
            *("ask", "Sum", "up", "--file", "notes.txt", "--url", server.url),
            *("--system", "Be brief."),
            stdin="from the pipe\n",
        )
    assert done.returncode == 0
    system, user = bodies(server.requests)[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == "Sum up\n\nnotes.txt:\n```\nfrom the file\n```\n\nfrom the pipe"


def test_pictures_are_shown_beside_the_question(tmp_path: Path) -> None:
    (tmp_path / "dot.gif").write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    with ReplayServer([answering, answering]) as server:
        images = ("--image", "dot.gif", "--image", "https://example.com/cat.png")
        done = run(tmp_path, "ask", "What?", *images, "--url", server.url, "--no-stream")
    assert done.returncode == 0, done.stderr
    text, dot, cat = bodies(server.requests)[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What?"}
    assert dot["image_url"]["url"].startswith("data:image/gif;base64,R0lGODlh")
    assert cat["image_url"]["url"] == "https://example.com/cat.png"


@pytest.mark.parametrize("name", ["missing.png", "notes.txt"])
def test_what_is_no_picture_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("from the file\n")
    done = run(tmp_path, "ask", "What?", "--image", name, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_standard_input_alone_is_the_question(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "ask", stdin="What?", TABBY_API_ENDPOINT=server.url)
    assert done.stdout == "1 messages, the last: What?\n"


def test_sampling_options_are_sent_and_nothing_else(tmp_path: Path) -> None:
    with ReplayServer(streamed("ok")) as server:
        options = "--temperature 0 --max-tokens 7 --top-k 0 --stop END --param dry_base=1.5"
        run(tmp_path, "ask", "hi", "--url", server.url, *options.split())
    body = bodies(server.requests)[0]
    del body["messages"], body["stream"], body["stream_options"]
    assert body == {
        "temperature": 0,
        "max_tokens": 7,
        "top_k": 0,
        "stop": ["END"],
        "dry_base": 1.5,
    }


def test_a_parameter_that_does_not_exist_is_a_usage_error_with_a_suggestion(tmp_path: Path) -> None:
    done = run(tmp_path, "ask", "hi", "--param", "temperatur=1")
    assert done.returncode == 2
    assert "there is no parameter 'temperatur'; meant temperature" in done.stderr


def test_the_whole_answer_as_json(tmp_path: Path) -> None:
    with ReplayServer(plain("blue")) as server:
        done = run(tmp_path, "ask", "hi", "--json", "--url", server.url)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "blue"
    assert "stream" not in bodies(server.requests)[0]


def test_no_stream_prints_the_same_text(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "ask", "hi", "--no-stream", "--url", server.url)
    assert done.stdout == "1 messages, the last: hi\n"
    assert "stream" not in bodies(server.requests)[0]


def test_a_schema_is_sent_and_only_its_json_is_printed(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    with ReplayServer(plain('{"n": 1}')) as server:
        done = run(tmp_path, "ask", "hi", "--schema", "s.json", "--url", server.url)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"n": 1}, "")
    assert bodies(server.requests)[0]["json_schema"] == schema


def test_an_answer_cut_off_inside_its_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"type": "object"}))
    with ReplayServer(plain('{"n": ', finish="length")) as server:
        done = run(tmp_path, "ask", "hi", "--schema", "s.json", "--url", server.url)
    assert done.returncode == 1
    assert "not valid JSON: it was cut off" in done.stderr


def test_an_answer_cut_off_at_its_longest_is_told_beside_it(tmp_path: Path) -> None:
    with ReplayServer(streamed("The sky is", finish="length")) as server:
        done = run(tmp_path, "ask", "hi", "--url", server.url)
    assert (done.returncode, done.stdout) == (0, "The sky is\n")
    assert "cut off" in done.stderr


def test_odd_bytes_on_standard_input_do_not_stop_it(tmp_path: Path) -> None:
    with ReplayServer([answering]) as server:
        done = run(tmp_path, "ask", stdin=b"caf\xe9 \xff", TABBY_API_ENDPOINT=server.url)
    assert done.returncode == 0
    assert "caf\ufffd" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "nothing to ask"),
        (("hi", "--temperature", "99"), "temperature must be a number from 0 to 10"),
        (("hi", "--url", "ftp://x"), "not of the form http://host:port"),
        (("hi", "--schema", "bad.json"), "not JSON"),
        (("hi", "--file", "missing.txt"), "does not exist"),
        (("hi", "--system", "@missing.txt"), "missing.txt: No such file or directory"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = run(tmp_path, "ask", *args, TABBY_API_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_refused_connection_says_what_was_tried_and_how_to_start_a_server(tmp_path: Path) -> None:
    port = _closed_port()
    done = run(tmp_path, "ask", "hi", "--url", f"http://127.0.0.1:{port}")
    assert done.returncode == 3
    assert f"cannot connect to http://127.0.0.1:{port}: connection refused." in done.stderr
    assert "the one given with --url" in done.stderr
    assert "tabbyapi serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_says_where_to_give_the_right_one(tmp_path: Path) -> None:
    with ReplayServer(json_reply(401, {"detail": "Invalid API key"})) as server:
        done = run(tmp_path, "ask", "hi", "--url", server.url, "--api-key", "hunter2hunter2")
    assert done.returncode == 1
    assert "401 Invalid API key" in done.stderr
    assert "--api-key KEY, or in TABBY_API_KEY" in done.stderr
    assert "hunter2" not in done.stderr
    assert server.requests[0].headers["x-api-key"] == "hunter2hunter2"


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_of_another_kind_is_called_one(tmp_path: Path, status: int) -> None:
    page = b"<!doctype html><title>It works!</title>"
    with ReplayServer(json_reply(status, page, "content-type: text/html")) as server:
        done = run(tmp_path, "ask", "hi", "--url", server.url)
    assert done.returncode == 1
    assert "an HTML page starting" in done.stderr
    assert "TabbyAPI server" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stream_that_breaks_off_prints_what_came_and_fails(tmp_path: Path) -> None:
    half = streamed("The sky")
    broken = type(half)(half.pieces[:-1], then="close")
    with ReplayServer(broken) as server:
        done = run(tmp_path, "ask", "hi", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, "The sky")
    assert "incomplete" in done.stderr


def test_an_interrupt_ends_it_with_130_and_stops_the_server(tmp_path: Path) -> None:
    with ReplayServer(unfinished("The sky")) as server:
        process = subprocess.Popen(
            [*PROGRAM, "ask", "hi", "--url", server.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(tmp_path),
        )
        assert process.stdout is not None
        assert process.stdout.read(7) == b"The sky"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert server.left.wait(10)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with ReplayServer(streamed(*["many words "] * 20000)) as server:
        process = subprocess.Popen(
            [*PROGRAM, "ask", "hi", "--url", server.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(tmp_path),
        )
        assert process.stdout is not None
        assert process.stdout.read(4) == b"many"
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 141
    assert errors == b""


def test_tries_that_failed_are_told_only_with_verbose(tmp_path: Path) -> None:
    address = ("--url", "http://127.0.0.1:9")
    quiet = run(tmp_path, "ask", "What?", *address)
    assert quiet.stderr.startswith("Error: cannot connect to http://127.0.0.1:9")
    assert "try 1 failed" in run(tmp_path, "ask", "What?", *address, "--verbose").stderr
