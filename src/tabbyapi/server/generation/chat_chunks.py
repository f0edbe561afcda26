"""Writes the chunks of a chat stream."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ..errors import spaced
from .choices import Choice
from .job import Finish, TextDelta

__all__ = ["ChatChunks"]


class ChatChunks:
    """The common chunk, text alone, is one JSON string between constant bytes.

    Args:
        request_id: that the chunks' id is made of.
        model: name of the model that answers.
        choices: how many there are. The first delta of each has a role, unless in parity mode.
        folds_usage: the last finishing chunk is a usage chunk, as TabbyAPI has it; otherwise
            usage, where it is given, is one more field of the finishing chunk.
        parity: as TabbyAPI exactly.
    """

    def __init__(
        self,
        request_id: str,
        model: str,
        *,
        choices: int = 1,
        folds_usage: bool = True,
        parity: bool = True,
    ) -> None:
        self._without_role = set() if parity else set(range(choices))
        self._folds_usage = folds_usage
        self.id = f"chatcmpl-{request_id}"
        self.created = int(time.time())
        self.model = model
        head = f'data: {{"id": "{self.id}", "object": "chat.completion.chunk", "created": '
        self._head = f'{head}{self.created}, "choices": [{{"index": '.encode()
        self._tail = b'}, "finish_reason": null}], "model": ' + spaced(self.model) + b"}\r\n\r\n"
        self._encode = msgspec.json.Encoder().encode

    def deltas(self, out: list[bytes], choice: Choice, deltas: list[TextDelta]) -> None:
        """Chunks of content, reasoning and log probabilities, as far as certain."""
        for text in deltas:
            if choice.plain and choice.index not in self._without_role:
                out.append(self._text(choice.index, text.text))
                continue
            delta = choice.feed(text)
            if not delta:
                continue
            delta = self._with_role(choice, delta)
            if len(delta) == 1 and "content" in delta and not choice.wants_logprobs:
                out.append(self._text(choice.index, delta["content"]))
                continue
            body: dict[str, object] = {"index": choice.index, "delta": delta, "finish_reason": None}
            if "content" in delta and (logprobs := choice.take_logprobs()):
                body["logprobs"] = logprobs
            out.append(self._chunk(body))

    def last(
        self, out: list[bytes], choice: Choice, end: Finish, use: dict[str, object] | None
    ) -> None:
        """The finishing chunk; in a stream with usage the last one is folded into that."""
        delta = self._with_role(choice, choice.finish(end))
        finish: dict[str, object] = {"index": choice.index, "delta": delta}
        logprobs = choice.take_logprobs()
        if use is not None and self._folds_usage:
            if delta or logprobs:
                data = finish | {"finish_reason": None}
                out.append(self._chunk(data | {"logprobs": logprobs} if logprobs else data))
            last: dict[str, object] = {"index": choice.index, "delta": {}}
            last["finish_reason"] = choice.finish_reason
            out.append(self._chunk(last, use))
            return
        finish |= {"finish_reason": choice.finish_reason, "eos_reason": end.eos_reason}
        if logprobs:
            finish["logprobs"] = logprobs
        out.append(self._chunk(finish, use))

    def _with_role(self, choice: Choice, delta: dict[str, Any]) -> dict[str, Any]:
        """The delta, with the role if it is the first one of the choice."""
        if choice.index not in self._without_role:
            return delta
        self._without_role.discard(choice.index)
        return {"role": "assistant", **delta}

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
