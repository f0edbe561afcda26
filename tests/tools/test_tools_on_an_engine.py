"""The tool loop on a real engine: forced calls of a model that knows nothing, and a scripted one.

The scripted model is a chain of words; the prompt template ends with the word after which it
goes on, so that each round of the conversation gets its own part of the script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import pytest

from tabbyapi import user

if TYPE_CHECKING:
    from tabbyapi import LocalServer

CITIES = [["Oslo", "Rome"], ["Bern", "Wien"], ["Riga", "Bonn"]]
MARKS = ["stopone", "stoptwo", "stopthree"]


def weather(
    city: Annotated[str, msgspec.Meta(max_length=12)],
    days: Annotated[int, msgspec.Meta(ge=1, le=7)] = 1,
    unit: Literal["c", "f"] = "c",
) -> str:
    """Weather of a city."""
    return f"{city}: sun for {days}, in {unit}"


async def tide(harbour: Annotated[str, msgspec.Meta(max_length=12)]) -> str:
    """Time of the next high tide."""
    await asyncio.sleep(0)
    return f"{harbour}: 14:20"


def script() -> str:
    """Calls for each round, in pairs, and the mark that ends it; then the answer."""
    words = []
    for cities, mark in zip(CITIES, MARKS, strict=True):
        for city in cities:
            call = f'{{"name":"weather","arguments":{{"city":"{city}"}}}}'
            words.append(f"<tool_call>{call}</tool_call>")
        words.append(mark)
    return " ".join([*words, "Sunny", "everywhere."])


TEMPLATE = (
    "{%- set done = messages | selectattr('role', 'equalto', 'tool') | list | length -%}"
    "{%- for message in messages %}{{ message.role }} {{ message.content or '' }}\n{% endfor -%}"
    "{%- if add_generation_prompt -%}assistant"
    "{% if done >= 6 %} stopthree{% elif done >= 4 %} stoptwo{% elif done >= 2 %} stopone"
    "{% else %}:{% endif %}{%- endif -%}"
)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    from support.tiny_model import write_markov
    from tabbyapi import LocalServer

    path = tmp_path_factory.mktemp("models") / "scripted.gguf"
    model: Path = write_markov(path, sentence=script())
    with LocalServer(model=model, chat_template=TEMPLATE, tool_format="hermes") as server:
        yield server


def test_three_rounds_of_parallel_calls_lead_to_an_answer(scripted: LocalServer) -> None:
    with scripted.client() as client:
        result = client.chat.run(
            [user("Where is it sunny?")], tools=[weather], temperature=0, stop=MARKS, max_tokens=200
        )
    assert result.text.strip() == "Sunny everywhere."
    assert len(result.responses) == 4
    assert [r.call.function.arguments for r in result.results] == [
        f'{{"city": "{city}"}}' for cities in CITIES for city in cities
    ]
    assert result.results[5].content == "Bonn: sun for 1, in c"
    roles = ["assistant", "tool", "tool"] * 3 + ["assistant"]
    assert [message.role for message in result.messages] == roles


def test_the_async_client_makes_the_same_rounds(scripted: LocalServer) -> None:
    async def main() -> list[str]:
        async with scripted.async_client() as client:
            result = await client.chat.run(
                [user("Where is it sunny?")],
                tools=[weather],
                temperature=0,
                stop=MARKS,
                max_tokens=200,
            )
        return [str(each.content) for each in result.results] + [result.text.strip()]

    *told, answer = asyncio.run(main())
    assert told[0] == "Oslo: sun for 1, in c"
    assert (len(told), answer) == (6, "Sunny everywhere.")


@pytest.mark.parametrize("seed", range(5))
def test_a_required_call_is_made_even_by_a_model_that_knows_nothing(
    local_server: LocalServer, seed: int
) -> None:
    with local_server.client() as client:
        result = client.chat.run(
            [user(f"Weather number {seed}?")],
            tools=[weather, tide],
            tool_choice="required",
            max_tokens=300,
        )
    (made,) = result.results
    assert made.call.function.name in ("weather", "tide")
    assert made.error is None
    assert made.content == made.value
    assert result.messages[-1].role == "assistant"


def test_a_named_tool_is_the_one_that_is_called(local_server: LocalServer) -> None:
    with local_server.client() as client:
        result = client.chat.run(
            [user("The tide?")],
            tools=[weather, tide],
            tool_choice={"type": "function", "function": {"name": "tide"}},
            max_tokens=300,
        )
    assert [each.call.function.name for each in result.results] == ["tide"]
    assert str(result.results[0].value).endswith(": 14:20")
