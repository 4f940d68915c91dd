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

from tests.conftest import DRAWN, LAST, LONG

ROOT: Final = Path(__file__).parent.parent
TESTS: Final = ROOT / "tests"
LINES: Final = 600
"""No file of tests is longer."""


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
    assert "make test-stores PYTHON=" in workflow
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


def test_what_is_deprecated_is_told_of() -> None:
    """The page on stability names it, or says that there is nothing."""
    page = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    modules = (path.read_text(encoding="utf-8") for path in (ROOT / "autostate").rglob("*.py"))
    warning = re.compile(r"\bwarn(ings\.warn)?\([^()]*\b(Deprecation|Future)Warning\b")
    warns = any(warning.search(module) for module in modules)
    assert ("Nothing is deprecated at present" in page) is not warns


def test_no_test_judges_how_long_something_takes() -> None:
    """A test that is imported before Hypothesis was told so has a deadline of 0.2 s."""
    import tests.codec.test_codec as some

    found = [each for each in vars(some).values() if is_hypothesis_test(each)]
    assert found
    for each in found:
        assert each._hypothesis_internal_use_settings.deadline is None


def test_no_file_of_tests_is_too_long_to_be_read() -> None:
    """One that grows is split by theme, beside what its parts share."""
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in TESTS.rglob("*.py")}
    assert lengths
    assert {path: count for path, count in lengths.items() if count > LINES} == {}


def test_tests_of_a_package_mirror_its_modules() -> None:
    """`test_<module>.py` or `test_<module>_<theme>.py`; the package itself is a module, too."""
    packages = [path.parent for path in (ROOT / "autostate").glob("*/__init__.py")]
    found, strangers = 0, []
    for package in packages:
        modules = [package.name, *(path.stem for path in package.glob("*.py"))]
        mirrors = re.compile(f"test_({'|'.join(modules)})(_.+)?")
        for path in (TESTS / package.name).rglob("test_*.py"):
            found += 1
            if not mirrors.fullmatch(path.stem):
                strangers.append(path.relative_to(ROOT))
    assert found
    assert strangers == []


def test_folders_of_tests_are_packages_of_their_own_names() -> None:
    """`tests/apify` is never what `import apify` finds."""
    folders = {path.parent for path in TESTS.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    assert not {str(folder) for folder in folders} & set(sys.path)


def test_files_of_tests_that_are_named_anywhere_are_there() -> None:
    """In the documentation, by targets of the Makefile, and in what orders the tests."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "autostate").rglob("*.py")]
    pages += [ROOT / "Makefile", ROOT / "pyproject.toml", *TESTS.rglob("*.py")]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    named = {
        (page, name)
        for page, text in texts.items()
        for name in re.findall(r"(?<![\w/.])tests/[\w/]+(?:\.py)?(?![\w<])", text)
        if "__pycache__" not in name  # where Python writes none
    }
    assert len(named) > 40
    assert {each for each in named if not (ROOT / each[1]).exists()} == set()
    there = [path.relative_to(ROOT).as_posix() for path in TESTS.rglob("*")]
    for name in (*LONG, *DRAWN, LAST):
        assert any(name.partition("::")[0] in f"{path}/" for path in there), name
