"""Chat over a data set of Ray Data: one answer for each row, by many clients at once.

import ray
from tabbyapi.ray.data import chat_batch

questions = ray.data.read_json("questions.jsonl")
answers = chat_batch(questions, endpoint="http://gpu1:5000", max_tokens=100)
answers.write_parquet("answers")
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .._client.aio import AsyncClient
from ..errors import TabbyError, ValidationError
from ..types.messages import ChatMessage
from ..types.options import RetryPolicy

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["chat_batch", "chat_files"]

_FORMATS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet"}


def chat_batch(
    ds: Dataset,
    column: Literal["prompt", "messages"] | str = "prompt",
    *,
    output: str = "answer",
    error: str = "error",
    schema: Any = None,
    concurrency: int | tuple[int, int] = (1, 8),
    endpoint: str | None = None,
    model: str | Path | None = None,
    api_key: str | None = None,
    system: str | None = None,
    in_flight: int = 8,
    preserve_order: bool = False,
    cpus: float = 1,
    **params: Any,
) -> Dataset:
    """Add an answer to each row of a data set, by actors with an `AsyncClient` each.

    A row that fails has its error beside it, and the others go on. An actor that dies is replaced,
    and its unfinished blocks are done again; what they would write was not written before.

    Args:
        ds: the rows.
        column: holds the prompt as text, or the messages as a list.
        output: name of the new column: the text of the answer, or, with `schema`, the value as
            JSON text; null for a row that failed.
        error: name of the column of errors: code and message, or null.
        schema: type of the answer, as for `client.chat.parse`.
        concurrency: actors, or the bounds to scale between.
        endpoint: URL of the server. Default: as for `Client`.
        model: GGUF file to answer with, by a local server in each actor; instead of `endpoint`.
        api_key: of the server. Default: as for `Client`.
        system: system message put before every prompt.
        in_flight: requests that one actor has under way.
        preserve_order: results in the order of the rows, which costs some speed.
        cpus: CPUs that Ray sets apart for an actor; with `model` they are the engine's threads.
        params: of every request, as for `client.chat.create`.

    Raises:
        ValidationError: both `endpoint` and `model`; or `in_flight` below 1.
    """
    if endpoint is not None and model is not None:
        raise ValidationError("give either endpoint or model, not both", field="model")
    if in_flight < 1:
        raise ValidationError(f"in_flight is {in_flight}, but must be 1 or more", field="in_flight")
    if preserve_order:
        ds.context.execution_options.preserve_order = True
    return ds.map_batches(
        _Chat,
        fn_constructor_args=(endpoint, model, api_key, max(1, int(cpus))),
        fn_kwargs={
            "columns": (column, output, error),
            "schema": schema,
            "system": system,
            "in_flight": in_flight,
            "params": params,
        },
        batch_size=in_flight * 4,
        concurrency=concurrency,
        num_cpus=cpus if model is not None else 0.1,
    )


class _Chat:
    """An actor: its client, and where a model was given, its server."""

    def __init__(
        self, endpoint: str | None, model: str | Path | None, api_key: str | None, threads: int
    ) -> None:
        retry = RetryPolicy(max_retries=5)
        self._server = None
        if model is None:
            self._client = AsyncClient(endpoint, api_key=api_key, retry=retry)
        else:
            from ..local_server import LocalServer

            self._server = LocalServer(Path(model), threads=threads).start()
            self._client = self._server.async_client(retry=retry)

    def __call__(
        self,
        batch: dict[str, Any],
        *,
        columns: tuple[str, str, str],
        schema: Any,
        system: str | None,
        in_flight: int,
        params: Mapping[str, Any],
    ) -> dict[str, Any]:
        column, output, error = columns
        prompts = list(batch[column])

        async def run() -> list[tuple[str | None, str | None]]:
            free = asyncio.Semaphore(in_flight)

            async def one(prompt: Any) -> tuple[str | None, str | None]:
                async with free:
                    return await self._answer(prompt, system, schema, params)

            return await asyncio.gather(*map(one, prompts))

        answers = asyncio.run(run())
        batch[output] = [text for text, _ in answers]
        batch[error] = [failure for _, failure in answers]
        return batch

    async def _answer(
        self, prompt: Any, system: str | None, schema: Any, params: Mapping[str, Any]
    ) -> tuple[str | None, str | None]:
        try:
            messages = [*([ChatMessage("system", system)] if system else []), *_messages(prompt)]
            if schema is None:
                return (await self._client.chat.create(messages, **params)).text, None
            parsed = await self._client.chat.parse(messages, schema, **params)
            return msgspec.json.encode(parsed.value, enc_hook=_plain).decode(), None
        except TabbyError as error:
            return None, f"{error.code}: {error}"


def _messages(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [ChatMessage("user", value)]
    if value is None or isinstance(value, int | float):
        raise ValidationError(f"a prompt is text, or a list of messages, not {value!r}")
    # Arrow gives every message all fields that one of them has.
    return [
        {name: field for name, field in message.items() if field is not None}
        if isinstance(message, Mapping)
        else message
        for message in value
    ]


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # pydantic
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")


def chat_files(source: Path, output: Path, **options: Any) -> int:
    """Answer each row of a JSONL or Parquet file into a folder of files of the output's kind.

    Args:
        source: the rows, with a column `prompt` or `messages`.
        output: the folder, named as `answers.parquet` or `answers.jsonl`.
        options: as for `chat_batch`.

    Returns:
        How many rows failed.

    Raises:
        ValidationError: a name without a known ending, or rows without such a column.
    """
    import ray.data

    kinds = [_FORMATS.get(path.suffix) for path in (source, output)]
    for path, kind in zip((source, output), kinds, strict=True):
        if kind is None:
            raise ValidationError(f"{path}: name it .jsonl or .parquet", field=str(path))
    read = {"json": ray.data.read_json, "parquet": ray.data.read_parquet}
    ds = read[str(kinds[0])](str(source))
    names = ds.columns() or []
    column = next((name for name in ("messages", "prompt") if name in names), None)
    if column is None:
        raise ValidationError(f"{source} has no column prompt or messages", field="source")
    answers = chat_batch(ds, column, **options)
    write = answers.write_json if kinds[1] == "json" else answers.write_parquet
    write(str(output))
    done = read[str(kinds[1])](str(output))
    return int(done.filter(lambda row: row["error"] is not None).count())
