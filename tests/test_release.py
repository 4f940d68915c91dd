"""What is released is built, and works where nothing of the repository is found."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import autostate
from tests import release
from tests.release import ROOT, build, lowest, problem_of, try_out, version


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_works_by_itself(built: tuple[Path, Path], tmp_path: Path) -> None:
    """A program that is killed goes on; the plugin of pytest is beside the package."""
    _, wheel = built
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert {"_autostate_pytest.py", "autostate/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "examples/"))]
    python = tmp_path / "python"  # finds the wheel, and the dependencies of the tests
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    try_out(python, tmp_path)


def test_the_metadata_are_complete(built: tuple[Path, Path]) -> None:
    """The version is that of the package, which is written in one place."""
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith("METADATA")]
        told = email.message_from_bytes(archive.read(name))
        [name] = [each for each in archive.namelist() if each.endswith("entry_points.txt")]
        points = archive.read(name).decode()
        assert any(each.endswith("licenses/LICENSE") for each in archive.namelist())
    assert told["Version"] == version() == autostate.__version__
    assert told["Requires-Python"] == ">=3.11"
    assert "# autostate" in str(told.get_payload())
    assert "autostate = autostate.cli:main" in points
    assert "autostate = _autostate_pytest" in points
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    assert set(told.get_all("Provides-Extra") or ()) == set(
        re.findall(r"^(\w+) = ", extras, re.MULTILINE)
    )
    assert version() not in project


def test_the_sdist_has_all_that_a_wheel_and_the_tests_need(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each file that git knows; the wheel that is made of it is the same."""
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [tree] = tmp_path.iterdir()
    found = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    if (ROOT / ".git").exists():
        known = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
        there = {name for name in known if (ROOT / name).exists()}
        assert there - found == set()
    again = build(tree, tmp_path / "dist")[1]
    assert again.read_bytes() == wheel.read_bytes()


def test_a_tag_releases_the_version_that_it_names() -> None:
    """And the changelog tells of it."""
    dated = f"## [Unreleased]\n\n## [{version()}] - 2026-12-24\n"
    assert problem_of(f"v{version()}", dated) is None
    assert "tag v" in (problem_of("v99.0", dated) or "")
    assert "tag v" in (problem_of(version(), dated) or "")
    assert "move what is unreleased" in (problem_of(f"v{version()}", "## [Unreleased]\n") or "")


def test_a_person_only_has_to_tag() -> None:
    """The workflow checks the tag, tries what it has built, and publishes that without a secret."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    steps = ['tags: ["v*"]', "tests.release --tag", "make release-check", "id-token: write"]
    places = [text.index(step) for step in [*steps, "pypa/gh-action-pypi-publish"]]
    assert places == sorted(places)
    assert "secrets." not in text
    assert "password" not in text


def test_the_lowest_versions_are_those_of_the_project() -> None:
    """Each dependency says one."""
    assert "msgspec==0.20" in lowest()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", one) for one in lowest())


def test_what_fails_is_told() -> None:
    """With what it has printed, and where it should have failed, too."""
    with pytest.raises(RuntimeError, match="no such thing"):
        release.run(sys.executable, "-c", "import sys; sys.exit('no such thing')")
    with pytest.raises(RuntimeError, match=r": 0$"):
        release.run(sys.executable, "-c", "", fails=True)
