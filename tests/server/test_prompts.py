"""Prompt templates of any author: rendered as Jinja2 does, stopped where they would not end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.processes import renderers
from support.tiny_model import write_random
from tabbyapi.local_server import LocalServer
from tabbyapi.server.prompt.child import Job, render
from tabbyapi.server.prompt.render import chat_prompt
from tabbyapi.server.prompt.templates import Renderer, TemplateError
from tabbyapi.server.schemas import ChatCompletionRequest

from .conftest import ADMIN, API, CHAT, HELLO, Raw

DOUBLED = (
    "{% set ns = namespace(x=1) %}{% for _ in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% endfor %}{% set other = namespace(x=1) %}{% for _ in range(60) %}"
    "{% set other.x = [other.x, other.x] %}{% endfor %}"
)

SMALL = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


class Rendering:
    """A renderer, and a loop to use it in."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.renderer = Renderer(seconds=0.3)

    def __call__(self, source: str, variables: dict[str, Any] | None = None) -> str:
        async def rendered() -> str:
            template = await self.renderer.compile(source, "test")
            return await template.render({"messages": []} if variables is None else variables)

        return self.runner.run(rendered())


@pytest.fixture(scope="module")
def rendering() -> Iterator[Rendering]:
    made = Rendering()
    yield made
    made.runner.run(made.renderer.close())
    made.runner.close()


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ ('{0.__class__}'.format)(1).x.y }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ messages.x.y }}",
        "{{ 1 / 0 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ raise_exception('no') }}",
        "{{ raise_exception('\ud800') }}".encode("utf-8", "replace").decode(),
        "{{ '\\ud800' }}",
        "{{ range(10**9) | list }}",
        # Code that Python cannot make, or not compile.
        "{% break %}",
        "{% continue %}",
        "{{" + "9" * 5000 + "}}",
        "{{" + "(" * 1000 + "1" + ")" * 1000 + "}}",
        "{{" + "not " * 3000 + "1}}",
        "{% for a in b %}" * 21 + "{% endfor %}" * 21,
        "{% for",
        "{% endfor %}",
        "{{ x | nosuchfilter }}",
        "x" * 2_000_000,
    ],
    ids=lambda source: source[:40],
)
def test_a_faulty_template_is_a_template_error(rendering: Rendering, source: str) -> None:
    with pytest.raises(TemplateError, match=r"\S"):
        rendering(source)


@pytest.mark.parametrize(
    "source",
    [
        DOUBLED + "{{ ns.x == other.x }}",
        DOUBLED + "{{ ns.x < other.x }}",
        DOUBLED + "{{ ns.x }}",
        DOUBLED + "{{ ns.x | tojson }}",
        "{{ (3 ** 3000000) ** 30 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{{ [0] * 10**10 }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '{0[}]:>{1}}'.format({'}': 1}, 10**10) }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ 'x' | center(1000000) }}" * 3000,
        "{% set ns = namespace(x='ab') %}{% for _ in range(60) %}"
        "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    ],
    ids=lambda source: source[-40:],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded on Linux")
def test_a_template_without_end_or_bounds_is_stopped(rendering: Rendering, source: str) -> None:
    with pytest.raises(TemplateError, match=r"it takes (more than 0.3 s|too much memory)"):
        rendering(source)
    assert rendering(SMALL, {"messages": HELLO}) == "user: Say hello.\n"


def test_what_greedy_templates_keep_does_not_starve_the_next_one() -> None:
    async def scenario() -> str:
        # Compiled templates are kept: some of these take all that the process may have.
        renderer = Renderer(memory=200 << 20)
        for letter in "abcdefg":
            await renderer.compile(f"{{{{ '{letter}' | center(1000000) }}}}" * 20, "greedy")
        text = await (await renderer.compile("{{ ('x' * 60000000) | length }}", "big")).render({})
        await renderer.close()
        return text

    assert asyncio.run(scenario()) == "60000000"


def test_what_templates_really_do_is_as_in_jinja2(rendering: Rendering) -> None:
    source = (
        "{% for message in messages %}{{ loop.index0 ~ '/' ~ loop.length }}"
        "{% if loop.previtem is defined %},{% endif %}"
        "{{ '<|' + message.role + '|>' + message.content | trim }}"
        "{{ message | tojson(indent=2) }}{{ '%s-%03d' % ('a', 7) }}{{ '{:>5}'.format('b') }}"
        "{% endfor %}{{ names | join(', ') | replace('x', 'y') | upper | indent(2) }}"
        "{{ messages | map(attribute='role') | join('+') }}{{ missing }}{{ [1, 'a', none] }}"
        "{% for nothing in missing %}{% endfor %}{% for k, v in table.items() %}{{ k }}{{ v }}"
        "{% else %}empty{% endfor %}{{ 'abc'.center(7).ljust(9).replace('b', 'B') }}"
        "{{ ([1] + [2]) | sum }}{{ 2 ** 5 * 3 }}{{ 'http://x.y.org' | urlize }}"
    )
    messages = [{"role": "user", "content": " hé "}, {"role": "assistant", "content": "ok"}]
    text = rendering(source, {"messages": messages, "names": ["x", "z"], "table": {"k": 1}})
    told = [
        f"{k}/2{',' if k else ''}<|{m['role']}|>{m['content'].strip()}"
        f"{json.dumps(m, ensure_ascii=False, indent=2)}a-007    b"
        for k, m in enumerate(messages)
    ]
    rest = "Y, Zuser+assistant[1, 'a', None]k1  aBc    396"
    assert text == "".join(told) + rest + (
        '<a href="http://x.y.org" rel="noopener">http://x.y.org</a>'
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ tools is none }} {{ functions is none }} {{ documents is none }}", "True True True"),
        ("{{ pad_token is none }} {{ unk_token is none }}", "True True"),
        ("{% if tools %}tools{% else %}none{% endif %}", "none"),
        ("{{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true) }}", '{"a": "é", "b": 1}'),
        ("{{ {'b': 1} | tojson(separators=(',', ':')) }}", '{"b":1}'),
        ("{{ 'é<' | tojson(ensure_ascii=true) }}", '"\\u00e9<"'),
        ("{{ [1] | tojson(indent=1) }}", "[\n 1\n]"),
        ("{% generation %}a{% endgeneration %}b", "ab"),
        ("{% for k in [1, 2, 3] %}{% if k == 2 %}{% continue %}{% endif %}{{k}}{% endfor %}", "13"),
        ("{% for k in [1, 2, 3] %}{% if k == 2 %}{% break %}{% endif %}{{k}}{% endfor %}", "1"),
        ("{{ strftime_now('%Y') }}", str(datetime.now().year)),
    ],
)  # fmt: skip
def test_templates_find_what_hugging_face_gives_them(source: str, text: str) -> None:
    variables = dict.fromkeys(("tools", "functions", "documents", "pad_token", "unk_token"))
    assert render(Job(source, variables)) == {"text": text}


def test_a_renderer_gives_what_is_absent_as_none(rendering: Rendering) -> None:
    assert rendering("{{ tools }}{{ documents }}{{ unk_token }}") == "NoneNoneNone"


# ------------------------------------------------------------------------- in the server


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    """A server whose model file and templates folder hold hostile templates."""
    folder = tmp_path_factory.mktemp("hostile")
    model = write_random(folder / "own.gguf", chat_template="{{ range(1000000000) | list }}")
    templates = folder / "templates"
    templates.mkdir()
    (templates / "frozen.jinja").write_text(DOUBLED + "{{ ns.x == other.x }}")
    (templates / "huge.jinja").write_text("{{ 'x' | center(1000000) }}" * 3000)
    (templates / "small.jinja").write_text(SMALL)
    server = LocalServer(
        model, templates_dir=templates, api_keys=(API,), admin_key=ADMIN, threads=1, n_ctx=512
    )
    with server, urllib3.PoolManager() as pool:
        yield Raw(server, pool)


def switch(raw: Raw, name: str) -> urllib3.BaseHTTPResponse:
    headers = {"X-Admin-Key": ADMIN, "Content-Type": "application/json"}
    return raw("POST", "/v1/template/switch", {"prompt_template_name": name}, headers=headers)


def test_the_engine_does_not_run_the_template_of_the_file(attacked: Raw) -> None:
    # It would have taken gigabytes, and the load would have failed.
    answer = attacked("POST", CHAT, {"messages": HELLO})
    assert answer.status == 400
    assert "MAX_RANGE" in answer.json()["detail"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded on Linux")
def test_the_server_answers_others_while_a_template_is_being_stopped(attacked: Raw) -> None:
    assert switch(attacked, "frozen").status == 200
    answers: list[int] = []
    slowest = 0.0
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(attacked, "POST", CHAT, {"messages": HELLO})
        while not asked.done():
            begin = time.monotonic()
            answers.append(attacked("GET", "/health").status)
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(0.01)
    answer = asked.result()
    assert answer.status == 400
    assert "TemplateError: it takes more than 2 s" in answer.json()["detail"]
    assert set(answers) == {200}
    assert slowest < 1, "it was frozen"
    answer = switch(attacked, "huge")
    assert answer.status == 400
    assert "TemplateError: it takes" in answer.json()["detail"]
    assert switch(attacked, "small").status == 200
    assert attacked.chat(max_tokens=1)["choices"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_renderer_costs_no_request(attacked: Raw, blow: signal.Signals) -> None:
    assert switch(attacked, "small").status == 200
    pid = attacked.server.pid
    assert pid is not None
    for _ in range(3):
        for renderer in renderers(pid):
            os.kill(renderer, blow)
        assert attacked.chat(max_tokens=1)["choices"]
    assert len(renderers(pid)) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")
def test_a_renderer_does_not_outlive_its_server(random_model: Path) -> None:
    with LocalServer(random_model, threads=1, n_ctx=512) as server:
        assert server.pid is not None
        (renderer,) = renderers(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{renderer}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("last", ["<", "|", "\n", "end", "a", "user", "  "])
def test_a_short_final_message_is_continued_where_it_ends(rendering: Rendering, last: str) -> None:
    source = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    request = ChatCompletionRequest.model_validate(
        {
            "messages": [*HELLO, {"role": "assistant", "content": last}],
            "continue_final_message": True,
            "add_generation_prompt": False,
        }
    )

    async def prompt() -> str:
        template = await rendering.renderer.compile(source, "continued")
        return await chat_prompt(request, template, bos="", eos="")

    hello = HELLO[0]["content"]
    assert rendering.runner.run(prompt()) == f"<|user|>\n{hello}<|end|>\n<|assistant|>\n{last}"


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_a_template_without_tools_gets_them_in_the_system_message(
    rendering: Rendering, system: list[dict[str, str]]
) -> None:
    request = ChatCompletionRequest.model_validate({"messages": [*system, *HELLO], "tools": [TOOL]})

    async def prompt(describe: bool) -> str:
        template = await rendering.renderer.compile(SMALL, "small")
        return await chat_prompt(request, template, bos="", eos="", describe_tools=describe)

    told = rendering.runner.run(prompt(True))
    assert told.count("system: ") == 1
    assert all(message["content"] in told for message in system)
    assert '"name": "weather"' in told
    assert "<tool_call>" in told
    assert "weather" not in rendering.runner.run(prompt(False))
