"""A stand-in for a model hub: Hugging Face's API as far as downloads need it, on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Hub"]

_SHA = "0123456789abcdef0123456789abcdef01234567"
_FILE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/models/([\w.-]+/[\w.-]+)(?:/(revision|tree)/([^/]+))?")


class Hub:
    """Serves `repositories`: {"owner/name": {"file": bytes}}. Private ones need `token`.

    `cut` is how many downloads are cut off half way before one is let through; `slow` is an event
    that a download waits for, `slow_bytes` how many of a large file are sent a second. `requests`
    keeps (method, path, range header).
    """

    def __init__(self, repositories: dict[str, dict[str, bytes]], *, token: str = "") -> None:
        self.repositories = repositories
        self.token = token
        self.cut = 0
        self.slow: threading.Event | None = None
        self.slow_bytes = 0
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._send(401, b"{}", {"X-Error-Code": "GatedRepo"}, body)
        if match := _FILE.fullmatch(path):
            files = hub.repositories.get(match[1], {})
            if match[3] not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return self._file(files[match[3]], body)
        match = _API.fullmatch(path)
        if match is None or match[1] not in hub.repositories:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        if match[2] and match[3] not in ("main", _SHA):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
        files = hub.repositories[match[1]]
        found: Any = {
            "id": match[1],
            "sha": _SHA,
            "siblings": [{"rfilename": name} for name in files],
        }
        if match[2] == "tree":
            found = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": _etag(data),
                    "lfs": {
                        "oid": hashlib.sha256(data).hexdigest(),
                        "size": len(data),
                        "pointerSize": 9,
                    },
                }
                for name, data in files.items()
            ]
        return self._send(200, json.dumps(found).encode(), {}, body)

    def _file(self, data: bytes, body: bool) -> None:
        hub, start = self.hub, 0
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": _SHA, "Accept-Ranges": "bytes"}
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if body and hub.slow is not None:
            hub.slow.wait(20)
        self._send(status, data[start:], headers, body, cut=body and len(data) > 1_000_000)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], body: bool, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if cut and self.hub.cut:
            self.hub.cut -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        step = self.hub.slow_bytes if cut and self.hub.slow_bytes else len(data) or 1
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            time.sleep(1 if step < len(data) else 0)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
