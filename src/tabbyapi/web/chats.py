"""Conversations that live in the page's process. Browser tabs only watch them.

A chat is IDLE; WAITING from a request until its first token; ANSWERING until its end. `_start`
begins a request and `_run` alone ends it. The conversation changes when the request has ended: a
request works on it, or on a fork that replaces it if something has arrived. So closing or
reloading a tab, or losing its connection, changes nothing, and a failed request loses nothing:
the message is put back into the draft.

A chat is saved after each turn, under the name by which the terminal finds it too, and read again
when its file has changed. It is dropped from memory once it is idle and no tab shows it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ..cli import sessions
from ..errors import StreamError, TabbyError, ValidationError
from ..types.messages import ChatMessage, ChatMessageContent, ContentLike, ToolCall, user
from .library import Library, title_of
from .markdown import MarkdownStream
from .words import sentence

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from ..conversation import AsyncConversation
    from ..types.chat import ChatCompletionStreamResponse
    from ..types.usage import UsageStats

__all__ = ["Chats", "LiveAnswer", "LiveChat", "Phase", "Watcher"]

_CLOSING_SECONDS = 2.0
_log = logging.getLogger("tabbyapi.web")


class Phase(Enum):
    """State of a chat."""

    IDLE = "idle"
    WAITING = "waiting"
    ANSWERING = "answering"


class Watcher(Protocol):
    """A tab that shows a chat."""

    def changed(self) -> None:
        """The messages, the phase or the notice have changed."""

    def grew(self) -> None:
        """The answer under way has grown."""


class LiveAnswer:
    """The answer under way."""

    def __init__(self) -> None:
        self.reasoning: str = ""
        self.markdown: MarkdownStream = MarkdownStream()
        self.calls: list[ToolCall] = []
        self.dirty: asyncio.Event = asyncio.Event()
        self._tokens = 0
        self._first = 0.0

    def feed(self, chunk: ChatCompletionStreamResponse) -> None:
        """Add a chunk."""
        if not chunk.choices:
            return
        delta = chunk.choices[0].delta
        if not (delta.content or delta.reasoning_content or delta.tool_calls):
            return
        self.markdown.feed(delta.content or "")
        self.reasoning += delta.reasoning_content or ""
        self.calls += delta.tool_calls or ()
        self._tokens += 1
        self._first = self._first or time.monotonic()
        self.dirty.set()

    @property
    def rate(self) -> float:
        """Chunks a second so far, which is about the tokens a second."""
        passed = time.monotonic() - self._first
        return (self._tokens - 1) / passed if self._tokens > 1 and passed > 0.2 else 0.0


class LiveChat:
    """A conversation, and the answer under way.

    Attributes:
        name: the name it is saved under.
        conversation: what was said, and how answers are generated.
        phase: its state.
        live: the answer under way, None when idle.
        notice: what the last request ended with, if that needs telling.
        verdict: whether the last answer is valid for the JSON schema, "" without one.
        usage: tokens and timings of the last answer.
        draft, attached: text and images not sent yet.
        watchers: the tabs that show it.
    """

    def __init__(self, chats: Chats, name: str, conversation: AsyncConversation) -> None:
        self._chats = chats
        self.name = name
        self.conversation: AsyncConversation = conversation
        self.phase: Phase = Phase.IDLE
        self.live: LiveAnswer | None = None
        self.notice: str = ""
        self.verdict: str = ""
        self.usage: UsageStats | None = None
        self.draft: str = ""
        self.attached: list[ChatMessageContent] = []
        self.watchers: list[Watcher] = []
        self.read_at: int = 0  # time of change of the file that `conversation` agrees with
        self._asked: list[ChatMessage] = []  # messages shown while a request is under way
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self.phase is Phase.IDLE

    @property
    def messages(self) -> list[ChatMessage]:
        """The messages to show: without the system message and the answer under way."""
        shown = self.conversation.messages if self.idle else self._asked
        return [message for message in shown if message.role != "system"]

    @property
    def title(self) -> str:
        """What the chat is called on the page."""
        return title_of(self.name, next((m.text for m in self.messages if m.role == "user"), ""))

    @property
    def has_turns(self) -> bool:
        """True if there is something to save."""
        return any(message.role != "system" for message in self.conversation.messages)

    # ------------------------------------------------------------------ changing

    def send(self, text: str) -> None:
        """Send a message, with what is attached."""
        content: ContentLike = [*self.attached, text] if self.attached else text
        if self.idle and (text.strip() or self.attached):
            self.draft, self.attached = "", []
            self._start(self.conversation, content)

    def regenerate(self) -> None:
        """Ask again for the last answer. The old one stays if nothing comes."""
        fork = self.conversation.fork()
        content = fork.undo()
        if self.idle and content is not None:
            self._start(fork, content)

    def edit(self, index: int, text: str) -> None:
        """Change the message at `index` of `messages`, and go on from it.

        A user's message is answered anew. What followed it is gone then.
        """
        if not self.idle or not text.strip():
            return
        content = _with_text(self.messages[index], text)
        at = index + self._systems
        if self.messages[index].role != "user":
            self.conversation.edit(at, content)
            self._spawn(self.save())
            self._changed()
            return
        self._start(self._cut(at), content)

    def fork(self, index: int) -> AsyncConversation:
        """Copy the conversation up to the turn that ends with message `index`."""
        return self._cut(index + self._systems + 1)

    @property
    def _systems(self) -> int:
        return sum(message.role == "system" for message in self.conversation.messages)

    def _cut(self, length: int) -> AsyncConversation:
        fork = self.conversation.fork()
        while len(fork) > length and fork.undo() is not None:
            pass
        return fork

    def stop(self) -> None:
        """End the answer under way; what has arrived is kept."""
        if self._task is not None:
            self._task.cancel()

    def set_param(self, name: str, value: Any) -> None:
        """Set a parameter of the next answers, None to take the default."""
        params = self.conversation.params
        params.pop(name, None)
        self.conversation.params = params if value is None else {**params, name: value}

    # ------------------------------------------------------------------- answers

    def _start(self, conversation: AsyncConversation, content: ContentLike) -> None:
        self._asked = [*conversation.messages, user(content)]
        self.phase, self.live = Phase.WAITING, LiveAnswer()
        self.notice = self.verdict = ""
        self._task = self._spawn(self._run(conversation, content, self.live))
        self._changed()

    async def _run(
        self, conversation: AsyncConversation, content: ContentLike, live: LiveAnswer
    ) -> None:
        before = len(conversation)
        pump = asyncio.create_task(self._pump(live))
        self._chats.running += 1
        usage = None
        try:
            conversation.params = self.conversation.params
            async with conversation.stream(content) as stream:
                async for chunk in stream:
                    live.feed(chunk)
                usage = stream.response.usage
        except asyncio.CancelledError:
            self.notice = "Stopped." if len(conversation) > before else ""
        except TabbyError as error:
            self.notice = sentence(error, self._chats.url)
            if not isinstance(error, StreamError | ValidationError):
                self._spawn(self._chats.look())
        except Exception:
            _log.exception("an answer failed")
            self.notice = "The page itself failed. Its log says more."
        finally:
            self._chats.running -= 1
            pump.cancel()
        if len(conversation) > before:
            self.conversation, self.usage = conversation, usage
            self.verdict = _verdict(conversation) if usage else ""
            await self._save_shielded()
        elif conversation is self.conversation:
            message = user(content)
            self.draft = self.draft or message.text
            self.attached = self.attached or _images(message)
        self.phase, self.live, self._task = Phase.IDLE, None, None
        self._changed()
        self._chats.drop_if_unused(self)

    async def _pump(self, live: LiveAnswer) -> None:
        """Render the answer and tell the tabs, at most as often as they can follow."""
        while True:
            await live.dirty.wait()
            live.dirty.clear()
            if self.phase is Phase.WAITING:
                self.phase = Phase.ANSWERING
                self._changed()
            if self.watchers:
                live.markdown.step()
                for watcher in self.watchers:
                    watcher.grew()
            await asyncio.sleep(self._chats.interval(live.markdown.tail_length))

    # -------------------------------------------------------------------- saving

    async def save(self) -> None:
        """Write the conversation to its file."""
        snapshot = self.conversation.fork()
        try:
            self.read_at = await asyncio.to_thread(Library.save, self.name, snapshot)
        except (OSError, TabbyError) as error:
            self.notice = f"The conversation is not saved: {sentence(error)}"
        self._chats.saved()

    async def _save_shielded(self) -> None:
        with suppress(asyncio.CancelledError):  # stopped while saving: that goes on
            await asyncio.shield(self._spawn(self.save()))

    async def reread(self) -> None:
        """Take over what another program has written into the file."""
        changed = await asyncio.to_thread(Library.changed, self.name)
        if self.idle and changed > self.read_at:
            self.conversation = await self._chats.load(self.name)
            self.read_at = changed
            self._changed()

    # ------------------------------------------------------------------- watching

    def watch(self, watcher: Watcher) -> None:
        """Tell a tab of changes from now on."""
        self.watchers.append(watcher)
        if self.live is not None:
            self.live.markdown.step()

    def unwatch(self, watcher: Watcher) -> None:
        """Stop telling a tab."""
        if watcher in self.watchers:
            self.watchers.remove(watcher)
            self._chats.drop_if_unused(self)

    def _changed(self) -> None:
        for watcher in list(self.watchers):
            watcher.changed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._chats.spawn(work)


class Chats:
    """The chats in memory.

    Attributes:
        client: where requests are sent.
        url: its address.
        running: answers under way.
        on_saved: called when the list of saved conversations may have changed.
    """

    def __init__(self, client: AsyncClient, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.client = client
        self.url: str = client.base_url
        self.look = look
        self.running = 0
        self.on_saved: set[Callable[[], None]] = set()
        self._chats: dict[str, LiveChat] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, name: str) -> LiveChat:
        """The chat of this name: from memory, from its file, or a new one.

        Raises:
            ValidationError: no name for a chat, or its file is no conversation.
            OSError: the file cannot be read.
        """
        changed = await asyncio.to_thread(Library.changed, name)
        if name not in self._chats:
            conversation = await self.load(name) if changed else self.client.conversation()
            if name not in self._chats:
                self._chats[name] = LiveChat(self, name, conversation)
                self._chats[name].read_at = changed
        chat = self._chats[name]
        await chat.reread()
        return chat

    async def peek(self, name: str) -> LiveChat:
        """As `open`, for a look at it: a chat that no tab shows is not kept."""
        chat = await self.open(name)
        self.drop_if_unused(chat)
        return chat

    async def load(self, name: str) -> AsyncConversation:
        """Read a conversation from its file; raises as `open`."""
        return await asyncio.to_thread(sessions.load, name, self.client)

    async def add(self, conversation: AsyncConversation) -> LiveChat:
        """A new chat that begins with this conversation."""
        chat = LiveChat(self, sessions.fresh_name(), conversation)
        self._chats[chat.name] = chat
        await chat.save()
        return chat

    async def rename(self, old: str, new: str) -> None:
        """Rename a chat and its file.

        Raises:
            ValidationError: the name cannot be used, or is taken.
            OSError: the file cannot be renamed.
        """
        if new in self._chats:
            raise ValidationError(f"There is a conversation named {new!r} already.", field="name")
        await asyncio.to_thread(Library.rename, old, new)
        chat = self._chats.pop(old, None)
        if chat is not None:
            chat.name = new
            self._chats[new] = chat
        self.saved()

    async def delete(self, name: str) -> None:
        """Delete a chat and its file."""
        chat = self._chats.pop(name, None)
        if chat is not None:
            chat.stop()
        await asyncio.to_thread(Library.delete, name)
        self.saved()

    def saved(self) -> None:
        for listener in list(self.on_saved):
            listener()

    def drop_if_unused(self, chat: LiveChat) -> None:
        """Forget a chat that no tab shows; what was said is in its file."""
        unsaved = chat.draft or chat.attached
        if chat.idle and not chat.watchers and not unsaved and self._chats.get(chat.name) is chat:
            del self._chats[chat.name]

    def interval(self, length: int) -> float:
        """Seconds between two renderings of an answer.

        They grow with the number of answers, and with the length of what is rendered again.
        """
        return min(0.04 + 0.006 * self.running + length / 40_000, 1.0)

    async def close(self) -> None:
        """Stop all answers, and wait until what has arrived of them is saved."""
        for chat in list(self._chats.values()):
            chat.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=_CLOSING_SECONDS)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background, with a reference kept."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _images(message: ChatMessage) -> list[ChatMessageContent]:
    content = message.content
    if content is None or isinstance(content, str):
        return []
    return [part for part in content if not isinstance(part, str) and part.image_url]


def _with_text(message: ChatMessage, text: str) -> ContentLike:
    """The content of a message with another text, and its images."""
    images = _images(message)
    return [*images, text] if images else text


def _verdict(conversation: AsyncConversation) -> str:
    """Whether the last answer is valid for the conversation's JSON schema."""
    schema = conversation.params.get("json_schema")
    if not isinstance(schema, dict):
        return ""
    from .schema import problem_of

    text = conversation.messages[-1].text
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"This is not JSON: {error}"
    return problem_of(value, schema) or "Valid for the JSON schema."
