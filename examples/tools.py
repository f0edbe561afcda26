"""Functions that the model may call while it answers.

The server must know how its model writes tool calls (TabbyAPI: `tool_format` of the model; the
local server reads it off the model's template).
"""

from datetime import UTC, datetime
from typing import Annotated

import tabbyapi
from tabbyapi import system, user
from tabbyapi.tools import PendingCall, ToolResult


def current_time() -> str:
    """The date and time now, in UTC."""
    return datetime.now(UTC).isoformat(timespec="minutes")


def multiply(
    a: Annotated[float, "first factor"],
    b: Annotated[float, "second factor"],
) -> float:
    """The exact product of two numbers."""
    return a * b


async def weather(city: str, days: int = 1) -> dict[str, object]:
    """Weather forecast for a city.

    Args:
        city: name of the city, in English
        days: how many days ahead, 1 to 7
    """
    if not 1 <= days <= 7:
        raise ValueError("days must be from 1 to 7")  # the model is told, and may try again
    return {"city": city, "days": days, "sky": "clear", "celsius": 21}


def show(call: PendingCall) -> None:
    print(f"  calls {call.name}({call.arguments})")


def show_result(result: ToolResult) -> None:
    print(f"    -> {result.content}")


with tabbyapi.Client() as client:
    messages = [
        system("Use the tools where they help. Be brief."),
        user("What time is it, what is 127 * 449, and what will the weather be in Oslo?"),
    ]
    try:
        result = client.chat.run(
            messages,
            tools=[current_time, multiply, weather],
            max_rounds=5,
            max_tokens=200,
            call_timeout=10,
            on_call=show,
            on_result=show_result,
        )
    except tabbyapi.ToolLoopError as error:
        print(f"The loop could not go on: {error}")
    else:
        print(result.text)
        messages += result.messages  # the conversation goes on from here
