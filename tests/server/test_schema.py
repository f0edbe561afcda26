"""The server against its own description: generated requests, whose answers must be described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.schemas import APIOperation

from tabbyapi.local_server import LocalServer
from tabbyapi.server.app import build_app
from tabbyapi.server.auth import Keys
from tabbyapi.server.routes.openapi import describe
from tabbyapi.server.settings import Settings

from .conftest import API, Raw


def no_fault(_context: object, response: schemathesis.Response, _case: schemathesis.Case) -> None:
    """The server can do what it is there for; no embedding model is loaded in these tests."""
    assert response.status_code < 500 or "No embedding models" in response.text


CHECKS = [
    no_fault,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
DESCRIPTION = describe(build_app(Settings(), Keys()).routes)
OPERATIONS = [
    found.ok() for found in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
]


@pytest.fixture(scope="module")
def small(random_model: Path) -> Iterator[LocalServer]:
    """A server whose answers are short, whatever is asked for."""
    with LocalServer(random_model, api_keys=(API,), threads=1, n_ctx=256) as server:
        yield server


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_one_that_is_described(small: LocalServer, operation: APIOperation) -> None:
    @settings(max_examples=10, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        # Not the admin's key: what the admin may do would change the server under the test.
        case.call_and_validate(base_url=small.url, headers={"X-Api-Key": API}, checks=CHECKS)

    ask()


def test_the_description_names_routes_keys_and_shapes(http: Raw) -> None:
    document = http("GET", "/openapi.json", headers={}).json()
    assert document["openapi"] == "3.1.0"
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["security"] == [{"key": []}, {"bearer": []}]
    assert chat["responses"].keys() == {"200", "400", "401", "408", "413", "422", "503"}
    assert chat["responses"]["200"]["content"].keys() == {"application/json", "text/event-stream"}
    fields = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]
    assert {"messages", "max_tokens", "temperature", "tools", "json_schema"} <= fields.keys()
    assert "security" not in document["paths"]["/health"]["get"]
    assert document["paths"]["/v1/model/load"]["post"]["security"][0] == {"adminKey": []}


def test_every_reference_of_the_description_leads_somewhere(http: Raw) -> None:
    document = http("GET", "/openapi.json", headers={}).json()
    schemas = document["components"]["schemas"]
    waiting, found = [document], 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/components/schemas/") in schemas
            found += 1
        if isinstance(node, (dict, list)):
            waiting += node.values() if isinstance(node, dict) else node
    assert found > 50
