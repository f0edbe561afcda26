"""What is installed, and what importing it brings along."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata, requires, version
from importlib.resources import files
from pathlib import Path

import pytest

import tabbyapi

# What `import tabbyapi` must not pay for.
HEAVY = {
    "PIL",
    "aiohttp",
    "asyncio",
    "click",
    "jinja2",
    "numpy",
    "pydantic",
    "starlette",
    "tabbyapi.cli",
    "tabbyapi.server",
    "urllib3",
    "uvicorn",
    "xllamacpp",
}


def modules_after(code: str) -> set[str]:
    """The modules a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nimport json\nprint(json.dumps(list(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


def test_importing_the_package_brings_neither_server_nor_network_libraries() -> None:
    assert not modules_after("import tabbyapi") & HEAVY


def test_types_and_errors_come_without_network_libraries() -> None:
    code = "from tabbyapi import ChatMessage, Timeout, TabbyError, user; import tabbyapi.types"
    assert not modules_after(code) & (HEAVY - {"asyncio"})


MANAGED = {"urllib3", "aiohttp"}
"""What only proxies, and what is handed in, need."""


@pytest.mark.parametrize(
    ("code", "spared"),
    [
        ("Client('http://127.0.0.1:9')", MANAGED | {"asyncio", "ssl", "http.client", "email"}),
        ("AsyncClient('http://127.0.0.1:9')", MANAGED | {"tabbyapi._transport.sync"}),
        ("Client('https://127.0.0.1:9')", MANAGED | {"asyncio"}),
        ("AsyncClient('https://127.0.0.1:9')", MANAGED),
    ],
)
def test_a_client_imports_no_more_than_its_connections_need(code: str, spared: set[str]) -> None:
    loaded = modules_after(f"import tabbyapi; tabbyapi.{code}.chat._client._transport")
    assert not loaded & spared
    assert not loaded & {"pydantic", "numpy", "PIL", "tabbyapi.server", "tabbyapi.cli"}


def test_no_module_of_types_postpones_its_annotations() -> None:
    # Each would be compiled when the package is imported: that was a third of the time.
    for path in Path(str(files("tabbyapi.types"))).glob("*.py"):
        postponed = "from __future__ import annotations" in path.read_text(encoding="utf-8")
        assert not postponed or path.name == "__init__.py", path.name


def test_the_package_says_that_it_is_typed() -> None:
    assert files("tabbyapi").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_distribution() -> None:
    assert tabbyapi.__version__ == version("py-tabbyapi")


def test_every_public_name_can_be_imported() -> None:
    for name in tabbyapi.__all__:
        assert getattr(tabbyapi, name) is not None
    assert set(tabbyapi.__all__) <= set(dir(tabbyapi))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tabbyapi.no_such_name


def test_a_plain_install_leaves_out_the_server_and_its_engine() -> None:
    plain = [line for line in requires("py-tabbyapi") or [] if "extra ==" not in line]
    names = {re.split(r"[^\w-]", line)[0] for line in plain}
    assert "msgspec" in names
    assert not names & {"xllamacpp", "starlette", "uvicorn", "pydantic", "jinja2", "numpy"}


def test_the_licence_is_stated() -> None:
    assert metadata("py-tabbyapi")["License-Expression"] == "MIT"
