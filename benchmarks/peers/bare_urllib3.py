"""urllib3 and the standard library's json, with nothing checked: the least one would write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3

from . import MESSAGES, Lines, body

__all__ = ["Sync"]

_PATH = "/v1/chat/completions"
_HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}


class Sync:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(parts.hostname or "", parts.port, maxsize=100)

    @contextmanager
    def stream(self, count: int) -> Iterator[Any]:
        content = json.dumps(body(MESSAGES, count))
        response = self._pool.urlopen(
            "POST", _PATH, content, _HEADERS, preload_content=False, decode_content=False
        )
        yield self._chunks(response)
        response.release_conn()

    def _chunks(self, response: Any) -> Iterator[Any]:
        feed = Lines().feed
        for data in response.read_chunked(65536):
            for payload in feed(data):
                yield json.loads(payload)

    def request(self, messages: list[Any]) -> Any:
        content = json.dumps(body(messages))
        return json.loads(self._pool.urlopen("POST", _PATH, content, _HEADERS).data)

    def text(self, chunk: Any) -> str:
        return chunk["choices"][0]["delta"].get("content", "")

    def close(self) -> None:
        self._pool.close()
