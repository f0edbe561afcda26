"""`tabbyapi serve`: the local server."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource

from ..server.settings import Settings
from .embedded import LOCAL_EXTRA, local_extra_missing
from .serve_ray import check_ray, ray_options, serve_with_ray
from .web import WEB_EXTRA, PageProcess, web_extra_missing

__all__ = ["serve"]

Command = TypeVar("Command", bound=Callable[..., Any])


def _folder(name: str, text: str) -> Callable[[Command], Command]:
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option(name, type=kind, help=text)


def _thread_count(context: click.Context, option: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter("auto, or a number from 1 on")
    return int(value)


def _other_settings(command: Command) -> Command:
    """An option for each setting of the server that has none yet, by the setting's name."""
    explained = _explained(Settings.__doc__ or "")
    types = get_type_hints(Settings)
    given = {parameter.name for parameter in getattr(command, "__click_params__", [])}
    for field in reversed(fields(Settings)):
        if field.name in given | {"model", "auth"}:  # whose options have other names
            continue
        kind, default, many = types[field.name], field.default, False
        flag = "--" + field.name.replace("_", "-")
        if kind is bool:
            flag, kind = f"{flag}/--no-{flag[2:]}", None
        elif get_origin(kind) is Literal:
            kind = click.Choice(get_args(kind))
        elif get_origin(kind) is tuple:
            flag, kind, many = flag.removesuffix("s"), str, True
        elif Path in get_args(kind):
            kind = click.Path(path_type=Path)
        elif get_args(kind):
            kind = get_args(kind)[0]
        click.option(
            flag,
            field.name,
            type=kind,
            multiple=many,
            default=default,
            show_default=default not in (None, "", ()),
            help=explained[field.name],
        )(command)
    return command


def _explained(doc: str) -> dict[str, str]:
    """The sentence about each attribute of a docstring."""
    found: dict[str, str] = {}
    for names, text in re.findall(
        r"^ {8}(\w[\w, ]*): (.*?)(?=^ {8}\w|\Z)", doc, re.MULTILINE | re.DOTALL
    ):
        sentence = " ".join(text.replace("`", "").split())
        found |= dict.fromkeys(names.split(", "), sentence[:1].upper() + sentence[1:])
    return found


@click.command()
@_other_settings
@click.option(
    "--model",
    "-m",
    metavar="MODEL",
    help="GGUF file, name of a fetched model, or hf:owner/repo[:file]. Default: a small model.",
)
@click.option(
    "--models-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of GGUF files to list and load from. Default: that of the model.",
)
@click.option(
    "--mmproj",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Projector (GGUF) that lets the model see images. Default: one beside the model.",
)
@_folder("--templates-dir", "Folder of prompt templates (Jinja) to switch to.")
@_folder("--presets-dir", "Folder of sampler override presets (YAML).")
@click.option("--preset", metavar="NAME", help="Preset in force from the start.")
@_folder("--loras-dir", "Folder of LoRA adapters (GGUF).")
@_folder("--embeddings-dir", "Folder of embedding models (GGUF). Default: that of the models.")
@click.option("--embeddings", metavar="NAME", help="Embedding model to load at the start.")
@click.option(
    "--inline-loading", is_flag=True, help="Let requests with the admin key name another model."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--api-key", "api_keys", multiple=True, metavar="KEY", help="API key. Repeatable.")
@click.option("--admin-key", default="", metavar="KEY", help="Key for loading models and the like.")
@click.option("--no-auth", is_flag=True, help="Ask for no key.")
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Web pages that may use the server, as http://localhost:3000. Repeatable.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="With --no-auth: another name that this machine is called by. Repeatable.",
)
@click.option(
    "--ctx", "--n-ctx", "n_ctx", type=click.IntRange(8), metavar="N", help="Context, in tokens."
)
@click.option(
    "--slots",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Requests answered at the same time.",
)
@click.option(
    "--threads",
    callback=_thread_count,
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="CPU threads of the engine; auto: one for each physical core.",
)
@click.option(
    "--gpu-layers", type=int, default=-1, metavar="N", help="Layers on the GPU; -1: all that fit."
)
@ray_options
@click.option("--web", "with_page", is_flag=True, help="Show a page in the browser, too.")
@click.option("--quiet", "-q", is_flag=True, help="Log no line for each request.")
@click.pass_context
def serve(
    context: click.Context,
    /,
    model: str | None,
    models_dir: Path | None,
    api_keys: tuple[str, ...],
    no_auth: bool,
    with_page: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Serve a model on this machine, with TabbyAPI's protocol.

    \b
    tabbyapi serve --model ~/models/qwen3-4b-q4.gguf
    tabbyapi serve --model model.gguf --host 0.0.0.0 --port 8080 --ctx 16384
    tabbyapi serve --ray --backend http://gpu1:5000,http://gpu2:5000

    Without keys of your own, keys are made up once and kept in a file that only you can read;
    tabbyapi on this machine finds them there. Ctrl-C stops the server.
    """
    ray = check_ray(options)
    if ray is not None and ray["backends"]:
        serve_with_ray(ray, None, options)
        return
    missing = local_extra_missing()
    if missing is not None:
        raise click.ClickException(f"the local server is not installed ({missing}): {LOCAL_EXTRA}")
    if with_page and (missing := web_extra_missing()) is not None:
        raise click.ClickException(f"the page is not installed ({missing} is missing): {WEB_EXTRA}")
    if no_auth and (api_keys or options["admin_key"]):
        raise click.UsageError("--no-auth asks for no key, so --api-key and --admin-key are idle")
    from ..server.main import ServeError
    from ..server.main import serve as run
    from ..server.model_files.store import find_model
    from .output import warn
    from .progress import download_progress

    path = None
    if model is not None or models_dir is None:
        with download_progress() as progress:
            path = find_model(model, tell=warn, progress=progress)
    settings = Settings(
        model=path, models_dir=models_dir, api_keys=api_keys, auth=not no_auth, **options
    )
    if ray is not None:
        serve_with_ray(ray, settings, options)
        return
    page = PageProcess() if with_page else None

    def listening(url: str, _stop: Callable[[], None]) -> None:
        if page is not None:
            keys = api_keys[0] if api_keys else None, options["admin_key"] or None
            page.start(url, api_key=keys[0], admin_key=keys[1])

    try:
        run(
            settings,
            say=lambda line: click.echo(line),
            on_listening=listening,
            next_port=context.get_parameter_source("port") is not ParameterSource.COMMANDLINE,
            log_requests=not quiet,
        )
    except ServeError as error:
        raise click.ClickException(str(error)) from None
    finally:
        if page is not None:
            page.stop()
