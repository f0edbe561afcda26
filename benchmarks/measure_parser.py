"""The parser alone, without a network: how near the whole way comes to the decoding itself."""

from __future__ import annotations

import msgspec

from tabbyapi._protocol.assembly.chat import chat_stream_decoder
from tabbyapi.types import ChatCompletionStreamResponse

from .process import cpu_of
from .sizes import Sizes
from .wire import payloads

__all__ = ["measure"]

_READ = 65536


def measure(sizes: Sizes) -> dict[str, float]:
    """Microseconds for each chunk: decoding alone, then splitting of large and of single reads."""
    count = sizes.coalesced * 4
    texts = payloads(count)
    events = [b"data: " + text + b"\r\n\r\n" for text in texts]
    whole = b"".join(events)
    reads = [whole[i : i + _READ] for i in range(0, len(whole), _READ)]
    decode = msgspec.json.Decoder(ChatCompletionStreamResponse).decode
    with cpu_of() as alone:
        for text in texts:
            decode(text)
    result = {"decode_us": alone.per(count)}
    for name, pieces in (("split_64k_us", reads), ("split_single_us", events)):
        feed = chat_stream_decoder().feed
        seen = 0
        with cpu_of() as cost:
            for piece in pieces:
                seen += len(feed(piece))
        if seen != count:
            raise RuntimeError(f"{seen} of {count} chunks decoded")
        result[name] = cost.per(count)
    return result
