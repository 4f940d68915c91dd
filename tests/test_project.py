"""What the project says of itself in several places is the same everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import is_hypothesis_test

ROOT: Final = Path(__file__).parent.parent


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def _claimed() -> list[str]:
    """The versions of Python that the classifiers name."""
    names = "\n".join(_project()["project"]["classifiers"])
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", names, re.MULTILINE)


def test_the_versions_that_are_claimed_are_those_that_are_tested() -> None:
    """By the workflow; the oldest one is what ruff and mypy take the code for."""
    project, claimed = _project(), _claimed()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    [matrix] = re.findall(r"python: \[(.*)\]", workflow)
    assert re.findall(r'"([\d.]+)"', matrix) == claimed
    assert "make test PYTHON=" in workflow
    assert project["project"]["requires-python"] == f">={claimed[0]}"
    assert project["tool"]["mypy"]["python_version"] == claimed[0]
    assert project["tool"]["ruff"]["target-version"] == "py" + claimed[0].replace(".", "")


def test_this_version_is_claimed() -> None:
    """Else the tests say nothing about what users are told."""
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in _claimed()


INTERPRETER: Final = """#!/bin/sh
case "$1 $2" in
-c*base_prefix*) echo "/opt/{name} 3 14 0" ;;
"-m venv") mkdir -p "$3/bin"
    printf '#!/bin/sh\\n' > "$3/bin/python"
    chmod +x "$3/bin/python"
    echo {name} >> made ;;
esac
"""
"""Answers what the Makefile asks an interpreter, and notes when it makes an environment."""


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_an_environment_is_made_anew_for_another_interpreter(isolated: Path) -> None:
    """`make test PYTHON=…` never tests with the interpreter of before."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, isolated)
    for name in ("one", "two"):
        (isolated / name).write_text(INTERPRETER.format(name=name))
        (isolated / name).chmod(0o755)
    made = []
    for name in ("one", "one", "two", "two", "one"):
        command = ["make", ".venv/.installed", f"PYTHON={isolated / name}"]
        subprocess.run(command, check=True, capture_output=True)
        made.append((isolated / "made").read_text().split())
    assert made == [["one"]] * 2 + [["one", "two"]] * 2 + [["one", "two", "one"]]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_a_missing_interpreter_is_named(isolated: Path) -> None:
    """And nothing is made."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, isolated)
    command = ["make", "style", "PYTHON=python-that-is-missing"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "autostate needs Python 3.11 or newer" in done.stderr
    assert "python-that-is-missing" in done.stderr
    assert not (isolated / ".venv").exists()


def test_no_test_judges_how_long_something_takes() -> None:
    """A test that is imported before Hypothesis was told so has a deadline of 0.2 s."""
    import tests.codec.test_codec as some

    found = [each for each in vars(some).values() if is_hypothesis_test(each)]
    assert found
    for each in found:
        assert each._hypothesis_internal_use_settings.deadline is None
