"""`Conversation` and `AsyncConversation`: the plans of core.py, carried out."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from .._protocol.call import StreamCall
from .._services.chat import chat_call, chat_stream_call
from ..errors import TabbyError, ValidationError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ContentLike, MessageLike
from . import saving
from .core import Core, Pending, initial_state
from .fitting import Plan
from .settings import Settings
from .state import State
from .streams import AsyncConversationStream, ConversationStream
from .tool_turn import Rounds, runs_tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._services.caller import AsyncCaller, Caller
    from ..tools.run import RunParams
    from ..types.params import ChatParams

__all__ = ["AsyncConversation", "Conversation"]

T = TypeVar("T")


class Conversation(Core):
    """A conversation that remembers, and fits the model's context. `client.conversation(...)`.

    A request that fails leaves it unchanged, so it can be repeated. One thread may use it at a
    time: a second request while one is under way raises a `ValidationError`.
    """

    def __init__(self, client: Caller, settings: Settings, state: State) -> None:
        super().__init__(settings, state)
        self._client = client

    @classmethod
    def begin(cls, client: Caller, system: ContentLike | None, options: Mapping[str, Any]) -> Self:
        """A new conversation; see `Client.conversation`."""
        return cls(client, Settings.of(options), state_of(system, options))

    @classmethod
    def load(cls, path: str | PathLike[str], client: Caller, **changes: Any) -> Self:
        """A saved conversation, to go on with; see `Client.load_conversation`."""
        return cls(client, *loaded(path, changes))

    def send(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[RunParams],
    ) -> ChatCompletionResponse:
        """Says something and returns the answer; both are then part of the conversation.

        Functions among `tools` are called as the model asks (see `Chat.run`), and the turn is
        added whole: the calls, their results and the answer.

        Args:
            content: text, parts (`["What is this?", image(path)]`), or messages, such as the
                results of tools that were called elsewhere: `tool(result, tool_call_id=...)`.
            params: as for `client.chat.create` and `run`; they go before the conversation's.

        Raises:
            ContextLengthError: it does not fit, and may not or cannot be made to.
            ToolLoopError: see `Chat.run`. What was said is in its `messages`.
            TabbyError: as `client.chat.create`. The conversation is unchanged.
        """
        with self._alone():
            return self._answered(self._new(content), self._params(params))

    def regenerate(self, **params: Unpack[ChatParams]) -> ChatCompletionResponse:
        """A new answer in place of the last one, or the answer that is missing.

        Raises:
            ValidationError: nothing has been said yet.
            TabbyError: as `send`. The old answer stays then.
        """
        with self._alone():
            return self._answered(self._again(), self._params(params))

    def stream(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[ChatParams],
    ) -> ConversationStream:
        """As `send`, in chunks. Use it in a `with` block.

        The turn is added when the stream has ended. If it breaks or is closed before, what has
        arrived is kept as the answer, unless the conversation was made with
        `keep_partial=False`; where nothing has arrived, nothing is added. Tools are described
        to the model, but not called.
        """
        self._begin()
        try:
            pending = self._new(content)
            plan = self._ask(pending, self._params(params), chat_stream_call)
            return ConversationStream(self, pending, self._perform(plan))
        except BaseException:
            self._busy.release()
            raise

    def fork(self) -> Self:
        """An independent copy; it costs a list of references."""
        return type(self)(self._client, *self._copied())

    def _answered(self, pending: Pending, params: dict[str, Any]) -> ChatCompletionResponse:
        if not runs_tools(params):
            response: ChatCompletionResponse
            response = self._perform(self._ask(pending, params, chat_call))
            self._commit(pending, response)
            return response
        from ..tools.run import run

        rounds = Rounds(self, pending)

        def send(messages: Any, params: Mapping[str, Any]) -> ChatCompletionResponse:
            return self._perform(rounds.plan(messages, params))

        try:
            response = run(send, rounds.messages, params).response
        except BaseException:
            self._settle(pending, None, complete=False)
            raise
        self._commit(rounds.pending, response)
        return response

    def _perform(self, plan: Plan[T]) -> T:
        try:
            call = next(plan)
            while True:
                try:
                    result: Any
                    if isinstance(call, StreamCall):
                        result = self._client.open_stream(call)
                    else:
                        result = self._client.request(call)
                except TabbyError as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            plan.close()


class AsyncConversation(Core):
    """`Conversation`, for asyncio. One task may use it at a time."""

    def __init__(self, client: AsyncCaller, settings: Settings, state: State) -> None:
        super().__init__(settings, state)
        self._client = client

    @classmethod
    def begin(
        cls, client: AsyncCaller, system: ContentLike | None, options: Mapping[str, Any]
    ) -> Self:
        """A new conversation; see `Client.conversation`."""
        return cls(client, Settings.of(options), state_of(system, options))

    @classmethod
    def load(cls, path: str | PathLike[str], client: AsyncCaller, **changes: Any) -> Self:
        """A saved conversation, to go on with; see `Client.load_conversation`."""
        return cls(client, *loaded(path, changes))

    async def send(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[RunParams],
    ) -> ChatCompletionResponse:
        """Says something and returns the answer; see `Conversation.send`."""
        with self._alone():
            return await self._answered(self._new(content), self._params(params))

    async def regenerate(self, **params: Unpack[ChatParams]) -> ChatCompletionResponse:
        """A new answer in place of the last one; see `Conversation.regenerate`."""
        with self._alone():
            return await self._answered(self._again(), self._params(params))

    def stream(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[ChatParams],
    ) -> AsyncConversationStream:
        """As `send`, in chunks; see `Conversation.stream`. Use it in an `async with` block.

        Nothing is sent before the block is entered.
        """
        return AsyncConversationStream(self, content, self._params(params))

    def fork(self) -> Self:
        """An independent copy; it costs a list of references."""
        return type(self)(self._client, *self._copied())

    async def _answered(self, pending: Pending, params: dict[str, Any]) -> ChatCompletionResponse:
        if not runs_tools(params):
            response: ChatCompletionResponse
            response = await self._perform(self._ask(pending, params, chat_call))
            self._commit(pending, response)
            return response
        from ..tools.run import run_async

        rounds = Rounds(self, pending)

        async def send(messages: Any, params: Mapping[str, Any]) -> ChatCompletionResponse:
            return await self._perform(rounds.plan(messages, params))

        try:
            response = (await run_async(send, rounds.messages, params)).response
        except BaseException:
            self._settle(pending, None, complete=False)
            raise
        self._commit(rounds.pending, response)
        return response

    async def _perform(self, plan: Plan[T]) -> T:
        try:
            call = next(plan)
            while True:
                try:
                    result: Any
                    if isinstance(call, StreamCall):
                        result = await self._client.open_stream(call)
                    else:
                        result = await self._client.request(call)
                except TabbyError as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            plan.close()


def state_of(system: ContentLike | None, options: Mapping[str, Any]) -> State:
    """The state that a conversation with these options begins with."""
    return initial_state(system, options.get("messages") or (), options.get("context_size"))


def loaded(path: str | PathLike[str], changes: dict[str, Any]) -> tuple[Settings, State]:
    """Settings and state of a saved conversation, with some settings changed."""
    saved, state = saving.load(Path(path))
    own = {name: changes.pop(name) for name in list(changes) if name in saved and name != "params"}
    size = changes.pop("context_size", None)
    if size is not None:
        state.context, state.fixed = size, True
    params = {**saved["params"], **changes}
    try:
        return Settings(**{**saved, **own, "params": params}), state
    except TypeError as error:
        raise ValidationError(f"{path}: {error}", field="path") from None
