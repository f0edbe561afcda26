"""A server without a network, whose tokenizer and template are known, and which checks what it
is sent. It stands where a client does: it carries out calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tabbyapi._protocol.call import Call
from tabbyapi.conversation import Conversation
from tabbyapi.errors import ContextLengthError, InvalidRequestError

TEMPLATE = 20  # tokens the template adds to each prompt
AROUND = 6  # and to each message


def tokens_of(text: str) -> int:
    """Four ASCII characters a token; others take more than one token each, as they do."""
    plain = sum(1 for char in text if char < "\x80")
    return ceil(plain / 4 + (len(text) - plain) * 1.5)


def message_tokens(message: dict[str, Any], *, with_reasoning: bool = False) -> int:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    total = AROUND + tokens_of(content)
    for call in message.get("tool_calls") or ():
        total += AROUND + tokens_of(call["function"]["name"] + call["function"]["arguments"])
    if with_reasoning:
        total += tokens_of(message.get("reasoning_content") or "")
    return total


Reply = Callable[[dict[str, Any]], dict[str, Any]]


def say(text: str) -> Reply:
    return lambda request: {"role": "assistant", "content": text}


@dataclass
class SimulatedServer:
    """Answers calls as `Client.request` would.

    `reply` makes the answer's message; `check` sees each chat request with its prompt's tokens.
    """

    context: int = 2048
    reply: Reply = field(default=lambda request: {"role": "assistant", "content": "Yes."})
    check: Callable[[dict[str, Any], int], None] = field(default=lambda request, tokens: None)
    counts_tokens: bool = True
    model: str = "simulated"
    calls: list[Call[Any]] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    def send(self, call: Call[Any]) -> Any:
        self.calls.append(call)
        if call.path == "/v1/model":
            answer: Any = {
                "id": self.model,
                "parameters": {"max_seq_len": self.context, "cache_size": 4 * self.context},
            }
        elif call.path == "/v1/token/encode":
            if not self.counts_tokens:
                raise InvalidRequestError("not here", status_code=422)
            text = json.loads(call.body or b"")["text"]
            answer = {"tokens": [0] * tokens_of(text), "length": tokens_of(text)}
        else:
            answer = self._chat(json.loads(call.body or b""))
        return call.decode(json.dumps(answer).encode())

    def open_stream(self, call: Any) -> Any:
        raise NotImplementedError("streams are tested against real sockets")

    def prompt_tokens(self, request: dict[str, Any]) -> int:
        tools = request.get("tools")
        total = TEMPLATE + (tokens_of(json.dumps(tools)) if tools else 0)
        return total + sum(message_tokens(message) for message in request["messages"])

    def _chat(self, request: dict[str, Any]) -> Any:
        prompt = self.prompt_tokens(request)
        self.chats.append(request)
        if prompt >= self.context:
            raise ContextLengthError(
                f"Prompt length {prompt} exceeds the available context size of "
                f"{self.context} tokens",
                status_code=400,
            )
        self.check(request, prompt)
        message = self.reply(request)
        made = message_tokens(message, with_reasoning=True) - AROUND + 1
        return {
            "id": "cmpl-1",
            "model": self.model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
                    "eos_reason": "stop_token",
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": made,
                "total_tokens": prompt + made,
            },
        }


SYSTEM = "You are a patient teacher of chemistry."


def conversation(server: SimulatedServer, **options: Any) -> Conversation:
    """A conversation with it; `options` as for `Client.conversation`."""
    head = options.pop("system", SYSTEM)
    return Conversation.begin(server, head, options)
