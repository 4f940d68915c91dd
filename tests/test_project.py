"""What the project says of itself in several places is the same everywhere."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

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
