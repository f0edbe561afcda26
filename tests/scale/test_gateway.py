"""The gateway before scripted servers: affinity, spilling over, faults, admin requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tabbyapi import Client, ServerError, StreamError, TabbyError, user
from tabbyapi._protocol.headers import Headers
from tabbyapi.ray.affinity import ranked, session_key
from tabbyapi.ray.pool import State

from .scripted import CHAT, Backend, Listener, Stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack(3) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url, api_key="k", admin_key="a", retry=0, timeout=30) as client:
        yield client


def ask(client: Client, session: str, text: str = "Hello") -> str:
    return client.chat.create([user(text)], extra_headers={"x-session-id": session}).text


def stream(client: Client, session: str) -> str:
    headers = {"x-session-id": session}
    with client.chat.create_stream([user("Hello")], extra_headers=headers) as chunks:
        for _ in chunks:
            pass
        return chunks.response.text


def owner(stack: Stack, client: Client, session: str = "s") -> Backend:
    return stack.named(ask(client, session))


def eventually(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# ------------------------------------------------------------------------------------ affinity


def test_the_turns_of_a_session_go_to_one_server(stack: Stack, client: Client) -> None:
    for session in map(str, range(12)):
        assert len({ask(client, session, f"turn {turn}") for turn in range(3)}) == 1
    assert all(backend.chats for backend in stack.backends)


def test_without_a_session_the_first_messages_decide(client: Client, stack: Stack) -> None:
    talks = [client.conversation(f"You are number {i}.", session_id=None) for i in range(12)]
    for talk in talks:
        assert len({talk.send(f"turn {turn}").text for turn in range(3)}) == 1
    assert all(backend.chats for backend in stack.backends)


def test_keys_of_a_lost_server_move_and_others_stay() -> None:
    names = [f"http://10.0.0.{i}:5000" for i in range(8)]
    keys = [f"session {i}".encode() for i in range(2000)]
    before = {key: ranked(key, names)[0] for key in keys}
    after = {key: ranked(key, names[1:])[0] for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != names[0])
    shares = Counter(before.values())
    assert max(shares.values()) < 1.4 * min(shares.values())


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"messages": 3}', b'{"messages": [7]}'])
def test_a_body_that_cannot_be_read_has_no_key(body: bytes) -> None:
    assert session_key(Headers(), body) == b""


def test_a_growing_prompt_keeps_its_key() -> None:
    first, second = (b'{"prompt": "' + b"x" * size + b'"}' for size in (600, 900))
    assert session_key(Headers(), first) == session_key(Headers(), second) != b""


# ---------------------------------------------------------------------------------- full servers


def test_a_full_server_spills_over() -> None:
    with Stack(2, slots=1) as stack, Client(stack.url, retry=0, timeout=30) as client:
        first = owner(stack, client)
        first.script = "hold"
        held = threading.Thread(target=ask, args=(client, "s"))
        held.start()
        eventually(lambda: first.chats == 2)
        assert ask(client, "s") != first.name
        first.go.set()
        held.join()
        first.script = "answer"
        assert ask(client, "s") == first.name


def test_a_full_queue_answers_503_with_retry_after() -> None:
    with Stack(1, slots=1, max_queue=1) as stack, Client(stack.url, retry=0) as client:
        stack.backends[0].script = "hold"
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(ask(client, "s"))) for _ in range(2)
        ]
        threads[0].start()
        eventually(lambda: stack.backends[0].chats == 1)
        threads[1].start()
        eventually(lambda: len(stack.pool.waiting) == 1)
        with pytest.raises(ServerError, match="waiting already") as refused:
            ask(client, "s")
        assert refused.value.status_code == 503
        assert refused.value.retry_after == 2
        stack.backends[0].go.set()
        for thread in threads:
            thread.join()
        assert len(answers) == 2


def test_a_server_that_says_it_is_busy_is_passed_but_not_doubted(
    stack: Stack, client: Client
) -> None:
    first = owner(stack, client)
    first.script = "busy"
    assert ask(client, "s") != first.name
    assert stack.pool.servers[first.url].state is State.UP


# ---------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("script", ["break", "break after ping", "error event", 500, 503])
def test_a_request_without_data_yet_is_asked_again_elsewhere(
    stack: Stack, client: Client, script: str | int
) -> None:
    first = owner(stack, client)
    first.script = script
    assert stream(client, "s") in {other.name for other in stack.others(first)}
    assert stack.pool.servers[first.url].state is not State.UP
    seen = first.chats
    assert ask(client, "s") != first.name
    assert first.chats == seen  # it is not asked at all


def test_a_stream_that_has_begun_ends_with_an_error_event(stack: Stack, client: Client) -> None:
    first = owner(stack, client)
    first.script = "break after text"
    with pytest.raises(StreamError, match="was lost: the answer is incomplete") as broken:
        stream(client, "s")
    assert broken.value.partial.text == first.name  # type: ignore[union-attr]
    assert sum(other.chats for other in stack.others(first)) == 0


def test_a_server_that_answers_again_gets_its_sessions_back(stack: Stack, client: Client) -> None:
    first = owner(stack, client)
    port = first.listener.port
    first.listener.stop()
    assert ask(client, "s") != first.name
    first.listener = Listener(first, port)
    eventually(lambda: ask(client, "s") == first.name)


def test_a_request_waits_for_a_server_to_come_back() -> None:
    with Stack(1, patience=30) as stack, Client(stack.url, retry=0, timeout=60) as client:
        backend = stack.backends[0]
        port = backend.listener.port
        backend.listener.stop()
        answers: list[str] = []
        waiting = threading.Thread(target=lambda: answers.append(ask(client, "s")))
        waiting.start()
        eventually(lambda: len(stack.pool.waiting) == 1)
        backend.listener = Listener(backend, port)
        waiting.join(30)
        assert answers == [backend.name]


def test_without_any_server_it_answers_503_with_retry_after() -> None:
    with Stack(0, patience=0.1) as stack, Client(stack.url, retry=0) as client:
        with pytest.raises(ServerError, match="no server can be reached") as refused:
            ask(client, "s")
        assert refused.value.retry_after == 2


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_that_all_servers_answer_is_passed_on_and_none_is_doubted(
    stack: Stack, client: Client, status: int
) -> None:
    for backend in stack.backends:
        backend.script = status
    with pytest.raises(TabbyError) as refused:
        ask(client, "s")
    assert refused.value.status_code == status  # type: ignore[attr-defined]
    assert all(server.state is State.UP for server in stack.pool.servers.values())


def test_a_refusal_of_the_request_is_passed_on_at_once(stack: Stack, client: Client) -> None:
    for backend in stack.backends:
        backend.script = 422
    with pytest.raises(TabbyError, match="is ill"):
        ask(client, "s")
    assert sum(backend.chats for backend in stack.backends) == 1


def test_a_client_that_leaves_ends_the_generation(stack: Stack, client: Client) -> None:
    for backend in stack.backends:
        backend.script = "endless"
    with client.chat.create_stream([user("Hello")]) as chunks:
        next(iter(chunks))
    asked = next(backend for backend in stack.backends if backend.chats)
    assert asked.left.wait(10)
    eventually(lambda: all(server.busy == 0 for server in stack.pool.servers.values()))


def test_health_names_the_servers_that_are_not_asked(stack: Stack, client: Client) -> None:
    assert client.health.check().status == "healthy"
    lost = stack.backends[0]
    lost.listener.stop()
    for session in map(str, range(30)):
        ask(client, session)
    health = client.health.check()
    assert health.status == "healthy"
    assert [lost.url in issue.description for issue in health.issues] == [True]


# ----------------------------------------------------------------------------------------- admin


def paths(backend: Backend) -> list[str]:
    return [path for path, _ in backend.seen if path != CHAT]


def test_admin_requests_reach_every_server(stack: Stack, client: Client) -> None:
    client.models.unload()
    client.templates.unload()
    for backend in stack.backends:
        assert paths(backend) == ["/v1/model/unload", "/v1/template/unload"]


def test_a_load_ends_when_all_servers_have_done_it(stack: Stack, client: Client) -> None:
    with client.models.load_stream("m") as progress:
        steps: list[Any] = list(progress)
    assert [step.status for step in steps] == ["processing", "finished"]
    assert all(paths(backend) == ["/v1/model/load"] for backend in stack.backends)


def test_a_failed_admin_request_names_the_servers(stack: Stack, client: Client) -> None:
    bad = stack.backends[1]
    bad.refuses = {"/v1/model/unload": 400, "/v1/model/load": 400}
    with pytest.raises(ServerError, match="Done by 2 of 3 servers") as failed:
        client.models.unload()
    assert f"{bad.url}: {bad.name} cannot" in str(failed.value)
    with pytest.raises(TabbyError, match=f"{bad.url}: {bad.name} cannot"):
        client.models.load("m")


def test_what_all_servers_refuse_is_refused_in_their_words(stack: Stack, client: Client) -> None:
    for backend in stack.backends:
        backend.refuses = {"/v1/model/unload": 400}
    with pytest.raises(TabbyError, match="cannot") as failed:
        client.models.unload()
    assert failed.value.status_code == 400  # type: ignore[attr-defined]
