"""What is released: built, installed with the lowest and the newest dependencies, and tried.

    python -m tests.release [FOLDER]         builds into a folder, and tries all of it
    python -m tests.release --tag v1.2.3     checks that this is what a tag releases

Each row of `ENVIRONMENTS` has a virtual environment of its own, outside of the repository, in which
nothing of the repository is found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
_PLACES: Final = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
_UV: Final = shutil.which("uv", path=_PLACES) or "uv"
BUILD: Final = """
import sys
from hatchling import build
print(build.build_sdist(sys.argv[1]))
print(build.build_wheel(sys.argv[1]))
"""
PROGRAM: Final = """
import os, signal
import autostate
pages = autostate.PersistedDict("pages", done=0)
for page in autostate.resume("loop", range(5)):
    pages["done"] += 1
    if page == 2 and not pages.get("killed"):
        pages["killed"] = True
        autostate.flush()
        os.kill(os.getpid(), signal.SIGKILL)
print(pages["done"], autostate.__version__, autostate.__file__)
"""
"""Is killed in the body of the third item, whose writes are saved: the item comes again."""

EXTRAS: Final = """
import autostate
from autostate import otel, signing
from autostate.stores import checked
for url in ("redis://127.0.0.1:1/0?state=a", "s3://bucket/folder?state=a"):
    checked(url)
otel.instrument()
key = "a-key-of-sixteen-bytes"
with autostate.open("sqlite:///secret.db", key=key, encrypt=True):
    autostate.PersistedDict("d", word="hunter2")
assert b"hunter2" not in open("secret.db", "rb").read()
"""
TESTS: Final = (
    *("tests/codec/test_codec.py", "tests/codec/test_types.py", "tests/codec/test_pickled.py"),
    *("tests/containers", "tests/stores/test_keyed.py", "tests/test_signing.py"),
    *("tests/cli/test_commands.py", "tests/test_hub.py", "tests/test_otel.py"),
)
"""What depends most on the versions of what autostate needs; run with the lowest ones."""

PLUGIN: Final = """
import autostate
def test_state_is_apart():
    assert autostate.PersistedDict("pages") == {}
"""


@dataclass(frozen=True)
class Environment:
    """How the wheel is installed.

    Attributes:
        extras: Its extras.
        lowest: Whether what it needs has the lowest versions that pyproject.toml allows, else the
            newest.
        sdist: Whether the sdist is installed in place of the wheel.
    """

    extras: tuple[str, ...] = ()
    lowest: bool = False
    sdist: bool = False


_EXTRAS: Final = ("cli", "crypto", "otel", "progress", "redis", "s3")
ENVIRONMENTS: Final = {
    "bare": Environment(),
    "lowest": Environment(_EXTRAS, lowest=True),
    "newest": Environment(_EXTRAS),
    "sdist": Environment(sdist=True),
}


def run(*command: str | Path, folder: Path = ROOT, fails: bool = False) -> str:
    """Run a command without the repository on its path, and return what it prints.

    Raises:
        RuntimeError: It fails, or it does not although it should. The error holds what it printed.
    """
    hidden = ("VIRTUAL_ENV", "PYTHONPATH")
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        cwd=folder,
        env={
            name: value
            for name, value in os.environ.items()
            if name not in hidden and not name.startswith("AUTOSTATE_")
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if (done.returncode != 0) is not fails:
        raise RuntimeError(f"{done.stdout}\n{' '.join(map(str, command))}: {done.returncode}")
    return done.stdout


def build(source: Path, into: Path) -> tuple[Path, Path]:
    """Build the sdist and the wheel of a source tree."""
    into.mkdir(parents=True, exist_ok=True)
    sdist, wheel = run(sys.executable, "-c", BUILD, into.resolve(), folder=source).split()[-2:]
    return into / sdist, into / wheel


def version() -> str:
    """Read the version where it is written, without importing the package."""
    text = (ROOT / "autostate" / "__init__.py").read_text(encoding="utf-8")
    [found] = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def lowest() -> list[str]:
    """Give the lowest versions of what the package and its extras need, as constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {*project["dependencies"]}.union(*project["optional-dependencies"].values())
    return sorted(re.sub(r"^([\w-]+)>=([\d.]+).*", r"\1==\2", one) for one in needed)


def problem_of(tag: str, changelog: str) -> str | None:
    """Say why a tag does not release this version; None if it does."""
    wanted = f"v{version()}"
    if tag != wanted:
        return f"the tag is {tag}, and autostate/__init__.py says {version()}: tag {wanted}"
    if not re.search(
        rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE
    ):
        return (
            f"CHANGELOG.md has no line `## [{version()}] - YEAR-MONTH-DAY`: move what is "
            "unreleased under it"
        )
    return None


def try_out(python: Path, folder: Path) -> None:
    """Try what is installed: a program that is killed goes on, with no file of the repository."""
    (folder / "crawl.py").write_text(PROGRAM)
    run(python, "crawl.py", folder=folder, fails=True)
    done, said, where = run(python, "crawl.py", folder=folder).split()
    if (done, said) != ("6", version()) or str(ROOT) in where:
        raise RuntimeError(f"the program says {done} {said} {where}")


def _try_extras(python: Path, folder: Path) -> None:
    command = python.parent / "autostate"
    if run(command, "--version", folder=folder).strip() != version():
        raise RuntimeError("the command says another version")
    if "6" not in run(command, "show", "pages", "--program", "crawl", folder=folder):
        raise RuntimeError("the command shows something else")
    run(python, "-c", EXTRAS, folder=folder)
    (folder / "test_plugin.py").write_text(PLUGIN)
    run(python, "-m", "pytest", "-q", "test_plugin.py", folder=folder)


def _run_tests(python: Path, folder: Path, install: Sequence[str | Path]) -> None:
    """Run tests of the repository, in a folder without the package, on what is installed."""
    group = f"{ROOT / 'pyproject.toml'}:test"
    run(*install, "--constraints", folder / "constraints.txt", "--group", group, folder=folder)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("tests", "examples", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    told = run(
        *(python, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", *TESTS), folder=folder
    )
    print(told.strip().splitlines()[-1], flush=True)  # noqa: T201


def check(name: str, sdist: Path, wheel: Path, folder: Path) -> str:
    """Install what was built as a row says, try it, and return the versions of what it needs.

    Raises:
        RuntimeError: Something fails.
    """
    row, python = ENVIRONMENTS[name], folder / "venv" / "bin" / "python"
    run(_UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    extras = f"[{','.join(row.extras)}]" if row.extras else ""
    what = f"autostate{extras} @ {(sdist if row.sdist else wheel).resolve().as_uri()}"
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(lowest() if row.lowest else []))
    install = (_UV, "pip", "install", "--quiet", "--system-certs", "--python", python)
    tools = ("pytest",) if row.extras else ()
    run(*install, "--constraints", constraints, what, *tools, folder=folder)
    try_out(python, folder)
    if row.extras:
        _try_extras(python, folder)
    if row.lowest:
        _run_tests(python, folder, install)
    found = run(_UV, "pip", "freeze", "--quiet", "--python", python, folder=folder).split("\n")
    needed = {one.partition("==")[0] for one in lowest()}
    return ", ".join(line for line in found if line.partition("==")[0] in needed)


def main() -> None:
    """Check a tag, or build and try everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.release")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"))
    parser.add_argument("--tag")
    arguments = parser.parse_args()
    if arguments.tag is not None:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        sys.exit(problem_of(arguments.tag, changelog))
    try:
        sdist, wheel = build(ROOT, arguments.folder)
        for name in ENVIRONMENTS:
            begin = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                versions = check(name, sdist, wheel, Path(folder))
            print(f"{name}: works, {time.monotonic() - begin:.0f} s; {versions}", flush=True)  # noqa: T201
    except RuntimeError as error:
        sys.exit(str(error))
    print(sdist, wheel, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
