"""Tools of MCP servers: real servers in child processes, called by a scripted model."""

from __future__ import annotations

import asyncio
import http.client
import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tabbyapi
import tabbyapi.mcp
from support.replay import ReplayServer
from support.tool_runs import Run, answer, sent, weather
from tabbyapi import ConnectError, ValidationError, user
from tabbyapi.mcp import MCPServer, connect

PROGRAM = str(Path(__file__).parent.parent / "support" / "mcp_server.py")


def command(name: str, *more: str) -> str:
    return shlex.join([sys.executable, PROGRAM, name, *more])


@pytest.fixture(scope="module")
def met() -> Iterator[MCPServer]:
    with connect(command("met")) as server:
        yield server


@pytest.fixture(scope="module")
def bbc() -> Iterator[MCPServer]:
    with connect({"command": sys.executable, "args": [PROGRAM, "bbc"]}, call_timeout=1) as server:
        yield server


def told(run: Run, tools: Any, name: str, arguments: dict[str, Any], **params: Any) -> Any:
    """What the model is told of a call."""
    replies = [answer(None, (name, json.dumps(arguments))), answer("Done.")]
    with ReplayServer(replies) as server:
        run(server, tools=tools, **params)
        return sent(server, -1)[-1]["content"]  # a picture asks for the model card before


def test_the_model_is_told_the_tools_and_calls_them(run: Run, met: MCPServer) -> None:
    calls = [("get_weather", '{"city": "Oslo", "days": 2}'), ("weather", '{"city": "Rome"}')]
    with ReplayServer([answer(None, *calls), answer("Sun.")]) as server:
        result = run(server, tools=[met, weather])
    assert [each.content for each in result.results] == [
        "met: sun in Oslo for 2",
        "Rome: sun for 1",
    ]
    specs = {tool["function"]["name"]: tool for tool in server.requests[0].json["tools"]}
    assert specs.keys() >= {"get_weather", "forecast", "photo", "weather", "dotted_name"}
    function = specs["get_weather"]["function"]
    assert function["description"] == "Get the weather of a city."
    assert function["parameters"]["properties"]["city"]["type"] == "string"
    assert function["parameters"]["required"] == ["city"]


def test_names_that_two_servers_share_get_their_servers_name(
    run: Run, met: MCPServer, bbc: MCPServer
) -> None:
    tools = [met, bbc, tabbyapi.tool_of(weather, name="forecast")]
    assert told(run, tools, "met_get_weather", {"city": "Oslo"}) == "met: sun in Oslo for 1"
    assert told(run, tools, "bbc_get_weather", {"city": "Oslo"}) == "bbc: sun in Oslo for 1"
    assert told(run, tools, "forecast", {"city": "Oslo"}) == "Oslo: sun for 1"


def test_results_may_be_structured_or_hold_images(run: Run, met: MCPServer) -> None:
    assert json.loads(told(run, [met], "forecast", {"city": "Oslo"}))["degrees"] == [19, 20]
    assert json.loads(told(run, [met], "bare", {"city": "Oslo"})) == {"city": "Oslo"}
    text, image = told(run, [met], "photo", {"city": "Oslo"})
    assert text == {"type": "text", "text": "This is Oslo."}
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_a_call_that_fails_is_told_to_the_model(run: Run, met: MCPServer) -> None:
    content = told(run, [met], "fail", {"city": "Oslo"})
    assert content.startswith("Error: MCPToolError: ")
    assert "no station in Oslo" in content
    assert "missing: city" in told(run, [met], "fail", {})


def test_a_call_that_hangs_is_told_to_the_model_and_cancelled(
    run: Run, met: MCPServer, tmp_path: Path
) -> None:
    content = told(run, [met], "hang", {"marks": str(tmp_path)}, call_timeout=1)
    assert content == "Error: TimeoutError: no result within 1 s"
    wait_for(tmp_path / "cancelled")


def test_a_server_may_limit_its_calls(run: Run, bbc: MCPServer, tmp_path: Path) -> None:
    content = told(run, [bbc], "hang", {"marks": str(tmp_path)})
    assert content.startswith("Error: ")
    assert "imed out" in content


def test_cancelling_a_run_cancels_the_call(met: MCPServer, tmp_path: Path) -> None:
    async def leave(url: str) -> None:
        async with tabbyapi.AsyncClient(url) as client:
            task = asyncio.create_task(client.chat.run([user("Hang.")], tools=[met]))
            await asyncio.to_thread(wait_for, tmp_path / "called")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    call = answer(None, ("hang", json.dumps({"marks": str(tmp_path)})))
    with ReplayServer([call]) as server:
        asyncio.run(leave(server.url))
    wait_for(tmp_path / "cancelled")


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} never came"
        time.sleep(0.02)


def test_a_server_that_dies_is_told_to_the_model_and_so_is_the_next_call(run: Run) -> None:
    replies = [
        answer(None, ("die", '{"city": "Oslo"}')),
        answer(None, ("get_weather", '{"city": "Oslo"}')),
        answer("No weather today."),
    ]
    with connect(command("met")) as dying, ReplayServer(replies) as server:
        result = run(server, tools=[dying])
    assert result.text == "No weather today."
    assert all(str(each.content).startswith("Error: ") for each in result.results)


def test_a_connection_can_be_awaited_and_used_from_several_loops() -> None:
    async def use(opened: MCPServer) -> str:
        (tool,) = [each for each in opened.tools if each.name == "get_weather"]
        called: str = await tool.function(city="Oslo")
        return called

    async def first() -> tuple[MCPServer, str]:
        opened = await connect(command("met"))
        assert opened.name == "met"
        return opened, await use(opened)

    opened, content = asyncio.run(first())
    assert content == asyncio.run(use(opened)) == "met: sun in Oslo for 1"
    opened.close()
    opened.close()
    with pytest.raises(tabbyapi.mcp.MCPToolError, match="not connected"):
        asyncio.run(use(opened))
    with pytest.raises(ValidationError, match="closed"):
        opened.open()


def test_a_conversation_calls_tools_of_a_server(met: MCPServer) -> None:
    replies = [answer(None, ("get_weather", '{"city": "Oslo"}')), answer("Sun.")]
    with ReplayServer(replies) as server, tabbyapi.Client(server.url) as client:
        talk = client.conversation(tools=[met], context_size=8192)
        assert talk.send("Weather?").text == "Sun."
    assert [message.role for message in talk.messages] == ["user", "assistant", "tool", "assistant"]
    assert talk.messages[2].text == "met: sun in Oslo for 1"


def test_a_child_gets_its_own_environment_and_not_ours(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABBY_API_KEY", "secret")
    entry = {"command": sys.executable, "args": [PROGRAM, "met"], "env": {"CITY": "Oslo"}}
    with connect(entry, name="other") as server:
        assert server.name == "other"
        assert told(run, [server], "environment", {"name": "CITY"}) == "Oslo"
        assert told(run, [server], "environment", {"name": "TABBY_API_KEY"}) == "not set"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_server_is_reached_over_http(run: Run) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with subprocess.Popen(
        [sys.executable, PROGRAM, "far", str(port)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for_server(url)
            for given in (url, {"url": url, "headers": {"X-Test": "1"}}):
                with connect(given) as server:
                    content = told(run, [server], "get_weather", {"city": "Oslo"})
                    assert content == "far: sun in Oslo for 1"
        finally:
            process.terminate()


def wait_for_server(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:  # an MCP server wants more than a plain GET
            return
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("server", "timeout", "match"),
    [
        ("no-such-command-here --now", 60, "no command 'no-such-command-here'"),
        (command("met", "broken"), 60, "the configuration is missing"),
        (command("met", "silent"), 1, "no answer within 1 s"),
        (f"http://127.0.0.1:{free_port()}/mcp", 60, "no connection"),
    ],
)
def test_a_server_that_cannot_be_used_is_a_connect_error_with_the_reason(
    server: str, timeout: float, match: str
) -> None:
    with pytest.raises(ConnectError, match=match):
        connect(server, timeout=timeout).open()

    async def opened() -> None:
        await connect(server, timeout=timeout)

    with pytest.raises(ConnectError, match=match):
        asyncio.run(opened())


def test_the_module_is_there_when_it_is_first_used() -> None:
    script = "import tabbyapi, sys; assert 'mcp' not in sys.modules; tabbyapi.mcp.connect"
    done = subprocess.run([sys.executable, "-c", script], timeout=200, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("server", ["", {"args": []}, {"command": 5}, {"url": None}])
def test_what_names_no_server_is_refused(server: Any) -> None:
    with pytest.raises(ValidationError):
        connect(server)


def test_a_program_that_forgets_to_close_ends_and_its_server_too(tmp_path: Path) -> None:
    script = (
        "import tabbyapi.mcp\n"
        f"server = tabbyapi.mcp.connect({command('met')!r}).open()\n"
        "print(len(server.tools))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 5
