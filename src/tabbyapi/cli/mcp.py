"""`--mcp`: tools of MCP servers in a conversation, by name or by command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from .._folders import config_folder
from ..errors import ConnectError, ValidationError
from .output import printable

if TYPE_CHECKING:
    from ..mcp import MCPServer
    from ..tools.calls import PendingCall

__all__ = ["describe_call", "mcp_tools"]


@contextmanager
def mcp_tools(given: Sequence[str]) -> Iterator[list[MCPServer]]:
    """Connections to MCP servers, each given by its name in `mcp.json`, a command or a URL.

    Raises:
        ValidationError: there is no such server, or the file cannot be read.
        click.ClickException: a server cannot be started or reached.
    """
    if not given:
        yield []
        return
    from ..mcp import connect

    with ExitStack() as stack:
        connections = []
        for each in given:
            server = _server_of(each)
            name = each if isinstance(server, dict) else None
            try:
                connections.append(stack.enter_context(connect(server, name=name)))
            except ConnectError as error:
                raise click.ClickException(printable(error.message)) from None
        yield connections


def describe_call(call: PendingCall) -> str:
    """A call as it is shown, in one line."""
    return printable(f"calls {call.name}({call.call.function.arguments})").replace("\n", " ")


def _server_of(given: str) -> str | dict[str, Any]:
    path = config_folder() / "mcp.json"
    servers = _read_servers() if path.exists() else {}
    if given in servers:
        return servers[given]
    word = given.strip()
    if " " in word or "://" in word or shutil.which(word):
        return word
    known = f"; the servers there are: {', '.join(servers)}" if servers else ""
    raise ValidationError(
        f"there is no MCP server {given!r} in {path}, and no such command{known}", field="mcp"
    )


def _read_servers() -> dict[str, dict[str, Any]]:
    path = config_folder() / "mcp.json"
    try:
        servers = json.loads(path.read_text(encoding="utf-8-sig")).get("mcpServers")
    except (ValueError, AttributeError) as error:
        raise ValidationError(f"{path} is not the JSON of MCP servers: {error}") from None
    if not isinstance(servers, dict) or not all(isinstance(s, dict) for s in servers.values()):
        raise ValidationError(
            f'{path} must hold {{"mcpServers": {{"NAME": {{"command": ..., "args": [...]}}}}}}'
        )
    return servers
