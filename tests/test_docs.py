"""What the documentation shows runs: python blocks of README.md and docs, examples in docstrings.

The blocks of one file run in order, in one namespace, in a directory of their own, with `await`
allowed at the top. A block that begins with ```python no-run is only compiled.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

import autostate

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python(?P<how>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(document: Path) -> list[tuple[bool, CodeType]]:
    """Every python block, compiled so that a traceback shows the line of the document."""
    text = document.read_text()
    blocks = []
    for match in BLOCK.finditer(text):
        lines_before = text.count("\n", 0, match.start("code"))
        code = compile(
            "\n" * lines_before + match["code"],
            str(document),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        blocks.append(("no-run" not in match["how"], code))
    return blocks


def _run(code: CodeType, namespace: dict[str, Any]) -> None:
    """Run a block, in an event loop if it awaits."""
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, namespace)
        return

    async def block() -> None:
        await eval(code, namespace)

    asyncio.run(block())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_python_blocks_of_a_document_run(document: Path) -> None:
    """A reader who copies the examples of a document gets what it says."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for runs, code in _blocks(document):
        if runs:
            _run(code, namespace)


def _modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(autostate.__path__, "autostate.")]
    return [autostate, *map(importlib.import_module, sorted(names))]


@pytest.mark.parametrize("module", _modules(), ids=lambda module: module.__name__)
def test_examples_in_docstrings_run(module: ModuleType) -> None:
    """An example in a docstring gives the result that stands below it."""
    failures, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failures == 0
