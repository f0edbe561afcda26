"""`tabbyapi ask`: one question, one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .connect import Server, connected, server_options
from .errors import SERVER_ERROR
from .output import json_option, show, warn, write_answer
from .params import generation_options

if TYPE_CHECKING:
    from ..types.chat import ChatCompletionResponse
    from ..types.messages import ChatMessage

__all__ = ["ask"]


@click.command()
@click.argument("words", nargs=-1, metavar="[QUESTION]...")
@server_options
@generation_options
@click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put a text file beside the question. Repeatable.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE|URL",
    help="Show the model a picture beside the question. Repeatable.",
)
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON schema the answer must satisfy; prints that JSON and nothing else.",
)
@json_option
@click.option("--no-stream", is_flag=True, help="Wait for the whole answer, then print it.")
def ask(
    words: tuple[str, ...],
    server: Server,
    system: str | None,
    params: dict[str, Any],
    files: tuple[Path, ...],
    images: tuple[str, ...],
    schema: Path | None,
    as_json: bool,
    no_stream: bool,
) -> None:
    """Ask one question; the answer goes to standard output.

    Standard input, if it is not a terminal, is put below the question (or is the question).

    \b
    tabbyapi ask "Why is the sky blue?"
    git diff | tabbyapi ask "Write a commit message"
    tabbyapi ask "What is on this picture?" --image cat.png
    tabbyapi ask "Name three rivers" --schema rivers.schema.json | jq .

    Exit status: 0 answered, 1 the server's error, 2 usage, 3 not reachable, 130 interrupted.
    """
    from .inputs import picture_of, question_of, schema_of

    pictures = [picture_of(where) for where in images]
    messages = _messages(system, question_of(" ".join(words), files), *pictures)
    if schema is not None:
        params = {**params, "json_schema": schema_of(schema)}
    with connected(server) as client:
        if as_json or no_stream or schema is not None:
            answer = client.chat.create(messages, **params)
            if as_json:
                show(answer, (), as_json=True)
            else:
                write_answer([answer.text])
        else:
            with client.chat.create_stream(messages, **params) as stream:
                write_answer(stream.text_deltas())
            answer = stream.response
    wanted = params.get("model")
    if wanted and answer.model and answer.model != wanted:
        warn(f"(answered by {answer.model}: the server did not switch to {wanted})")
    if schema is not None:
        _check_json(answer)
    elif answer.finish_reason == "length":
        warn("(the answer was cut off at its longest; --max-tokens N allows more)")


def _messages(instructions: str | None, *question: Any) -> list[ChatMessage]:
    from ..types.messages import system, user

    return [system(instructions), user(*question)] if instructions else [user(*question)]


def _check_json(answer: ChatCompletionResponse) -> None:
    """A script reads what was printed: it must learn when that is no JSON."""
    try:
        json.loads(answer.text)
    except ValueError:
        cut = answer.finish_reason == "length"
        why = "it was cut off; --max-tokens N allows more" if cut else "the server did not hold it"
        warn(f"Error: the answer is not valid JSON: {why}.")
        click.get_current_context().exit(SERVER_ERROR)
