"""Runs a model file on llama.cpp, the engine that users run it on."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xllamacpp

_SLOTS = 4


class Engine:
    """A model file loaded into llama.cpp, listening on a free loopback port until closed."""

    def __init__(self, path: Path, *, context: int = 2048, threads: int = 2) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context * _SLOTS
        params.n_parallel = _SLOTS
        params.cpuparams.n_threads = threads
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.verbosity = 1
        params.ui = False
        self._server = xllamacpp.Server(params)
        self._address = self._server.listening_address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the engine."""
        del self._server

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._address}{route}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            loaded: dict[str, Any] = json.load(answer)
            return loaded

    def tokenize(self, text: str) -> list[int]:
        """The token ids of the text, control tokens recognised."""
        ids: list[int] = self._post("/tokenize", {"content": text, "parse_special": True})["tokens"]
        return ids

    def complete(self, prompt: str, *, limit: int = 160) -> str:
        """What the model writes after the prompt at temperature 0."""
        body = {"prompt": prompt, "temperature": 0, "n_predict": limit, "cache_prompt": False}
        text: str = self._post("/completion", body)["content"]
        return text

    def complete_all(self, prompts: list[str]) -> list[str]:
        """The completions of many prompts, several at a time."""
        with ThreadPoolExecutor(_SLOTS) as pool:
            return list(pool.map(self.complete, prompts))
