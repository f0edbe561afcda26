"""Every answer ends, loses no token, and what fits alone is answered in company too."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from server.conftest import API, CHAT, HELLO, Raw
from tabbyapi.local_server import LocalServer
from tabbyapi.server.admission import ContextPool
from tabbyapi.server.engine import Event, Flow
from tabbyapi.server.generation.generate import Generation
from tabbyapi.server.generation.job import Job, Sink, TextDelta
from tabbyapi.server.generation.stopping import Banned, HeldText, Stopped, Token

USAGE = {"stream_options": {"include_usage": True}}
# Ids of the byte vocabulary: a party popper in UTF-8, and the token that begins a turn.
EMOJI = dict.fromkeys(("240", "159", "142", "137"), 10_000)
HALF = {"240": 10_000}
TURN = 257


@pytest.fixture(scope="module")
def small(random_model: Path) -> Iterator[LocalServer]:
    """A server whose four slots share a context of 512 tokens."""
    with LocalServer(random_model, api_keys=(API,), threads=1, n_ctx=512) as running:
        yield running


@pytest.fixture
def crowded(small: LocalServer) -> Iterator[Raw]:
    with urllib3.PoolManager(maxsize=40) as pool:
        yield Raw(small, pool)


# ------------------------------------------------------------------------- never hang


@pytest.mark.parametrize(
    "fields",
    [
        {"min_tokens": 10, "logit_bias": HALF},
        {"min_tokens": 10, "logit_bias": EMOJI},
        {"min_tokens": 10, "logit_bias": {TURN: 10_000}},
        {"min_tokens": 20},
        {"banned_strings": ["a", "\U0001f389"], "logit_bias": EMOJI},
        {"banned_strings": [chr(code) for code in range(32, 127)]},
        {"reasoning_budget_tokens": 2, "logit_bias": HALF},
    ],
)
def test_tokens_that_show_no_text_are_progress(http: Raw, fields: dict[str, Any]) -> None:
    begin = time.monotonic()
    answer = http.chat(max_tokens=20, loop_detect_window=0, **USAGE, **fields)
    assert answer["choices"][0]["eos_reason"] in ("max_new_tokens", "stop_token")
    assert answer["usage"]["completion_tokens"] <= 20
    assert time.monotonic() - begin < 20


def test_a_held_stop_string_does_not_keep_min_tokens_from_being_reached(http: Raw) -> None:
    babble = {"temperature": 0, "loop_detect_window": 0, "max_tokens": 12}
    text = http.chat(**babble)["choices"][0]["message"]["content"]
    answer = http.chat(min_tokens=1, stop=[text[:1] + "\0never"], **babble)
    assert answer["choices"][0]["message"]["content"] == text


def test_many_mixed_requests_are_all_answered(crowded: Raw) -> None:
    chance = random.Random(1)
    kinds: list[dict[str, Any]] = [
        {"min_tokens": 20, "logit_bias": EMOJI},
        {"min_tokens": 1, "stop": ["|)\0", "HnF"]},
        {"banned_strings": ["$", "|"], "max_tokens": 60},
        {"logprobs": True, "top_logprobs": 2},
        {"regex_pattern": "[a-z]{40}"},
        {"n": 2},
        {"max_tokens": 450},
        {"max_tokens": 0},
    ]
    bodies = [
        {"messages": HELLO, "max_tokens": 100, "loop_detect_window": 0, "stream": k % 2 == 0}
        | chance.choice(kinds)
        for k in range(32)
    ]
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda body: crowded("POST", CHAT, body), bodies))
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status == 200, answer.data
        assert not body["stream"] or answer.data.endswith(b"data: [DONE]\r\n\r\n"), answer.data


# ----------------------------------------------------------------------- shared context


@pytest.mark.parametrize("limit", [400, 0])
def test_answers_that_outgrow_the_context_together_wait_for_room(crowded: Raw, limit: int) -> None:
    body = {"messages": HELLO, "max_tokens": limit, "loop_detect_window": 0} | USAGE
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: crowded("POST", CHAT, body), range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    made = [answer.json()["usage"]["completion_tokens"] for answer in answers]
    ended = [answer.json()["choices"][0]["eos_reason"] == "stop_token" for answer in answers]
    assert all(tokens == limit or early for tokens, early in zip(made, ended, strict=True)) or (
        not limit and min(made) > 300
    )


class Alphabet:
    """An engine that goes on with the alphabet: token `k` after token `k - 1`."""

    def __init__(self) -> None:
        self.prompts: list[list[int]] = []
        self.on_token: Callable[[int], None] = lambda _: None

    async def follow(self, payload: dict[str, Any], take: Any, _: object) -> None:
        self.prompts.append(list(payload["prompt"]))
        token = payload["prompt"][-1]
        for count in range(1, payload["n_predict"] + 1):
            token += 1
            self.on_token(token)
            event = Event(content=chr(token), tokens=[token], tokens_predicted=count)
            if take([event]) is Flow.ENOUGH:
                return
        take([Event(stop=True, stop_type="limit", tokens_predicted=payload["n_predict"])])


def test_an_answer_that_was_put_back_goes_on_where_it_was() -> None:
    steps: list[Any] = []

    async def never_wait() -> None:
        raise AssertionError("the sink keeps up")

    async def scenario() -> None:
        engine: Any = Alphabet()
        job = Job([96], {}, max_tokens=10, stop=("e-never",))
        generation = Generation(job, Sink(lambda step: steps.append(step) or True, never_wait))
        engine.on_token = lambda token: generation.put_back() if token == ord("e") else None
        await generation.follow(engine)
        assert generation.finish is None
        engine.on_token = lambda _: None
        await generation.follow(engine)
        assert engine.prompts == [[96], [96, *b"abcde"]]
        assert generation.finish is steps[-1]
        assert generation.finish.tokens == 10

    run(scenario)
    assert "".join(delta.text for step in steps[:-1] for delta in step) == "abcdefghij"


def test_constrained_answers_wait_for_room_too(crowded: Raw) -> None:
    body = {"messages": HELLO, "regex_pattern": "[a-z]{300}", "loop_detect_window": 0}
    bodies = [body | {"stream": stream} for stream in (True, False) * 2]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda each: crowded("POST", CHAT, each), bodies))
    assert [answer.status for answer in answers] == [200] * 4
    for answer in answers:
        assert b"max_new_tokens" not in answer.data, answer.data[-500:]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(timed())


def test_shares_start_in_order_of_age_and_the_youngest_is_put_back() -> None:
    async def scenario() -> None:
        pool, left = ContextPool(100), []
        shares = [
            pool.share(lambda k=k: left.append(k), grows=True)
            for k in range(4)  # type: ignore[misc]
        ]
        for share in shares[:3]:
            await share.hold(30)
        waiting = asyncio.ensure_future(shares[3].hold(30))
        await asyncio.sleep(0)
        assert not waiting.done()
        shares[0].grow(50)
        assert left == [2]  # the youngest of those that run
        shares[2].free()
        again = asyncio.ensure_future(shares[2].hold(40))
        await asyncio.sleep(0)
        assert not again.done()
        shares[0].free()
        await again
        assert not waiting.done() or sum(s.tokens for s in shares) <= pool.size
        shares[1].free()
        await waiting

    run(scenario)


def test_a_share_that_is_no_longer_wanted_leaves_its_room_to_others() -> None:
    async def scenario() -> None:
        pool = ContextPool(100)
        first, second, third = (pool.share(lambda: None, grows=True) for _ in range(3))
        await first.hold(80)
        gone = asyncio.ensure_future(second.hold(50))
        next_one = asyncio.ensure_future(third.hold(20))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        first.free()
        await next_one

    run(scenario)


def test_only_one_answer_that_cannot_be_put_back_runs_without_a_known_end() -> None:
    async def scenario() -> None:
        pool = ContextPool(100)
        one, other = (pool.share(None, grows=True) for _ in range(2))
        await one.hold(10)
        waiting = asyncio.ensure_future(other.hold(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        one.free()
        await waiting

    run(scenario)


# ----------------------------------------------------------------------- no token lost


def test_logprobs_have_an_entry_for_each_token_of_held_text(http: Raw) -> None:
    babble = {"temperature": 0, "loop_detect_window": 0, "max_tokens": 29, "logprobs": True}
    text = http.chat(**babble)["choices"][0]["message"]["content"]
    held = http.chat(stop=[text[1] + "\0never", text[4:6] + "\0never"], **babble)["choices"][0]
    assert held["message"]["content"] == text
    assert len(held["logprobs"]["content"]) == 29


def test_text_that_is_held_at_max_tokens_is_given_out(http: Raw) -> None:
    babble = {"temperature": 0, "loop_detect_window": 0, "max_tokens": 9}
    text = http.chat(**babble)["choices"][0]["message"]["content"]
    assert (
        http.chat(stop=[text[5:] + "\0never"], **babble)["choices"][0]["message"]["content"] == text
    )


def test_half_a_character_at_the_end_shows_as_a_replacement_character(http: Raw) -> None:
    answer = http.chat(max_tokens=3, logit_bias=HALF, **USAGE)
    assert answer["choices"][0]["message"]["content"] == "\ufffd"
    assert answer["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("others", [{}, {"stop": ["\0never"]}, {"banned_strings": ["\0"]}])
def test_a_control_token_may_be_a_stop_token(http: Raw, others: dict[str, Any]) -> None:
    bias = {"logit_bias": {TURN: 10_000}}
    stops = {key: [*value, TURN] if key == "stop" else value for key, value in others.items()}
    choice = http.chat(max_tokens=9, **({"stop": [TURN]} | stops), **bias)["choices"][0]
    assert choice["eos_reason"] == "stop_token"


TEXTS = st.text(alphabet="abc ", max_size=12)
WORDS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3).map(tuple)


@given(tokens=st.lists(TEXTS, max_size=12), stop=WORDS)
def test_text_ends_before_the_first_stop_string_and_nothing_else_is_lost(
    tokens: list[str], stop: tuple[str, ...]
) -> None:
    held, out, found = HeldText(stop, ()), list[TextDelta](), None
    for position, text in enumerate(tokens):
        found = held.feed(Token(position, text), out)
        if found is not None:
            break
    else:
        held.flush(out)
    whole = "".join(tokens)
    ends = [at for s in stop if (at := whole.find(s)) >= 0]
    assert "".join(delta.text for delta in out) == whole[: min(ends, default=len(whole))]
    assert isinstance(found, Stopped) == bool(ends)


@given(data=st.data(), banned=WORDS.filter(bool))
def test_banned_strings_are_never_given_out(data: st.DataObject, banned: tuple[str, ...]) -> None:
    held, out = HeldText((), banned), list[TextDelta]()
    for position in range(12):
        text = data.draw(st.sampled_from(["a", "B", "c", " ", "ab", "Cb", ""]))
        found = held.feed(Token(position, text), out)
        if isinstance(found, Banned):
            held.take_back(found.token, out)
    held.flush(out)
    given_out = "".join(delta.text for delta in out).lower()
    assert not any(string in given_out for string in banned)
