"""Chat over the real engine: what goes in, what comes out, and in which shape."""

from __future__ import annotations

import json
import re

import openai
import pytest

from support.tiny_model import SENTENCE

from .conftest import API, CHAT, HELLO, Raw, text_of

BABBLE = {"temperature": 0, "loop_detect_window": 0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}


def test_an_answer_ends_where_the_model_ends_it(scripted_http: Raw) -> None:
    choice = scripted_http.chat(max_tokens=200)["choices"][0]
    assert choice["message"]["content"] == SENTENCE
    assert (choice["finish_reason"], choice["eos_reason"]) == ("stop", "stop_token")
    assert choice["stop_str"] == "<|im_end|>"


def test_an_answer_has_every_key_of_the_protocol(http: Raw) -> None:
    answer = http.chat()
    assert re.fullmatch(r"cmpl-[0-9a-f]{32}", answer["id"])
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "random-tiny"
    assert answer["usage"]["completion_tokens"] == 8
    (choice,) = answer["choices"]
    assert choice.keys() == {
        "index", "finish_reason", "eos_reason", "stop_str", "message", "logprobs",
    }  # fmt: skip
    assert choice["message"].keys() == {
        "role", "content", "reasoning_content", "tool_calls", "tool_call_id",
    }  # fmt: skip
    assert (choice["finish_reason"], choice["eos_reason"]) == ("length", "max_new_tokens")


def test_a_stream_says_the_same_as_the_whole_answer(http: Raw) -> None:
    whole = http.chat(**BABBLE, max_tokens=40)["choices"][0]["message"]["content"]
    events = http.events(**BABBLE, max_tokens=40)
    assert text_of(events) == whole
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0] == {
        "index": 0, "delta": {}, "finish_reason": "length", "eos_reason": "max_new_tokens",
    }  # fmt: skip
    assert len({event["id"] for event in events[:-1]}) == 1
    assert events[0]["id"].startswith("chatcmpl-")


def test_usage_is_folded_into_the_last_chunk_when_asked_for(http: Raw) -> None:
    events = http.events(stream_options={"include_usage": True})
    last = events[-2]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert last["usage"]["completion_tokens"] == 8
    use = http.chat(stream_options={"include_usage": True})["usage"]
    assert use["total_tokens"] == use["prompt_tokens"] + use["completion_tokens"]
    assert use["prompt_tokens"] == last["usage"]["prompt_tokens"]


def test_several_choices_interleave_under_one_id(http: Raw) -> None:
    events = http.events(n=3, max_tokens=20, stream_options={"include_usage": True})
    assert len({event["id"] for event in events[:-1]}) == 1
    ends = [e for e in events[:-1] if e["choices"][0]["finish_reason"]]
    assert sorted(e["choices"][0]["index"] for e in ends) == [0, 1, 2]
    assert ["usage" in e for e in ends] == [False, False, True]
    assert ends[-1]["usage"]["completion_tokens"] == 60
    assert [c["index"] for c in http.chat(n=3)["choices"]] == [0, 1, 2]


def test_a_seed_makes_answers_repeat(http: Raw) -> None:
    first, second = (http.chat(seed=7, max_tokens=30)["choices"][0]["message"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"regex_pattern": "(foo|bar)/[0-9]{3}"}, r"(foo|bar)/[0-9]{3}"),
        ({"grammar_string": 'root ::= "yes" | "no"'}, "yes|no"),
        ({"grammar_string": 'start: "a" "b"+ "c"'}, "ab+c"),
        ({"json_schema": {"enum": [1, 22]}}, "1|22"),
        ({"response_format": {"type": "json_schema", "json_schema": {"const": 5}}}, "5"),
    ],
)  # fmt: skip
def test_a_constraint_holds_and_its_end_is_named(
    http: Raw, fields: dict[str, object], pattern: str
) -> None:
    for _ in range(5):
        choice = http.chat(**fields, max_tokens=200)["choices"][0]
        assert re.fullmatch(pattern, choice["message"]["content"])
        assert (choice["finish_reason"], choice["eos_reason"]) == ("stop", "end_filter")
        assert choice["stop_str"] is None


def test_a_schema_gives_json_that_fits_it(http: Raw) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    for _ in range(5):
        text = http.chat(json_schema=schema, max_tokens=200)["choices"][0]["message"]["content"]
        value = json.loads(text)
        assert value.keys() == {"a", "b"}
        assert isinstance(value["a"], int)


@pytest.mark.parametrize("kind", ["json", "json_object"])
def test_response_format_json_begins_an_object(http: Raw, kind: str) -> None:
    answer = http.chat(response_format={"type": kind}, json_schema={"const": 5}, max_tokens=4)
    assert answer["choices"][0]["message"]["content"].startswith("{")


@pytest.mark.parametrize(
    "fields",
    [
        {"regex_pattern": "("},
        {"grammar_string": "start: nosuch"},
        {"grammar_string": "root ::= nosuch"},
        {"json_schema": {"type": "nosuch"}},
        {"json_schema": {"$ref": "#/nowhere"}},
        {"json_schema": 5},
    ],
)
def test_a_constraint_that_cannot_be_enforced_is_refused(
    http: Raw, fields: dict[str, object]
) -> None:
    answer = http("POST", CHAT, {"messages": HELLO, "max_tokens": 4} | fields)
    assert answer.status == 400
    assert next(iter(fields)) in answer.json()["detail"]


def test_a_deep_schema_is_refused(http: Raw) -> None:
    schema: dict[str, object] = {}
    for _ in range(60):
        schema = {"properties": {"a": schema}}
    answer = http("POST", CHAT, {"messages": HELLO, "json_schema": schema})
    assert answer.status == 400


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(http: Raw) -> None:
    whole = http.chat(**BABBLE, max_tokens=40)["choices"][0]["message"]["content"]
    stop = whole[10:13]
    choice = http.chat(**BABBLE, max_tokens=40, stop=[stop])["choices"][0]
    assert choice["message"]["content"] == whole[: whole.index(stop)]
    assert (choice["eos_reason"], choice["stop_str"]) == ("stop_string", stop)
    events = http.events(**BABBLE, max_tokens=40, stop=stop)
    assert text_of(events) == whole[: whole.index(stop)]


def test_a_stop_token_id_ends_the_answer(http: Raw) -> None:
    logged = http.chat(**BABBLE, max_tokens=20, logprobs=1)["choices"][0]["logprobs"]["content"]
    ids = [token["token_id"] for token in logged]
    choice = http.chat(**BABBLE, max_tokens=20, stop=[ids[6]])["choices"][0]
    first = ids.index(ids[6])
    assert choice["message"]["content"] == "".join(t["token"] for t in logged[:first])
    assert choice["eos_reason"] == "stop_token"


@pytest.mark.parametrize("stream", [False, True])
def test_banned_strings_never_appear(http: Raw, stream: bool) -> None:
    whole = http.chat(**BABBLE, max_tokens=40)["choices"][0]["message"]["content"]
    banned = [whole[3:5], whole[20:22].lower()]
    fields = BABBLE | {"max_tokens": 40, "banned_strings": banned}
    if stream:
        events = http.events(**fields)
        text, last = text_of(events), events[-2]["choices"][0]
    else:
        last = http.chat(**fields)["choices"][0]
        text = last["message"]["content"]
    assert not any(b.lower() in text.lower() for b in banned)
    # Until a banned string begins the answer is the same; there it takes another turn.
    begins = min(whole.lower().find(b.lower()) for b in banned)
    assert text[:begins] == whole[:begins]
    assert text[begins] != whole[begins]
    assert last["eos_reason"] == "max_new_tokens"


def test_min_tokens_holds_the_end_off(scripted_http: Raw) -> None:
    short = scripted_http.chat(max_tokens=200, stream_options={"include_usage": True})
    more = short["usage"]["completion_tokens"] + 10
    long = scripted_http.chat(
        max_tokens=more + 50, min_tokens=more, stream_options={"include_usage": True}
    )
    assert long["usage"]["completion_tokens"] >= more


def test_an_answer_that_goes_in_circles_is_ended(http: Raw) -> None:
    forced = {"grammar_string": 'start: "ab"+', "max_tokens": 2000}
    choice = http.chat(**forced, loop_detect_window=64)["choices"][0]
    assert choice["eos_reason"] in ("loop_detected", "end_filter")
    biased = {"logit_bias": {"97": 100}, "max_tokens": 500}
    choice = http.chat(**biased, loop_detect_window=64)["choices"][0]
    assert (choice["finish_reason"], choice["eos_reason"]) == ("stop", "loop_detected")
    assert len(choice["message"]["content"]) < 200
    off = http.chat(**biased, loop_detect_window=0)["choices"][0]
    assert off["eos_reason"] == "max_new_tokens"


def test_logprobs_have_the_shape_of_the_protocol(http: Raw) -> None:
    def tokens(**fields: object) -> list[dict[str, object]]:
        logged: list[dict[str, object]] = http.chat(**fields)["choices"][0]["logprobs"]["content"]
        return logged

    only = tokens(logprobs=True)
    assert len(only) == 8
    assert all(token["top_logprobs"] == [] for token in only)
    top = tokens(logprobs=True, top_logprobs=2)
    assert all(len(token["top_logprobs"]) == 2 for token in top)  # type: ignore[arg-type]
    assert top[0].keys() == {"token", "token_id", "logprob", "top_logprobs"}
    assert all(len(token["top_logprobs"]) == 3 for token in tokens(logprobs=3))  # type: ignore[arg-type]
    assert http.chat(top_logprobs=3)["choices"][0]["logprobs"] is None
    events = http.events(logprobs=True)
    logged = [e["choices"][0].get("logprobs") for e in events[:-1]]
    assert sum(len(log["content"]) for log in logged if log) == 8


def test_a_response_prefix_is_answered_from_but_not_echoed(http: Raw) -> None:
    usage = {"stream_options": {"include_usage": True}}
    plain = http.chat(**usage)["usage"]["prompt_tokens"]
    assert http.chat(**usage, response_prefix="abc")["usage"]["prompt_tokens"] == plain + 3
    off = {"add_generation_prompt": False}
    bare = http.chat(**usage, **off)["usage"]["prompt_tokens"]
    assert http.chat(**usage, **off, response_prefix="abc")["usage"]["prompt_tokens"] == bare


def test_a_final_message_is_continued(http: Raw) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Once upon"}]
    going_on = {"continue_final_message": True, "add_generation_prompt": False}
    usage = {"stream_options": {"include_usage": True}}
    shown = http.chat(messages, **usage, **going_on)["usage"]["prompt_tokens"]
    closed = http.chat(messages, **usage, add_generation_prompt=False)["usage"]["prompt_tokens"]
    assert shown == closed - 2  # without the end of the turn and its line break
    refused = http("POST", CHAT, {"messages": messages, "continue_final_message": True})
    assert refused.status == 422
    assert "add_generation_prompt" in refused.json()["detail"]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_tool_choice_forces_a_call_that_fits_the_schema(http: Raw, choice: object) -> None:
    forced = {"tools": [WEATHER], "tool_choice": choice, "max_tokens": 200}
    answer = http.chat(**forced)["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    (call,) = answer["message"]["tool_calls"]
    assert re.fullmatch(r"call_[0-9a-f]{24}", call["id"])
    assert (call["type"], call["index"]) == ("function", 0)
    assert call["function"]["name"] == "get_weather"
    assert 1 <= json.loads(call["function"]["arguments"])["days"] <= 9
    events = http.events(**forced)
    assert len(events) == 2  # nothing while the call is made, then all of it, then the end
    last = events[0]["choices"][0]
    assert last["finish_reason"] == "tool_calls"
    assert last["delta"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_a_named_tool_that_is_not_there_is_refused(http: Raw) -> None:
    choice = {"type": "function", "function": {"name": "nosuch"}}
    body = {"messages": HELLO, "tools": [WEATHER], "tool_choice": choice}
    answer = http("POST", CHAT, body)
    assert answer.status == 400
    assert "nosuch" in answer.json()["detail"]


def test_explicit_nulls_count_as_not_given(http: Raw) -> None:
    names = (
        "stop penalty_range xtc_probability adaptive_target logprobs n response_format "
        "template_vars temperature top_k top_p min_p tools banned_strings stream_options"
    )
    answer = http.chat(**dict.fromkeys(names.split()))
    assert answer["choices"][0]["eos_reason"] == "max_new_tokens"


def test_every_sampling_field_is_accepted(http: Raw) -> None:
    fields = {
        "min_tokens": 1, "temperature": 0.7, "temperature_last": True, "top_k": 40, "top_p": 0.9,
        "min_p": 0.05, "xtc_probability": 0.5, "xtc_threshold": 0.2, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "rep_pen": 1.1, "rep_pen_range": 64, "repetition_decay": 10,
        "adaptive_target": 0.5, "adaptive_decay": 0.8, "logit_bias": {"65": 1.5},
        "banned_tokens": "66, x, 67", "token_healing": True, "top_a": 0.5, "tfs": 0.9,
        "typical_p": 0.9, "skew": 0.1, "smoothing_factor": 0.3, "dry_multiplier": 0.8,
        "dry_base": 1.7, "dry_allowed_length": 2, "dry_range": -1, "dry_sequence_breakers": "x",
        "mirostat_mode": 2, "mirostat_tau": 3, "mirostat_eta": 0.2, "dynatemp_low": 0.5,
        "dynatemp_high": 1.5, "dynatemp_exponent": 1.1, "ignore_eos": True,
    }  # fmt: skip
    assert http.chat(**fields)["choices"][0]["eos_reason"] == "max_new_tokens"


def test_banned_tokens_are_never_chosen(http: Raw) -> None:
    ids = ",".join(str(k) for k in range(97, 123))
    text = http.chat(banned_tokens=ids, max_tokens=60)["choices"][0]["message"]["content"]
    assert not re.search("[a-z]", text.replace("hi", ""))


def test_openais_client_chats_streamed_and_not(http: Raw) -> None:
    with openai.OpenAI(base_url=http.server.url + "/v1", api_key=API, max_retries=0) as client:
        whole = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "Hi"}], max_tokens=5, temperature=0
        )
        stream = client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "Hi"}],
            max_tokens=5,
            temperature=0,
            stream=True,
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content != ""
