"""The commands in the guides to the terminal do what the guides say: each page's run in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .scripted import clean_environment

if TYPE_CHECKING:
    from tabbyapi import LocalServer

DOCS = Path(__file__).parents[2] / "docs" / "guides"
PAGES = ("admin.md", "batch.md", "config.md", "terminal.md")
BLOCK = re.compile(r"(?P<no_run><!-- no-run: [^\n]+ -->\n)?^```sh\n(?P<code>.*?)^```$", re.M | re.S)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for bash")
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_guide_run(name: str, local_server: LocalServer, tmp_path: Path) -> None:
    blocks = BLOCK.finditer((DOCS / name).read_text(encoding="utf-8"))
    script = "\n".join(block["code"] for block in blocks if not block["no_run"])
    assert "tabbyapi" in script
    environment = clean_environment(
        tmp_path,
        TABBY_API_ENDPOINT=local_server.url,
        TABBY_API_KEY=local_server.api_key,
        TABBY_ADMIN_KEY=local_server.admin_key,
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
