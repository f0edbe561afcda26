"""Embeddings on the local server: a model of its own, loaded and unloaded beside the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

import tabbyapi
from support.tiny_model import write_random
from tabbyapi import LocalServer, user

TEXTS = ["first text", "second text", "Grüße, 世界"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("embeddings")
    write_random(folder / "mini-embed.gguf", seed=5, context=512)
    write_random(folder / "other-embed.gguf", seed=6, context=512)
    (folder / "broken.gguf").write_bytes(b"GGUF and nothing else")
    with LocalServer(
        model=tiny_model, embeddings_dir=folder, embeddings="mini-embed", n_ctx=512
    ) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[tabbyapi.Client]:
    with server.client() as client:
        if client.models.get_embedding().id != "mini-embed":
            client.models.load_embedding("mini-embed")
        yield client


def test_each_text_has_a_vector_of_length_one(client: tabbyapi.Client) -> None:
    reply = client.embeddings.create(TEXTS)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-4) for vector in reply.vectors)
    assert reply.vectors[0] != reply.vectors[1]
    assert reply.model == "mini-embed"
    assert reply.usage.prompt_tokens == sum(len(text.encode()) for text in TEXTS)
    assert client.embeddings.create(TEXTS[1]).vectors[0] == pytest.approx(
        reply.vectors[1], abs=1e-4
    )


def test_base64_holds_the_same_numbers(client: tabbyapi.Client) -> None:
    plain = client.embeddings.create(TEXTS).vectors
    packed = client.embeddings.create(TEXTS, encoding_format="base64").vectors
    for a, b in zip(plain, packed, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_openais_client_embeds(server: LocalServer, client: tabbyapi.Client) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0) as other:
        reply = other.embeddings.create(model="any", input=TEXTS)
    for item, vector in zip(reply.data, client.embeddings.create(TEXTS).vectors, strict=True):
        assert item.embedding == pytest.approx(vector, abs=1e-4)


def test_the_models_change_while_chat_goes_on(server: LocalServer, client: tabbyapi.Client) -> None:
    names = [card.id for card in client.models.list_embedding()]
    assert names == ["broken", "mini-embed", "other-embed"]
    before = client.embeddings.create("text").vectors
    with client.chat.create_stream([user("Hi")], max_tokens=300, loop_detect_window=0) as stream:
        next(iter(stream))
        client.models.unload_embedding()
        with pytest.raises(tabbyapi.ModelNotLoadedError):
            client.embeddings.create("text")
        with pytest.raises(tabbyapi.ModelNotLoadedError):
            client.models.get_embedding()
        assert client.models.load_embedding("other-embed").status == "finished"
        assert stream.until_done().finish_reason == "length"
    assert client.models.get_embedding().id == "other-embed"
    assert client.embeddings.create("text").vectors != before
    with pytest.raises(tabbyapi.APIError, match="already loaded"):
        client.models.load_embedding("other-embed")


@pytest.mark.parametrize("name", ["no-such", "../mini-embed", "broken"])
def test_what_cannot_be_loaded_is_refused(client: tabbyapi.Client, name: str) -> None:
    with pytest.raises(tabbyapi.APIError, match=r"Could not find|broken"):
        client.models.load_embedding(name)
    client.models.load_embedding("mini-embed") if name == "broken" else None


def test_a_text_that_does_not_fit_and_an_empty_one_are_refused(client: tabbyapi.Client) -> None:
    with pytest.raises(tabbyapi.ContextLengthError):
        client.embeddings.create("x" * 600)
    with pytest.raises(tabbyapi.APIError, match="empty"):
        client.embeddings.create(["fine", ""])


def test_token_ids_are_embedded_as_their_text_is(
    client: tabbyapi.Client, server: LocalServer
) -> None:
    ids = client.tokens.encode("some words", add_bos_token=False)
    body = {"input": ids, "model": "any"}
    found = client.request("POST", "/v1/embeddings", json=body)
    assert found["data"][0]["embedding"] == pytest.approx(
        client.embeddings.create("some words").vectors[0], abs=1e-3
    )
    several = client.request("POST", "/v1/embeddings", json={"input": [ids, ids]})
    assert len(several["data"]) == 2
