"""Exchanges with a real server, recorded into a JSON file and answered from it.

The file is a list of `{"request": {"method", "path", "body"}, "response": {"status",
"content_type", "body"}}`. Headers of requests are never in it, nor are keys: the values that the
program sends in headers, and fields of bodies that are called like a secret, become "***".

A request is answered by the recorded one with the same method, path and body; of several alike, by
one after the other, and by the last again and again.
"""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from .._files import replace_file
from .._protocol.endpoint import normalised_url
from ..testing import ReceivedRequest, ReplayServer, Reply, json_reply

__all__ = ["TabbyReplay"]

_SECRETS = ("api_key", "admin_key", "authorization", "password", "token", "hf_token")
_KEY_HEADERS = ("x-api-key", "x-admin-key", "authorization", "proxy-authorization", "cookie")
_MASK = "***"
_SHORTEST = 4  # shorter keys would be found in words
_PATIENCE = 600.0  # seconds for an answer of the real server


class TabbyReplay:
    """A server on this machine that records, or answers from a recording.

    Args:
        path: the file.
        upstream: address of the real server, to record; None: answer from the file.

    Attributes:
        path: the file.
        exchanges: what is in it.
    """

    def __init__(self, path: Path, upstream: str | None) -> None:
        self.path = path
        self.exchanges: list[dict[str, Any]] = []
        self._upstream = None if upstream is None else normalised_url(upstream)
        self._used: set[int] = set()
        self._lock = threading.Lock()
        self._server = ReplayServer([self._record if upstream else self._replay])
        if upstream is None:
            self.exchanges = json.loads(path.read_text(encoding="utf-8"))

    @property
    def url(self) -> str:
        """The server's address, which is in TABBY_API_ENDPOINT too."""
        return self._server.url

    @property
    def recording(self) -> bool:
        """True if the real server answers."""
        return self._upstream is not None

    def _replay(self, request: ReceivedRequest) -> Reply:
        asked = _asked(request)
        with self._lock:
            alike = [i for i, each in enumerate(self.exchanges) if each["request"] == asked]
            if not alike:
                return json_reply(501, {"detail": self._why_not(asked)})
            chosen = next((i for i in alike if i not in self._used), alike[-1])
            self._used.add(chosen)
        return _reply_of(self.exchanges[chosen]["response"])

    def _why_not(self, asked: dict[str, Any]) -> str:
        """Why there is no answer, and what to do."""
        differ: set[str] = set()
        for each in self.exchanges:
            recorded = each["request"]
            if (recorded["method"], recorded["path"]) != (asked["method"], asked["path"]):
                continue
            old, new = recorded["body"], asked["body"]
            if isinstance(old, dict) and isinstance(new, dict):
                changed = {name for name in old | new if old.get(name) != new.get(name)}
                if not differ or len(changed) < len(differ):
                    differ = changed
        said = f"{self.path} has no answer for this {asked['method']} {asked['path']}"
        if differ:
            said += f" (the nearest one recorded differs in: {', '.join(sorted(differ))})"
        return f"{said}; record anew with: pytest --tabby-record"

    def _record(self, request: ReceivedRequest) -> Reply:
        parts = urlsplit(self._upstream or "")
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(parts.netloc, timeout=_PATIENCE)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in ("host", "connection", "content-length")
        }
        target = parts.path + request.target
        try:
            connection.request(request.method, target, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            return json_reply(
                502, {"detail": f"{self._upstream} cannot be reached to record: {error}"}
            )
        finally:
            connection.close()
        secrets = [
            value.removeprefix("Bearer ")
            for name, value in request.headers.items()
            if name in _KEY_HEADERS
        ]
        text = _without(body.decode("utf-8", "replace"), secrets)
        response = {
            "status": answer.status,
            "content_type": answer.headers.get("content-type", ""),
            "body": _json_or_text(text),
        }
        asked = json.loads(_without(json.dumps(_asked(request), ensure_ascii=False), secrets))
        with self._lock:
            self.exchanges.append({"request": asked, "response": response})
        return _reply_of(response)

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.exchanges, indent=1, ensure_ascii=False)
        replace_file(self.path, f"{text}\n")

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)
        if self.recording:
            self._save()

    def __repr__(self) -> str:
        return f"TabbyReplay({str(self.path)!r})"


def _asked(request: ReceivedRequest) -> dict[str, Any]:
    """What a request asks, by which it is known again."""
    body = _json_or_text(request.body.decode("utf-8", "replace")) if request.body else None
    return {"method": request.method, "path": request.target, "body": _masked(body)}


def _masked(value: Any) -> Any:
    """JSON without the values of fields that are called like a secret."""
    if isinstance(value, dict):
        return {
            name: _MASK if name.lower() in _SECRETS and isinstance(item, str) else _masked(item)
            for name, item in value.items()
        }
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _MASK)
    return text


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _reply_of(response: dict[str, Any]) -> Reply:
    body = response["body"]
    content = body if isinstance(body, str) else json.dumps(body)
    return json_reply(
        response["status"], content.encode(), f"content-type: {response['content_type']}"
    )
