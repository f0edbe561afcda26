"""A Ray Serve application: the gateway before TabbyAPI servers, or before engines of its own.

    tabbyapi serve --ray --backend http://gpu1:5000,http://gpu2:5000
    tabbyapi serve --ray --model model.gguf --replicas 4

Two deployments: `Gateway` (stateless, see gateway.py) takes the requests from Serve's proxy and
sends them on over HTTP; `Engine` holds our server with its engine, one in each replica, which
listens on the address of its node. With backends there is no `Engine`.

For `serve deploy`, `import_path: tabbyapi.ray.serve:application` takes `Options` as `args`.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ValidationError
from .gateway import GENERATION_PATHS
from .gateway import Gateway as GatewayApp
from .pool import Pool

if TYPE_CHECKING:
    from ..server.settings import Settings

__all__ = ["Options", "application", "engine_settings", "run", "run_until_stopped"]

_DRAIN_SECONDS = 600.0  # for running answers, when a replica is stopped
_LOAD = 0.7  # share of its slots that an autoscaled engine is to have in use


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run.

    Attributes:
        backends: URLs of TabbyAPI servers that run already; () starts engines.
        engine: settings of the local server (`tabbyapi.server.settings.Settings`), by name.
        replicas: engines to run, or the bounds to scale between, as (1, 8).
        cpus: CPUs of an engine, which are its threads, too.
        slots: requests that one server is sent at a time.
        max_queue: requests that may wait; more are answered 503 with Retry-After.
        gateways: replicas of the gateway.
    """

    backends: tuple[str, ...] = ()
    engine: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold keys
    replicas: int | tuple[int, int] = 1
    cpus: int = 1
    slots: int = 4
    max_queue: int = 64
    gateways: int = 1

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not 1 <= low <= high:
            raise ValidationError(
                f"replicas is {self.replicas}, but must be 1 or more, or as (1, 8)",
                field="replicas",
            )
        for url in self.backends:
            if not url.startswith(("http://", "https://")):
                raise ValidationError(
                    f"the backend {url!r} is no URL: write it as http://gpu1:5000",
                    field="backends",
                )

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most engines."""
        if isinstance(self.replicas, int):
            return self.replicas, self.replicas
        low, high = self.replicas
        return low, high


@serve.deployment(max_ongoing_requests=100_000, ray_actor_options={"num_cpus": 0})
@serve.ingress()
class Gateway:
    """The gateway as a replica of Serve, which bounds the requests itself."""

    def __init__(self, options: Options, engines: Any = None) -> None:
        async def discover() -> list[str]:
            answers = await engines.broadcast("address").results_async(
                timeout_s=5, return_exceptions=True
            )
            return [url for url in answers if isinstance(url, str)]

        self._pool = Pool(
            [url.rstrip("/").removesuffix("/v1") for url in options.backends],
            slots=options.slots,
            max_queue=options.max_queue,
            discover=discover if engines is not None else None,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return GatewayApp(self._pool)


@serve.deployment
class Engine:
    """Our server and its engine, listening on this node's address."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Mapping[str, Any]
    ) -> None:
        import uvicorn

        from ..server.app import build_app
        from ..server.auth import load_keys
        from ..server.http.connection import protocol
        from ..server.main import settings_from

        made = replace(settings_from(dict(settings)), host=ray.util.get_node_ip_address())
        self._app = build_app(made, load_keys(made))
        self._runtime = self._app.state.runtime
        self._active = 0
        self._ill_since: float | None = None
        await self._runtime.start()
        listener = socket.create_server((made.host, 0))
        self._url = f"http://{made.host}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._counted,
            http=protocol(made),
            ws="none",
            interface="asgi3",  # Ray wraps the method, which hides what it is
            lifespan="off",
            access_log=False,
            log_level=made.log_level,
            timeout_keep_alive=5,
        )
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        counts = scope.get("path") in GENERATION_PATHS
        self._active += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= counts

    async def address(self) -> str | None:
        """Where it listens; None once it takes no more requests."""
        return None if self._server.should_exit else self._url

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve does not see the requests, which come over HTTP: tell it their number."""
        return {"active": float(self._active)}

    async def check_health(self) -> None:
        """Fail, and so be replaced, when the engine has not come back by itself."""
        loaded = self._runtime.models.loaded
        if self._task.done():
            raise RuntimeError("the server has ended")
        if loaded is None or loaded.engine.running:
            self._ill_since = None
            return
        self._ill_since = self._ill_since or time.monotonic()
        if time.monotonic() - self._ill_since > 5:
            raise RuntimeError(f"the engine does not run: {loaded.engine.failure}")

    async def __del__(self) -> None:
        """Take no more requests, let the running answers end, and unload the model."""
        self._server.should_exit = True
        await self._task
        await self._runtime.close()


def scale(context: Any, *, slots: int = 4) -> tuple[int, dict[str, Any]]:
    """Policy of Serve's autoscaler: engines for the requests under way, by `_LOAD`."""
    active = sum((context.aggregated_metrics.get("active") or {}).values())
    wanted = math.ceil(active / (slots * _LOAD))
    low, high = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(low, min(wanted, high)), {}


class Scale:
    """`scale` for engines of so many slots, as Serve makes a policy."""

    def __init__(self, slots: int) -> None:
        self._slots = slots

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        return scale(context, slots=self._slots)


def _deployment(decorated: Any) -> serve.Deployment:
    """What `serve.deployment` has made of a class, for type checkers."""
    return decorated


def application(args: Mapping[str, Any]) -> serve.Application:
    """Build the Serve application; `args` are the fields of `Options`.

    Raises:
        ValidationError: an option that cannot be used.
    """
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in args.items()}
    try:
        options = Options(**values)
    except TypeError as error:
        raise ValidationError(f"the args of the application: {error}", field="args") from None
    gateway = _deployment(Gateway).options(num_replicas=options.gateways)
    if options.backends:
        return gateway.bind(options)
    settings = dict(options.engine) | {"threads": options.cpus, "slots": options.slots}
    low, high = options.bounds
    how: dict[str, Any] = {"num_replicas": low}
    if low != high:
        policy = AutoscalingPolicy(
            policy_function="tabbyapi.ray.serve:Scale", policy_kwargs={"slots": options.slots}
        )
        how = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=low, max_replicas=high, policy=policy
            )
        }
    engines = _deployment(Engine).options(
        ray_actor_options={"num_cpus": options.cpus},
        max_ongoing_requests=1000,  # only `address` is called through Serve
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS,
        **how,
    )
    return gateway.bind(replace(options, engine={}), engines.bind(settings))


def run(
    options: Options,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    address: str | None = None,
    name: str = "tabbyapi",
) -> str:
    """Deploy on a cluster, or on this machine, and return the URL once it answers.

    Args:
        options: what to run.
        host, port: where Serve's proxy listens.
        address: of the cluster: "auto", or as `ray://head:10001`; None starts Ray on this
            machine. It stays on loopback if RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER was "0" when Ray
            was imported, as `tabbyapi serve --ray` has it.
        name: of the application.
    """
    if not ray.is_initialized():
        if address is None:
            ray.init(
                "local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1"
            )
        else:
            ray.init(address, log_to_driver=False)
    # Serve ends no request: how long an answer may take is the client's to say.
    serve.start(http_options={"host": host, "port": port, "request_timeout_s": None})
    serve.run(application(asdict(options)), name=name, route_prefix="/")
    return f"http://{host}:{port}"


def run_until_stopped(options: Options, *, say: Callable[[str], object], **where: Any) -> None:
    """Deploy, say where it listens, and wait for Ctrl-C or SIGTERM; then drain and shut down.

    Args:
        options, where: as for `run`.
        say: takes lines for people.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    say(f"Listening on {run(options, **where)}")
    try:
        while not stopped.wait(1):  # a wait without end hears no signal on Windows
            pass
    finally:
        serve.shutdown()
        ray.shutdown()


def engine_settings(settings: Settings) -> dict[str, Any]:
    """Settings as every engine gets them: with the keys, which are made up once for all."""
    from ..server.auth import load_keys

    keys = load_keys(settings)
    values = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(settings).items()
    }
    return values | {"api_keys": list(keys.api), "admin_key": keys.admin}
