"""The chat page: one tab's view of a chat."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from nicegui import events, ui

from ..errors import TabbyError
from ..images import image
from .chats import Chats, LiveChat, Phase
from .frame import icon_button, name_element, set_up, theme_button
from .markdown import Safe, SafeHtml, plain
from .messages import button, image_of, message_html, reasoning_html, tool_calls_html
from .params_panel import ParamsPanel
from .sidebar import Sidebar
from .status import ServerStatus
from .words import sentence

__all__ = ["show_chat"]

_SHOWN = 60  # messages; earlier ones on request
_LARGEST_IMAGE = 20 << 20
_ENTER = (
    "(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); "
    "emit('send'); } else if (e.key === 'Escape') emit('stop'); }"
)
_ACTS = (
    "(e) => { const b = e.target.closest('[data-act]'); if (b) emit(b.dataset.act, b.dataset.i); }"
)
_EMPTY = Safe(
    '<div class="empty"><p>What shall we talk about?</p>'
    "Enter sends, Shift+Enter begins a new line, Esc stops the answer.</div>"
)


def show_chat(chats: Chats, status: ServerStatus, chat: LiveChat) -> None:
    """Build the page in the current client, and keep it up to date."""
    ChatView(chats, status, chat).build()


class ChatView:
    """The elements of a tab. It watches one chat, and may turn to another."""

    def __init__(self, chats: Chats, status: ServerStatus, chat: LiveChat) -> None:
        self._chats = chats
        self._status = status
        self.chat: LiveChat = chat
        self._client = ui.context.client
        self._rows: list[SafeHtml] = []
        self._live: _LiveRow | None = None
        self._earlier = 0  # messages before those shown
        self._shown_gauge = ""

    def build(self) -> None:
        theme = set_up(self.chat.title)
        self._sidebar = Sidebar(self._chats, self)
        self._panel = ParamsPanel(self)
        with ui.header(elevated=False), ui.element("div").classes("bar"):
            icon_button("menu", "Conversations", self._sidebar.toggle)
            self._title = SafeHtml(tag="h1").classes("title grow")
            self._model = ui.link("", "/server").classes("quiet-text ellipsis hide-narrow")
            theme_button(theme)
            icon_button("dns", "Server", partial(ui.navigate.to, "/server"))
            icon_button("tune", "Parameters", self._panel.toggle)
        with ui.element("div").classes("middle"):
            self._more = ui.button("Show earlier messages", on_click=self._show_earlier, color=None)
            self._more.props("flat")
            self._log = ui.element("div").classes("log")
            self._log.props('role=log aria-live=polite aria-label="Conversation"')
            self._log.on("click", self._act, js_handler=_ACTS)
            self._notice = ui.label().classes("log notice").props("role=status")
        with ui.footer(), ui.element("div").classes("composer"):
            self._build_composer()
        self._watch()
        self._status.listeners.add(self._show_status)
        self._client.on_delete(self._leave)
        self._show_status()
        self._chats.spawn(self._status.refresh(max_age=5.0))

    def _build_composer(self) -> None:
        self._attached = SafeHtml().classes("attached")
        self._attached.on("click", self._act, js_handler=_ACTS)
        uploader = ui.upload(
            on_upload=self._attach,
            on_rejected=lambda: ui.notify("Images of up to 20 MB can be attached."),
            auto_upload=True,
            multiple=True,
            max_file_size=_LARGEST_IMAGE,
        )
        uploader.classes("hidden uploader").props('accept="image/*" aria-hidden=true')
        with ui.element("div").classes("box"):
            icon_button("image", "Attach an image", lambda: uploader.run_method("pickFiles"))
            self._input = ui.textarea(placeholder="Message", on_change=self._keep_draft)
            self._input.props('borderless autogrow input-style="max-height: 14rem"').classes("grow")
            self._input.props["aria-label"] = "Message"
            self._input.props["autofocus"] = True
            self._input.on("keydown", self._key, js_handler=_ENTER)
            self._go = icon_button("arrow_upward", "Send", self._send_or_stop)
            self._go.classes("accent", remove="quiet")
        with ui.element("div").classes("foot quiet-text"):
            self._gauge = SafeHtml()
            self._speed = ui.label().props("aria-live=off")

    # -------------------------------------------------------------------- events

    def _key(self, event: events.GenericEventArguments) -> None:
        if event.args == "stop":
            self.chat.stop()
        else:
            self._send()

    def _send_or_stop(self) -> None:
        if self.chat.idle:
            self._send()
        else:
            self.chat.stop()

    def _send(self) -> None:
        text = str(self._input.value or "")
        if self.chat.idle and (text.strip() or self.chat.attached):
            self._input.value = ""
            self.chat.send(text)
            ui.run_javascript("tabbyFollow()")

    def _keep_draft(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if not self._restoring:
            self.chat.draft = str(event.value or "")

    _restoring = False

    async def _attach(self, event: events.UploadEventArguments) -> None:
        try:
            self.chat.attached.append(image(await event.file.read()))
        except TabbyError as error:
            ui.notify(f"{event.file.name}: {sentence(error)}", type="negative")
        if not self._status.sees_images:
            ui.notify("The loaded model does not see images: it will ignore this one.")
        self._show_attached()

    async def _act(self, event: events.GenericEventArguments) -> None:
        """A click on a button within a message."""
        act, index = str(event.args[0]), int(event.args[1])
        if act == "detach":
            del self.chat.attached[index : index + 1]
            self._show_attached()
            return
        messages = self.chat.messages
        if not 0 <= index < len(messages):
            return
        if act == "copy":
            ui.run_javascript(f"tabbyCopy({_js(messages[index].text)})")
            ui.notify("Copied")
        elif not self.chat.idle:
            ui.notify("Wait for the answer, or stop it first.")
        elif act == "regenerate":
            self.chat.regenerate()
        elif act == "fork":
            await self.turn_to((await self._chats.add(self.chat.fork(index))).name)
            ui.notify("This is a copy: the other chat stays as it is.")
        elif act == "edit":
            self._edit(index)

    def _edit(self, index: int) -> None:
        message = self.chat.messages[index]
        answered = message.role == "user"

        def save() -> None:
            dialog.close()
            self.chat.edit(index, str(text.value))

        with ui.dialog() as dialog, ui.card():
            dialog.props["aria-label"] = "Edit message"
            text = ui.textarea("Message", value=message.text).classes("w-full")
            text.props('outlined autogrow autofocus input-style="max-height: 50vh"')
            ui.label(
                "What follows this message is dropped. Copy the chat first to keep it."
            ).classes("quiet-text")
            with ui.element("div").classes("pair end"):
                ui.button("Cancel", on_click=dialog.close, color=None).props("flat")
                ui.button("Send" if answered else "Save", on_click=save).classes("accent")
        dialog.on("hide", dialog.delete)
        dialog.open()

    async def turn_to(self, name: str) -> None:
        """Show another chat in this tab."""
        try:
            chat = await self._chats.open(name)
        except (TabbyError, OSError) as error:
            ui.notify(sentence(error), type="negative")
            return
        self.chat.unwatch(self)
        self.chat = chat
        self._earlier = 0
        self._log.clear()
        self._rows, self._live = [], None
        self._watch()
        self._panel.refresh()
        self._sidebar.refresh()
        ui.navigate.history.push(f"/chat/{quote(name)}")
        ui.run_javascript(f"document.title = {_js(chat.title)}; tabbyFollow()")

    def _watch(self) -> None:
        self.chat.watch(self)
        self._earlier = max(0, len(self.chat.messages) - _SHOWN)
        self.changed()

    def _leave(self) -> None:
        self.chat.unwatch(self)
        self._status.listeners.discard(self._show_status)
        self._sidebar.leave()

    def _show_earlier(self) -> None:
        self._earlier = 0
        self._log.clear()
        self._rows, self._live = [], None
        self.changed()

    # ------------------------------------------------------------------- showing

    def changed(self) -> None:
        """Show the chat as it is now; messages that are the same stay untouched."""
        chat = self.chat
        messages = chat.messages[self._earlier :]
        json_mode = "json_schema" in chat.conversation.params
        pages = [
            message_html(
                message,
                self._earlier + i,
                chat.name,
                last=chat.idle and i == len(messages) - 1,
                json_mode=json_mode,
            )
            for i, message in enumerate(messages)
        ]
        if self._live is not None and chat.idle:
            self._live.delete()
            self._live = None
        if not pages:
            pages = [_EMPTY]
        for row, page in zip(self._rows, pages, strict=False):
            row.show(page)
        with self._log:
            for page in pages[len(self._rows) :]:
                self._rows.append(SafeHtml(page))
        for row in self._rows[len(pages) :]:
            row.delete()
        del self._rows[len(pages) :]
        if chat.live is not None and self._live is None:
            with self._log:
                self._live = _LiveRow(waiting=chat.phase is Phase.WAITING)
        if self._live is not None and chat.live is not None:
            self._live.set_waiting(chat.phase is Phase.WAITING)
            self.grew()
        self._more.set_visibility(self._earlier > 0)
        self._title.show(plain(chat.title))
        self._notice.set_text(" ".join(t for t in (chat.notice, chat.verdict) if t))
        self._notice.set_visibility(bool(chat.notice or chat.verdict))
        self._show_composer()
        self._show_use()

    def grew(self) -> None:
        """Show what has arrived of the answer."""
        if self._live is not None and self.chat.live is not None:
            self._live.show(self.chat.live)
            rate = self.chat.live.rate
            self._speed.set_text(f"{rate:.0f} tokens/s" if rate else "")

    def _show_composer(self) -> None:
        idle = self.chat.idle
        self._go.set_icon("arrow_upward" if idle else "stop")
        name_element(self._go, "Send" if idle else "Stop")
        if idle and self.chat.draft != (self._input.value or ""):
            self._restoring = True
            self._input.value = self.chat.draft
            self._restoring = False
        self._show_attached()

    def _show_attached(self) -> None:
        shown = "".join(
            f'<div class="one"><img src="{plain(image_of(part))}" alt="Attached image {i + 1}">'
            f"{button('detach', i, 'close', f'Remove image {i + 1}')}</div>"
            for i, part in enumerate(self.chat.attached)
        )
        self._attached.show(Safe(shown))

    def _show_use(self) -> None:
        """The gauge of the context, and the speed of the last answer."""
        use, usage = self.chat.conversation.tokens, self.chat.usage
        context = use.context or self._status.context
        cached = getattr(usage, "cached_tokens", None) if usage else None
        text = f"{use.used:,} tokens used"
        if context:
            text = f"{use.used:,} of {context:,} tokens used, {max(0, context - use.used):,} free"
        if cached:
            text += f", {cached:,} cached"
        bar = f'<progress max="{context}" value="{use.used}" aria-hidden="true"></progress>'
        shown = f'<span class="gauge">{bar if context else ""}{plain(text)}</span>'
        self._gauge.show(Safe(shown if self.chat.has_turns else ""))
        rate = usage.completion_tokens_per_sec if usage else None
        self._speed.set_text(f"{rate:.1f} tokens/s" if isinstance(rate, int | float) else "")

    def _show_status(self) -> None:
        status = self._status
        text = status.model_name or ("no model loaded" if not status.problem else "no server")
        self._model.set_text(text if status.health or status.problem else "")
        if status.problem and self.chat.idle and not self.chat.notice:
            self._notice.set_text(status.problem)
            self._notice.set_visibility(True)
        elif self.chat.idle and not (self.chat.notice or self.chat.verdict):
            self._notice.set_visibility(False)
        self._show_use()


class _LiveRow:
    """The answer under way: its finished blocks each an element, and the growing one."""

    def __init__(self, *, waiting: bool) -> None:
        with ui.element("article").classes("message assistant") as self._row:
            self._reasoning = SafeHtml()
            with ui.element("div").classes("body"):
                self._blocks = ui.element("div")
                self._tail = SafeHtml()
            self._calls = SafeHtml()
        self._shown = 0
        self._thought = ""
        self._called = 0
        self.set_waiting(waiting)

    def set_waiting(self, waiting: bool) -> None:
        if waiting:
            self._row.classes("waiting")
            self._row.props["aria-busy"] = "true"
        elif "aria-busy" in self._row.props:
            self._row.classes(remove="waiting")
            del self._row.props["aria-busy"]

    def show(self, live: Any) -> None:
        if live.reasoning != self._thought:
            self._thought = live.reasoning
            self._reasoning.show(reasoning_html(live.reasoning, is_open=not live.markdown.text))
        new = live.markdown.finished[self._shown :]
        if new:
            with self._blocks:
                SafeHtml(Safe("".join(new)))
            self._shown += len(new)
        self._tail.show(live.markdown.tail)
        if len(live.calls) != self._called:
            self._called = len(live.calls)
            self._calls.show(tool_calls_html(live.calls))

    def delete(self) -> None:
        self._row.delete()


def _js(text: str) -> str:
    """A text as a JavaScript string."""
    import json

    return json.dumps(text)
