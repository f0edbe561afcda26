"""A scripted model that thinks aloud before it answers."""

from __future__ import annotations

from pathlib import Path

from support.tiny_model import CHATML, write_markov
from tabbyapi import LocalServer, user


def test_thoughts_are_told_apart_from_the_answer(tmp_path: Path) -> None:
    model = write_markov(tmp_path / "thinker.gguf", sentence="<think>Let me see.</think> It is so.")
    template = CHATML + "{# </think> #}"
    with LocalServer(model, chat_template=template, n_ctx=256) as server, server.client() as client:
        message = client.chat.create([user("Is it?")], temperature=0, max_tokens=50).message
    assert message.reasoning_content == "Let me see."
    assert message.content.strip() == "It is so."
