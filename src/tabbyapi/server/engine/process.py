"""Starts the engine's process, watches it, restarts it on the same model, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import PREFIX
from .events import EngineDied, EngineRefusal
from .native import Native

__all__ = ["Engine", "EngineError", "EngineSpec"]

log = logging.getLogger("tabbyapi.server")

_MOST_RESTARTS = 5  # within _RESTART_WINDOW seconds; after that the model is given up
_RESTART_WINDOW = 60.0
_PAUSE_SECONDS = 0.5  # after a restart that failed
_NOTICE_SECONDS = 5.0  # in which the end of a process is noticed
_STOP_SECONDS = 3.0
_NO_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
_ROUTER = "cmd_child_to_router:state:"


class EngineError(Exception):
    """The engine could not be started or kept running; the message says why."""


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
    """One loaded model. `start` it, use `native`, `stop` it.

    If its process dies, requests in flight fail with `EngineDied`, and a new process is started
    on the same model; `ready` waits for that.
    """

    def __init__(
        self, spec: EngineSpec, *, on_progress: Callable[[float], None] | None = None
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self._on_progress = on_progress
        self._folder = ""
        self._process: asyncio.subprocess.Process | None = None
        self._native: Native | None = None
        self._tail: deque[str] = deque(maxlen=30)
        self._watcher: asyncio.Task[None] | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._up = asyncio.Event()
        self._failure: EngineError | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the engine."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it can answer now."""
        return self._native is not None

    async def start(self) -> None:
        """Load the model. Raises `EngineError` with the reason llama.cpp gave."""
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def ready(self, *, after: Native | None = None) -> Native:
        """The engine's API, after a restart if one is going on. Raises `EngineError`.

        `after` is one that could not be reached: its successor is waited for.
        """
        deadline = time.monotonic() + _NOTICE_SECONDS
        # Until its end is noticed, which no event tells.
        while after is not None and self._native is after and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._up.wait()
        if self._native is None:
            raise self._failure or EngineError("the engine was stopped")
        return self._native

    async def stop(self) -> None:
        """End the process; requests in flight fail."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._end()
        self._up.set()

    async def _launch(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="tabbyapi-")  # only its owner can enter it
        parameters, address, key = self.spec.parameters() | {"folder": self._folder}, "", ""
        if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            key = secrets.token_hex(16)
            address = f"http://127.0.0.1:{port}"
            parameters |= {"hostnames": ["127.0.0.1"], "port": port, "api_keys": [key]}
        else:
            address = os.path.join(self._folder, "engine.sock")
            parameters |= {"hostnames": [address]}
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tabbyapi.server.engine.child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is for the server to act on
            # The second, which llama.cpp does not document, makes it report its progress, and
            # then keep `child` inside the constructor until stdin closes.
            env=os.environ | {"GGML_NO_BACKTRACE": "1", "LLAMA_SERVER_ROUTER_PORT": "1"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stderr = asyncio.create_task(self._keep_tail(process.stderr))
        self._readers = [stderr]
        with contextlib.suppress(OSError, RuntimeError):  # it is dead already, which is told below
            process.stdin.write(json.dumps(parameters).encode() + b"\n")
        state = await self._wait_for_load(process.stdout)
        if not state.get("ready"):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(stderr), 2)
            raise EngineError(self._explain(state, await self._exit_code()))
        # Its pipe must be kept empty, or a talkative engine would stop.
        self._readers.append(asyncio.create_task(_drain(process.stdout)))
        self._native = Native(address, key)
        self._up.set()

    async def _wait_for_load(self, stdout: asyncio.StreamReader) -> dict[str, Any]:
        """How the load went: what `child` says, or what llama.cpp itself reports."""
        seconds = self.spec.load_timeout
        while True:
            try:
                line = (await asyncio.wait_for(stdout.readline(), seconds)).decode(errors="replace")
            except TimeoutError:
                if self._process is not None:
                    self._process.kill()
                return {"failed": f"loading made no progress for {seconds:g} s"}
            if not line:
                return {}
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
                    log.error("the engine has not reacted for %g s", self.spec.timeout)
                    self._up.clear()  # first: those whom its end fails may come again at once
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
        except (EngineDied, EngineRefusal):
            pass  # an answer, or an end that is noticed elsewhere
        return True

    async def _watch(self) -> None:
        """Restart the process whenever it ends by itself, or hangs."""
        deaths: deque[float] = deque(maxlen=_MOST_RESTARTS)
        last: EngineError | None = None
        while True:
            if last is None:
                code = await self._ended()
                log.error("the engine died (status %s); restarting it on %s", code, self.spec.model)
            self._up.clear()
            await self._end()
            now = time.monotonic()
            if len(deaths) == _MOST_RESTARTS and now - deaths[0] < _RESTART_WINDOW:
                window = f"{_MOST_RESTARTS} times within {_RESTART_WINDOW:.0f} s"
                self._failure = last or EngineError(f"the engine died {window}")
                self._up.set()
                return
            deaths.append(now)
            try:
                await self._launch()
                self.restarts += 1
                last = None
            except EngineError as error:
                log.error("%s", error)  # noqa: TRY400 - no traceback: the message says it all
                last = error
                await asyncio.sleep(_PAUSE_SECONDS)

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
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    async def _keep_tail(self, stderr: asyncio.StreamReader) -> None:
        async for line in stderr:
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text[:500])
            log.debug("engine: %s", text)


async def _drain(stdout: asyncio.StreamReader) -> None:
    while await stdout.read(65536):
        pass
