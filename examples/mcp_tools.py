"""Let the model use the tools of an MCP server. Needs: pip install 'py-tabbyapi[mcp]'."""

import sys

import tabbyapi
import tabbyapi.mcp
from tabbyapi import user

# Any command that starts an MCP server, such as "uvx mcp-server-time", or a URL. This one is
# written in a few lines, so that the example needs nothing else.
SERVER = """
from mcp.server import MCPServer
server = MCPServer("weather")

@server.tool()
def get_weather(city: str) -> str:
    "Get the weather of a city."
    return f"sunny in {city}"

server.run("stdio")
"""

with (
    tabbyapi.Client() as client,
    tabbyapi.mcp.connect({"command": sys.executable, "args": ["-c", SERVER]}) as weather,
):
    print("tools:", ", ".join(tool.name for tool in weather.tools))
    run = client.chat.run([user("What is the weather in Oslo?")], tools=[weather], max_tokens=60)
    for result in run.results:
        print(result.call.function.name, result.call.function.arguments, "->", result.content)
    print(run.text)
