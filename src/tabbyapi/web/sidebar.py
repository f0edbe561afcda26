"""The list of saved conversations: search, open, rename, export, delete."""

from __future__ import annotations

import asyncio
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nicegui import events, ui

from ..cli import sessions
from ..errors import TabbyError
from .library import Item, Library
from .markdown import Safe, SafeHtml, plain
from .messages import button
from .words import sentence

if TYPE_CHECKING:
    from .chat_page import ChatView
    from .chats import Chats

__all__ = ["Sidebar"]

_LISTED = 200
_ACTS = (
    "(e) => { const b = e.target.closest('[data-act]'); "
    "if (!b || e.ctrlKey || e.metaKey || e.shiftKey) return; "
    "e.preventDefault(); emit(b.dataset.act, b.dataset.i); }"
)


class Sidebar:
    """The drawer on the left of a tab."""

    def __init__(self, chats: Chats, view: ChatView) -> None:
        self._chats = chats
        self._view = view
        self._library = Library()
        self._items: list[Item] = []
        self._drawer = ui.left_drawer(value=False, bordered=True, bottom_corner=True)
        self._drawer.props("width=280 breakpoint=900 show-if-above")
        with self._drawer, ui.element("nav").classes("stack").props('aria-label="Conversations"'):
            ui.button("New chat", icon="add", on_click=self._new).classes("accent w-full")
            self._search = ui.input("Search", on_change=self.refresh).classes("w-full")
            self._search.props("dense clearable debounce=200 type=search")
            self._list = SafeHtml()
            self._list.on("click", self._act, js_handler=_ACTS)
        chats.on_saved.add(self.refresh)
        self.refresh()

    def toggle(self) -> None:
        self._drawer.toggle()

    def leave(self) -> None:
        """The tab is gone."""
        self._chats.on_saved.discard(self.refresh)

    def refresh(self) -> None:
        """Read the list again."""
        self._chats.spawn(self._refresh())

    async def _refresh(self) -> None:
        search = str(self._search.value or "")
        self._items = await asyncio.to_thread(self._library.items, search)
        rows = "".join(self._row(item) for item in self._items[:_LISTED])
        more = len(self._items) - _LISTED
        note = f'<p class="quiet-text">{more} more: search for them.</p>' if more > 0 else ""
        if not rows:
            note = '<p class="quiet-text">Nothing found.</p>' if search else ""
        self._list.show(Safe(f'<ul class="chats">{rows}</ul>{note}'))

    def _row(self, item: Item) -> str:
        current = ' aria-current="page"' if item.name == self._view.chat.name else ""
        more = button("more", item.name, "more_vert", f"Actions for {item.title}")
        return (
            f'<li><a href="/chat/{quote(item.name)}" data-act="open" '
            f'data-i="{escape(item.name)}"{current}>{plain(item.title)}</a>{more}</li>'
        )

    async def _new(self) -> None:
        await self._view.turn_to(sessions.fresh_name())

    async def _act(self, event: events.GenericEventArguments) -> None:
        act, name = str(event.args[0]), str(event.args[1])
        if act == "open":
            await self._view.turn_to(name)
        else:
            self._ask(name)

    def _ask(self, name: str) -> None:
        """The dialog of one conversation."""

        async def rename() -> None:
            new = str(field.value or "").strip()
            if await _told(self._chats.rename(name, new)):
                dialog.close()
                if self._view.chat.name == new:
                    await self._view.turn_to(new)

        async def delete() -> None:
            dialog.close()
            shown = self._view.chat.name == name
            if await _told(self._chats.delete(name)) and shown:
                await self._new()

        with ui.dialog() as dialog, ui.card():
            dialog.props["aria-label"] = f"Conversation {name}"
            field = ui.input("Name", value=name).classes("w-full").props("outlined")
            field.on("keydown.enter", rename)
            with ui.element("div").classes("pair"):
                ui.link("Export as Markdown", f"/chat/{quote(name)}/export.md")
                ui.link("Export as JSON", f"/chat/{quote(name)}/export.json")
            with ui.element("div").classes("pair end"):
                ui.button("Delete", on_click=delete, color=None).props("flat").classes("bad-text")
                ui.button("Cancel", on_click=dialog.close, color=None).props("flat")
                ui.button("Rename", on_click=rename).classes("accent")
        dialog.on("hide", partial(dialog.delete))
        dialog.open()


async def _told(work: Any) -> bool:
    """Wait for something; show what went wrong. False if something did."""
    try:
        await work
    except (TabbyError, OSError) as error:
        ui.notify(sentence(error), type="negative")
        return False
    return True
