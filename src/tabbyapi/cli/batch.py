"""`tabbyapi batch`: a file of requests, answered line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .connect import Server, server_options
from .errors import SERVER_ERROR
from .output import warn
from .params import generation_options
from .serve_ray import RAY_EXTRA

if TYPE_CHECKING:
    import asyncio

    from ..batch import BatchTotals

__all__ = ["batch"]


@click.command()
@click.argument(
    "source",
    metavar="IN.jsonl",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.argument("output", metavar="OUT.jsonl", type=click.Path(dir_okay=False, path_type=Path))
@server_options
@generation_options
@click.option(
    "--concurrency",
    "-j",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Lines in flight at once.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Further tries of a line after a failure that may pass.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Longest time for one line. Default: no limit.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a server that has gone.",
)
@click.option("--unordered", is_flag=True, help="Leave the results in the order they came in.")
@click.option("--text-only", is_flag=True, help="Leave the server's whole answers out.")
@click.option("--retry-failed", is_flag=True, help="Do the lines again whose result is an error.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever OUT.jsonl holds.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
@click.option("--ray", is_flag=True, help="Share the lines among actors of Ray (JSONL, Parquet).")
def batch(
    source: Path,
    output: Path,
    server: Server,
    system: str | None,
    params: dict[str, Any],
    timeout: float | None,
    unordered: bool,
    text_only: bool,
    quiet: bool,
    ray: bool,
    **options: Any,
) -> None:
    """Answer each line of a file; OUT.jsonl gets one result for each.

    A line of IN.jsonl (- is standard input) is a prompt, messages, or a request in OpenAI's batch
    form. Parameters may stand beside the prompt; the options here hold where a line says nothing:

    \b
      "Why is the sky blue?"
      {"prompt": "Translate: bread", "custom_id": "b-1", "max_tokens": 20}
      {"messages": [{"role": "user", "content": "Hello"}]}
      {"custom_id": "r-1", "url": "/v1/chat/completions", "body": {"messages": [...]}}

    A result has "index" (the line, from 0), "custom_id", "text", "response", and "error", which is
    null unless the line failed. Interrupted or killed, the same command goes on where it was. A
    server that restarts is waited for.

    \b
    tabbyapi batch questions.jsonl answers.jsonl --concurrency 16 --max-tokens 200
    jq -r .text answers.jsonl
    tabbyapi batch questions.jsonl answers.jsonl --retry-failed

    Exit status: 0 every line answered, 1 lines failed or the server said no, 2 usage, 3 the server
    cannot be reached (any more), 130 interrupted.
    """
    import asyncio

    from ..batch import Defaults, run_batch
    from .progress import batch_progress

    if str(source) != "-" and output.exists() and source.samefile(output):
        raise click.UsageError("IN.jsonl and OUT.jsonl are the same file")
    if ray:
        _run_with_ray(source, output, server, system, params, options["concurrency"])
        return

    async def run(lines: IO[bytes], show: Any) -> BatchTotals:
        async with server.async_client(retry=0, timeout=timeout) as client:
            return await run_batch(
                client,
                lines,
                output,
                defaults=Defaults(system, params),
                ordered=not unordered,
                keep_body=not text_only,
                on_progress=show.update,
                on_message=show.say,
                **options,
            )

    with _opened(source) as lines, batch_progress(_total(source, quiet), quiet=quiet) as show:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                totals = runner.run(run(lines, show))
        except (Exception, KeyboardInterrupt):
            if show.totals is not None:
                show.say(f"Stopped: {_summary(show.totals)}. The same command goes on from here.")
            raise
    if not quiet:
        warn(f"{_summary(totals)}.")
    if totals.failed:
        if not quiet:
            warn(f'The reasons are in {output} ("error"); --retry-failed does these lines again.')
        click.get_current_context().exit(SERVER_ERROR)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop, where it is installed; None for asyncio's."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    if str(source) == "-":
        yield sys.stdin.buffer
    else:
        with source.open("rb") as lines:
            yield lines


def _total(source: Path, quiet: bool) -> int | None:
    """Number of lines to do; None if it is unknown or not needed."""
    from ..batch import count_lines

    return None if quiet or not source.is_file() else count_lines(source)


def _summary(totals: BatchTotals) -> str:
    good = totals.done - totals.failed
    text = f"{good} {'line' if good == 1 else 'lines'} answered"
    return text + (f", {totals.failed} failed" if totals.failed else "")


def _run_with_ray(
    source: Path,
    output: Path,
    server: Server,
    system: str | None,
    params: dict[str, Any],
    concurrency: int,
) -> None:
    """Answer a file by way of Ray Data into a folder of files."""
    if find_spec("ray") is None:
        raise click.ClickException(f"Ray is not installed: {RAY_EXTRA}")
    from ..ray.data import chat_files

    fields = dict(params)
    if name := fields.pop("model", None):  # `chat_files` takes a file by this name
        fields["extra_body"] = {**(fields.get("extra_body") or {}), "model": name}
    failed = chat_files(
        source,
        output,
        endpoint=server.url,
        api_key=server.keys().get("api_key"),
        system=system,
        in_flight=concurrency,
        **fields,
    )
    warn(f"The answers are in {output}." + (f" {failed} rows failed." if failed else ""))
    if failed:
        click.get_current_context().exit(SERVER_ERROR)
