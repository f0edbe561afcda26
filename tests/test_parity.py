"""The sync and the async client have the same services, methods and parameters."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from inspect import get_annotations
from typing import Any

import pytest

import tabbyapi
from tabbyapi import AsyncClient, Client

# Names that only one side has, and why.
ONLY_ASYNC = {"aclose"}  # what asyncio calls it, beside close()

# Classes that callers make themselves; the others are handed out.
PUBLIC = (Client, AsyncClient)
APART = {"server", "cli", "_transport", "langchain", "llm_plugin", "web", "ray"}


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(tabbyapi.__path__, "tabbyapi."):
        if found.name.split(".")[1] not in APART:
            yield importlib.import_module(found.name)


def twins() -> dict[str, tuple[type, type]]:
    """Every class `X` that has an `AsyncX`."""
    classes = {
        name: item
        for module in modules()
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and item.__module__ == module.__name__
        and not getattr(item, "_is_protocol", False)
    }
    return {
        name: (item, classes["Async" + name])
        for name, item in classes.items()
        if "Async" + name in classes
    }


TWINS = twins()


def without_async(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return text.replace("Async", "").replace("async", "")


def members(cls: type) -> dict[str, Any]:
    """What a caller sees of a class: for each public name its kind and signature."""
    shown: dict[str, Any] = {}
    for name, item in inspect.getmembers_static(cls):
        if name.startswith("_") and not (name == "__init__" and issubclass(cls, PUBLIC)):
            continue
        if isinstance(item, staticmethod | classmethod):
            item = item.__func__
        if inspect.isfunction(item):
            shown[name] = [
                (given.name, given.kind, given.default, without_async(given.annotation))
                for given in inspect.signature(item).parameters.values()
            ]
        elif isinstance(item, property | cached_property):
            shown[name] = "a property"
    return shown


def test_twins_are_found() -> None:
    assert {"Client", "Chat", "Stream"} <= TWINS.keys()


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_same_members_and_parameters(name: str) -> None:
    one, other = (members(cls) for cls in TWINS[name])
    for extra in ONLY_ASYNC - one.keys():
        other.pop(extra, None)
    assert one == other


@pytest.mark.parametrize("name", TWINS)
def test_twins_return_the_same_and_document_it(name: str) -> None:
    one, other = TWINS[name]
    for member in members(one):
        ours, theirs = inspect.getattr_static(one, member), inspect.getattr_static(other, member)
        if inspect.isfunction(ours):
            returned = inspect.signature(ours).return_annotation
            assert without_async(returned) == without_async(
                inspect.signature(theirs).return_annotation
            ), member
        if member != "__init__":
            assert inspect.getdoc(ours), f"{name}.{member} has no docstring"
            assert inspect.getdoc(theirs), f"Async{name}.{member} has no docstring"


def test_both_clients_have_the_same_services() -> None:
    def services(cls: type) -> dict[str, str]:
        client = cls("http://127.0.0.1:9")
        shown = [name for name in get_annotations(cls) if not name.startswith("_")]
        made = {name: type(getattr(client, name)).__name__ for name in shown}
        assert made == {name: get_annotations(cls)[name] for name in shown}
        assert set(made) <= set(dir(client))
        return made

    one, other = services(Client), services(AsyncClient)
    assert other == {name: f"Async{kind}" for name, kind in one.items()}
    assert one["chat"] == "Chat"
    assert len(one) == 10
