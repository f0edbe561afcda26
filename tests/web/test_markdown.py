"""Markdown becomes HTML that is safe to show."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")

import tabbyapi
from tabbyapi.web.markdown import MarkdownStream, render
from web.hostile import ATTEMPTS

WEB = Path(tabbyapi.__file__).parent / "web"

# What the page itself puts around code, and what it lets through.
ALLOWED = (
    "p h1 h2 h3 h4 h5 h6 ul ol li pre code em strong s a blockquote table thead tbody tr th td "
    "hr br span div button"
)
ALLOWED_ATTRIBUTES = {
    "a": {"href", "rel", "target"},
    "button": {"type", "class", "aria-label"},
    "div": {"class"},
    "pre": {"tabindex"},
    "code": {"class"},
    "span": {"class"},
    "ol": {"start"},
    "th": {"style"},
    "td": {"style"},
}


class Checker(HTMLParser):
    """Fails on every tag and attribute that does not belong there."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED.split(), tag
        for name, value in attrs:
            assert name in ALLOWED_ATTRIBUTES.get(tag, set()), (tag, name)
            if name == "href":
                assert re.match(r"(https?://|mailto:)", value or "", re.I), value
            if name == "style":
                assert re.fullmatch(r"text-align:\s*(left|right|center);?", value or ""), value
            if name == "class" and tag == "button":
                assert value == "copy"


def check(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    checker.close()


@pytest.mark.parametrize("text", ATTEMPTS)
def test_hostile_output_becomes_harmless(text: str) -> None:
    check(render(text))


@given(st.lists(st.sampled_from([*ATTEMPTS, "\n", "```", "> ", "- ", "| a |\n|-|\n", "**"])))
def test_hostile_output_in_pieces_and_mixed_stays_harmless(pieces: list[str]) -> None:
    stream = MarkdownStream()
    for piece in pieces:
        stream.feed(piece)
        stream.step()
    check("".join(stream.finished) + stream.tail)
    check(render("".join(pieces)))


@given(st.text(alphabet="ab <>\"'`*_[]()!#|-\n\\&:;/=1.", max_size=200))
def test_any_text_becomes_harmless(text: str) -> None:
    check(render(text))


def test_a_remote_image_becomes_a_link() -> None:
    html = render("![a cat](https://example.com/cat.png)")
    assert "<img" not in html
    assert 'href="https://example.com/cat.png"' in html
    assert "Image: a cat" in html


def test_code_is_highlighted_and_can_be_copied() -> None:
    html = render("```python\nx = 1\n```")
    assert 'class="hl-mi"' in html
    assert 'class="copy"' in html


def test_tables_keep_their_alignment() -> None:
    assert "text-align" in render("| a |\n|--:|\n| 1 |")


TEXT = """# Title

A paragraph with **bold** text
over two lines.

1. one

2. two

   more of two

| a | b |
|---|---|
| 1 | 2 |

```python
def f():

    return 1
```

> quoted

End"""


def normal(html: str) -> str:
    return re.sub(r"\s+|</?span[^>]*>", "", html)


@pytest.mark.parametrize("size", [1, 3, 17, 1000])
def test_a_stream_ends_as_the_whole_text_does(size: int) -> None:
    stream = MarkdownStream()
    for at in range(0, len(TEXT), size):
        stream.feed(TEXT[at : at + size])
        stream.step()
    assert normal("".join(stream.finished) + stream.tail) == normal(render(TEXT))


def test_finished_blocks_are_rendered_once() -> None:
    stream = MarkdownStream()
    for i in range(50):
        stream.feed(f"paragraph {i}\n\n")
        stream.step()
        assert stream.tail_length < 100
    assert len(stream.finished) >= 48


def test_only_one_place_shows_html_as_it_is() -> None:
    for path in WEB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("ui.markdown", "ui.html", "ui.add_body_html"), path.name
            keywords = {keyword.arg for keyword in node.keywords}
            assert "sanitize" not in keywords or path.name == "markdown.py", path.name


def test_what_is_called_safe_is_made_where_text_is_escaped() -> None:
    users = {path.name for path in WEB.rglob("*.py") if "Safe(" in path.read_text(encoding="utf-8")}
    assert users <= {"markdown.py", "messages.py", "chat_page.py", "sidebar.py", "frame.py"} | {
        "server_page.py"
    }
