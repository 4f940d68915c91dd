"""The settings of Sphinx."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.domains.python import PyObject
from sphinx.roles import XRefRole

sys.path.insert(0, str(Path(__file__).parents[2]))

import autostate

if TYPE_CHECKING:
    from docutils.parsers.rst.states import Inliner
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx

project = "autostate"
author = "The autostate authors"
copyright = "the autostate authors; Apache License 2.0"  # noqa: A001 - so Sphinx calls it
version = release = autostate.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["llms.txt"]
highlight_language = "text"

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4  # the same names as on GitHub

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Calling the class raises", "params_style")]
python_maximum_signature_line_length = 80
add_module_names = False
default_role = "name-or-code"  # what stands in backticks in docstrings

html_theme = "furo"
html_title = "autostate"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/favicon.svg"
html_baseurl = os.environ.get("DOCS_URL", "")
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#1d6f5f",
        "color-brand-content": "#1d6f5f",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5fd0b5",
        "color-brand-content": "#5fd0b5",
    },
}


_NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")
_link_to_name = XRefRole()


def _name_or_code(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, options: Any = None
) -> tuple[list[nodes.Node], list[Any]]:
    """Make a name a link, if it is documented, and everything else code."""
    if _NAME.fullmatch(text):
        linked: tuple[list[nodes.Node], list[Any]] = _link_to_name(
            "py:obj", rawtext, text, lineno, inliner
        )
        return linked
    return [nodes.literal(rawtext, nodes.unescape(text))], []


def _resolve(
    app: Sphinx, env: Any, node: pending_xref, contnode: nodes.TextElement
) -> nodes.TextElement | None:
    """Let names be plain code that are not documented here: types of Python, internal ones.

    References that are written by hand, to pages and headings, are not of the domain of Python: a
    dead one stays an error.
    """
    return contnode if node.get("refdomain") == "py" else None


def _mark_code(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let what is indented below a colon be code, as whoever reads the source takes it."""
    for number in range(len(lines) - 2):
        line, blank, below = lines[number : number + 3]
        is_code = line.endswith(":") and not line.endswith("::") and not blank.strip()
        if is_code and _indent(below) > _indent(line):
            lines[number] = f"{line}:"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def setup(app: Sphinx) -> None:
    """Connect what is defined here."""
    app.add_role("name-or-code", _name_or_code)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # as the docstrings call them
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _mark_code, priority=400)  # before napoleon
