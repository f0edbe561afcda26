"""Writes the chunks of a chat stream."""

from __future__ import annotations

import time

import msgspec

from ..errors import spaced
from .choices import Choice
from .job import Finish, TextDelta

__all__ = ["ChatChunks"]


class ChatChunks:
    """The common chunk, text alone, is one JSON string between constant bytes."""

    def __init__(self, request_id: str, model: str) -> None:
        self.id = f"chatcmpl-{request_id}"
        self.created = int(time.time())
        self.model = model
        head = f'data: {{"id": "{self.id}", "object": "chat.completion.chunk", "created": '
        self._head = f'{head}{self.created}, "choices": [{{"index": '.encode()
        self._tail = b'}, "finish_reason": null}], "model": ' + spaced(self.model) + b"}\r\n\r\n"
        self._encode = msgspec.json.Encoder().encode

    def pieces(self, out: list[bytes], choice: Choice, pieces: list[TextDelta]) -> None:
        """What pieces make certain of text, reasoning and log probabilities."""
        for piece in pieces:
            if choice.plain:
                out.append(self._text(choice.index, piece.text))
                continue
            delta = choice.feed(piece)
            if not delta:
                continue
            if len(delta) == 1 and "content" in delta and not choice.wants_logprobs:
                out.append(self._text(choice.index, delta["content"]))
                continue
            body: dict[str, object] = {"index": choice.index, "delta": delta, "finish_reason": None}
            if "content" in delta and (logprobs := choice.take_logprobs()):
                body["logprobs"] = logprobs
            out.append(self._chunk(body))

    def last(
        self, out: list[bytes], choice: Choice, ending: Finish, use: dict[str, object] | None
    ) -> None:
        """The finishing chunk; in a stream with usage the last one is folded into that."""
        delta = choice.finish(ending)
        finish: dict[str, object] = {"index": choice.index, "delta": delta}
        logprobs = choice.take_logprobs()
        if use is not None:
            if delta or logprobs:
                data = finish | {"finish_reason": None}
                out.append(self._chunk(data | {"logprobs": logprobs} if logprobs else data))
            last: dict[str, object] = {"index": choice.index, "delta": {}}
            last["finish_reason"] = choice.finish_reason
            out.append(self._chunk(last, use))
            return
        finish |= {"finish_reason": choice.finish_reason, "eos_reason": ending.eos_reason}
        if logprobs:
            finish["logprobs"] = logprobs
        out.append(self._chunk(finish))

    def _text(self, index: int, text: str) -> bytes:
        """A chunk of content alone."""
        return b'%b%d, "delta": {"content": %b%b' % (
            self._head,
            index,
            self._encode(text),
            self._tail,
        )

    def _chunk(self, choice: dict[str, object], use: dict[str, object] | None = None) -> bytes:
        """Any other chunk."""
        body: dict[str, object] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "choices": [choice],
        }
        if use is not None:
            body["usage"] = use
        body["model"] = self.model
        return b"data: " + spaced(body) + b"\r\n\r\n"
