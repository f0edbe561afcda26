"""Token ids of texts and messages, and back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from .params import CallOptions

__all__ = ["DecodeParams", "EncodeParams", "TokenDecodeResponse", "TokenEncodeResponse"]


class TokenEncodeResponse(msgspec.Struct):
    """The wire form of an encoded text."""

    tokens: list[int] = []
    length: int = 0


class TokenDecodeResponse(msgspec.Struct):
    """The wire form of a decoded text."""

    text: str = ""


class EncodeParams(CallOptions, total=False):
    """How text is taken apart."""

    add_bos_token: bool | None
    """Begin with the BOS token. Default True."""
    encode_special_tokens: bool | None
    """Read markup such as `<|im_start|>` as the one token it stands for. Default True."""
    template_vars: Mapping[str, Any] | None
    """Variables for the chat template, for messages only. Tools can be counted only so:
    `template_vars={"tools": [...]}`.
    """


class DecodeParams(CallOptions, total=False):
    """How tokens are put together."""

    decode_special_tokens: bool | None
    """Write special tokens out as their markup. Default True; False leaves them out."""
