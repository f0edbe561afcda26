"""How the documentation becomes a site: `make docs`."""

from __future__ import annotations

import re
from typing import Any

from tabbyapi import __version__

project = "py-tabbyapi"
release = __version__
copyright = "the py-tabbyapi authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "py-tabbyapi"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Fields of several classes have the same names, such as `type` and `object`.
suppress_warnings = ["ref.python"]

_CODE = re.compile(r"(?<!`)`([^`]+)`(?![`_])")
_PROGRAM = re.compile(r"^(\S.*[^:]\n)\n(    \S)", re.M)


def _literal_code(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings put code in single backticks, and programs in plain indented blocks."""
    text = _CODE.sub(r"``\1``", "\n".join(lines))
    text = re.sub(r"``(?=s\b)", r"``\\ ", text)
    lines[:] = _PROGRAM.sub(r"\1\n::\n\n\2", text).split("\n")


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _literal_code, priority=100)  # before napoleon
