"""What users get: the wheel, the sdist, and what installing the client brings along."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_PACKAGES = 12
MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_wheel_holds_the_package_and_no_model(dist: Path) -> None:
    wheel = only(dist, "*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "tabbyapi/py.typed" in names
    assert "tabbyapi/server/main.py" in names
    assert not [name for name in names if name.endswith(".gguf")]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"tabbyapi", "py_tabbyapi"}
    assert wheel.stat().st_size < MOST_BYTES


def test_the_sdist_can_be_tested(dist: Path) -> None:
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml"} <= names
    assert {"tests/conftest.py", "tests/captures/chat.jsonl", "docs/index.md"} <= names


def test_a_client_brings_few_packages(dist: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--disable-pip-version-check", "--report", "-", str(only(dist, "*.whl"))),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    installed = [item["metadata"]["name"] for item in json.loads(result.stdout)["install"]]
    assert "py-tabbyapi" in installed
    assert len(installed) <= MOST_PACKAGES, installed
