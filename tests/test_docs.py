"""The documentation is true: its programs run, and so do the examples.

The Python blocks of a page run in order, in one namespace, against a local server that the
environment variables name. A block after `<!-- no-run: reason -->` is only compiled, and so is one
after `<!-- client: package -->`, which tests/other_clients runs.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tabbyapi import LocalServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(
    r"(?P<no_run><!-- (?:no-run|client): [^\n]+ -->\n)?^```(?:python|py)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
BOUND = 120  # seconds that no program here comes near


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    runs: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Block(match["code"], line, match["no_run"] is None)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def programs(paths: list[Path]) -> list[object]:
    """Parameters of a test that runs these."""
    return [pytest.param(path, id=name_of(path)) for path in paths]


# Programs that look after a server, or whose answers need no meaning: the tiny model is faster.
TINY = {
    "docs/guides/services.md",
    "docs/guides/reliability.md",
    *(
        f"examples/{name}.py"
        for name in (
            "auth",
            "download",
            "embeddings",
            "error_handling",
            "health",
            "image",
            "load_embedding",
            "lora",
            "models",
            "sampling",
            "templates",
            "tokens",
        )
    ),
}
ARGUMENTS = {"examples/download.py": ["owner/model"], "examples/templates.py": ["plain"]}


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a program leaves open: answers are bounded, and the same each time."""
    folder = tmp_path_factory.mktemp("presets")
    (folder / "fixed.yml").write_text(
        "max_tokens: {override: 120}\ntemperature: {override: 0}\n", encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def smollm_server(smollm: Path, tiny_model: Path, presets: Path) -> Iterator[LocalServer]:
    """A server with the default model, and a tiny one for embeddings."""
    from tabbyapi import LocalServer

    with LocalServer(
        smollm,
        presets_dir=presets,
        preset="fixed",
        embeddings_dir=tiny_model.parent,
        embeddings=tiny_model.stem,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def tiny_server(tiny_model: Path, presets: Path, tmp_path_factory: Any) -> Iterator[LocalServer]:
    """A server with the tiny model and something of everything that a server may have."""
    from support.hub import Hub
    from support.tiny_lora import write_lora
    from tabbyapi import LocalServer

    templates, loras = tmp_path_factory.mktemp("templates"), tmp_path_factory.mktemp("loras")
    (templates / "plain.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    write_lora(loras / "pirate.gguf")
    models = tmp_path_factory.mktemp("models") / tiny_model.name
    shutil.copy(tiny_model, models)
    with (
        Hub({"owner/model": {"model.gguf": tiny_model.read_bytes()}}) as hub,
        LocalServer(
            models,
            presets_dir=presets,
            preset="fixed",
            templates_dir=templates,
            loras_dir=loras,
            embeddings=tiny_model.stem,
            hub_url=hub.url,
        ) as server,
    ):
        yield server


def environment(path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables that lead a program to its server."""
    name = "tiny_server" if name_of(path) in TINY else "smollm_server"
    server: LocalServer = request.getfixturevalue(name)
    return {
        **os.environ,
        "TABBY_API_ENDPOINT": server.url,
        "TABBY_API_KEY": server.api_key,
        "TABBY_ADMIN_KEY": server.admin_key,
        "PYTHONWARNINGS": "error::ResourceWarning",
        "PYTHONIOENCODING": "utf-8",
    }


def run(program: Path, environment: dict[str, str], folder: Path, *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, program, *arguments],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=BOUND,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr
    assert "ResourceWarning" not in result.stderr


@pytest.mark.parametrize("page", programs([page for page in PAGES if any(blocks(page))]))
def test_the_programs_of_a_page_run(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = []
    for block in blocks(page):
        # Padded with empty lines, so that a traceback names the line of the page.
        source = "\n" * block.line + block.code
        compile(source, name_of(page), "exec")
        if block.runs:
            program.append(source)
    script = tmp_path / "page.py"
    script.write_text(
        f"namespace = {{'__name__': '__main__'}}\n"
        f"for source in {program!r}:\n"
        f"    exec(compile(source, {name_of(page)!r}, 'exec'), namespace)\n",
        encoding="utf-8",
    )
    run(script, environment(page, request), tmp_path)


@pytest.mark.parametrize("example", programs(EXAMPLES))
def test_an_example_runs(example: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    arguments = ARGUMENTS.get(name_of(example), [])
    run(example, environment(example, request), tmp_path, *arguments)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_says_what_it_shows(example: Path) -> None:
    assert re.match(r'"""[A-Z].+?\."?', example.read_text(encoding="utf-8"), re.S)


GENERATING = {"create", "create_stream", "run", "parse", "parse_stream", "map", "parse_many"}


def unbounded(code: str) -> list[str]:
    """Calls that generate text, and do not say how much at most."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
        service, _, method = called.rpartition(".")
        generates = method in GENERATING and service.endswith((".chat", ".completions"))
        if (generates or method == "conversation") and not given & {"max_tokens", None}:
            found.append(called)
    return found


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=name_of)
def test_an_example_says_how_much_is_generated_at_most(path: Path) -> None:
    if path.suffix == ".py":
        assert unbounded(path.read_text(encoding="utf-8")) == []
        return
    assert [call for block in blocks(path) if block.runs for call in unbounded(block.code)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [
        target
        for target in targets
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert missing == []


def test_every_block_that_does_not_run_says_why() -> None:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if "no-run" in line:
                assert re.fullmatch(r"<!-- no-run: .{10,} -->", line), f"{page}: {line}"


def test_the_reference_has_every_public_name() -> None:
    import tabbyapi

    found = set()
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        directives = re.findall(r"^\.\. auto(\w+):: (\S+)", page.read_text(encoding="utf-8"), re.M)
        for kind, name in directives:
            found.add(name.rpartition(".")[2])
            if kind == "module":
                found.update(import_module(name).__all__)
    assert set(tabbyapi.__all__) - found == set()


def test_the_guide_has_every_setting_of_the_local_server() -> None:
    """Its table: the option, the setting of `LocalServer`, the default."""
    from tabbyapi.cli.serve import serve
    from tabbyapi.server.settings import Settings

    page = (ROOT / "docs/guides/local-server.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(--[^|]*)` \| `(\w+)` \| ([^|]*) \| \S[^|]+ \|$", page, re.M)
    told = {name: (re.findall(r"--[\w-]+", option), default) for option, name, default in rows}
    assert list(told) == [field.name for field in fields(Settings)]

    options = {option.name: {*option.opts, *option.secondary_opts} for option in serve.params}
    options["auth"] = options["no_auth"]
    for field in fields(Settings):
        named, default = told[field.name]
        assert set(named) <= options[field.name]
        assert default.strip() in (f"`{field.default}`", f"`{field.default!r}`", "") or (
            field.default in (None, "", ())
        ), f"{field.name} is {field.default!r} by default, not {default}"


def test_the_web_app_of_the_recipes_streams_and_stops_when_the_browser_leaves(
    tmp_path: Path,
) -> None:
    from support.replay import ReplayServer, Reply

    app = next(blocks(ROOT / "docs/guides/recipes.md"))
    (tmp_path / "web.py").write_text(app.code, encoding="utf-8")
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "Hello"}}],
    }
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    endless = Reply([head, f"data: {json.dumps(chunk)}\n\n".encode()], "hang")
    command = [sys.executable, "-m", "uvicorn", "web:app", "--port", "0", "--app-dir", tmp_path]
    with ReplayServer(endless) as tabby:
        environment = {**os.environ, "TABBY_API_ENDPOINT": tabby.url}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as web:
            try:
                assert web.stderr is not None
                port = next(
                    int(found[1])
                    for line in web.stderr
                    if (found := re.search(r"running on http://127.0.0.1:(\d+)", line))
                )
                browser = HTTPConnection("127.0.0.1", port, timeout=30)
                browser.request("POST", "/stream", json.dumps({"question": "Hi"}))
                answer = browser.getresponse()
                assert answer.readline() == b'data: {"text": "Hello"}\n'
                assert not tabby.left.is_set()
                answer.close()
                browser.close()
                assert tabby.left.wait(30)
            finally:
                web.terminate()
