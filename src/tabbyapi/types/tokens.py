"""Token ids of texts and messages, and back."""

from .base import Value

__all__ = ["TokenDecodeResponse", "TokenEncodeResponse"]


class TokenEncodeResponse(Value):
    """The wire form of an encoded text."""

    tokens: list[int]
    length: int = 0


class TokenDecodeResponse(Value):
    """The wire form of a decoded text."""

    text: str
