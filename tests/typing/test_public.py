"""The public API as an editor and an interpreter show it."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tabbyapi
from tabbyapi import ChatCompletionResponse, ChatMessage, assistant, user

README = Path(__file__).parents[2] / "README.md"
ENVIRONMENT = {
    **os.environ,
    "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"],
}


def test_every_symbol_of_the_client_has_a_known_type() -> None:
    # As pyright counts them for users of the package. The server has no Python API, and the bases
    # of the plug-ins are types of other packages.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pyright", "--verifytypes", "tabbyapi"),
            *("--ignoreexternal", "--outputjson"),
        ],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    assert len(symbols) > 1000
    incomplete = {
        symbol["name"]: [item["message"] for item in symbol["diagnostics"]]
        for symbol in symbols
        if symbol["isExported"]
        and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
        and not symbol["name"].startswith(
            ("tabbyapi.server.", "tabbyapi.ray.", "tabbyapi.langchain.", "tabbyapi.llm_plugin.")
        )
    }
    assert incomplete == {}


@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["pyright"]], ids=" ".join)
def test_the_first_programs_of_the_readme_pass_strict_checkers(
    checker: list[str], tmp_path: Path
) -> None:
    programs = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for i, text in enumerate(programs[:2]):
        (tmp_path / f"program_{i}.py").write_text(text, encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    done = subprocess.run(
        [sys.executable, "-m", *checker, "."],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------- names

# What public methods mention beside the package's own names.
OTHERS = {
    *("Any", "AsyncIterator", "Awaitable", "Iterable", "Iterator", "Literal", "Mapping"),
    *("Path", "PathLike", "Self", "Sequence", "TracebackType", "Unpack", "AsyncIterable"),
    *("BaseException", "Generator", "Callable"),
    *("T", "R", "C", "T_co"),
    *("Cards", "Names"),  # `list`, inside classes that have a method of that name
    *("Call", "StreamCall"),  # of request() and open_stream(), the verbs of the services
}


def public_classes() -> dict[str, type]:
    client, other = tabbyapi.Client(), tabbyapi.AsyncClient()
    services = [
        type(getattr(one, name))
        for one in (client, other)
        for name in inspect.get_annotations(type(one))
        if not name.startswith("_")
    ]
    exported = [getattr(tabbyapi, name) for name in tabbyapi.__all__]
    classes = [item for item in exported if inspect.isclass(item)]
    return {item.__name__: item for item in [*classes, *services]}


def mentioned(annotation: Any) -> Iterator[str]:
    """The names in an annotation that begin with a capital letter."""
    if isinstance(annotation, str):
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                continue
            if isinstance(node, ast.Name) and node.id[:1].isupper():
                yield node.id


def test_whatever_public_methods_take_and_return_can_be_imported_from_the_package() -> None:
    missing = {
        (name, method_name, word)
        for name, cls in public_classes().items()
        if cls.__module__.startswith("tabbyapi")
        for method_name, method in vars(cls).items()
        if inspect.isfunction(method) and not method_name.startswith("_")
        for annotation in method.__annotations__.values()
        for word in mentioned(annotation)
        if word not in tabbyapi.__all__ and word not in OTHERS
    }
    assert missing == set()


def test_what_is_lazy_is_listed_and_nothing_is_listed_twice() -> None:
    assert set(tabbyapi._LAZY) <= set(tabbyapi.__all__)
    assert len(tabbyapi.__all__) == len(set(tabbyapi.__all__))


# ---------------------------------------------------------------- at run time


@pytest.mark.parametrize("client", [tabbyapi.Client(), tabbyapi.AsyncClient()], ids=repr)
def test_signatures_show_the_parameters_and_their_types(client: Any) -> None:
    create = inspect.signature(client.chat.create)
    assert next(iter(create.parameters)) == "messages"
    assert create.parameters["temperature"].annotation == float | None
    assert create.parameters["temperature"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "params" not in create.parameters
    assert "max_rounds" in inspect.signature(client.chat.run).parameters
    assert "cache_mode" in inspect.signature(client.models.load).parameters
    assert "on_overflow" in inspect.signature(client.conversation).parameters
    assert inspect.signature(type(client.chat).create).return_annotation == "ChatCompletionResponse"


def test_services_print_what_they_belong_to_and_no_key() -> None:
    client = tabbyapi.Client("http://localhost:5001", api_key="hush")
    assert repr(client.chat) == "<Chat of Client('http://localhost:5001')>"
    assert "hush" not in repr(vars(client.models))


def test_messages_and_replies_print_alike_and_short() -> None:
    reply = ChatCompletionResponse(choices=[tabbyapi.ChatCompletionRespChoice()])
    reply.choices[0].message = ChatMessage("assistant", "Hi")
    assert repr(user("Hi")) == "ChatMessage(role='user', content='Hi')"
    assert repr(reply.message) == repr(assistant("Hi"))
    assert "None" not in repr(reply)


def test_values_become_dicts_and_json_with_the_names_of_the_wire() -> None:
    reply = ChatCompletionResponse(id="1", usage=tabbyapi.UsageStats(1, 2, 3))
    assert reply.to_dict()["usage"]["total_tokens"] == 3
    assert json.loads(reply.to_json()) == reply.to_dict()
    assert reply.to_json(indent=2).startswith('{\n  "id": "1"')
    text = json.dumps({"reply": reply}, default=msgspec.to_builtins)
    assert json.loads(text)["reply"] == reply.to_dict()


def test_values_are_fields_of_pydantic_models_and_so_of_web_frameworks() -> None:
    import pydantic

    class Answer(pydantic.BaseModel):
        reply: ChatCompletionResponse

    answer = Answer(reply=ChatCompletionResponse(id="1"))
    again = Answer.model_validate_json(answer.model_dump_json())
    assert again.reply == answer.reply
    with pytest.raises(pydantic.ValidationError):
        Answer.model_validate({"reply": {"choices": 5}})


def test_notebooks_show_answers_as_markdown() -> None:
    reply = ChatCompletionResponse(choices=[tabbyapi.ChatCompletionRespChoice()])
    reply.choices[0].message = ChatMessage("assistant", "**Hi**")
    for value in (reply, reply.message):
        assert value._repr_markdown_() == "**Hi**"
