"""A TabbyAPI server whose answers follow the message: what to say, and how."""

from __future__ import annotations

import json
from typing import Any

from cli.scripted import DONE, HEAD, USAGE, event, plain, streamed, unfinished
from support.replay import Reply, Request, json_reply
from web.hostile import ATTEMPTS

__all__ = ["HOSTILE", "script"]

HOSTILE = "\n\n".join(ATTEMPTS)
_CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}
_FIXED: dict[str, Any] = {
    "/health": {"status": "healthy", "issues": [{"time": "2026-01-01", "description": "hiccup"}]},
    "/v1/model": {"id": "scripted", "parameters": {"max_seq_len": 4096, "use_vision": True}},
    "/v1/auth/permission": {"permission": "api"},
    "/v1/models": {"object": "list", "data": [{"id": "scripted"}]},
}


def last_text(body: dict[str, Any]) -> str:
    """The text of a request's last message."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def script(request: Request, *, fail: bool = False) -> Reply:
    """Answer what the page asks. The first word of a message says how a chat is answered.

    Args:
        request: what is asked.
        fail: refuse all chats.
    """
    if request.target in _FIXED:
        return json_reply(200, _FIXED[request.target])
    if request.target == "/v1/token/encode":
        return json_reply(200, {"tokens": [1, 2, 3], "length": 3})
    if request.target != "/v1/chat/completions":
        return json_reply(404, {"detail": "not scripted"})
    body = request.json
    word, _, rest = last_text(body).partition(" ")
    match "unloaded" if fail else word:
        case "say":
            return streamed(*(rest[i : i + 12] for i in range(0, len(rest), 12)))
        case "count":
            return streamed(*(f"{i} " for i in range(1, int(rest) + 1)), pause=0.1)
        case "hostile":
            return streamed(*(HOSTILE[i : i + 40] for i in range(0, len(HOSTILE), 40)))
        case "hang":
            return unfinished("It begins")
        case "break":
            return Reply([HEAD, event({"content": "Half of an"})], then="reset")
        case "reason":
            pieces = [event({"reasoning_content": "Let me think."}), event({"content": "Done."})]
            return Reply([HEAD, *pieces, event({}, "stop", usage=USAGE) + DONE])
        case "tool":
            calls = [event({"tool_calls": [_CALL]})]
            return Reply([HEAD, *calls, event({}, "tool_calls", usage=USAGE) + DONE])
        case "toolong":
            error = {"message": "The prompt is too long.", "code": "context_length_exceeded"}
            return json_reply(400, {"error": error})
        case "unloaded":
            return json_reply(503, {"detail": "No models are currently loaded."})
        case "forbidden":
            return json_reply(401, {"detail": "Invalid API key"})
        case _ if not body.get("stream"):
            return plain("I am not streamed.")
        case _:
            turns = [m["role"] for m in body["messages"]]
            return streamed(
                f"{len(turns)} messages, ", f"the last: {json.dumps(word + ' ' + rest)}"
            )
