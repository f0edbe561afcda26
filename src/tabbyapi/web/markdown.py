"""Markdown to HTML that is safe to show, and the one element that shows it.

Model output is hostile: it must not run scripts, draw over the page, ask for passwords or fetch
anything from other hosts. markdown-it passes no HTML through, an nh3 allow-list removes the rest,
images become links. `SafeHtml` takes `Safe` only, and only this module makes `Safe` from Markdown.

Streaming: `MarkdownStream` renders the last block of a growing text again and again, and each
block before it once. Links that are defined further down, and highlighted code, appear when the
text is complete and rendered as a whole.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from functools import cache
from html import escape
from typing import Any, NewType

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from nicegui import ui

__all__ = ["MarkdownStream", "Safe", "SafeHtml", "code_block", "plain", "render"]

Safe = NewType("Safe", str)
"""HTML made of trusted tags, in which all foreign text is escaped or sanitised."""

_TAGS = (
    "p h1 h2 h3 h4 h5 h6 ul ol li pre code em strong s a blockquote table thead tbody tr th td "
    "hr br span"
)
_ATTRIBUTES = {
    "a": {"href"},
    "code": {"class"},
    "span": {"class"},
    "ol": {"start"},
    "th": {"style"},
    "td": {"style"},
}
_LONGEST_HIGHLIGHTED = 20_000  # characters; a lexer is slow, and may be slower on hostile text
_LANGUAGES = (
    "bash c cpp csharp css diff go html ini java javascript js json jsx kotlin lua markdown md "
    "php powershell ps1 py python ruby rust sh shell sql swift toml ts tsx typescript xml yaml "
    "yml zsh"
)
_COPY = (
    '<div class="code"><button type="button" class="copy" aria-label="Copy code">Copy</button>'
    '<pre tabindex="0">'
)


class _Renderer(RendererHTML):
    """Shows an image as a link: nothing is fetched without a click."""

    def image(
        self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]
    ) -> str:
        token = tokens[idx]
        source = str(token.attrs.get("src", ""))
        title = self.renderInlineAsText(token.children or [], options, env) or source
        return f'<a href="{escape(source)}">Image: {escape(title)}</a>'


def _highlighted(code: str, language: str, _attributes: str) -> str:
    """Code with a span for each token; "" leaves it as it is."""
    if language.lower() not in _LANGUAGES.split() or len(code) > _LONGEST_HIGHLIGHTED:
        return ""
    from pygments import highlight

    lexer, formatter = _lexer(language.lower())
    return str(highlight(code, lexer, formatter))


@cache
def _lexer(language: str) -> tuple[Any, Any]:
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    formatter = HtmlFormatter(nowrap=True, classprefix="hl-")
    return get_lexer_by_name(language, stripnl=False), formatter


class _Parser(MarkdownIt):
    """Takes links to other hosts only: relative ones would lead into this page."""

    def validateLink(self, url: str) -> bool:
        return re.match(r"https?://|mailto:", url, re.IGNORECASE) is not None


_parser = _Parser("commonmark", {"html": False}, renderer_cls=_Renderer)
_parser.enable(["table", "strikethrough"])
_plain_options = _parser.options
_rich_options = OptionsDict({**_plain_options, "highlight": _highlighted})  # type: ignore[typeddict-item]


def _html(tokens: Sequence[Token], env: MutableMapping[str, Any], options: OptionsDict) -> Safe:
    cleaned = nh3.clean(
        _parser.renderer.render(tokens, options, env),
        tags=set(_TAGS.split()),
        attributes=_ATTRIBUTES,
        filter_style_properties={"text-align"},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    # Text is escaped by now: these are tags.
    return Safe(cleaned.replace("<pre>", _COPY).replace("</pre>", "</pre></div>"))


def render(text: str) -> Safe:
    """Render Markdown, with highlighted code."""
    env: dict[str, Any] = {}
    return _html(_parser.parse(text, env), env, _rich_options)


def code_block(text: str, language: str = "") -> Safe:
    """Render a text as it is, in a block with a button to copy it."""
    token = Token("fence", "code", 0, content=text, info=language, markup="```")
    return _html([token], {}, _rich_options)


def plain(text: str) -> Safe:
    """Escape a text."""
    return Safe(escape(text))


class MarkdownStream:
    """Renders Markdown that arrives piece by piece.

    Attributes:
        text: all that has arrived.
        finished: the blocks that will not change any more.
        tail: the last block.
    """

    def __init__(self) -> None:
        self.text: str = ""
        self.finished: list[Safe] = []
        self.tail: Safe = Safe("")
        self._rendered = 0  # length of `text` that `finished` covers

    @property
    def tail_length(self) -> int:
        """Characters that the next `step` renders."""
        return len(self.text) - self._rendered

    def feed(self, text: str) -> None:
        """Add text. It shows after the next `step`."""
        self.text += text

    def step(self) -> None:
        """Render what has arrived."""
        source = self.text[self._rendered :]
        env: dict[str, Any] = {}
        tokens = _parser.parse(source, env)
        starts = [i for i, t in enumerate(tokens) if t.level == 0 and t.map and t.nesting >= 0]
        if len(starts) > 1:
            last = starts[-1]
            first_line = (tokens[last].map or [0])[0]
            rest = source.split("\n", first_line)[first_line]
            # An incomplete line may still turn out to continue the block before it.
            if "\n" in rest:
                self.finished.append(_html(tokens[:last], env, _rich_options))
                self._rendered = len(self.text) - len(rest)
                tokens = tokens[last:]
        self.tail = _html(tokens, env, _plain_options)


class SafeHtml(ui.html):
    """Shows HTML as it is; the only element that does."""

    def __init__(self, content: Safe | None = None, *, tag: str = "div") -> None:
        super().__init__(content or "", sanitize=False, tag=tag)

    def show(self, content: Safe) -> None:
        """Replace what is shown."""
        if content != self.content:
            self.set_content(content)
