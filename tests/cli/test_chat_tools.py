"""`tabbyapi chat --mcp`: tools of a real MCP server, called by a scripted model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.replay import ReplayServer, Reply, json_reply

from .scripted import bodies, chats, plain, run
from .test_chat_terminal import Start, start

pytest.importorskip("mcp")
__all__ = ["start"]

SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"
COMMAND = f"{sys.executable} {SERVER} sky"


def calls(name: str, **arguments: object) -> Reply:
    call = {"id": "c1", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return json_reply(200, {"choices": [choice]})


WEATHER = calls("get_weather", city="Oslo")


def test_a_server_by_name_is_called_in_a_pipe_and_each_call_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "py-tabbyapi"
    folder.mkdir(parents=True)
    entry = {"command": sys.executable, "args": [str(SERVER), "sky"]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"sky": entry}}))
    with ReplayServer([chats(WEATHER, plain("Sunny."))]) as server:
        chat = ("chat", "--url", server.url, "--mcp")
        done = run(tmp_path, *chat, "sky", "--allow-tools", stdin="Weather?\n")
        assert (done.returncode, done.stdout) == (0, "Sunny.\n"), done.stderr
        assert 'calls get_weather({"city": "Oslo"})' in done.stderr
        assert bodies(server.requests)[-1]["messages"][-1]["content"] == "sky: sun in Oslo for 1"
        done = run(tmp_path, *chat, "sky", stdin="Weather?\n")
        assert done.returncode == 2
        assert "add --allow-tools" in done.stderr
        done = run(tmp_path, *chat, "nowhere", stdin="Weather?\n")
        assert done.returncode == 2
        assert "no MCP server 'nowhere'" in done.stderr
        assert "the servers there are: sky" in done.stderr


@pytest.mark.parametrize(
    ("key", "told"), [("y", "sky: sun in Oslo for 1"), ("n", "the user did not allow this call")]
)
def test_a_call_is_asked_for_at_a_terminal(start: Start, key: str, told: str) -> None:
    with ReplayServer([chats(WEATHER, plain("Well."))]) as server:
        child = start("chat", "--url", server.url, "--mcp", COMMAND)
        child.expect("More: /help")
        child.send("Weather?\r")
        child.expect("allow it. y/n")
        child.send(key)
        child.expect("Well.")
        child.send("\x04")
    assert told in bodies(server.requests)[-1]["messages"][-1]["content"]
