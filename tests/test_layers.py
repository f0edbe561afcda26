"""Imports run downwards only, and in no circle; imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tabbyapi

SRC = Path(tabbyapi.__file__).parent

# From the top. A module may import what stands on its own line or below.
LAYERS = [
    "cli web ray langchain llm_plugin pytest_plugin",
    "local_server testing telemetry mcp",
    "batch",
    "_client",
    "conversation",
    "_services",
    "tools many",
    "structured images",
    "_streaming",
    "_transport",
    "_protocol",
    "types",
    "errors _version _files _folders",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# The server shares wire types and errors with the client, and nothing else.
SERVER_MAY_IMPORT = {"server", "types", "errors", "_version", "_files", "_folders"}

# Inside the server, from the top.
SERVER_LAYERS = [
    "main",
    "app",
    "routes",
    "generation",
    "runtime",
    "prompt grammar",
    "models",
    "overrides admission metrics",
    "schemas engine model_files http",
    "auth workers",
    "errors settings paths",
]
SERVER_LEVEL = {name: level for level, names in enumerate(SERVER_LAYERS) for name in names.split()}

# Only these start or describe the server, inside functions.
MAY_IMPORT_SERVER = {"cli", "local_server", "web", "ray", "testing", "pytest_plugin"}


def modules() -> dict[str, Path]:
    found = {}
    for path in SRC.rglob("*.py"):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    found.pop("__main__")
    return found


MODULES = modules()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from statements(child)


def imports_of(name: str) -> set[str]:
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *(node.module.split(".") if node.module else [])]
            if not node.level:
                if base[0] != "tabbyapi":
                    continue
                base = base[1:]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.add(whole if whole in MODULES else ".".join(base))
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("tabbyapi.")
                for alias in node.names
                if alias.name.startswith("tabbyapi.")
            }
    return found - {name, ""}


GRAPH = {name: imports_of(name) for name in MODULES if name}


def test_there_is_no_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", GRAPH)
def test_imports_run_downwards(name: str) -> None:
    top = name.split(".")[0]
    for imported in GRAPH[name]:
        other = imported.split(".")[0]
        if top == "server":
            assert other in SERVER_MAY_IMPORT, imported
        elif other == "server":
            assert top in MAY_IMPORT_SERVER, imported
        else:
            assert LEVEL[other] >= LEVEL[top], imported


@pytest.mark.parametrize("name", [name for name in GRAPH if name.startswith("server.")])
def test_imports_inside_the_server_run_downwards(name: str) -> None:
    room = name.split(".")[1]
    for imported in GRAPH[name]:
        if imported.startswith("server.") and (other := imported.split(".")[1]) != room:
            assert SERVER_LEVEL[other] > SERVER_LEVEL[room], imported


def test_every_module_has_a_layer() -> None:
    assert {name.split(".")[0] for name in GRAPH} - {"server"} <= LEVEL.keys()
