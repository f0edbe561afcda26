"""The server page: models, adapters, templates, presets, tokens, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nicegui import ui

from ..errors import ModelNotLoadedError, TabbyError
from ..types.services import LoraScaling
from .fields import fields_of
from .frame import facts, heading, icon_button, set_up, theme_button
from .markdown import Safe, SafeHtml, code_block, plain
from .params_panel import field_element
from .status import ServerStatus
from .words import sentence

if TYPE_CHECKING:
    from .._client.aio import AsyncClient
    from ..types.models import LoadProgress

__all__ = ["show_server"]

T = TypeVar("T")

_TABS = ("Health", "Models", "Adapters", "Templates", "Presets", "Tokens")
_COMMON = ("max_seq_len", "cache_size", "cache_mode", "chunk_size", "vision", "prompt_template")


def show_server(client: AsyncClient, status: ServerStatus) -> None:
    """Build the page in the current client."""
    ServerView(client, status).build()


class ServerView:
    """One tab's server page. Each section asks the server when it is opened."""

    def __init__(self, client: AsyncClient, status: ServerStatus) -> None:
        self._client = client
        self._status = status
        self._sections: dict[str, ui.element] = {}

    def build(self) -> None:
        theme = set_up("Server - TabbyAPI")
        with ui.header(elevated=False), ui.element("div").classes("bar"):
            icon_button("arrow_back", "Back to the chat", lambda: ui.navigate.back())
            heading("Server", 1, "title grow")
            theme_button(theme)
        with ui.element("div").classes("sheet"):
            self._problem = ui.label().classes("bad-text").props("role=status")
            with ui.tabs().props('align=left no-caps aria-label="Sections"') as tabs:
                for name in _TABS:
                    ui.tab(name)
            with ui.tab_panels(tabs, value=_TABS[0], animated=False).classes("w-full"):
                for name in _TABS:
                    with ui.tab_panel(name):
                        self._sections[name] = ui.element("div").classes("stack")
            tabs.on_value_change(lambda event: self._open(str(event.value)))
        self._status.listeners.add(self._show_status)
        ui.context.client.on_delete(lambda: self._status.listeners.discard(self._show_status))
        self._show_status()
        ui.timer(0, self._status.refresh, once=True)

    async def _open(self, name: str) -> None:
        """Fill a section anew."""
        section = self._sections[name]
        section.clear()
        with section:
            if name == "Health":
                self._show_status()
                return
            fill = {
                "Models": self._models,
                "Adapters": self._adapters,
                "Templates": self._templates,
                "Presets": self._presets,
                "Tokens": self._tokens,
            }[name]
            try:
                await fill()
            except TabbyError as error:
                ui.label(sentence(error, self._status.url)).classes("bad-text")

    async def _try(self, work: Awaitable[T], done: str, again: str = "") -> T | None:
        """Wait for a request; say how it went; then fill a section anew."""
        try:
            result = await work
        except TabbyError as error:
            ui.notify(sentence(error, self._status.url), type="negative", multi_line=True)
            return None
        ui.notify(done)
        await self._status.refresh()
        if again:
            await self._open(again)
        return result

    def _needs_admin(self) -> bool:
        """Say that a section needs the admin key, if the page has none."""
        if not self._status.is_admin:
            ui.label(
                "Changes need the server's admin key. Start the page with --admin-key, or with "
                "TABBY_ADMIN_KEY set."
            ).classes("quiet-text")
        return not self._status.is_admin

    # -------------------------------------------------------------------- health

    def _show_status(self) -> None:
        status = self._status
        self._problem.set_text(status.problem)
        self._problem.set_visibility(bool(status.problem))
        section = self._sections["Health"]
        section.clear()
        health = status.health
        if health is None:
            return
        parameters = status.model.parameters if status.model else None
        shown = {
            "Address": status.url,
            "Health": "healthy" if health.healthy else "unhealthy",
            "Model": status.model_name or "none loaded",
            "This page's key": "admin" if status.is_admin else "API key, no changes",
        }
        if parameters is not None:
            more = {
                "Context": f"{parameters.max_seq_len:,} tokens" if parameters.max_seq_len else "",
                "Cache": f"{parameters.cache_size:,} tokens" if parameters.cache_size else "",
                "Requests at once": str(parameters.max_batch_size or ""),
                "Prompt template": parameters.prompt_template or "",
                "Sees images": "yes" if parameters.use_vision else "no",
            }
            shown |= {name: value for name, value in more.items() if value}
        with section:
            SafeHtml(facts(shown))
            if health.issues:
                heading("What went wrong")
                issues = "".join(
                    f"<dt>{plain(i.time)}</dt><dd>{plain(i.description)}</dd>"
                    for i in health.issues[-20:]
                )
                SafeHtml(Safe(f'<dl class="facts">{issues}</dl>'))

    # -------------------------------------------------------------------- models

    async def _models(self) -> None:
        limited = self._needs_admin()
        cards = await self._client.models.list()
        loaded = self._status.model_name
        if not cards:
            ui.label("There are no models on the server.")
        params: dict[str, Any] = {}
        for card in cards:
            with ui.element("div").classes("line rowlike"):
                ui.label(card.id).classes("grow")
                if card.id == loaded:
                    ui.label("loaded").classes("quiet-text")
                elif not limited:
                    button = ui.button("Load", color=None).props("outline dense")
                    button.props["aria-label"] = f"Load {card.id}"
                    button.on_click(lambda name=card.id: self._load(name, params))
        if limited:
            return
        self._progress = ui.element("div").classes("stack")
        if loaded:
            ui.button("Unload", on_click=self._unload, color=None).props("outline")
        with ui.expansion("Options for loading").classes("w-full"):
            self._load_options(params)
        with ui.expansion("Download a model").classes("w-full"):
            self._download_form()

    def _load_options(self, params: dict[str, Any]) -> None:
        fields = fields_of("LoadParams")
        others = [name for name in fields if name not in _COMMON]
        with ui.element("div").classes("fields"):
            for name in (*_COMMON, *others):
                field_element(fields[name], None, _setter(params, name))

    async def _load(self, name: str, params: dict[str, Any]) -> None:
        self._progress.clear()
        with self._progress:
            label = ui.label(f"Loading {name} ...").props("role=status")
            bar = ui.linear_progress(value=0, show_value=False).props('aria-label="Load progress"')
        try:
            given = {key: value for key, value in params.items() if value is not None}
            async with self._client.models.load_stream(name, **given) as steps:
                async for step in steps:
                    bar.value = step.fraction
                    label.set_text(_step(name, step))
        except TabbyError as error:
            label.set_text(sentence(error, self._status.url))
            label.classes("bad-text")
            bar.delete()
            await self._status.refresh()
            return
        ui.notify(f"{name} is loaded.")
        await self._status.refresh()
        await self._open("Models")

    async def _unload(self) -> None:
        await self._try(self._client.models.unload(), "The model is unloaded.", "Models")

    def _download_form(self) -> None:
        repo = ui.input("Repository, as owner/name").classes("w-full").props("outlined dense")
        params: dict[str, Any] = {}
        fields = fields_of("DownloadParams")
        with ui.element("div").classes("fields"):
            for name in ("revision", "folder_name", "include", "exclude", "repo_type"):
                field_element(fields[name], None, _setter(params, name))

        async def download() -> None:
            busy.set_visibility(True)
            given = {key: value for key, value in params.items() if value is not None}
            path = await self._try(
                self._client.models.download(str(repo.value or ""), **given), "Downloaded."
            )
            busy.set_visibility(False)
            if path is not None:
                await self._open("Models")

        ui.button("Download", on_click=download).classes("accent")
        busy = ui.linear_progress(show_value=False).props('indeterminate aria-label="Downloading"')
        busy.set_visibility(False)

    # ----------------------------------------------------- adapters and the rest

    async def _adapters(self) -> None:
        limited = self._needs_admin()
        cards = await self._client.lora.list()
        try:
            active = {card.id: card.scaling for card in await self._client.lora.active()}
        except ModelNotLoadedError:
            active = {}
        if not cards:
            ui.label("There are no LoRA adapters on the server.")
        scalings: dict[str, ui.number] = {}
        for card in cards:
            with ui.element("div").classes("line rowlike"):
                ui.label(card.id).classes("grow")
                if limited:
                    ui.label(f"scaling {active[card.id]}" if card.id in active else "not in use")
                    continue
                number = ui.number("Scaling", value=active.get(card.id), step=0.1)
                number.props("dense outlined clearable")
                number.props["aria-label"] = f"Scaling of {card.id}, empty: not in use"
                scalings[card.id] = number
        if limited or not cards:
            return

        async def apply() -> None:
            wanted = [
                LoraScaling(name, float(number.value))
                for name, number in scalings.items()
                if number.value is not None
            ]
            if not wanted:
                await self._try(self._client.lora.unload(), "No adapter is in use.", "Adapters")
                return
            result = await self._try(self._client.lora.load(wanted), "Applied.", "Adapters")
            if result is not None and result.failure:
                ui.notify(f"Not loaded: {', '.join(result.failure)}", type="negative")

        ui.label("Empty: not in use. 1 is as trained, 0 is without effect.").classes("quiet-text")
        ui.button("Apply", on_click=apply).classes("accent")

    async def _templates(self) -> None:
        limited = self._needs_admin()
        names = await self._client.templates.list()
        parameters = self._status.model.parameters if self._status.model else None
        current = parameters.prompt_template if parameters else None
        self._choices(
            names,
            current,
            None if limited else self._client.templates.switch,
            None if limited else self._client.templates.unload,
            "Templates",
        )
        if parameters and parameters.prompt_template_content:
            with ui.expansion("The template in use").classes("w-full"):
                SafeHtml(code_block(parameters.prompt_template_content))

    async def _presets(self) -> None:
        limited = self._needs_admin()
        found = await self._client.sampling.list_overrides()
        self._choices(
            found.presets,
            found.selected_preset,
            None if limited else self._client.sampling.switch_override,
            None if limited else self._client.sampling.unload_override,
            "Presets",
        )
        if found.overrides:
            heading("Overrides in force")
            shown = {
                name: f"{override.override}{' (forced)' if override.force else ''}"
                for name, override in found.overrides.items()
            }
            SafeHtml(facts(shown))

    def _choices(
        self,
        names: list[str],
        current: str | None,
        switch: Callable[[str], Awaitable[None]] | None,
        unload: Callable[[], Awaitable[None]] | None,
        section: str,
    ) -> None:
        """A list of names, one of which is in use."""
        if not names:
            ui.label("There are none on the server." if switch else "None is shown to this key.")
        for name in names:
            with ui.element("div").classes("line rowlike"):
                ui.label(name).classes("grow")
                if name == current:
                    ui.label("in use").classes("quiet-text")
                elif switch is not None:
                    button = ui.button("Use", color=None).props("outline dense")
                    button.props["aria-label"] = f"Use {name}"
                    button.on_click(lambda n=name: self._try(switch(n), f"{n} is in use.", section))
        if current and unload is not None:
            ui.button(
                "Stop using it",
                on_click=lambda: self._try(unload(), "It is no longer in use.", section),
                color=None,
            ).props("outline")

    async def _tokens(self) -> None:
        async def count() -> None:
            try:
                ids = await self._client.tokens.encode(str(text.value or ""))
            except TabbyError as error:
                answer.set_text(sentence(error, self._status.url))
                return
            answer.set_text(f"{len(ids):,} tokens")
            listed.show(code_block(" ".join(map(str, ids[:2000]))) if ids else Safe(""))

        text = ui.textarea("Text").props("outlined autogrow").classes("w-full")
        ui.button("Count tokens", on_click=count).classes("accent")
        answer = ui.label().props("role=status")
        listed = SafeHtml().classes("w-full")


def _setter(params: dict[str, Any], name: str) -> Callable[[Any], None]:
    return lambda value: params.__setitem__(name, value)


def _step(name: str, step: LoadProgress) -> str:
    return f"Loading {name}: {step.model_type or 'model'} {step.module} of {step.modules}"
