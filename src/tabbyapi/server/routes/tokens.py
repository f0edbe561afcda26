"""`POST /v1/token/encode` and `/v1/token/decode`."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import AliasChoices, BaseModel, Field
from starlette.requests import Request
from starlette.types import ASGIApp

from ..engine import EngineDied, EngineRefusal
from ..errors import HTTPError, json_answer
from ..http.routing import post
from ..model_files.gguf import CONTROL
from ..models import LoadedModel
from ..prompt.render import message_variables
from ..prompt.templates import TemplateError
from ..runtime import Runtime
from ..schemas import ChatCompletionMessage

__all__ = ["ROUTES"]


_MOST_CHARACTERS = 1_048_576


class _Common(BaseModel):
    add_bos_token: bool | None = True
    encode_special_tokens: bool | None = True
    decode_special_tokens: bool | None = True


class EncodeRequest(_Common):
    """Text, or messages to render first."""

    text: str | list[ChatCompletionMessage]
    template_vars: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("template_vars", "chat_template_kwargs")
    )


class DecodeRequest(_Common):
    """Token ids."""

    tokens: list[int]


async def encode(_: Request, body: EncodeRequest, runtime: Runtime) -> ASGIApp:
    """Token ids of a text or of messages, without the opening of the assistant's turn."""
    loaded = runtime.model()
    text = body.text if isinstance(body.text, str) else await _rendered(body, loaded)
    if len(text) > _MOST_CHARACTERS:
        most = f"this server encodes {_MOST_CHARACTERS:,} at once"
        raise HTTPError(
            400, f"The text comes to {len(text):,} characters; {most}: send it in parts."
        )
    # A template that writes the BOS token itself must not get a second one.
    has_bos = bool(loaded.bos) and text.startswith(loaded.bos)
    try:
        tokens = await loaded.ask(
            lambda native: native.tokenize(
                text,
                special=body.encode_special_tokens is not False,
                bos=body.add_bos_token is not False and not has_bos,
            ),
        )
    except (EngineDied, EngineRefusal) as error:
        raise HTTPError(503, f"The text was not encoded: {error}") from None
    return json_answer({"tokens": tokens, "length": len(tokens)})


async def decode(_: Request, body: DecodeRequest, runtime: Runtime) -> ASGIApp:
    """The text of token ids."""
    loaded = runtime.model()
    types = await asyncio.to_thread(lambda: loaded.token_types)  # reads the file, the first time
    last = len(types) - 1
    if any(not 0 <= token <= last for token in body.tokens):
        raise HTTPError(400, f"The token ids of this model are 0 to {last}.")
    kept = body.tokens
    if body.decode_special_tokens is False:
        kept = [token for token in kept if types[token] != CONTROL]
    try:
        answer = await loaded.ask(lambda native: native.post("/detokenize", {"tokens": kept}))
    except (EngineDied, EngineRefusal) as error:
        raise HTTPError(503, f"The tokens were not decoded: {error}") from None
    return json_answer({"text": answer["content"]})


async def _rendered(body: EncodeRequest, loaded: LoadedModel) -> str:
    assert not isinstance(body.text, str)
    if not body.text:
        return ""
    if loaded.template is None:
        raise HTTPError(
            422,
            "Cannot tokenize chat completion message because a prompt template is not set.",
        )
    variables = {name: v for name, v in (body.template_vars or {}).items() if v is not None}
    variables |= {
        "messages": message_variables(body.text),
        "add_generation_prompt": False,
        "bos_token": loaded.bos,
        "eos_token": loaded.eos,
    }
    try:
        return await loaded.template.render(variables)
    except TemplateError as error:
        raise HTTPError(400, f"TemplateError: {error}") from None


ROUTES = [
    post("/v1/token/encode", encode, EncodeRequest, needs_model=True),
    post("/v1/token/decode", decode, DecodeRequest, needs_model=True),
]
