"""What mypy, ty and pyright say about the code in `tests/typing`, and what it leaves unsaid.

That code is never run. Its `assert_type(...)` have to hold for every checker, and

    hits["x"] = "text"  # error
    autostate.configure(debonce=1)  # error: mypy pyright

are lines that every checker has to refuse, or that only these do so far. A line that is refused
without such a mark fails the test, and so does a mark on a line that is not refused.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_type_hints

import pytest

import autostate
from autostate.settings import Settings, SettingsByName
from tests.campaign import LONG
from tests.conftest import SEED

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for path in (ROOT / "tests" / "typing").glob("*.py") if path.stat().st_size > 99
)
PUBLIC = (
    "containers",
    "errors",
    "hub",
    "loops.resume",
    "runtime.api",
    "runtime.info",
    "runtime.manager",
    "settings",
    "shared.container",
    "shared.counter",
    "shared.dict",
    "shared.set",
    "stores",
    "testing",
)
"""The modules that users import from, or whose classes they hold. What is below is the library's
own affair, where mypy --strict is enough."""

MARK = re.compile(r"# error(?:: (?P<checkers>[a-z ]+))?$")

Lines = set[tuple[str, int]]
"""Names of files, and numbers of lines."""


def _run(*command: str, **environ: str) -> str:
    """Run a checker in the root of the project, and give what it writes."""
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode in (0, 1), f"{command} did not work:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def mypy(version: str, files: list[Path]) -> Lines:
    """Give the lines that mypy refuses."""
    output = _run("mypy", "--output=json", f"--python-version={version}", *map(str, files))
    found = [json.loads(line) for line in output.splitlines()]
    lines = {(Path(one["file"]).name, one["line"]) for one in found if one["severity"] == "error"}
    return {line for line in lines if line[0] in {path.name for path in files}}  # not imports


def ty(version: str, files: list[Path]) -> Lines:
    """Give the lines that ty refuses or warns of."""
    options = ("--output-format=gitlab", f"--python={sys.prefix}", f"--python-version={version}")
    return {
        (Path(one["location"]["path"]).name, one["location"]["positions"]["begin"]["line"])
        for one in json.loads(_run("ty", "check", *options, *map(str, files)))
    }


def pyright(version: str, files: list[Path]) -> Lines:
    """Give the lines that pyright refuses or warns of."""
    options = ("--outputjson", f"--pythonpath={sys.executable}", f"--pythonversion={version}")
    found = json.loads(_run("pyright", *options, *map(str, files)))
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in found["generalDiagnostics"]
        if one["severity"] != "information"
    }


def _marked(checker: str, files: list[Path]) -> Lines:
    """Give the lines that this checker is to refuse."""
    marks = (
        (path.name, number, MARK.search(line))
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    )
    return {
        (name, number)
        for name, number, mark in marks
        if mark and checker in (mark["checkers"] or checker).split()
    }


PLANTED = """\
from typing import assert_type

from autostate import PersistedDict

hits = PersistedDict[str, int]("hits")
hits["x"] = 1
hits["x"] = "text"
hits["x"] = "text"  # error
hits["x"] = 1  # error
assert_type(hits["x"], str)
"""
"""To see that a checker checks: as is said of lines 7, 9 and 10, but not of the others."""


TURN: Final = random.Random(SEED).randrange(2)
"""Which of two checks that take seconds is made: one in each run, and both in `make fuzz`."""
CHOSEN: Final = [(mypy, "3.11"), *([] if TURN else [(pyright, "3.14")])]
CHECKS: Final = [
    pytest.param(checker, version, id=f"{checker.__name__}-{version}")
    for checker, version in itertools.product((mypy, ty, pyright), ("3.11", "3.14"))
    if LONG or checker is ty or (checker, version) in CHOSEN
]
"""Checkers and the versions of Python that they assume. `make fuzz` runs all."""


@pytest.mark.parametrize(("checker", "version"), CHECKS)
def test_a_checker_refuses_what_is_marked_and_nothing_else(
    checker: Callable[[str, list[Path]], Lines], version: str, tmp_path: Path
) -> None:
    """Types are inferred as the builtins' are, and wrong use is found before the program runs."""
    planted = tmp_path / "planted.py"
    planted.write_text(PLANTED, encoding="utf-8")
    found = checker(version, [*FILES, planted])
    marked = _marked(checker.__name__, [*FILES, planted])
    assert sorted(found - marked) == [("planted.py", 7), ("planted.py", 10)]
    assert sorted(marked - found) == [("planted.py", 9)]


def test_every_public_name_is_used_in_typed_code() -> None:
    """What the package exports is looked at by the checkers."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    names = {*autostate.__all__, "open"} - {"__version__"}
    assert not [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)]


@pytest.mark.skipif(not LONG and TURN == 0, reason="the other check by pyright is made instead")
def test_the_public_face_leaves_no_type_to_be_guessed() -> None:
    """Every name and attribute is annotated, so that all checkers see the same."""
    first = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    options = ("--verifytypes=autostate", "--ignoreexternal", "--outputjson")
    report = json.loads(_run("pyright", *options, PATH=first))["typeCompleteness"]
    public = [symbol for symbol in report["symbols"] if _is_public(symbol["name"])]
    assert {f"autostate.{name}" for name in autostate.__all__} - {"autostate.__version__"} <= {
        symbol["name"] for symbol in report["symbols"]
    }, "pyright did not find the package"
    unsaid: dict[str, Any] = {
        symbol["name"]: [problem["message"] for problem in symbol["diagnostics"]]
        for symbol in public
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }
    assert not unsaid


def _is_public(name: str) -> bool:
    """Tell what users see from what only the layers below see."""
    inside = name.removeprefix("autostate.")
    return inside.split(".")[0] in autostate.__all__ or any(
        f"{inside}.".startswith(f"{public}.") for public in PUBLIC
    )


def test_the_settings_by_name_are_the_settings() -> None:
    """A setting that is new can be given to `configure`, with its type."""
    names = [field.name for field in dataclasses.fields(Settings)]
    hints = get_type_hints(Settings)
    assert get_type_hints(SettingsByName) == {name: hints[name] for name in names}
