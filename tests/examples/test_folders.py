"""What the folders of the examples hold is enough for a project of one's own."""

from __future__ import annotations

import ast
import functools
import json
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parent.parent.parent
ACTORS: Final = sorted((ROOT / "examples" / "actors").glob("*/"))


_distributions = functools.cache(packages_distributions)
"""Those of each module; not of what is installed to be edited."""


def _imported(path: Path) -> set[str]:
    """The distributions of what a program imports."""
    modules = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    names = {each.partition(".")[0] for each in modules} - sys.stdlib_module_names
    return {_distributions().get(each, [each])[0].lower() for each in names}


@pytest.mark.parametrize("folder", ACTORS, ids=lambda folder: folder.name)
def test_a_folder_and_the_dockerfile_are_a_project(folder: Path) -> None:
    """`apify push` finds what it needs, and what is imported is required."""
    actor = json.loads((folder / ".actor" / "actor.json").read_text(encoding="utf-8"))
    assert actor["name"] == folder.name.replace("_", "-")
    assert (folder / ".actor" / actor["dockerfile"]).resolve() == folder / "Dockerfile"
    assert actor.get("usesStandbyMode", False) == (folder.name == "standby")
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = set[str]()
    for each in map(Requirement, lines):
        required |= {each.name, *each.extras}
    assert _imported(folder / "main.py") <= required


@pytest.mark.parametrize("page", ["README.md", "examples/actors/README.md"])
def test_each_actor_is_listed(page: str) -> None:
    """With a link to its program."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [folder.name for folder in ACTORS if f"{folder.name}/main.py)" not in text] == []
    assert len(ACTORS) == 10
