"""An answer on the screen while it arrives: reasoning dimmed, content as Markdown."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..._protocol.assembly.chat import chunk_of_response
from ...errors import StreamError
from ...types.chat import ChatCompletionResponse, ChatCompletionStreamResponse
from ..mcp import describe_call
from ..output import printable
from .keyboard import Keyboard, Pressed
from .markdown import complete_blocks, render
from .screen import Region, terminal_size

if TYPE_CHECKING:
    from ...conversation import Conversation, ConversationStream
    from ...tools.calls import PendingCall
    from ...types.messages import ContentLike

__all__ = [
    "AnswerView",
    "MarkdownView",
    "PlainView",
    "ToolTurn",
    "Turn",
    "Work",
    "describe_end",
    "follow",
]

_FRAME = 1 / 25  # seconds between two redraws, and between two looks at the keyboard
_QUIET = 2.0  # seconds without a sign of life, where there is no spinner
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PEEK = 4  # lines of folded reasoning on show while it goes on


class AnswerView(Protocol):
    """Display of an answer."""

    def add(self, chunk: ChatCompletionStreamResponse) -> None:
        """Take in a chunk."""

    def refresh(self) -> None:
        """Show what was taken in."""

    def wait(self, seconds: float, doing: str) -> None:
        """Show what goes on, and for how long, while nothing has come yet."""

    def leave(self) -> None:
        """Show what follows below all that is on the screen."""

    def finish(self, note: str = "") -> None:
        """Show everything for good, and a note below it."""


class PlainView:
    """Text as it comes, for terminals without colour."""

    def __init__(self, write: Callable[[str], object], *, show_reasoning: bool = False) -> None:
        self._write = write
        self._unfolded = show_reasoning
        self._thinking = False
        self._waiting = False
        self._last = ""

    def add(self, chunk: ChatCompletionStreamResponse) -> None:
        if chunk.reasoning:
            if not self._thinking:
                self._write("(thinking)\n" if self._unfolded else "(thinking; /think shows it)\n")
                self._thinking = True
            if self._unfolded:
                self._last = printable(chunk.reasoning)
                self._write(self._last)
        text = printable(chunk.text)
        if text and self._thinking:
            self._thinking = False
            if self._unfolded:
                self._write("\n(answer)\n" if not self._last.endswith("\n") else "(answer)\n")
        if text:
            self._last = text
            self._write(text)

    def refresh(self) -> None:
        pass

    def wait(self, seconds: float, doing: str) -> None:
        if seconds > _QUIET and not self._waiting:
            self._waiting = True
            self._write(f"({doing.lower()})\n")

    def leave(self) -> None:
        self._write("\n")

    def finish(self, note: str = "") -> None:
        if self._last and not self._last.endswith("\n"):
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
            self._reasoning += printable(chunk.reasoning)
        if chunk.text:
            self._fold()
            text = printable(chunk.text)
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

    def wait(self, seconds: float, doing: str) -> None:
        spinner = _SPINNER[int(seconds * 10) % len(_SPINNER)]
        self._region.draw([_dim(f"{spinner} {doing}, {seconds:.0f} s"[: self._width])])

    def leave(self) -> None:
        self._region.leave()

    def finish(self, note: str = "") -> None:
        if not (self._reasoning or self._rest or self._blocks):
            self._region.draw([])  # removes the spinner
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


Item: TypeAlias = "ChatCompletionStreamResponse | CallShown | BaseException | None"


class Work(Thread):
    """Work in a thread of its own, so that keys and frames are never late. See `follow`.

    Attributes:
        doing: what goes on until something arrives, to show it.
        arrived: chunks, then None at the end, or the exception that ended the work.
    """

    def __init__(self, task: Callable[[], object], doing: str) -> None:
        super().__init__(name="work", daemon=True)
        self.doing = doing
        self.arrived: SimpleQueue[Item] = SimpleQueue()
        self._task = task

    def run(self) -> None:
        try:
            self._task()
        except BaseException as error:  # raised again by the main thread
            self.arrived.put(error)
        else:
            self.arrived.put(None)

    def stop(self) -> None:
        """Wait no longer. What cannot be stopped is left behind."""


class Turn(Work):
    """A turn of a conversation.

    States: opening (`_stream` is None), open, ended. Only the thread opens and reads the stream;
    the main thread may `stop` it at any time. A turn that is stopped while opening is left
    behind: its thread closes the stream as soon as it has one.
    """

    def __init__(self, conversation: Conversation, content: ContentLike) -> None:
        super().__init__(self._read, "Reading the prompt")
        self._conversation = conversation
        self._content = content
        self._stream: ConversationStream | None = None
        self._stopped = False

    def _read(self) -> None:
        with self._conversation.stream(self._content) as self._stream:
            if not self._stopped:
                for chunk in self._stream:
                    self.arrived.put(chunk)

    def stop(self) -> None:
        """Stop generation on the server at once."""
        self._stopped = True
        if self._stream is not None:
            self._stream.close()
            self.join(timeout=5)

    @property
    def response(self) -> ChatCompletionResponse | None:
        """The response so far, None before its first chunk."""
        try:
            return self._stream.response if self._stream is not None else None
        except StreamError:
            return None


class CallShown:
    """A call of a tool, to be shown, and approved if it `asks`."""

    def __init__(self, text: str, *, asks: bool) -> None:
        self.text = text
        self.asks = asks
        self.approved: SimpleQueue[bool] = SimpleQueue()


class ToolTurn(Work):
    """A turn in which the model may call tools. Its answer arrives as one chunk.

    A turn that is stopped makes no further call; its thread is left behind.
    """

    def __init__(self, conversation: Conversation, content: ContentLike, *, ask: bool) -> None:
        super().__init__(self._send, "Waiting for the model")
        self._conversation = conversation
        self._content = content
        self._ask = ask
        self._stopped = False
        self._shown: CallShown | None = None
        self.response: ChatCompletionResponse | None = None

    def _send(self) -> None:
        response = self._conversation.send(self._content, on_call=self._on_call)
        if not self._stopped:
            self.response = response
            self.arrived.put(chunk_of_response(response))

    def _on_call(self, call: PendingCall) -> bool:
        shown = self._shown = CallShown(describe_call(call), asks=self._ask)
        if not self._stopped:
            self.arrived.put(shown)
        approved = shown.approved.get() if self._ask and not self._stopped else True
        if self._stopped:
            raise StreamError("stopped")
        return approved

    def stop(self) -> None:
        """Make no further call."""
        self._stopped = True
        if self._shown is not None:
            self._shown.approved.put(False)


def _show_call(shown: CallShown, view: AnswerView, keyboard: Keyboard) -> None:
    view.leave()
    question = " · allow it? y/n " if shown.asks else ""
    sys.stdout.write(shown.text + question)
    sys.stdout.flush()
    if shown.asks:
        approved = keyboard.approves()
        sys.stdout.write("yes" if approved else "no")
        shown.approved.put(approved)
    sys.stdout.write("\n")


def follow(work: Work, view: AnswerView, keyboard: Keyboard) -> bool:
    """Show what work brings until it ends; False if Ctrl-C stopped it.

    Raises:
        TabbyError: as the work does, after what arrived has been shown.
    """
    began = time.monotonic()
    waiting = True
    work.start()
    try:
        while True:
            for item in _items(work.arrived):
                if item is None:
                    return True
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, CallShown):
                    _show_call(item, view, keyboard)
                    continue
                waiting = False
                view.add(item)
            if waiting:
                view.wait(time.monotonic() - began, work.doing)
            else:
                view.refresh()
            pressed = keyboard.poll()
            if pressed is Pressed.STOP:
                break
            if pressed is Pressed.SUSPEND:
                view.leave()
                keyboard.suspend()
    except KeyboardInterrupt:  # a signal from outside: the terminal sends none
        pass
    work.stop()
    return False


def _items(arrived: SimpleQueue[Item]) -> Iterator[Item]:
    """Chunks that arrive before the next frame is due."""
    end = time.monotonic() + _FRAME
    while (left := end - time.monotonic()) > 0:
        try:
            yield arrived.get(timeout=left)
        except Empty:
            return


def describe_end(response: ChatCompletionResponse | None, *, stopped: bool) -> str:
    """The note below an answer; "" if it ended by itself."""
    if stopped:
        return "stopped"
    if response is None:
        return "nothing came"
    calls = [f"calls {c.function.name}({c.function.arguments})" for c in response.tool_calls]
    if response.finish_reason == "length":
        calls.append("cut off at its longest; /params max_tokens=N allows more")
    return printable("\n".join(calls))


def _dim(line: str) -> str:
    return f"\x1b[2m{line}\x1b[0m" if line else ""


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in text.strip().split("\n"):
        lines += textwrap.wrap(line, width, replace_whitespace=False) or [""]
    return lines
