"""What all pages share: head, theme, title, small elements with names for screen readers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from nicegui import ui

from .markdown import Safe, SafeHtml, plain

__all__ = ["facts", "heading", "icon_button", "name_element", "set_up", "theme_button"]

_THEMES = {"auto": None, "dark": True, "light": False}
_THEME_ICONS = {"auto": "brightness_auto", "dark": "dark_mode", "light": "light_mode"}


def set_up(title: str) -> str:
    """Begin a page; return the theme that its cookie names."""
    ui.page_title(title)
    request = ui.context.client.request
    prefix = request.headers.get("x-forwarded-prefix", "")
    prefix = prefix if re.fullmatch(r"[\w/.-]*", prefix, re.ASCII) else ""
    ui.add_head_html(
        f'<link rel="stylesheet" href="{prefix}/static/page.css">'
        f'<script src="{prefix}/static/page.js"></script>'
    )
    ui.colors(primary="#2f4fb5")
    theme = request.cookies.get("tabbyapi-theme", "auto")
    return theme if theme in _THEMES else "auto"


def theme_button(theme: str) -> None:
    """A button that goes through the themes: the system's, dark, light."""
    mode = ui.dark_mode(_THEMES[theme])
    names = list(_THEMES)

    def turn() -> None:
        nonlocal theme
        theme = names[(names.index(theme) + 1) % len(names)]
        mode.value = _THEMES[theme]
        button.set_icon(_THEME_ICONS[theme])
        name_element(button, f"Theme: {theme}")
        ui.run_javascript(
            f"document.cookie = 'tabbyapi-theme={theme}; path=/; max-age=31536000; samesite=lax'"
        )

    button = icon_button(_THEME_ICONS[theme], f"Theme: {theme}", turn)


def icon_button(icon: str, label: str, on_click: Callable[..., Any]) -> ui.button:
    """A button with an icon, and a name for screen readers and as a tooltip."""
    button = ui.button(icon=icon, on_click=on_click, color=None)
    button.props("flat round dense").classes("quiet")
    name_element(button, label)
    return button


def name_element(element: ui.element, label: str) -> None:
    """Name an element for screen readers and in its tooltip."""
    element.props["aria-label"] = element.props["title"] = label
    element.update()


def heading(text: str, level: int = 2, classes: str = "") -> SafeHtml:
    """A heading."""
    element = SafeHtml(plain(text), tag=f"h{level}")
    if classes:
        element.classes(classes)
    return element


def facts(values: dict[str, str]) -> Safe:
    """Names and values, as a list of definitions."""
    rows = "".join(f"<dt>{plain(k)}</dt><dd>{plain(v)}</dd>" for k, v in values.items())
    return Safe(f'<dl class="facts">{rows}</dl>')
