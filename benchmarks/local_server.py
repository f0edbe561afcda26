"""What the local server adds to its engine.

One engine process serves both sides: the local server that started it, and its own HTTP listener,
llama.cpp's, driven bare. The same streams are asked of both in turns, by the same reader in a
process of its own (`load`). The CPU time is that of the local server's process alone; the engine,
the server and the load are three processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from support.tiny_model import write_random
from tabbyapi import LocalServer

from .run import ROOT, Results, ask_module, module_command
from .watched import child_of, cpu_of_process, memory_of_process

__all__ = [
    "BARE",
    "OURS",
    "PROMPT",
    "SERVER_SIZES",
    "SLOTS",
    "STREAMS",
    "ServerSizes",
    "Serving",
    "Side",
    "drive",
    "hold",
    "measure_server",
    "serving",
]

STREAMS = {1: 400, 8: 200, 32: 100}
"""Streams at once, and how many chunks each has."""

SLOTS = 32
_CONTEXT = 2048 * SLOTS
BARE, OURS = "bare engine", "local server"
_MARKS = {"bare": '"content":"', "chat": '"delta": {"content": "', "text": '"text": "'}
PROMPT = "<|im_start|>user\nTell me about the sea.<|im_end|>\n<|im_start|>assistant\n"
_ENDLESS = {"ban_eos_token": True}
_NEUTRAL = {  # llama.cpp's defaults are not, and those of the local server are
    "samplers": ["penalties", "dry", "temperature", "top_k", "typ_p", "top_p", "min_p", "xtc"],
    "top_k": 0,
    "top_p": 1,
    "min_p": 0,
}
_INSTRUCTIONS = 1900  # tokens


class ServerSizes(NamedTuple):
    """How much is measured in a round, and how many rounds are taken."""

    rounds: int
    turns: int  # how often the turn of each side comes
    shorter: int  # what the lengths of the streams are divided by
    leaves: int  # clients that leave, in decode and in prefill
    prefill: int  # words of the prompt in which a client leaves


SERVER_SIZES = {
    "full": ServerSizes(5, 4, 1, 4, 2500),
    "quick": ServerSizes(3, 2, 1, 2, 2000),
    "smoke": ServerSizes(1, 1, 20, 1, 1500),
}


class Side(NamedTuple):
    """One of the two that are asked, and how a request to it is made."""

    name: str
    address: str | tuple[str, int]
    key: str

    def completion(self, prompt: str, tokens: int) -> dict[str, Any]:
        """A job that asks for text without an early end, sampled in the same way."""
        body: dict[str, Any] = {"prompt": prompt, "seed": 1, "temperature": 1, "stream": True}
        if self.name == BARE:
            body |= {"n_predict": tokens, "ignore_eos": True} | _NEUTRAL
            return self._job("/completion", body, "bare")
        return self._job("/v1/completions", body | _ENDLESS | {"max_tokens": tokens}, "text")

    def chat(self, messages: list[tuple[str, str]], tokens: int) -> dict[str, Any]:
        """A job that asks for an answer in a conversation of roles and texts."""
        body: dict[str, Any] = {"temperature": 0, "stream": True}
        if self.name == BARE:
            turns = [f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages]
            body |= {"prompt": "".join(turns) + "<|im_start|>assistant\n", "n_predict": tokens}
            return self._job("/completion", body, "bare")
        body |= {"messages": [{"role": role, "content": text} for role, text in messages]}
        return self._job("/v1/chat/completions", body | {"max_tokens": tokens}, "chat")

    def answer(self, body: str) -> str:
        """The text of a conversation's answer."""
        events = [json.loads(line[6:]) for line in body.splitlines() if line[:7] == "data: {"]
        if self.name == BARE:
            return "".join(event["content"] for event in events)
        return "".join(event["choices"][0]["delta"].get("content", "") for event in events)

    def _job(self, path: str, body: dict[str, Any], mark: str) -> dict[str, Any]:
        data = json.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nHost: local\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        request = f"{head}Connection: close\r\n\r\n{data}"
        return {"address": self.address, "request": request, "mark": _MARKS[mark]}


class Serving(NamedTuple):
    """A local server, its engine, and the two ways to them."""

    server: LocalServer
    pid: int
    engine_pid: int
    bare: Side
    ours: Side


_Note = Callable[[Side, str, float], None]


@contextmanager
def serving(model: Path, **settings: Any) -> Iterator[Serving]:
    """Starts a server whose engine can be reached too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = folder  # where the server makes its engine's socket
        server = LocalServer(model, slots=SLOTS, n_ctx=_CONTEXT, **settings)
        try:
            server.start()
            (socket,) = Path(folder).glob("*/engine.sock")
            assert server.pid is not None
            port = int(server.url.rpartition(":")[2])
            yield Serving(
                server,
                server.pid,
                child_of(server.pid, "tabbyapi.server.engine.child"),
                Side(BARE, str(socket), ""),
                Side(OURS, ("127.0.0.1", port), server.api_key),
            )
        finally:
            server.stop()
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before


def drive(job: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the load's process says of a job."""
    return ask_module("load", job | more, "the load")


@contextmanager
def hold(job: dict[str, Any], streams: int, running: int) -> Iterator[None]:
    """Streams that stay open, so many of them running, while the block runs."""
    asked = job | {"what": "hold", "streams": streams, "running": running}
    command = module_command("load", asked)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as load:  # type: ignore[call-overload]
        try:
            if load.stdout.readline() != "ready\n":
                raise RuntimeError("the streams that were to stay open did not begin")
            yield
        finally:
            load.stdin.close()
            load.stdout.read()  # to its end


def measure_server(sizes: ServerSizes, say: Callable[[str], None]) -> Results:
    """Every figure of each round, of a tiny model of random weights."""
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tiny = write_random(Path(folder) / "tiny.gguf", context=_CONTEXT)
        for number in range(sizes.rounds):
            say(f"round {number + 1} of {sizes.rounds}")
            with serving(tiny) as served:
                note = partial(_note, results, "tiny model")
                _round(served, sizes, note)
                _leaving(served, "leave_prefill_s", sizes, note)
    return results


def _note(results: Results, name: str, side: Side, figure: str, value: float) -> None:
    results.setdefault(f"{side.name}, {name}", {}).setdefault(figure, []).append(value)


def _round(served: Serving, sizes: ServerSizes, note: _Note) -> None:
    drive(served.ours.completion(PROMPT, 8), what="rate", streams=1)
    note(served.ours, "stream_kib", _memory(served))  # first: what is freed would be taken again
    for side in (served.bare, served.ours):
        drive(side.completion(PROMPT, 64), what="rate", streams=SLOTS)
    for count, tokens in STREAMS.items():
        _rates(served, count, tokens // sizes.shorter, sizes.turns, note)
    _turns(served, note)
    _leaving(served, "leave_decode_s", sizes, note)


def _rates(served: Serving, count: int, tokens: int, turns: int, note: _Note) -> None:
    """Chunks a second of so many streams, and the CPU time of a chunk in each process."""
    sides = (served.bare, served.ours)
    found: dict[Side, list[list[float]]] = {side: [] for side in sides}
    for turn in range(turns):
        for side in sides if turn % 2 else sides[::-1]:
            before = cpu_of_process(served.pid), cpu_of_process(served.engine_pid)
            said = drive(side.completion(PROMPT, tokens), what="rate", streams=count)
            server = cpu_of_process(served.pid) - before[0]
            engine = cpu_of_process(served.engine_pid) - before[1]
            cpu = [server, engine, said["load_cpu"]]
            found[side].append([said["chunks"], said["seconds"], said["first_ms"], *cpu])
    for side in sides:
        chunks, seconds, first, *cpu = (sum(column) for column in zip(*found[side], strict=True))
        note(side, f"rate_{count}", chunks / seconds)
        note(side, f"first_{count}_ms", first / turns)
        for who, spent in zip(("server", "engine", "load"), cpu, strict=True):
            note(side, f"{who}_{count}_us", spent / chunks * 1e6)


def _turns(served: Serving, note: _Note) -> None:
    """Milliseconds to the first chunk of the first and of the second turn of a conversation of
    2,000 tokens, nearly all of which are its instructions."""
    for side in (served.bare, served.ours):
        told, rules = f"This is for the {side.name}.", 0
        with served.server.client() as client:
            while len(client.tokens.encode(told)) < _INSTRUCTIONS:
                told += "".join(f" Rule {n}: be kind." for n in range(rules, rules + 5))
                rules += 5
        messages = [("system", told), ("user", "Hello")]
        for figure in ("cold_ms", "second_ms"):
            said = drive(side.chat(messages, 8), what="rate", streams=1, keep=True)
            note(side, figure, said["first_ms"])
            messages += [("assistant", side.answer(said["bodies"][0])), ("user", "And then?")]


def _leaving(served: Serving, figure: str, sizes: ServerSizes, note: _Note) -> None:
    """How long the engine works on when a client has left: the longest of several times."""
    decode = figure == "leave_decode_s"
    for side in (served.bare, served.ours):
        took = []
        for number in range(sizes.leaves):
            # A prompt of its own each time: what was read of it is kept.
            prompt = PROMPT if decode else f"{number} {side.name}: " + "word " * sizes.prefill
            job = side.completion(prompt, 1500 if decode else 1)
            marks = 20 if decode else 0
            said = drive(job, what="leave", marks=marks, engine=served.bare.address)
            took.append(said["seconds"])
        note(side, figure, max(took))


def _memory(served: Serving) -> float:
    """KiB that an open stream adds to the server's process."""
    before = memory_of_process(served.pid)
    with hold(served.ours.completion(PROMPT, 1500), SLOTS, SLOTS):
        return (memory_of_process(served.pid) - before) / SLOTS / 1024
