"""Chatting in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("nicegui", reason="the page needs the extra 'web'")
pytest.importorskip("playwright", reason="these tests drive a browser")

from playwright.sync_api import expect

from cli.scripted import bodies
from support.cut import Cuttable
from support.replay import ReplayServer
from web.conftest import PageServer, StartPage
from web.scripted import script

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

    from tabbyapi import LocalServer

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000020000000208020000"
    "00fdd49a730000001249444154789c63f8cfc0f01f8419601800478a07f9a99a"
    "3d8c0000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def api() -> Iterator[ReplayServer]:
    with ReplayServer([script]) as server:
        yield server


@pytest.fixture(scope="module")
def server(start_page: StartPage, api: ReplayServer) -> PageServer:
    return start_page(api.url)


@pytest.fixture
def page(context: BrowserContext, server: PageServer) -> Page:
    return opened(context, server.url)


def opened(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    expect(box(page)).to_be_visible()
    return page


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


def messages(page: Page) -> Locator:
    return page.locator(".log article")


def say(page: Page, text: str, *, wait: bool = True) -> None:
    """Send a message as a person does, and wait for the end of the answer."""
    before = messages(page).count()
    box(page).fill(text)
    box(page).press("Enter")
    if wait:
        expect(messages(page).nth(before + 1)).to_be_visible()
        idle(page)


def idle(page: Page) -> None:
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(page.locator("article[aria-busy]")).to_have_count(0)


def act(page: Page, label: str) -> None:
    button = page.get_by_role("button", name=label, exact=True)
    button.focus()
    button.click()


def body_of(message: Locator) -> Locator:
    return message.locator(".body")


# ------------------------------------------------------------------ conversation


def test_a_conversation_with_stop_and_edit_against_the_local_server(
    context: BrowserContext, start_page: StartPage, local_server: LocalServer
) -> None:
    key = local_server.api_key or ""
    page = opened(context, start_page(local_server.url, TABBY_API_KEY=key).url)
    say(page, "Tell me something long.", wait=False)
    expect(page.locator("article.assistant .body")).not_to_be_empty()
    page.get_by_role("button", name="Stop", exact=True).click()
    idle(page)
    expect(page.get_by_text("Stopped.")).to_be_visible()
    kept = body_of(messages(page).nth(1)).inner_text()
    assert kept.strip()
    page.get_by_role("button", name="Parameters").click()
    page.get_by_label("Max tokens").fill("8")
    page.get_by_label("Max tokens").press("Tab")
    say(page, "And now something short.")
    expect(messages(page)).to_have_count(4)
    act(page, "Edit message 1")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Message").fill("Tell me something else.")
    dialog.get_by_role("button", name="Send").click()
    expect(dialog).to_have_count(0)
    expect(messages(page)).to_have_count(2)
    idle(page)
    expect(messages(page).nth(0)).to_contain_text("something else")
    expect(page.locator(".gauge")).to_contain_text("tokens used")


def test_answers_stream_and_are_shown_as_markdown(page: Page) -> None:
    say(page, "say # Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n")
    answer = messages(page).nth(1)
    expect(answer.get_by_role("heading", name="Title")).to_be_visible()
    expect(answer.locator("td")).to_have_count(2)
    expect(answer.locator("span.hl-mi")).to_have_text("1")


def test_code_and_messages_can_be_copied(context: BrowserContext, page: Page) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    say(page, "say **bold** and\n\n```python\nx = 1\n```\n")
    page.get_by_role("button", name="Copy code").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == "x = 1"
    act(page, "Copy message 2")
    page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).startsWith('**bold**')"
    )


def test_an_answer_can_be_regenerated(page: Page, api: ReplayServer) -> None:
    say(page, "Once")
    before = len(bodies(api.requests))
    act(page, "Regenerate the answer")
    page.wait_for_timeout(300)
    idle(page)
    expect(messages(page)).to_have_count(2)
    requests = bodies(api.requests)
    assert len(requests) == before + 1
    assert len(requests[-1]["messages"]) == 1


def test_the_old_answer_stays_when_regenerating_fails(page: Page, api: ReplayServer) -> None:
    say(page, "say first answer")
    api.replies = [lambda request: script(request, fail=True)]
    try:
        act(page, "Regenerate the answer")
        expect(page.get_by_role("status").filter(has_text="No model is loaded")).to_be_visible()
        idle(page)
        expect(messages(page).nth(1)).to_contain_text("first answer")
    finally:
        api.replies = [script]


def test_an_answer_can_be_edited_and_the_chat_goes_on_from_it(
    page: Page, api: ReplayServer
) -> None:
    say(page, "say wrong answer")
    act(page, "Edit message 2")
    page.get_by_role("dialog").get_by_label("Message").fill("A better answer")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(messages(page).nth(1)).to_contain_text("A better answer")
    say(page, "Go on")
    sent = bodies(api.requests)[-1]["messages"]
    assert [m["content"] for m in sent] == ["say wrong answer", "A better answer", "Go on"]


def test_a_fork_leaves_the_other_chat_as_it_is(page: Page) -> None:
    say(page, "First")
    say(page, "Second")
    address = page.url
    act(page, "New chat from message 2")
    expect(messages(page)).to_have_count(2)
    expect(page).not_to_have_url(address)
    say(page, "Another second")
    expect(messages(page)).to_have_count(4)
    page.go_back()
    expect(messages(page)).to_have_count(4)
    expect(messages(page).nth(2)).to_contain_text("Second")


def test_reasoning_and_tool_calls_are_folded(page: Page) -> None:
    say(page, "reason")
    page.get_by_text("Reasoning").click()
    expect(page.get_by_text("Let me think.")).to_be_visible()
    say(page, "tool")
    page.get_by_text("Tool call: weather").click()
    expect(messages(page).last).to_contain_text('"Oslo"')


def test_hostile_output_runs_nothing_and_fetches_nothing(page: Page) -> None:
    say(page, "hostile output")
    answer = messages(page).nth(1)
    expect(answer).to_contain_text("Your session ended")
    for link in answer.locator("a").all():
        assert re.match(r"https?://|mailto:", link.get_attribute("href") or "")
    assert page.evaluate("window.pwned") is None
    page.reload()
    expect(messages(page).nth(1)).to_contain_text("Your session ended")
    assert page.evaluate("window.pwned") is None
    for forbidden in ("img", "iframe", "form", "input", "style", "script", "svg", "object"):
        expect(page.locator(f".log {forbidden}")).to_have_count(0)
    expect(page.locator(".log [onerror], .log [style*=position]")).to_have_count(0)


# ------------------------------------------------------------------------ images


def image_part(request: dict[str, Any]) -> dict[str, Any]:
    found = [p for p in request["messages"][-1]["content"] if p["type"] == "image_url"]
    assert len(found) == 1
    part: dict[str, Any] = found[0]
    return part


@pytest.mark.parametrize("way", ["file", "paste", "drop"])
def test_an_image_goes_with_the_message(page: Page, api: ReplayServer, way: str) -> None:
    if way == "file":
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Attach an image").click()
        chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": PNG})
    else:
        page.evaluate(
            """([bytes, way]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], 'a.png', {type: 'image/png'}));
              const event = way === 'paste'
                ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true})
                : new DragEvent('drop', {dataTransfer: data, bubbles: true});
              document.querySelector('textarea').dispatchEvent(event);
            }""",
            [list(PNG), way],
        )
    expect(page.locator(".attached img")).to_have_count(1)
    say(page, "What is this?")
    part = image_part(bodies(api.requests)[-1])
    assert part["image_url"]["url"].startswith("data:image/png;base64,")
    expect(page.locator(".attached img")).to_have_count(0)
    shown = page.locator("article.user img")
    expect(shown).to_be_visible()
    page.wait_for_function("document.querySelector('article.user img').naturalWidth === 2")


def test_what_is_no_image_is_refused(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach an image").click()
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    expect(page.get_by_text("is no PNG")).to_be_visible()
    expect(page.locator(".attached img")).to_have_count(0)


# ------------------------------------------------------------ nothing gets lost


def test_a_reload_in_the_middle_of_an_answer_loses_nothing(page: Page) -> None:
    say(page, "count 25", wait=False)
    expect(messages(page).nth(1)).to_contain_text("5")
    page.reload()
    expect(messages(page).nth(1)).to_contain_text("1 2 3 4 5")
    idle(page)
    expect(body_of(messages(page).nth(1))).to_have_text(" ".join(map(str, range(1, 26))))


def test_a_cut_of_five_seconds_loses_nothing(context: BrowserContext, server: PageServer) -> None:
    with Cuttable(server.url) as way:
        page = opened(context, way.url)
        say(page, "count 60", wait=False)
        expect(messages(page).nth(1)).to_contain_text("5")
        with way.cut():
            page.wait_for_timeout(5000)
        idle(page)
        expect(body_of(messages(page).nth(1))).to_have_text(" ".join(map(str, range(1, 61))))
        page.close()


def test_an_unsent_message_survives_a_reload(page: Page) -> None:
    box(page).fill("I was about to say")
    page.wait_for_timeout(200)
    page.reload()
    expect(box(page)).to_have_value("I was about to say")


def test_a_closed_tab_does_not_end_the_answer(context: BrowserContext, page: Page) -> None:
    say(page, "count 12", wait=False)
    expect(messages(page).nth(1)).to_contain_text("2")
    address = page.url
    page.close()
    again = opened(context, address)
    idle(again)
    expect(body_of(messages(again).nth(1))).to_have_text(" ".join(map(str, range(1, 13))))


def test_two_tabs_do_not_mix_and_the_same_chat_is_shown_in_both(
    context: BrowserContext, page: Page, server: PageServer
) -> None:
    other, twin = opened(context, server.url), opened(context, page.url)
    say(page, "count 6", wait=False)
    say(other, "say other answer")
    expect(messages(other)).to_have_count(2)
    expect(messages(other).nth(1)).to_contain_text("other answer")
    expect(messages(twin).nth(1)).to_contain_text("1 2 3 4 5 6")
    idle(page)
    expect(messages(page).nth(1)).not_to_contain_text("other")


# ------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("toolong", "does not fit into the model's context"),
        ("unloaded", "Load one on the Server page"),
        ("forbidden", "does not accept this page's key"),
    ],
)
def test_a_refused_message_is_explained_and_comes_back(
    page: Page, text: str, sentence: str
) -> None:
    say(page, text, wait=False)
    expect(page.get_by_role("status").filter(has_text=sentence)).to_be_visible()
    expect(box(page)).to_have_value(text)
    expect(messages(page)).to_have_count(0)


def test_half_an_answer_is_kept_and_explained(page: Page) -> None:
    say(page, "break")
    expect(messages(page).nth(1)).to_contain_text("Half of an")
    expect(page.get_by_text("broke in the middle")).to_be_visible()


def test_a_server_that_is_gone_is_told_at_once(
    context: BrowserContext, start_page: StartPage
) -> None:
    page = opened(context, start_page("http://127.0.0.1:9").url)
    expect(page.get_by_text("No server answers at http://127.0.0.1:9")).to_be_visible()
    say(page, "Hello?", wait=False)
    expect(box(page)).to_have_value("Hello?")


# --------------------------------------------------------------------- json mode


def test_json_answers_are_checked(page: Page, api: ReplayServer) -> None:
    page.get_by_role("button", name="Parameters").click()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    page.get_by_label("JSON schema").fill("{")
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    page.get_by_label("JSON schema").fill(json.dumps(schema))
    expect(page.get_by_text("This is not JSON")).not_to_be_visible()
    page.wait_for_timeout(400)
    say(page, 'say {"a": 1}')
    assert bodies(api.requests)[-1]["json_schema"] == schema
    expect(page.get_by_text("Valid for the JSON schema.")).to_be_visible()
    say(page, 'say {"a": "x"}')
    expect(page.get_by_text("Not valid for the JSON schema: ['a']")).to_be_visible()


# ------------------------------------------------------------------------- lists


def test_parameters_are_checked_sent_and_kept(page: Page, api: ReplayServer) -> None:
    page.get_by_role("button", name="Parameters").click()
    page.get_by_label("Temperature").fill("11")
    expect(page.get_by_text("temperature must be")).to_be_visible()
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("System prompt").fill("Be brief.")
    page.wait_for_timeout(600)
    say(page, "Hello")
    sent = bodies(api.requests)[-1]
    assert sent["temperature"] == 0.5
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    page.reload()
    page.get_by_role("button", name="Parameters").click()
    expect(page.get_by_label("Temperature")).to_have_value("0.5")
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")


def test_chats_are_listed_searched_renamed_exported_and_deleted(page: Page) -> None:
    say(page, "say the capital of Norway is Oslo")
    nav = page.get_by_role("navigation", name="Conversations")
    nav.get_by_role("searchbox", name="Search").fill("norway")
    expect(nav.get_by_role("link")).to_have_count(1)
    nav.get_by_role("button", name=re.compile("Actions for")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Capitals")
    dialog.get_by_role("button", name="Rename").click()
    expect(nav.get_by_role("link", name="Capitals")).to_be_visible()
    expect(page).to_have_url(re.compile("/chat/Capitals$"))
    nav.get_by_role("button", name="Actions for Capitals").click()
    for kind, content in (("Markdown", "### User"), ("JSON", '"role"')):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Export as {kind}").click()
        assert content in Path(download.value.path()).read_text(encoding="utf-8")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(nav.get_by_role("link", name="Capitals")).to_have_count(0)
    expect(messages(page)).to_have_count(0)


def test_the_terminal_goes_on_with_a_chat_and_back(
    page: Page, server: PageServer, api: ReplayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tabbyapi
    from tabbyapi.cli import sessions

    say(page, "say from the page")
    monkeypatch.setenv("HOME", str(server.home))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with tabbyapi.Client(api.url, api_key="a-key") as client:
        name = sessions.latest() or ""
        conversation = sessions.load(name, client)
        assert conversation.messages[-1].text == "from the page"
        conversation.send("From the terminal")
        sessions.save(name, conversation)
    page.reload()
    expect(messages(page)).to_have_count(4)
    say(page, "Back again")
    assert len(bodies(api.requests)[-1]["messages"]) == 5
