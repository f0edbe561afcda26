"""A scripted TabbyAPI server, and the program to point at it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect

from support.replay import ReplayServer, Reply, Request, json_reply

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
USAGE["completion_tokens_per_sec"] = 41.5  # type: ignore[assignment]


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test"}
    return http_chunk(b"data: " + json.dumps({**chunk, "choices": [choice], **more}).encode() + END)


END = b"\r\n\r\n"
DONE = http_chunk(b"data: [DONE]" + END) + b"0\r\n\r\n"


def streamed(
    *texts: str, finish: str = "stop", pause: float = 0.0, usage: dict[str, Any] | None = None
) -> Reply:
    """A complete streamed answer in these pieces."""
    pieces = [HEAD, *(event({"content": text}) for text in texts)]
    return Reply([*pieces, event({}, finish, usage=usage or USAGE) + DONE], pause=pause)


def unfinished(*texts: str) -> Reply:
    """The beginning of an answer that never goes on."""
    return Reply([HEAD, *(event({"content": text}) for text in texts)], then="hang")


def plain(text: str, finish: str = "stop") -> Reply:
    """A complete answer that is not streamed."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json_reply(200, {"id": "cmpl-1", "model": "test", "choices": [choice], "usage": USAGE})


def answering(request: Request) -> Reply:
    """Answers what is asked for: health, the model, or a chat by how it was asked."""
    if request.target == "/health":
        return json_reply(200, {"status": "healthy", "issues": []})
    if request.target == "/v1/model":
        return json_reply(200, {"id": "test", "parameters": {"max_seq_len": 4096}})
    body = request.json
    turns = len(body["messages"])
    text = f"{turns} messages, the last: {body['messages'][-1]['content']}"
    return streamed(*text.split(" , ")) if body.get("stream") else plain(text)


def chats(*replies: Reply | Callable[[Request], Reply]) -> Callable[[Request], Reply]:
    """Answers chats with these, the last one again and again, and the rest as `answering`."""
    left = list(replies)

    def answer(request: Request) -> Reply:
        if request.target != "/v1/chat/completions":
            return answering(request)
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply(request) if callable(reply) else reply

    return answer


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has set nothing up."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("TABBY", "XDG"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        kept.pop(name, None)
    return {**kept, "HOME": str(home), "PYTHONIOENCODING": "utf-8", **more}


PROGRAM = [sys.executable, "-m", "tabbyapi"]


def run(
    home: Path, *args: str, stdin: str | bytes = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the program to its end, in pipes."""
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [*PROGRAM, *args],
        input=given,
        capture_output=True,
        env=clean_environment(home, **environment),
        cwd=home,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def run_here(
    home: Path, *args: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """As `run`, in this process and much faster: for what no process of its own is needed."""
    from click.testing import CliRunner

    from tabbyapi.cli import main

    unset = dict.fromkeys(os.environ.keys() - clean_environment(home).keys())
    wanted = {**unset, **clean_environment(home, **environment)}
    with contextlib.chdir(home):
        done = CliRunner().invoke(main, args, input=stdin, env=wanted, prog_name="tabbyapi")
    return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)


def bodies(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """The chat requests among these, decoded."""
    return [r.json for r in requests if r.target == "/v1/chat/completions"]


@contextlib.contextmanager
def chatting(
    home: Path,
    server: ReplayServer,
    *args: str,
    columns: int = 80,
    rows: int = 24,
    **environment: str,
) -> Iterator[pexpect.spawn[str]]:
    """Runs `tabbyapi chat` in a pseudo-terminal."""
    env = clean_environment(home, TERM="xterm-256color", PROMPT_TOOLKIT_NO_CPR="1")
    child = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], "chat", "--url", server.url, *args],
        env={**env, **environment},
        cwd=str(home),
        encoding="utf-8",
        dimensions=(rows, columns),
        timeout=20,
    )
    try:
        child.expect("/help")
        yield child
    finally:
        child.close(force=True)


def send(child: pexpect.spawn[str], text: str, expected: str) -> None:
    """Types a line, and waits for what follows."""
    child.send(text + "\r")
    child.expect(expected)
