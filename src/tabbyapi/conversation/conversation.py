"""`Conversation` and `AsyncConversation`: carry out the plans of core.py, blocking or awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from .._protocol.call import StreamCall
from .._services.chat import chat_call, chat_stream_call
from ..errors import TabbyError
from ..types.chat import ChatCompletionResponse
from ..types.messages import ContentLike, MessageLike
from .core import Core, Pending
from .fitting import Plan
from .streams import AsyncChatStream, AsyncConversationStream, ConversationStream, Ending
from .tool_turn import ToolTurn, runs_tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._services.caller import AsyncCaller, Caller
    from ..tools.run import RunParams
    from ..types.params import ChatParams

__all__ = ["AsyncConversation", "Conversation"]

T = TypeVar("T")


class Conversation(Core):
    """A conversation that keeps its history within the model's context.

    Made by `client.conversation(...)`. A request that fails leaves it unchanged, so it can be
    repeated. One thread may use it at a time: a second request while one is under way raises a
    `ValidationError`.

        talk = client.conversation("You are a helpful assistant.", max_tokens=60)
        print(talk.send("My name is Ada.").text)
        print(talk.send("What is my name?").text)
    """

    _client: Caller

    def send(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[RunParams],
    ) -> ChatCompletionResponse:
        """Send a message and return the answer; both are then part of the conversation.

        Functions among `tools` are called as the model asks (see `Chat.run`), and the turn is
        added whole: the calls, their results and the answer.

        Args:
            content: text, parts (`["What is this?", image(path)]`), or messages, such as the
                results of tools that were called elsewhere: `tool(result, tool_call_id=...)`.
            params: as for `client.chat.create` and `run`; they override the conversation's.

        Raises:
            ContextLengthError: it does not fit, and may not or cannot be made to fit.
            ToolLoopError: see `Chat.run`. The turn so far is in its `messages`.
            TabbyError: as `client.chat.create`. The conversation is unchanged.
        """
        with self._alone():
            return self._answered(self._new(content), self._params(params))

    def regenerate(self, **params: Unpack[ChatParams]) -> ChatCompletionResponse:
        """Replace the last answer by a new one, or add the answer that is missing.

        Raises:
            ValidationError: there is no message to answer.
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
            return ConversationStream(self._perform(plan), Ending(self._ending_of(pending)))
        except BaseException:
            self._busy.release()
            raise

    def _answered(self, pending: Pending, params: dict[str, Any]) -> ChatCompletionResponse:
        if not runs_tools(params):
            response: ChatCompletionResponse
            response = self._perform(self._ask(pending, params, chat_call))
            self._commit(pending, response)
            return response
        from ..tools.run import run

        turn = ToolTurn(self, pending)

        def send(messages: Any, params: Mapping[str, Any]) -> ChatCompletionResponse:
            return self._perform(turn.plan(messages, params))

        try:
            response = run(send, turn.messages, params).response
        except BaseException:
            self._settle(pending, None, complete=False)
            raise
        self._commit(turn.pending, response)
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
                        result = self._client.send(call)
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

    _client: AsyncCaller

    async def send(
        self,
        content: ContentLike | MessageLike | Sequence[MessageLike],
        **params: Unpack[RunParams],
    ) -> ChatCompletionResponse:
        """Send a message and return the answer; see `Conversation.send`."""
        with self._alone():
            return await self._answered(self._new(content), self._params(params))

    async def regenerate(self, **params: Unpack[ChatParams]) -> ChatCompletionResponse:
        """Replace the last answer by a new one; see `Conversation.regenerate`."""
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

        async def connect() -> tuple[AsyncChatStream, Ending]:
            self._begin()
            try:
                pending = self._new(content)
                plan = self._ask(pending, self._params(params), chat_stream_call)
                return await self._perform(plan), Ending(self._ending_of(pending))
            except BaseException:
                self._busy.release()
                raise

        return AsyncConversationStream(connect)

    async def _answered(self, pending: Pending, params: dict[str, Any]) -> ChatCompletionResponse:
        if not runs_tools(params):
            response: ChatCompletionResponse
            response = await self._perform(self._ask(pending, params, chat_call))
            self._commit(pending, response)
            return response
        from ..tools.run import run_async

        turn = ToolTurn(self, pending)

        async def send(messages: Any, params: Mapping[str, Any]) -> ChatCompletionResponse:
            return await self._perform(turn.plan(messages, params))

        try:
            response = (await run_async(send, turn.messages, params)).response
        except BaseException:
            self._settle(pending, None, complete=False)
            raise
        self._commit(turn.pending, response)
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
                        result = await self._client.send(call)
                except TabbyError as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            plan.close()
