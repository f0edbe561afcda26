"""The header by which a gateway keeps the turns of a conversation on one server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.simulated import SimulatedServer
from tabbyapi import ValidationError
from tabbyapi.conversation import Conversation


def begin(server: SimulatedServer, **options: Any) -> Conversation:
    return Conversation.begin(server, "Be brief.", options)


def sessions(server: SimulatedServer) -> list[str | None]:
    return [(call.headers or {}).get("x-session-id") for call in server.calls]


def test_all_turns_of_a_conversation_send_its_id() -> None:
    server = SimulatedServer()
    for talk in (begin(server), begin(server)):
        talk.send("One")
        talk.fork().send("Two")
    first, second, third, fourth = sessions(server)
    assert first == second != third == fourth
    assert None not in (first, third)


def test_an_id_can_be_given_and_none_turns_it_off() -> None:
    server = SimulatedServer()
    begin(server, session_id="mine").send("One")
    begin(server, session_id=None).send("Two")
    begin(server, extra_headers={"x-session-id": "theirs", "x-other": "1"}).send("Three")
    assert sessions(server) == ["mine", None, "theirs"]
    assert server.calls[-1].headers == {"x-session-id": "theirs", "x-other": "1"}


def test_a_saved_conversation_keeps_its_id(tmp_path: Path) -> None:
    server = SimulatedServer()
    talk = begin(server)
    talk.send("One")
    talk.save(tmp_path / "talk.json")
    Conversation.load(tmp_path / "talk.json", server).send("Two")
    first, second = sessions(server)
    assert first == second is not None


def test_an_id_that_is_no_string_is_refused() -> None:
    with pytest.raises(ValidationError, match="session_id") as refused:
        begin(SimulatedServer(), session_id=7)
    assert refused.value.field == "session_id"
