"""An answer on the screen while it arrives: reasoning dimmed, content as Markdown."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from ...types.chat import ChatCompletionResponse, ChatCompletionStreamResponse
from .markdown import complete_blocks, readable, render
from .screen import Region, terminal_size

__all__ = ["AnswerView", "MarkdownView", "PlainView", "follow"]

_FRAME = 1 / 25  # seconds between two redraws
_PEEK = 4  # lines of folded reasoning on show while it goes on


class AnswerView(Protocol):
    """Where an answer is shown."""

    def add(self, chunk: ChatCompletionStreamResponse) -> None:
        """Takes in a chunk."""

    def refresh(self) -> None:
        """Shows what was taken in."""

    def finish(self, note: str = "") -> None:
        """Shows everything for good, and a note below it."""


class PlainView:
    """Text as it comes, for terminals without colour."""

    def __init__(self, write: Callable[[str], object], *, show_reasoning: bool = False) -> None:
        self._write = write
        self._unfolded = show_reasoning
        self._thinking = False
        self._last = ""

    def add(self, chunk: ChatCompletionStreamResponse) -> None:
        if chunk.reasoning:
            if not self._thinking:
                self._write("(thinking)\n" if self._unfolded else "(thinking; /think shows it)\n")
                self._thinking = True
            if self._unfolded:
                self._last = readable(chunk.reasoning)
                self._write(self._last)
        text = readable(chunk.text)
        if text and self._thinking:
            self._thinking = False
            if self._unfolded:
                self._write("\n(answer)\n" if not self._last.endswith("\n") else "(answer)\n")
        if text:
            self._last = text
            self._write(text)

    def refresh(self) -> None:
        pass

    def finish(self, note: str = "") -> None:
        if not self._last.endswith("\n"):
            self._write("\n")
        if note:
            self._write(f"({note})\n")


class MarkdownView:
    """Rendered Markdown; reasoning is folded into one line when the answer begins."""

    def __init__(
        self,
        write: Callable[[str], object],
        size: Callable[[], tuple[int, int]] = terminal_size,
        *,
        show_reasoning: bool = False,
    ) -> None:
        self._region = Region(write, size)
        self._size = size
        self._unfolded = show_reasoning
        self._rest = ""  # the block that is being written
        self._blocks = 0
        self._reasoning = ""
        self._thinking_since = 0.0
        self._thought = False

    def add(self, chunk: ChatCompletionStreamResponse) -> None:
        if chunk.reasoning:
            self._thinking_since = self._thinking_since or time.monotonic()
            self._reasoning += readable(chunk.reasoning)
        if chunk.text:
            self._fold()
            text = readable(chunk.text)
            self._rest += text if self._rest or self._blocks else text.lstrip("\n")

    def refresh(self) -> None:
        if self._reasoning and not self._thought:
            self._region.draw(self._reasoning_lines())
            return
        blocks, self._rest = complete_blocks(self._rest)
        for block in blocks:
            self._region.settle(self._lines(block))
            self._blocks += 1
        if self._rest.strip():
            self._region.draw(self._lines(self._rest))

    def finish(self, note: str = "") -> None:
        self._fold()
        self.refresh()
        if self._rest.strip():
            self._region.settle(self._lines(self._rest))
        if note:
            self._region.settle([_dim(line) for line in _wrapped(note, self._width)])

    @property
    def _width(self) -> int:
        return max(self._size()[0] - 1, 8)  # the last column makes terminals wrap

    def _lines(self, block: str) -> list[str]:
        lines = render(block, self._width)
        return ["", *lines] if self._blocks else lines

    def _reasoning_lines(self) -> list[str]:
        lines = _wrapped(self._reasoning, self._width)
        if self._unfolded:
            return [_dim(line) for line in lines]
        return [_dim(line) for line in ["Thinking …", *lines[-_PEEK:]]]

    def _fold(self) -> None:
        if not self._reasoning or self._thought:
            return
        self._thought = True
        if self._unfolded:
            self._region.settle([*self._reasoning_lines(), ""])
        else:
            took = time.monotonic() - self._thinking_since
            self._region.settle([_dim(f"Thought for {took:.0f} s (/think shows it)"), ""])


def follow(
    chunks: Iterable[ChatCompletionStreamResponse], close: Callable[[], object], view: AnswerView
) -> bool:
    """Shows a stream until it ends; False if Ctrl-C stopped it.

    A thread reads, so that frames are drawn at their time and Ctrl-C is heard at once.

    Raises:
        StreamError: as the stream does, after what arrived has been shown.
    """
    arrived: SimpleQueue[ChatCompletionStreamResponse | BaseException | None] = SimpleQueue()

    def read() -> None:
        try:
            for chunk in chunks:
                arrived.put(chunk)
        except BaseException as error:  # raised again by the caller's thread
            arrived.put(error)
        else:
            arrived.put(None)

    reader = Thread(target=read, name="answer", daemon=True)
    reader.start()
    try:
        _show(arrived, view)
    except KeyboardInterrupt:
        close()
        return False
    finally:
        reader.join(timeout=5)
    return True


def _show(
    arrived: SimpleQueue[ChatCompletionStreamResponse | BaseException | None], view: AnswerView
) -> None:
    stale = False
    drawn = 0.0
    while True:
        wait = max(0.0, drawn + _FRAME - time.monotonic()) if stale else 0.5
        try:
            item = arrived.get(timeout=wait)
        except Empty:
            item = None
        else:
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            view.add(item)
            stale = True
        if stale and time.monotonic() - drawn >= _FRAME:
            view.refresh()
            drawn = time.monotonic()
            stale = False


def describe_end(response: ChatCompletionResponse | None, *, stopped: bool) -> str:
    """A note below the answer, "" where it simply ended."""
    if stopped:
        return "stopped"
    if response is None:
        return "nothing came"
    calls = [f"calls {c.function.name}({c.function.arguments})" for c in response.tool_calls]
    if response.finish_reason == "length":
        calls.append("cut off at its longest; /params max_tokens=N allows more")
    return readable("\n".join(calls))


def _dim(line: str) -> str:
    return f"\x1b[2m{line}\x1b[0m" if line else ""


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in text.strip().split("\n"):
        lines += textwrap.wrap(line, width, replace_whitespace=False) or [""]
    return lines
