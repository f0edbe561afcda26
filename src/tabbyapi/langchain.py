"""A LangChain chat model over a TabbyAPI server (extra `langchain`).

from tabbyapi.langchain import ChatTabby

model = ChatTabby(temperature=0.2, max_tokens=100)
print(model.invoke("What is dependency injection good for?").content)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel, LangSmithParams
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.output_parsers import (
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import ConfigDict, Field, SecretStr

from . import AsyncClient, Client

__all__ = ["ChatTabby"]


class ChatTabby(BaseChatModel):
    """A chat model on a TabbyAPI server.

    Args:
        base_url, api_key: as for `tabbyapi.Client`; default: the environment.
        model: which model answers, where the server loads models on request.
        temperature, max_tokens, stop, timeout, max_retries: LangChain's standard parameters.
        params: any other parameter of `client.chat.create`, such as `min_p` or `regex_pattern`.
    """

    base_url: str | None = None
    api_key: SecretStr | None = None
    model_name: str | None = Field(default=None, alias="model")
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    timeout: float | None = None
    max_retries: int | None = None
    params: dict[str, Any] = Field(default_factory=dict)

    model_config = ConfigDict(populate_by_name=True)

    @property
    def _llm_type(self) -> str:
        return "tabbyapi"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"base_url": self.base_url, "model": self.model_name, **self._params(None, {})}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        known = super()._get_ls_params(stop=stop, **kwargs)
        known["ls_provider"] = "tabbyapi"
        return known

    def _options(self) -> dict[str, Any]:
        key = self.api_key.get_secret_value() if self.api_key else None
        return {
            "base_url": self.base_url,
            "api_key": key,
            "timeout": self.timeout,
            "retry": self.max_retries,
        }

    def _params(self, stop: list[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a request: those of the model, then those of the call."""
        own = {
            "model": self.model_name,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": stop or self.stop,
        }
        params = {**self.params, **{k: v for k, v in own.items() if v is not None}, **given}
        params.pop("ls_structured_output_format", None)
        params.pop("stream_usage", None)  # usage is always there
        return params

    # ---------------------------------------------------------------------- answers

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        params = self._params(stop, kwargs)
        with Client(**self._options()) as client:
            return _result(client.chat.create(_wire(messages), **params))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        params = self._params(stop, kwargs)
        async with AsyncClient(**self._options()) as client:
            return _result(await client.chat.create(_wire(messages), **params))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        params = self._params(stop, kwargs)
        with (
            Client(**self._options()) as client,
            client.chat.create_stream(_wire(messages), **params) as stream,
        ):
            for received in stream:
                chunk = _chunk(received)
                if run_manager:
                    run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        params = self._params(stop, kwargs)
        async with (
            AsyncClient(**self._options()) as client,
            client.chat.create_stream(_wire(messages), **params) as stream,
        ):
            async for received in stream:
                chunk = _chunk(received)
                if run_manager:
                    await run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
                yield chunk

    # ------------------------------------------------------------- tools and structure

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools. `tool_choice` is "auto", "none", "any", or a tool's name.

        TabbyAPI itself obeys only "none"; the local server obeys all.
        """
        specs = [convert_to_openai_tool(tool) for tool in tools]
        names = {spec["function"]["name"] for spec in specs}
        if tool_choice in ("any", True):
            tool_choice = "required"
        elif isinstance(tool_choice, str) and tool_choice in names:
            tool_choice = {"type": "function", "function": {"name": tool_choice}}
        if tool_choice:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=specs, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers of a type: constrained by its schema, or as the arguments of a forced call."""
        is_model = isinstance(schema, type) and is_basemodel_subclass(schema)
        bound: Runnable[LanguageModelInput, AIMessage]
        parser: Any
        traced: dict[str, Any] = {
            "ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}
        }
        if method == "function_calling":
            name = convert_to_openai_tool(schema)["function"]["name"]
            bound = self.bind_tools([schema], tool_choice=name, **traced, **kwargs)
            parser = (
                PydanticToolsParser(tools=[schema], first_tool_only=True)
                if is_model
                else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
            )
        else:
            constraint = (
                {"json_schema": convert_to_json_schema(schema)}
                if method == "json_schema"
                else {"response_format": {"type": "json_object"}}
            )
            bound = self.bind(**constraint, **traced, **kwargs)
            parser = (
                PydanticOutputParser(pydantic_object=schema) if is_model else JsonOutputParser()
            )
        if not include_raw:
            return bound | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        )
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=bound) | parsed.with_fallbacks(
            [unparsed], exception_key="parsing_error"
        )


# --------------------------------------------------------------------------- conversion


_PARTS = ("text", "image_url")


def _wire(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """Messages of the protocol. Calls stand beside the content, not among its parts."""
    wire: Any = convert_to_openai_messages(messages)
    for message in wire:
        if isinstance(message["content"], list):
            parts = [part for part in message["content"] if part["type"] in _PARTS]
            message["content"] = parts or ""
    return wire


def _usage(usage: Any) -> UsageMetadata | None:
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )


def _result(reply: Any) -> ChatResult:
    generations = []
    for choice in reply.choices:
        message = choice.message
        good, bad = [], []
        for call in message.tool_calls or ():
            name, text = call.function.name, call.function.arguments
            try:
                arguments = json.loads(text or "{}")
            except ValueError as error:
                bad.append(invalid_tool_call(name=name, args=text, id=call.id, error=str(error)))
                continue
            if isinstance(arguments, dict):
                good.append(tool_call(name=name, args=arguments, id=call.id))
            else:
                why = "the arguments are no JSON object"
                bad.append(invalid_tool_call(name=name, args=text, id=call.id, error=why))
        answer = AIMessage(
            message.text,
            tool_calls=good,
            invalid_tool_calls=bad,
            usage_metadata=_usage(reply.usage),
            response_metadata={"finish_reason": choice.finish_reason, "model_name": reply.model},
            additional_kwargs=_reasoning(message.reasoning_content),
        )
        generations.append(ChatGeneration(message=answer))
    return ChatResult(generations=generations)


def _chunk(chunk: Any) -> ChatGenerationChunk:
    (choice, *_) = chunk.choices or (None,)
    delta = choice.delta if choice else None
    calls = (delta.tool_calls if delta else None) or ()
    metadata = (
        {"finish_reason": choice.finish_reason, "model_name": chunk.model}
        if choice and choice.finish_reason
        else {}
    )
    message = AIMessageChunk(
        (delta.content if delta else None) or "",
        tool_call_chunks=[
            tool_call_chunk(
                name=call.function.name, args=call.function.arguments, id=call.id, index=place
            )
            for place, call in enumerate(calls)
        ],
        usage_metadata=_usage(chunk.usage),
        response_metadata=metadata,
        additional_kwargs=_reasoning(delta.reasoning_content if delta else None),
    )
    return ChatGenerationChunk(message=message)


def _reasoning(text: str | None) -> dict[str, Any]:
    return {"reasoning_content": text} if text else {}
