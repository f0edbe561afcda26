"""The conversation of a terminal: what was said so far, and the next turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import StreamError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ChatMessage, ContentLike, system, user

if TYPE_CHECKING:
    from .._client.sync import Client
    from .._streaming.sync import Stream
    from ..types.chat import ChatCompletionStreamResponse

__all__ = ["Dialogue"]


class Dialogue:
    """Messages that are sent along with every turn.

    Attributes:
        client: where turns are sent.
        params: how answers are generated; may be changed between turns.
        messages: the conversation, oldest first, a system message included.
        last: the last answer, None before the first.
    """

    def __init__(self, client: Client, params: dict[str, Any], instructions: str | None) -> None:
        self.client = client
        self.params = params
        self.messages: list[ChatMessage] = [system(instructions)] if instructions else []
        self.last: ChatCompletionResponse | None = None
        self._before_retake: tuple[list[ChatMessage], ChatCompletionResponse | None] | None = None

    @contextmanager
    def turn(
        self, content: ContentLike
    ) -> Iterator[Stream[ChatCompletionStreamResponse, ChatCompletionResponse]]:
        """Sends a turn and yields the answer's stream.

        However the block ends, the turn joins the conversation with what had arrived by then;
        if nothing had, it is as if it had not been sent.
        """
        question = user(content)
        chat = self.client.chat
        before, self._before_retake = self._before_retake, None
        length = len(self.messages)
        try:
            with chat.create_stream([*self.messages, question], **self.params) as stream:
                try:
                    yield stream
                finally:
                    self._keep(question, _arrived(stream))
        finally:
            if before is not None and len(self.messages) == length:
                self.messages, self.last = before

    def undo(self) -> ContentLike | None:
        """Takes the last turn back; returns what was said, None if nothing was."""
        for i in range(len(self.messages) - 1, -1, -1):
            if self.messages[i].role == "user":
                said = self.messages[i].content
                del self.messages[i:]
                self.last = None
                return said
        return None

    def retake(self) -> ContentLike | None:
        """As `undo`, for a turn to be sent again: if that brings nothing, the old one is back.

        `put_back` gives up before it is sent.
        """
        before = list(self.messages), self.last
        said = self.undo()
        self._before_retake = None if said is None else before
        return said

    def put_back(self) -> None:
        """Undoes a `retake` whose turn will not be sent after all."""
        if self._before_retake is not None:
            self.messages, self.last = self._before_retake
            self._before_retake = None

    @property
    def instructions(self) -> str:
        """The system message, "" if there is none."""
        first = self.messages[0] if self.messages else None
        return first.text if first is not None and first.role == "system" else ""

    @instructions.setter
    def instructions(self, text: str) -> None:
        if self.instructions:
            del self.messages[0]
        if text:
            self.messages.insert(0, system(text))

    def _keep(self, question: ChatMessage, answer: ChatCompletionResponse | None) -> None:
        if answer is None:
            return
        message = answer.message
        if message.content is None and not message.tool_calls:
            if answer.finish_reason is None and not message.reasoning_content:
                return  # stopped before anything came
            message.content = ""  # templates expect a text
        self.messages += [question, message]
        self.last = answer


def _arrived(
    stream: Stream[ChatCompletionStreamResponse, ChatCompletionResponse],
) -> ChatCompletionResponse | None:
    try:
        return stream.response
    except StreamError:
        return None
