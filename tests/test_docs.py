"""What the documentation shows runs: python blocks of all documents, examples in docstrings.

The blocks of one file run in order, in one namespace, in a directory of their own, with `await`
allowed at the top. A block that begins with ```python no-run is only compiled; one that begins with
```python program runs in a process of its own; one that begins with ```python program NAME.py is
saved under this name, in a folder for all of them of a document, and runs from there.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import doctest
import importlib
import inspect
import logging
import os
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import autostate
from tests import programs

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ONCE = {"actors", "charging", "coming-from-use-state", "testing-actors"}
"""Actors are restarted on a platform (`tests/actor`); a record is taken over once."""
BLOCK = re.compile(r"^```python(?P<how>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
RESTARTED = [
    each
    for each in DOCUMENTS
    if each.stem not in ONCE and any(not match["how"] for match in BLOCK.finditer(each.read_text()))
]


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
        blocks.append((not match["how"].strip(), code))
    return blocks


def _run(code: CodeType, namespace: dict[str, Any]) -> None:
    """Run a block, in an event loop if it awaits."""
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, namespace)
        return

    async def block() -> None:
        await eval(code, namespace)

    asyncio.run(block())


@pytest.fixture
def log_restored() -> Iterator[None]:
    """Let what a page has done to the logs of the library end with the page."""
    loggers = [logging.getLogger(name) for name in ("autostate", "autostate.saves")]
    before = [([*each.handlers], each.level) for each in loggers]
    yield
    for each, (handlers, level) in zip(loggers, before, strict=True):
        each.handlers[:] = handlers
        each.setLevel(level)


@pytest.mark.usefixtures("forked_actors", "log_restored")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_python_blocks_of_a_document_run(document: Path) -> None:
    """A reader who copies the examples of a document gets what it says."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for runs, code in _blocks(document):
        if runs:
            _run(code, namespace)


@pytest.mark.usefixtures("forked_programs")
@pytest.mark.parametrize("document", RESTARTED, ids=lambda path: path.stem)
def test_a_document_is_a_program_that_can_be_started_again(document: Path, isolated: Path) -> None:
    """It goes on from what its first run has saved."""
    found = [match for match in BLOCK.finditer(document.read_text()) if not match["how"]]
    code = "\n".join(match["code"] for match in found)
    if any(code.co_flags & inspect.CO_COROUTINE for runs, code in _blocks(document) if runs):
        body = textwrap.indent(code, " ")
        code = f"import asyncio\nasync def page():\n{body}\nasyncio.run(page())"
    for _ in range(2):
        done = programs.run(code)
        assert done.returncode == 0, done.stderr


PROGRAMS = [
    pytest.param(match["code"], id=f"{document.stem}-{number}")
    for document in DOCUMENTS
    for number, match in enumerate(BLOCK.finditer(document.read_text()))
    if match["how"].strip() == "program"
]


@pytest.mark.usefixtures("forked_programs")
@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program_of_a_document_runs(code: str, isolated: Path) -> None:
    """And goes on from there when it is started again."""
    for _ in range(2):
        done = programs.run(code, env={**os.environ, "APIFY_PURGE_ON_START": "0"})
        assert done.returncode == 0, done.stderr


def _files(document: Path) -> list[tuple[str, str]]:
    """The names and the code of the files that a document lets its readers save, in order."""
    return [
        (how[1], match["code"])
        for match in BLOCK.finditer(document.read_text())
        if len(how := match["how"].split()) == 2
    ]


WITH_FILES = [document for document in DOCUMENTS if _files(document)]
PAUSE = re.compile(r"\bsleep\([\d.]+\)")


@pytest.mark.usefixtures("forked_programs")
@pytest.mark.parametrize("document", WITH_FILES, ids=lambda path: path.stem)
def test_files_of_a_document_run(document: Path, isolated: Path) -> None:
    """Each of them twice, after those before it; tests by pytest. Pauses are made short."""
    environment = {**os.environ, "APIFY_PURGE_ON_START": "0"}
    for name, code in _files(document):
        (isolated / name).write_text(PAUSE.sub("sleep(0.02)", code))
        pytest_of_it = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        arguments = [*pytest_of_it, name] if name.startswith("test_") else [name]
        for _ in range(1 if name.startswith("test_") else 2):
            done = programs.run_python(*arguments, env=environment)
            assert done.returncode == 0, done.stdout + done.stderr


def _examples() -> list[doctest.DocTest]:
    """Every docstring of the package that has an example."""
    names = [module.name for module in pkgutil.walk_packages(autostate.__path__, "autostate.")]
    # These import the SDK, and in a process with the SDK the default store is that of an Actor.
    sdk = ("autostate.apify.storage_client", "autostate.apify.in_step_")
    without = sorted(name for name in names if not name.startswith(sdk))
    modules = [autostate, *map(importlib.import_module, without)]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name)
def test_the_example_in_a_docstring_runs(example: doctest.DocTest) -> None:
    """An example in a docstring gives the result that stands below it, in a place of its own."""
    output: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=output.append)
    assert "".join(output) == ""


def test_the_reference_has_all_fields_signals_and_errors() -> None:
    """Those of `info()` and `statistics()`, each signal's arguments, each class of errors."""
    text = (ROOT / "docs" / "reference.md").read_text()
    for heading, cls in (("`info(obj)`", autostate.Info), ("`statistics()`", autostate.Statistics)):
        section = text.partition(f"## {heading}")[2].partition("\n## ")[0]
        cells = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))
        for each in dataclasses.fields(cls):
            assert f"`{each.name}`" in cells
    section = text.partition("## Signals")[2].partition("\n## ")[0]
    for name, signal in vars(autostate.hub).items():
        if isinstance(signal, autostate.hub.HubSignal):
            [row] = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
            said = set(re.findall(r"`(\w+)`", signal.__doc__ or "")) - {"migrating"}
            assert said <= set(re.findall(r"`(\w+)`", row.split("|")[2]))
    names = {name for name, cls in vars(autostate.errors).items() if name.endswith("Error")}
    assert names - set(re.findall(r"`(\w+Error)`", text)) == set()
