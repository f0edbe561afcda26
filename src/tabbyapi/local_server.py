"""`LocalServer`: starts the local server in a child process, for tests, notebooks and scripts."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from .errors import ConnectError, ValidationError

if TYPE_CHECKING:
    from ._client.aio import AsyncClient
    from ._client.sync import Client

__all__ = ["LocalServer", "ServerSettings"]

_STOP_SECONDS = 15.0


class ServerSettings(TypedDict, total=False):
    """Settings of the local server, as keyword arguments.

    The same names, types and defaults as `tabbyapi.server.settings.Settings`, which explains each;
    they stand here too so that editors complete them without the `local` extra.
    """

    models_dir: str | Path | None
    templates_dir: str | Path | None
    presets_dir: str | Path | None
    preset: str | None
    loras_dir: str | Path | None
    hub_url: str | None
    embeddings_dir: str | Path | None
    embeddings: str | None
    host: str
    port: int
    api_keys: tuple[str, ...]
    admin_key: str
    auth: bool
    keys_file: str | Path | None
    n_ctx: int | None
    slots: int
    max_queue: int
    threads: int | None
    gpu_layers: int
    cache_ram_mib: int
    ping_interval: float
    streaming: bool
    parity: bool
    reasoning: Literal["auto", "on", "off"]
    reasoning_start: str
    reasoning_end: str
    tool_format: Literal["auto", "none", "hermes", "qwen3_coder", "llama3", "mistral", "harmony"]
    chat_template: str | None
    mmproj: str | Path | None
    image_fetch: Literal["public", "off", "any"]
    blind_images: Literal["refuse", "drop"]
    metrics: bool
    draft_model: str | Path | None
    inline_loading: bool
    dummy_models: tuple[str, ...]
    cors_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    max_body_bytes: int
    max_bodies_bytes: int
    max_json_depth: int
    max_json_items: int
    max_messages: int
    max_connections: int
    head_timeout: float
    body_timeout: float
    stall_timeout: float
    engine_timeout: float
    load_timeout: float
    log_level: Literal["critical", "error", "warning", "info", "debug"]


_OTHER_NAMES = {  # of the command line, and of other programs
    "ctx": "n_ctx",
    "context": "n_ctx",
    "max_seq_len": "n_ctx",
    "api_key": "api_keys",
    "no_auth": "auth",
    "cors_origin": "cors_origins",
    "dummy_model": "dummy_models",
    "n_threads": "threads",
    "n_gpu_layers": "gpu_layers",
    "n_parallel": "slots",
}


def _check_names(settings: Mapping[str, object]) -> None:
    known = ServerSettings.__annotations__
    for name in settings:
        if name not in known:
            near = [_OTHER_NAMES.get(name), *difflib.get_close_matches(name, known, 1), None]
            other = next(filter(None, near), None)
            hint = f"did you mean {other}?" if other else "see tabbyapi.local_server.ServerSettings"
            raise ValidationError(f"LocalServer has no setting {name!r}: {hint}", field=name)


class LocalServer:
    """Starts the local server in a child process on a free port, and stops it.

        with LocalServer(model="model.gguf") as server, server.client() as client:
            print(client.chat.create(messages=[user("Hi")]).text)

    Args:
        model: a GGUF file, the name of a fetched model, or `hf:owner/repo[:file]`; None takes the
            default model, which is fetched once.
        settings: see `ServerSettings`. Unless given, the port is a free one and the keys are
            random.

    Attributes:
        url: where it listens, after `start`.
        api_key, admin_key: its keys ("" where `auth=False`).

    Raises:
        ValidationError: there is no setting of a given name.
        ConnectError: it did not start; the message says why.
    """

    def __init__(self, model: str | Path | None = None, **settings: Unpack[ServerSettings]) -> None:
        _check_names(settings)
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
        values = dict(self._settings) | {"model": str(self._resolve())}
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
