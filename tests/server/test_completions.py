"""Text completions on the local server, through our client and through openai's."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

import tabbyapi
from tabbyapi import LocalServer

GREEDY = {"max_tokens": 12, "temperature": 0}


@pytest.fixture(scope="module")
def client(local_server: LocalServer) -> Iterator[tabbyapi.Client]:
    with local_server.client() as client:
        yield client


def test_text_goes_on_from_the_prompt_streamed_or_not(client: tabbyapi.Client) -> None:
    reply = client.completions.create("Once upon a time", **GREEDY)
    assert reply.text
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].eos_reason == "max_new_tokens"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (16, 12)
    with client.completions.create_stream("Once upon a time", **GREEDY) as stream:
        pieces = list(stream.text_deltas())
    assert "".join(pieces) == reply.text
    assert len(pieces) > 1
    assert stream.response.usage is not None
    assert stream.response.usage.completion_tokens == 12


def test_a_list_of_prompts_is_answered_in_order_n_times_each(client: tabbyapi.Client) -> None:
    alone = [client.completions.create(p, **GREEDY).text for p in ("One", "Two")]
    assert alone[0] != alone[1]
    reply = client.completions.create(["One", "Two"], n=2, **GREEDY)
    assert reply.texts == [alone[0], alone[0], alone[1], alone[1]]
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    with client.completions.create_stream(["One", "Two"], n=2, **GREEDY) as stream:
        assert stream.until_done().texts == reply.texts


def test_log_probabilities_have_the_legacy_shape(client: tabbyapi.Client) -> None:
    reply = client.completions.create("Once", logprobs=2, **GREEDY)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens) == reply.text
    assert logprobs.text_offset == [len("".join(logprobs.tokens[:k])) for k in range(12)]
    assert all(value <= 0 for value in logprobs.token_logprobs)
    assert all(len(tops) == 2 for tops in logprobs.top_logprobs)
    with client.completions.create_stream("Once", logprobs=2, **GREEDY) as stream:
        streamed = stream.until_done().choices[0].logprobs
    assert streamed is not None
    assert streamed.tokens == logprobs.tokens


def test_stop_strings_and_schemas_work_as_in_chat(client: tabbyapi.Client) -> None:
    whole = client.completions.create("Once", **GREEDY).text
    assert client.completions.create("Once", stop=[whole[4:6]], **GREEDY).text == whole[:4]
    forced = client.completions.create("Once", json_schema={"enum": ["a", "b"]}, max_tokens=9)
    assert forced.text in ('"a"', '"b"')


def test_a_prompt_that_does_not_fit_is_refused_with_figures(client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.ContextLengthError, match="9000"):
        client.completions.create("x" * 9000, max_tokens=4)


def test_empty_prompts_and_unknown_token_ids_are_refused(local_server: LocalServer) -> None:
    import urllib3

    for prompt, status in (([1, 999_999], 400), ([], 400), ("", 400), (None, 422), ([[]], 400)):
        answer = urllib3.request(
            "POST",
            f"{local_server.url}/v1/completions",
            headers={"X-Api-Key": local_server.api_key},
            json={"prompt": prompt, "max_tokens": 2},
        )
        assert (prompt, answer.status) == (prompt, status)


def test_openais_client_completes_text(local_server: LocalServer) -> None:
    with openai.OpenAI(
        base_url=f"{local_server.url}/v1", api_key=local_server.api_key, max_retries=0
    ) as client:
        whole = client.completions.create(model="any", prompt="Once", **GREEDY)  # type: ignore[call-overload]
        stream = client.completions.create(model="any", prompt="Once", stream=True, **GREEDY)  # type: ignore[call-overload]
        assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
