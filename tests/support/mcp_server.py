"""An MCP server on stdin and stdout, for tests. Its first argument is its name."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.types import CallToolResult, ImageContent, TextContent

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)

server = MCPServer(sys.argv[1])


@server.tool()
def get_weather(city: str, days: int = 1) -> str:
    """Get the weather of a city."""
    return f"{sys.argv[1]}: sun in {city} for {days}"


@server.tool()
def forecast(city: str) -> dict[str, Any]:
    """A structured result."""
    return {"city": city, "degrees": [19, 20]}


@server.tool()
def bare(city: str) -> CallToolResult:
    """A structured result without text."""
    return CallToolResult(content=[], structured_content={"city": city})


@server.tool()
def photo(city: str) -> list[Any]:
    """A picture with a caption."""
    return [
        TextContent(text=f"This is {city}."),
        ImageContent(data=PIXEL, mime_type="image/png"),
    ]


@server.tool()
def fail(city: str) -> CallToolResult:
    """Always fails."""
    return CallToolResult(content=[TextContent(text=f"no station in {city}")], is_error=True)


@server.tool()
def die(city: str) -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
async def hang(marks: str) -> str:
    """Never returns; leaves a file when it is called and another when it is cancelled."""
    Path(marks, "called").touch()  # noqa: ASYNC240
    try:
        await asyncio.sleep(3600)
    finally:
        Path(marks, "cancelled").touch()  # noqa: ASYNC240
    return "never"


@server.tool()
def environment(name: str) -> str:
    """A variable of the environment."""
    return os.environ.get(name, "not set")


@server.tool(name="dotted.name")
def dotted() -> str:
    """A name that models do not take."""
    return "dotted"


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2] == "broken":
        sys.exit("the configuration is missing")
    if len(sys.argv) > 2 and sys.argv[2] == "silent":
        sys.stdin.read()
        sys.exit()
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
