"""`tabbyapi models`: what there is, what is loaded, loading, unloading and downloading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .connect import Server, complete_models, server_options
from .groups import ListingGroup
from .output import json_option, show, warn
from .params import parameter_option

if TYPE_CHECKING:
    from .._client.sync import Client
    from ..types.models import LoadProgress, ModelCard

__all__ = ["models"]

_embedding = click.option(
    "--embedding", is_flag=True, help="The embedding model, which is loaded beside the other one."
)


@click.group(cls=ListingGroup)
def models() -> None:
    """List, load, unload and download models. Without a command: list.

    \b
    tabbyapi models
    tabbyapi models load qwen3-8b --max-seq-len 16384
    tabbyapi models download someone/some-model --revision 4.0bpw
    """


@models.command("list")
@server_options
@json_option
@_embedding
@click.option("--draft", is_flag=True, help="Draft models.")
def list_(server: Server, as_json: bool, embedding: bool, draft: bool) -> None:
    """List the models: all of them with the admin key, otherwise the loaded one.

    At a terminal, a star marks the one that is loaded.

    \b
    tabbyapi models list
    tabbyapi models list --json | jq -r '.[].id'
    """
    with server.client() as client:
        if draft:
            cards = client.models.list_draft()
        elif embedding:
            cards = client.models.list_embedding()
        else:
            cards = client.models.list()
        mark = not as_json and sys.stdout.isatty() and not draft
        loaded = _loaded(client, embedding) if mark else None
    stars = {True: "* ", False: "  "} if mark else {True: "", False: ""}
    show(cards, (stars[card.id == loaded] + card.id for card in cards), as_json=as_json)


@models.command("show")
@server_options
@json_option
@_embedding
def show_(server: Server, as_json: bool, embedding: bool) -> None:
    """Show the loaded model, and how it is set up.

    \b
    tabbyapi models show
    tabbyapi models show --json | jq .parameters.max_seq_len
    """
    with server.client() as client:
        card = client.models.get_embedding() if embedding else client.models.get()
    show(card, _described(card), as_json=as_json)


@models.command()
@click.argument("name", shell_complete=complete_models)
@server_options
@json_option
@_embedding
@click.option("--max-seq-len", type=int, metavar="N", help="Context window, in tokens.")
@click.option("--cache-size", type=int, metavar="N", help="Tokens of the cache, times 256.")
@click.option("--cache-mode", metavar="MODE", help="Precision of the cache: FP16, Q8, 4,4 ...")
@click.option("--template", "prompt_template", metavar="NAME", help="Chat template to use.")
@click.option("--vision/--no-vision", default=None, help="Load what understands images.")
@click.option("--draft", metavar="NAME", help="A small model that drafts.")
@parameter_option("LoadParams", "tensor_parallel=true")
def load(
    name: str,
    server: Server,
    as_json: bool,
    embedding: bool,
    draft: str | None,
    more: tuple[tuple[str, Any], ...],
    **params: Any,
) -> None:
    """Load a model in place of the loaded one, and wait until it can be used.

    A settings file in the model's folder goes before the options here. Leaving does not stop a
    load.

    \b
    tabbyapi models load qwen3-8b --max-seq-len 16384 --cache-mode Q8
    tabbyapi models load small-embedder --embedding
    """
    params = {key: value for key, value in params.items() if value is not None} | dict(more)
    if draft is not None:
        params["draft_model"] = {"draft_model_name": draft}
    if embedding and params:
        raise click.UsageError("an embedding model is loaded without options")
    with server.client() as client, _known(client, name, embedding), _going_on("loading"):
        if embedding:
            last = client.models.load_embedding(name)
        else:
            last = _load(client, name, params)
    show(last, [f"{name} is loaded."], as_json=as_json)


@models.command()
@server_options
@json_option
@_embedding
def unload(server: Server, as_json: bool, embedding: bool) -> None:
    """Unload the model at once. Running requests are cut short.

    \b
    tabbyapi models unload
    """
    with server.client() as client:
        client.models.unload_embedding() if embedding else client.models.unload()
    show(None, ["The model is unloaded."], as_json=as_json)


@models.command()
@click.argument("repository", metavar="OWNER/NAME")
@server_options
@json_option
@click.option("--revision", metavar="REV", help="Branch, tag or commit.")
@click.option("--folder", "folder_name", metavar="NAME", help="Folder to create on the server.")
@click.option("--lora", is_flag=True, help="It is an adapter, not a model.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Files to fetch. Repeatable.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Files to omit. Repeatable.")
@click.option("--hub-token", envvar="HF_TOKEN", metavar="TOKEN", help="Of the hub; or HF_TOKEN.")
def download(
    repository: str,
    server: Server,
    as_json: bool,
    revision: str | None,
    folder_name: str | None,
    lora: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hub_token: str | None,
) -> None:
    """Have the server download a repository from its hub, and wait until it is there.

    The server says nothing until it is done. Leaving stops the download.

    \b
    tabbyapi models download someone/some-model --revision 4.0bpw
    tabbyapi models download someone/some-model --include '*Q4_K_M.gguf'
    """
    from .progress import working

    with server.client() as client, working(f"{repository} is being downloaded"):
        path = client.models.download(
            repository,
            repo_type="lora" if lora else "model",
            revision=revision,
            folder_name=folder_name,
            include=include or None,
            exclude=exclude or None,
            token=hub_token,
        )
    show({"download_path": path}, [path], as_json=as_json)


def _load(client: Client, name: str, params: dict[str, Any]) -> LoadProgress:
    from .progress import load_progress

    with client.models.load_stream(name, **params) as steps, load_progress(name) as tell:
        for step in steps:
            tell(step)
        return steps.response


@contextmanager
def _known(client: Client, name: str, embedding: bool) -> Iterator[None]:
    """Says what there is to load, if the server refuses a name because it is none of those."""
    from ..errors import InvalidRequestError

    try:
        yield
    except InvalidRequestError:
        cards = client.models.list_embedding() if embedding else client.models.list()
        names = [card.id for card in cards]
        if name in names:
            raise
        there = f"it has {', '.join(names[:20])}" if names else "it has none"
        raise click.ClickException(f"the server has no model {name!r}: {there}") from None


@contextmanager
def _going_on(doing: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        warn(f"\nThe server goes on {doing}.")
        raise


def _loaded(client: Client, embedding: bool) -> str | None:
    from ..errors import ModelNotLoadedError

    try:
        return (client.models.get_embedding() if embedding else client.models.get()).id
    except ModelNotLoadedError:
        return None


def _described(card: ModelCard) -> Iterator[str]:
    yield card.id
    if card.parameters is None:
        return
    facts = {
        "context": card.parameters.max_seq_len,
        "cache": card.parameters.cache_size,
        "cache mode": card.parameters.cache_mode,
        "requests at once": card.parameters.max_batch_size,
        "template": card.parameters.prompt_template,
        "images": "yes" if card.parameters.use_vision else "no",
    }
    for name, value in facts.items():
        if value is not None:
            yield f"  {name:<17} {value}"
