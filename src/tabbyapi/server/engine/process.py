"""Starts the engine's process, watches it, restarts it on the same model, and stops it.

States of an `Engine` (`EngineState`), and who changes them:

- *stopped*: before `start`, after `stop`, and after a `start` that failed.
- *loading*: `start`, or the watcher after the process ended. Requests wait.
- *ready*: the process listens; `_native` speaks to it.
- *failed*: the watcher could not bring the process back. Requests fail at once, with the reason;
  the watcher goes on trying, with growing pauses, and recovers when the cause is gone.

Invariants: requests are given `_native` in *ready* only; `_settled` is set in every state but
*loading*; no exception ends the watcher, only `stop` does. A process that does not react, or whose
socket is gone, is killed, and then treated as one that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from .child import PREFIX
from .events import EngineDied, EngineRefusal
from .folders import make_folder, remove_folder, sweep_folders
from .native import Native
from .threads import bounded_spinning

__all__ = ["Engine", "EngineError", "EngineSpec", "EngineState"]

log = logging.getLogger("tabbyapi.server")

_MOST_DEATHS = 5  # within _DEATH_WINDOW seconds; after that there is a pause before the next try
_DEATH_WINDOW = 60.0
_PATIENCE = 3  # failed restarts that requests wait through
_PAUSE_SECONDS = 0.5  # after a restart that failed; doubled each time
_LONGEST_PAUSE = 10.0
_NOTICE_SECONDS = 5.0  # in which the end of a process is noticed
_STOP_SECONDS = 3.0
_LONGEST_PATH = 100  # bytes of a socket's path: systems have 104 or 108
_LONGEST_LINE = 1 << 20  # bytes kept of a line that the process writes
_NO_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
_ROUTER = "cmd_child_to_router:state:"


class EngineError(Exception):
    """The engine could not be started or kept running; the message says why."""


class EngineState(Enum):
    """See the head of this file."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class EngineSpec:
    """What to load, and how."""

    model: Path
    n_ctx: int
    slots: int
    threads: int
    gpu_layers: int = -1
    cache_ram_mib: int = 8192
    loras: tuple[tuple[Path, float], ...] = ()
    timeout: float = 120.0
    """Seconds without a reaction after which it is taken for hung, and restarted."""
    load_timeout: float = 600.0
    """Seconds without progress after which a load is given up."""
    mmproj: Path | None = None
    draft: Path | None = None
    """A smaller model that proposes tokens."""
    pooling: int | None = None
    """For an embedding model: how the vectors of tokens become one; -1 as its file says."""

    def parameters(self) -> dict[str, Any]:
        """llama.cpp's parameters, as `child` sets them."""
        batch = 256 if self.pooling is None else self.n_ctx  # an input is embedded in one piece
        vectors = {} if self.pooling is None else {"embedding": True, "pooling_type": self.pooling}
        return {
            **vectors,
            "model": {"path": str(self.model)},
            "mmproj": {"path": str(self.mmproj or "")},
            "n_ctx": self.n_ctx,
            "n_parallel": self.slots,
            "kv_unified": True,  # else the context is divided by the slots
            # Small batches: progress, and the notice that a client left, come between them.
            "n_batch": batch,
            "n_ubatch": batch,
            "cpuparams": {"n_threads": self.threads},
            "cpuparams_batch": {"n_threads": self.threads},
            "n_gpu_layers": self.gpu_layers,
            "draft_model": str(self.draft or ""),
            "n_threads_http": self.slots + 8,
            "cache_ram_mib": self.cache_ram_mib,
            "prefill_assistant": False,
            # Prompts are rendered by us. llama.cpp runs a template once as it loads, in this
            # process and without limits: it is given one that does nothing, not the file's.
            "chat_template": _NO_TEMPLATE,
            "ui": False,
            "verbosity": 1,
            "lora_adapters": [{"path": str(path), "scale": scale} for path, scale in self.loras],
        }


class Engine:
    """One loaded model: `start` it, ask what `ready` returns, `stop` it.

    If its process dies, requests in flight fail with `EngineDied`, and a new process is started
    on the same model; `ready` waits for that.

    Attributes:
        state: see the head of this file.
        failure: why the engine is in the state *failed*; None in the others.
        failed_at: since when, in ISO 8601; "" in the other states.
        restarts: how many times the process was replaced.
    """

    def __init__(
        self, spec: EngineSpec, *, on_progress: Callable[[float], None] | None = None
    ) -> None:
        self.spec = spec
        self.state = EngineState.STOPPED
        self.failure: EngineError | None = None
        self.failed_at = ""
        self.restarts = 0
        self._on_progress = on_progress
        self._folder = ""
        self._process: asyncio.subprocess.Process | None = None
        self._native: Native | None = None
        self._tail: deque[str] = deque(maxlen=30)
        self._watcher: asyncio.Task[None] | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._settled = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id of the engine."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """True if it can answer now."""
        return self.state is EngineState.READY

    async def start(self) -> None:
        """Load the model. Raises `EngineError` with the reason llama.cpp gave."""
        self._enter(EngineState.LOADING)
        await asyncio.to_thread(sweep_folders)
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def ready(self, *, after: Native | None = None) -> Native:
        """The engine's API, after a restart if one is going on. Raises `EngineError`.

        Args:
            after: one that could not be reached: its successor is waited for.
        """
        deadline = time.monotonic() + _NOTICE_SECONDS
        # Until its end is noticed, which no event tells.
        while after is not None and self._native is after and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if after is not None and self._native is after:
            await self._replace_if_lost(after)
        await self._settled.wait()
        if self._native is None:
            raise self.failure or EngineError("the engine was stopped")
        return self._native

    async def _replace_if_lost(self, native: Native) -> None:
        """Kill a process that lives, but whose socket has been removed."""
        try:
            await asyncio.wait_for(native.get("/health"), _NOTICE_SECONDS)
        except EngineDied as error:
            if error.lost and self._native is native and self._process is not None:
                self._enter(EngineState.LOADING)
                self._process.kill()
        except (TimeoutError, EngineRefusal):
            pass

    async def stop(self) -> None:
        """End the process; requests in flight fail."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._end()
        self._enter(EngineState.STOPPED)

    def _enter(self, state: EngineState, failure: EngineError | None = None) -> None:
        self.state, self.failure = state, failure
        self.failed_at = datetime.now(UTC).isoformat() if failure else ""
        if state is EngineState.LOADING:
            self._settled.clear()
        else:
            self._settled.set()

    async def _launch(self) -> None:
        try:
            process, address, key = await self._spawn()
        except OSError as error:
            raise EngineError(f"the engine's process could not be started: {error}") from None
        assert process.stdout is not None
        assert process.stderr is not None
        stderr = asyncio.create_task(self._keep_tail(process.stderr))
        self._readers = [stderr]
        stdout = _lines(process.stdout)
        state = await self._wait_for_load(stdout)
        if not state.get("ready"):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(stderr), 2)
            raise EngineError(self._explain(state, await self._exit_code()))
        # Its pipe must be kept empty, or a talkative engine would stop.
        self._readers.append(asyncio.create_task(_drain(stdout)))
        self._native = Native(address, key)
        self._enter(EngineState.READY)

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, str, str]:
        """Start the process and hand it its parameters: the process, its address and its key."""
        self._folder = make_folder()
        parameters, address, key = self.spec.parameters() | {"folder": self._folder}, "", ""
        address = os.path.join(self._folder, "engine.sock")
        is_local = sys.platform != "win32" and hasattr(socket, "AF_UNIX")
        if not is_local or len(os.fsencode(address)) > _LONGEST_PATH:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            key = secrets.token_hex(16)
            address = f"http://127.0.0.1:{port}"
            parameters |= {"hostnames": ["127.0.0.1"], "port": port, "api_keys": [key]}
        else:
            parameters |= {"hostnames": [address]}
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tabbyapi.server.engine.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is for the server to act on
            # The second, which llama.cpp does not document, makes it report its progress, and
            # then keep `child` inside the constructor until stdin closes.
            env=os.environ
            | bounded_spinning(os.environ)
            | {"GGML_NO_BACKTRACE": "1", "LLAMA_SERVER_ROUTER_PORT": "1"},
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):  # it is dead already, which is told later
            process.stdin.write(json.dumps(parameters).encode() + b"\n")
        return process, address, key

    async def _wait_for_load(self, stdout: AsyncIterator[str]) -> dict[str, Any]:
        """How the load went: what `child` says, or what llama.cpp itself reports.

        Lines of any other shape are the log's, and passed over.
        """
        seconds = self.spec.load_timeout
        while True:
            try:
                line = await asyncio.wait_for(anext(stdout, ""), seconds)
            except TimeoutError:
                if self._process is not None:
                    self._process.kill()
                return {"failed": f"loading made no progress for {seconds:g} s"}
            if not line:
                return {}
            with contextlib.suppress(ValueError, AttributeError):
                if line.startswith(PREFIX):
                    state: dict[str, Any] = json.loads(line[len(PREFIX) :])
                    return state
                if line.startswith(_ROUTER):
                    report = json.loads(line[len(_ROUTER) :])
                    if report.get("state") == "ready":
                        return {"ready": True}
                    value = report.get("payload", {}).get("value")
                    if self._on_progress is not None and isinstance(value, (int, float)):
                        self._on_progress(float(value))

    async def _exit_code(self) -> int | None:
        assert self._process is not None
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self._process.wait(), 2)
        return None

    def _explain(self, state: dict[str, Any], code: int | None) -> str:
        reason = state.get("failed")
        if state.get("kind") == "import":
            hint = "Install it with: pip install 'py-tabbyapi[local]'"
            if "libgomp" in str(reason):
                hint = "It needs the system's libgomp (Debian, Ubuntu: apt install libgomp1)"
            return f"{reason}. {hint}"
        if reason is None:
            reason = f"the engine's process ended with status {code} while loading"
        said = [line for line in self._tail if " E " in line or "error" in line.lower()]
        tail = "\n  ".join(said[-5:] or list(self._tail)[-5:])
        return f"{self.spec.model} could not be loaded: {reason}" + (f"\n  {tail}" if tail else "")

    async def _ended(self) -> int:
        """Wait for the process to end by itself, or end it once it is hung; its status."""
        process = self._process
        assert process is not None
        end = asyncio.ensure_future(process.wait())
        try:
            while not (await asyncio.wait({end}, timeout=self.spec.timeout / 4))[0]:
                if not await self._reacts():
                    log.error("the engine does not react (limit: %g s)", self.spec.timeout)
                    # First: requests that its end fails may be tried again at once.
                    self._enter(EngineState.LOADING)
                    process.kill()
                    break
            return await end
        finally:
            end.cancel()

    async def _reacts(self) -> bool:
        assert self._native is not None
        try:
            # Unlike its health, the slots are reported by the very loop that computes.
            await asyncio.wait_for(self._native.get("/slots"), self.spec.timeout)
        except TimeoutError:
            return False
        except EngineDied as error:
            return not error.lost  # any other end is noticed elsewhere
        except EngineRefusal:
            pass
        return True

    async def _watch(self) -> None:
        """Restart the process whenever it ends by itself, or hangs."""
        deaths: deque[float] = deque(maxlen=_MOST_DEATHS)
        while True:
            code = await self._ended()
            log.error("the engine died (status %s); restarting it on %s", code, self.spec.model)
            self._enter(EngineState.LOADING)
            await self._end()
            now = time.monotonic()
            if len(deaths) == _MOST_DEATHS and now - deaths[0] < _DEATH_WINDOW:
                often = f"{_MOST_DEATHS} times within {_DEATH_WINDOW:.0f} s"
                self._enter(EngineState.FAILED, EngineError(f"the engine died {often}"))
                await asyncio.sleep(_LONGEST_PAUSE)
                deaths.clear()
            deaths.append(now)
            await self._bring_back()
            self.restarts += 1

    async def _bring_back(self) -> None:
        """Launch until that succeeds."""
        tries, pause = 0, _PAUSE_SECONDS
        while True:
            try:
                return await self._launch()
            except Exception as error:
                # Whatever it is, the next try may succeed, and requests must not wait for ever.
                log.error("%s", error)  # noqa: TRY400 - no traceback: the message says it all
                tries += 1
                if tries >= _PATIENCE or self.state is EngineState.FAILED:
                    failure = error if isinstance(error, EngineError) else EngineError(str(error))
                    self._enter(EngineState.FAILED, failure)
            await self._end()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _end(self) -> None:
        native, self._native = self._native, None
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        if native is not None:
            # After the process: its end is what readers of answers notice, this is not.
            await native.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers = []
        if process is not None:
            # asyncio leaves the pipes' transports to the garbage collector otherwise.
            process._transport.close()  # type: ignore[attr-defined]
        self._process = None
        if self._folder:
            remove_folder(self._folder)
            self._folder = ""

    async def _keep_tail(self, stderr: asyncio.StreamReader) -> None:
        async for line in _lines(stderr):
            self._tail.append(line[:500].rstrip())
            log.debug("engine: %s", line[:500].rstrip())


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream. Of a line longer than `_LONGEST_LINE`, its beginning."""
    rest = b""
    while data := await stream.read(65536):
        *lines, rest = (rest[:_LONGEST_LINE] + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def _drain(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass
