"""Token ids of texts and messages, and back."""

import msgspec

__all__ = ["TokenDecodeResponse", "TokenEncodeResponse"]


class TokenEncodeResponse(msgspec.Struct):
    """The wire form of an encoded text."""

    tokens: list[int] = []
    length: int = 0


class TokenDecodeResponse(msgspec.Struct):
    """The wire form of a decoded text."""

    text: str = ""
