"""`tabbyapi serve --ray`: the options, and serving until Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..server.settings import Settings

__all__ = ["RAY_EXTRA", "check_ray", "ray_options", "serve_with_ray"]

RAY_EXTRA = "pip install 'py-tabbyapi[ray]'"

_NAMES = {
    "backends": "--backend",
    "replicas": "--replicas",
    "autoscale": "--autoscale",
    "address": "--address",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def _bounds(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    low, _, high = value.partition(":")
    if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high)):
        raise click.BadParameter("write it as MIN:MAX, for example 1:8")
    return int(low), int(high)


def ray_options(command: Command) -> Command:
    """Add the options of `--ray`."""
    for option in (
        click.option(
            "--address",
            metavar="auto|ray://HOST:PORT",
            help="With --ray: the cluster. Default: Ray on this machine, while it serves.",
        ),
        click.option(
            "--autoscale",
            callback=_bounds,
            metavar="MIN:MAX",
            help="With --ray: as many engines as the requests need.",
        ),
        click.option(
            "--replicas",
            type=click.IntRange(1),
            metavar="N",
            help="With --ray: engines. Default: 1.",
        ),
        click.option(
            "--backend",
            "backends",
            metavar="URL,URL",
            help="With --ray: TabbyAPI servers that run already, instead of engines.",
        ),
        click.option("--ray", is_flag=True, help="Serve from several servers, with Ray Serve."),
    ):
        command = option(command)
    return command


def check_ray(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of `ray_options` out of all; None without `--ray`."""
    ray = {name: options.pop(name) for name in _NAMES}
    given = [_NAMES[name] for name, value in ray.items() if value is not None]
    if not options.pop("ray"):
        if given:
            raise click.UsageError(f"{given[0]} needs --ray")
        return None
    if ray["replicas"] and ray["autoscale"]:
        raise click.UsageError("give either --replicas or --autoscale, not both")
    if ray["backends"] and (ray["replicas"] or ray["autoscale"]):
        raise click.UsageError("--backend starts no engines: leave --replicas and --autoscale out")
    if find_spec("ray") is None:
        raise click.ClickException(f"Ray is not installed: {RAY_EXTRA}")
    return ray


def serve_with_ray(
    ray: Mapping[str, Any], settings: Settings | None, options: Mapping[str, Any]
) -> None:
    """Serve until Ctrl-C: the backends, or engines with these settings."""
    if ray["address"] is None:
        # Read when Ray is imported: without it Ray listens on the machine's outer address, even
        # if it is told to use loopback.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ..ray.serve import Options, engine_settings, run_until_stopped

    run_until_stopped(
        Options(
            backends=tuple(url for url in (ray["backends"] or "").split(",") if url),
            engine={} if settings is None else engine_settings(settings),
            replicas=ray["autoscale"] or ray["replicas"] or 1,
            cpus=options["threads"] or 1,
            slots=options["slots"],
            max_queue=options["max_queue"],
        ),
        host=options["host"],
        port=options["port"],
        address=ray["address"],
        say=click.echo,
    )
