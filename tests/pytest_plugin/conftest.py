"""Fixtures of the tests of the plugin: sessions of pytest, in projects of their own."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import programs
from tests.pytest_plugin.sessions import ROOT, Session


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installer writes about the entry point of pyproject.toml."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "autostate_plugin-0.dist-info"
    about.mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [(name, module)] = project["entry-points"]["pytest11"].items()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: autostate-plugin\nVersion: 0\n")
    (about / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    return folder


@pytest.fixture
def session(installed: Path, isolated: Path) -> Session:
    """Run pytest over some files, in a project of its own."""
    project = isolated / "project"
    project.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(installed))),
        "PYTEST_DEBUG_TEMPROOT": str(isolated),
    }
    (project / "pytest.ini").write_text("[pytest]\n")

    def run(
        *options: str, env: dict[str, str] | None = None, passes: bool = True, **files: str
    ) -> subprocess.CompletedProcess[str]:
        for name, content in files.items():
            (project / f"{name}.py").write_text(content)
        done = programs.run_python(
            "-m",
            "pytest",
            *(f"-pno:{name}" for name in ("cacheprovider", "asyncio", "hypothesispytest")),
            *options,
            folder=project,
            env={**environment, **(env or {})},
        )
        assert (done.returncode == 0) is passes, done.stdout + done.stderr
        return done

    return run
