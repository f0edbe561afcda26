"""Session affinity: which server has the prompt cache of a request's conversation."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from .._protocol.headers import Headers

__all__ = ["SESSION_HEADER", "ranked", "session_key"]

SESSION_HEADER = "x-session-id"

_PROMPT_BYTES = 512  # of a text prompt, which grows at its end


class _Role(msgspec.Struct):
    role: str = ""


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw] = []
    prompt: msgspec.Raw = msgspec.Raw(b"")


_body = msgspec.json.Decoder(_Body)
_role = msgspec.json.Decoder(_Role)


def session_key(headers: Headers, body: bytes) -> bytes:
    """What the requests of one conversation have in common; b"" where they share nothing.

    That is the `x-session-id` header, or else the messages up to the first of a user, or the
    beginning of a prompt.
    """
    session = headers.get(SESSION_HEADER)
    if session:
        return session.encode()
    try:
        request = _body.decode(body)
        first: list[bytes] = []
        for message in request.messages:
            first.append(bytes(message))
            if _role.decode(message).role == "user":
                break
        return b"\n".join(first) or bytes(request.prompt)[:_PROMPT_BYTES]
    except msgspec.MsgspecError:
        return b""


def ranked(key: bytes, names: Iterable[str]) -> list[str]:
    """The servers for a key, best first: consistent hashing by highest random weight.

    Every gateway finds the same order. Where a server leaves, only its own keys move, to the
    next in their order; where one joins, only the keys that are then its own.
    """
    short = blake2b(key, digest_size=32).digest()
    return sorted(names, key=lambda name: blake2b(name.encode(), key=short).digest())
