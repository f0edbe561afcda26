"""The drawer on the right: system prompt, sampling parameters, answers as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nicegui import events, ui

from ..errors import TabbyError, ValidationError
from .fields import Field, fields_of
from .frame import heading

if TYPE_CHECKING:
    from .chat_page import ChatView

__all__ = ["ParamsPanel", "field_element"]

_COMMON = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
)
# Fields that mean nothing here, or would change what the page shows.
_HIDDEN = (
    "n json_schema response_format best_of echo suffix user stream_options add_bos_token "
    "add_generation_prompt continue_final_message prompt_template functions"
)


class ParamsPanel:
    """Edits the parameters of the chat that a tab shows; they are saved with it."""

    def __init__(self, view: ChatView) -> None:
        self._view = view
        self._elements: dict[str, ui.element] = {}
        self._drawer = ui.right_drawer(value=False, bordered=True, bottom_corner=True)
        self._drawer.props("width=330 breakpoint=1100")
        self._built = False

    def toggle(self) -> None:
        self._build()
        self._drawer.toggle()

    def refresh(self) -> None:
        """Show the parameters of another chat."""
        if self._built:
            self._drawer.clear()
            self._built = False
            self._build()

    def _build(self) -> None:
        """Make the elements; they cost time and memory, and few look at them."""
        if self._built:
            return
        self._built = True
        fields = fields_of("ChatParams")
        params = self._view.chat.conversation.params
        with self._drawer, ui.element("div").classes("stack"):
            heading("System prompt")
            system = ui.textarea(value=self._view.chat.conversation.system or "")
            system.props("outlined autogrow debounce=300").classes("w-full")
            system.props["aria-label"] = "System prompt"
            system.on_value_change(self._set_system)
            heading("Sampling")
            with ui.element("div").classes("narrow-fields"):
                for name in _COMMON:
                    self._element(fields[name], params)
            self._build_schema(params)
            rest = ui.expansion("All parameters").classes("w-full")
            rest.on_value_change(lambda: self._build_rest(rest, fields))

    def _build_rest(self, parent: ui.expansion, fields: dict[str, Field]) -> None:
        if parent.default_slot.children:
            return
        params = self._view.chat.conversation.params
        with parent, ui.element("div").classes("stack"):
            group = ""
            for field in fields.values():
                if field.name in _HIDDEN.split() or field.name in _COMMON:
                    continue
                if field.group != group:
                    group = field.group
                    ui.label(group).classes("quiet-text")
                self._element(field, params)

    def _build_schema(self, params: dict[str, Any]) -> None:
        heading("Answer as JSON")
        schema = params.get("json_schema")
        shown = json.dumps(schema, indent=2) if isinstance(schema, dict) else ""
        box = ui.textarea("JSON schema", value=shown, validation=self._set_schema)
        box.props('outlined autogrow debounce=300 input-style="max-height: 16rem"')
        box.props('hint="Empty: answers are text."').classes("w-full")

    def _element(self, field: Field, params: dict[str, Any]) -> None:
        def changed(value: Any) -> None:
            self._view.chat.set_param(field.name, value)

        field_element(field, params.get(field.name), changed)

    def _set_system(self, event: events.ValueChangeEventArguments[Any]) -> None:
        try:
            self._view.chat.conversation.system = str(event.value or "").strip() or None
        except TabbyError:
            ui.notify("The system prompt can be changed when the answer has ended.")

    def _set_schema(self, text: str) -> str | None:
        """Take a schema over; return what is wrong with it."""
        from .schema import problem_of_schema

        schema: Any = None
        if text.strip():
            try:
                schema = json.loads(text)
            except ValueError as error:
                return f"This is not JSON: {error}"
            if problem := problem_of_schema(schema):
                return problem
        self._view.chat.set_param("json_schema", schema)
        return None


def field_element(field: Field, value: Any, changed: Any) -> ui.element:
    """The element that edits a parameter.

    Args:
        field: the parameter.
        value: what it is now, None for the default.
        changed: called with each new value that can be used; None for the default.
    """

    def take(shown: Any) -> str | None:
        try:
            changed(field.value_of(shown))
        except ValidationError as error:
            return error.message
        return None

    shown = field.shown_of(value)
    element: Any
    if field.kind in ("number", "integer"):
        element = ui.number(field.label, value=shown, validation=take)
        element.props(f"step={1 if field.kind == 'integer' else 0.05}")
        for bound, number in (("min", field.low), ("max", field.high)):
            if number is not None:
                element.props[bound] = number
    elif field.kind in ("switch", "choice"):
        options = [True, False] if field.kind == "switch" else list(field.choices)
        labels = {None: "Default", **{option: _label(option) for option in options}}
        element = ui.select(labels, label=field.label, value=shown, validation=take)
    elif field.kind == "text":
        element = ui.input(field.label, value=shown or "", validation=take)
    else:
        element = ui.textarea(field.label, value=shown or "", validation=take).props("autogrow")
    element.props("outlined dense stack-label debounce=300 hide-bottom-space hide-hint").classes(
        "w-full"
    )
    element.props["hint"] = element.props["title"] = field.doc
    if field.kind not in ("switch", "choice"):
        element.props["placeholder"] = field.default
    return element  # type: ignore[no-any-return]


def _label(value: Any) -> str:
    return {"True": "On", "False": "Off"}.get(str(value), str(value))
