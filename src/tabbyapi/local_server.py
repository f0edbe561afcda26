"""`LocalServer`: a server of one's own, for tests, notebooks and the terminal."""

from __future__ import annotations

import atexit
import contextlib
import json
import secrets
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from .errors import ConnectError

if TYPE_CHECKING:
    from ._client.aio import AsyncClient
    from ._client.sync import Client

__all__ = ["LocalServer"]

_STOP_SECONDS = 15.0


class LocalServer:
    """Starts the local server in a child process on a free port, and stops it.

        with LocalServer(model="model.gguf") as server, server.client() as client:
            print(client.chat.create(messages=[user("Hi")]).text)

    Args:
        model: a GGUF file, the name of a fetched model, or `hf:owner/repo[:file]`; None takes the
            default model, which is fetched once.
        settings: anything of `tabbyapi.server.settings.Settings`. The port is a free one, and
            keys are made up, unless given.

    Attributes:
        url: where it listens, after `start`.
        api_key, admin_key: its keys ("" where `auth=False`).

    Raises:
        ConnectError: it did not start; the message says why.
    """

    def __init__(self, model: str | Path | None = None, **settings: Any) -> None:
        auth = settings.get("auth", True)
        settings.setdefault("port", 0)
        settings.setdefault("api_keys", (secrets.token_hex(16),) if auth else ())
        settings.setdefault("admin_key", secrets.token_hex(16) if auth else "")
        self._model = model
        self._settings = settings
        self.api_key: str = settings["api_keys"][0] if settings["api_keys"] else ""
        self.admin_key: str = settings["admin_key"]
        self.url: str = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> LocalServer:
        """Start it and wait until it answers."""
        if self._process is not None:
            return self
        values = self._settings | {"model": str(self._resolve())}
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "tabbyapi.server.main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is meant for our caller
        )
        atexit.register(self.stop)
        stdin, stdout = _pipes(process)
        try:
            stdin.write(json.dumps(values, default=str) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BaseException:
            self.stop()
            raise
        state = json.loads(line) if line.startswith("{") else {}
        if "url" not in state:
            self.stop()
            reason = state.get("error") or f"it ended with status {process.returncode}"
            raise ConnectError(f"The local server did not start: {reason}")
        self.url = state["url"]
        return self

    def _resolve(self) -> Path:
        from .server.model_files.fetch import DownloadError
        from .server.model_files.store import find_model

        try:
            return find_model(self._model, tell=lambda line: print(line, file=sys.stderr))
        except DownloadError as error:
            raise ConnectError(f"The local server did not start: {error}") from None

    def stop(self) -> None:
        """Stop it and wait for its end. Does nothing if it does not run."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is None:
            return
        stdin, stdout = _pipes(process)
        with contextlib.suppress(BrokenPipeError):  # it is gone already
            stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            stdout.close()

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""
        return self._process.pid if self._process else None

    def client(self, **options: Any) -> Client:
        """A `Client` of this server, with its keys. `options` are those of `Client`."""
        from ._client.sync import Client

        return Client(self.url, **(self._keys() | options))

    def async_client(self, **options: Any) -> AsyncClient:
        """An `AsyncClient` of this server, with its keys."""
        from ._client.aio import AsyncClient

        return AsyncClient(self.url, **(self._keys() | options))

    def _keys(self) -> dict[str, Any]:
        return {"api_key": self.api_key or None, "admin_key": self.admin_key or None}

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"LocalServer(url={self.url!r})" if self.url else "LocalServer(not started)"


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
