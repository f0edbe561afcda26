"""Runs the server: `serve(settings)`, and `python -m tabbyapi.server.main` for `LocalServer`.

The latter reads its settings as one JSON line on stdin, says where it listens in one JSON line on
stdout, and ends when stdin closes: so it never outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from .._folders import data_folder
from .app import build_app
from .auth import Keys, load_keys
from .engine import EngineError
from .http.connection import protocol
from .http.listener import Server, connections_possible
from .http.origins import is_loopback
from .model_files.files import ModelFile, open_model
from .model_files.gguf import NotAModelError
from .overrides import PresetError
from .runtime import Runtime
from .settings import Settings

__all__ = ["ServeError", "serve"]

Stop = Callable[[], None]
"""Stops the server; may be called from any thread."""

_PATHS = {f.name for f in fields(Settings) if "Path" in str(f.type)}


class ServeError(Exception):
    """The server could not start; the message says why and what to do."""


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM is as Ctrl-C, from the first moment on: process 1 would not react otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@_sigterm_interrupts()
def serve(
    settings: Settings,
    *,
    on_listening: Callable[[str, Stop], None] | None = None,
    say: Callable[[str], None] = print,
    next_port: bool = False,
    log_requests: bool = False,
) -> None:
    """Load the model, listen, and serve until stopped (Ctrl-C, or by the function given out).

    Args:
        settings: what to serve, and how.
        on_listening: gets the URL once requests are answered, and a function that stops the
            server from any thread.
        say: shows a line to the user.
        next_port: if the port is taken, take the next one, as TabbyAPI does, and say so.
        log_requests: log a line for each request.

    Raises:
        ServeError: the server could not start.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("tabbyapi").setLevel(settings.log_level.upper())
    if log_requests:
        logging.getLogger("tabbyapi.requests").setLevel(logging.INFO)
    file = _open(settings.model)
    try:
        keys = load_keys(settings)
    except (OSError, RuntimeError, KeyError) as error:  # no home folder, or one that is read-only
        raise ServeError(
            f"The keys cannot be kept ({error}): give --keys-file FILE, or keys of your own with "
            f"--api-key and --admin-key."
        ) from None
    for line in _announcement(settings, keys, file):
        say(line)
    listener = _listen(settings.host.strip("[]"), settings.port, next_port=next_port)
    host, port = listener.getsockname()[:2]
    if port != settings.port and settings.port:
        say(f"Port {settings.port} is taken, so this server listens on {port}.")
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def started(stop: Stop) -> None:
        say(f"Listening on {url}")
        say(f"For clients: export TABBY_API_ENDPOINT={url}")
        if on_listening is not None:
            on_listening(url, stop)

    # uvloop's, where it is installed.
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_run(settings, keys, listener, started, say))
    say("Stopped.")


async def _run(
    settings: Settings,
    keys: Keys,
    listener: socket.socket,
    started: Callable[[Stop], None],
    say: Callable[[str], None],
) -> None:
    app = build_app(settings, keys)
    runtime: Runtime = app.state.runtime
    try:
        with _stoppable():
            await runtime.start()
    except (EngineError, PresetError, NotAModelError) as error:
        await runtime.close()
        listener.close()
        raise ServeError(str(error)) from None
    except asyncio.CancelledError:
        await runtime.close()
        listener.close()
        return
    most = connections_possible(settings.max_connections, settings.slots)
    if most < settings.max_connections:
        say(
            f"Warning: this process may open few files (ulimit -n), so at most {most} connections "
            f"are served at a time instead of {settings.max_connections}."
        )
    config = uvicorn.Config(
        app,
        http=protocol(replace(settings, max_connections=most)),
        ws="none",
        lifespan="off",  # the model is loaded above, where a failure can be told plainly
        access_log=False,
        log_level=settings.log_level,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,  # for closing; requests have ended by then
    )
    server = Server(config, listener, most=most, on_started=lambda: started(server.stop))
    try:
        await server.serve()
    finally:
        await runtime.close()


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM cancels the task meanwhile: a process with id 1 would not react to it otherwise."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _open(model: Path | None) -> ModelFile | None:
    if model is None:
        return None
    try:
        return open_model(model)
    except FileNotFoundError:
        raise ServeError(f"There is no model file {model}.") from None
    except (NotAModelError, OSError) as error:
        raise ServeError(str(error)) from None


def _listen(host: str, port: int, *, next_port: bool) -> socket.socket:
    """A listening socket."""
    if not 0 <= port <= 65535:
        raise ServeError(f"There is no port {port}: ports are 0 to 65535.")
    ports = [port, port + 1] if next_port and 0 < port < 65535 else [port]
    for candidate in ports:
        try:
            return socket.create_server(
                (host, candidate), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServeError(f"Cannot listen on {host}:{candidate}: {error.strerror}") from None
    taken = " and ".join(map(str, ports))
    raise ServeError(f"Port {taken} of {host} is taken: choose another with --port, or 0 for any.")


def _announcement(settings: Settings, keys: Keys, file: ModelFile | None) -> list[str]:
    lines = []
    if file is None:
        lines.append("No model is loaded.")
    else:
        lines.append(f"Model: {file.name} ({file.path}), context {file.context(settings.n_ctx)}.")
    if not keys.enabled:
        reach = "programs and users of" if is_loopback(settings.host) else "anyone who reaches"
        lines.append(
            f"Warning: listening on {settings.host} without keys: {reach} this machine can use "
            f"and change the model."
        )
    elif not (settings.api_keys or settings.admin_key):
        where = settings.keys_file or data_folder() / "keys.json"
        lines.append(f"The API key and the admin key are in {where}.")
    return lines


def settings_from(values: dict[str, Any]) -> Settings:
    """Settings from JSON values: paths are strings, tuples are lists."""
    known = {field.name for field in fields(Settings)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ServeError(f"There is no setting {', '.join(unknown)}.")
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name in _PATHS and value is not None:
            value = Path(value)
        made[name] = tuple(value) if isinstance(value, list) else value
    return Settings(**made)


def main() -> None:
    """Entry of the process that `LocalServer` starts."""

    def report(**state: object) -> None:
        print(json.dumps(state), flush=True)

    def listening(url: str, stop: Stop) -> None:
        def wait_for_parent() -> None:
            sys.stdin.read()
            stop()

        threading.Thread(target=wait_for_parent, daemon=True).start()
        report(url=url)

    try:
        serve(
            settings_from(json.loads(sys.stdin.readline())),
            on_listening=listening,
            say=logging.getLogger("tabbyapi.server").info,  # our starter knows what it asked for
        )
    except ServeError as error:
        report(error=str(error))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
