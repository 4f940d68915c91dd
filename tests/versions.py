"""Tests with the oldest and the newest versions of the libraries that autostate hooks into.

    python -m tests.versions [NAME ...]

Each row of `ENVIRONMENTS` has a virtual environment of its own in `.venv/versions/`, in which the
tests of the row run. Without names all rows run, except one whose versions are those of the
environment that runs this, in which `make test` has run all tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / ".venv" / "versions"
_UV: Final[tuple[str | Path, ...]] = (Path(sys.executable).parent / "uv", "--quiet")
APIFY: Final = (
    "tests/apify/test_in_step.py",
    "tests/apify/test_in_step_attempts.py",
    "tests/apify/test_in_step_limits.py",
    "tests/apify/test_in_step_local.py",
    "tests/apify/test_in_step_queue.py",
    "tests/apify/test_listening.py",
    "tests/apify/test_versions.py",
)
SCRAPY: Final = (
    "tests/scrapy/test_events_actor.py",
    "tests/scrapy/test_events_faults.py",
    "tests/scrapy/test_scheduler_kills.py",
    "tests/scrapy/test_units.py",
    "tests/scrapy/test_units_versions.py",
)
"""The others make schedulers without a reactor, which Scrapy allows since 2.15."""


@dataclass(frozen=True)
class Environment:
    """Versions, and the tests that have to pass with them.

    Attributes:
        packages: Requirements, in addition to those of pyproject.toml.
        tests: Files and folders.
    """

    packages: tuple[str, ...]
    tests: tuple[str, ...]


ENVIRONMENTS: Final = {
    "apify-oldest": Environment(("apify==4.0.0", "crawlee==1.8.0"), APIFY),
    "crawlee-adaptive": Environment(
        ("crawlee[adaptive-crawler]",), ("tests/apify/test_in_step_adaptive.py",)
    ),
    "apify-newest": Environment(("apify", "crawlee"), APIFY),
    "scrapy-oldest": Environment(("scrapy==2.14.0",), SCRAPY),
    "scrapy-newest": Environment(("scrapy",), ("tests/scrapy",)),
}


def _run(command: list[str | Path]) -> str:
    """Run a command, and return what it prints.

    Raises:
        RuntimeError: It fails. The error holds what it has printed.
    """
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\n{' '.join(map(str, command))} has failed")
    return done.stdout


def _versions(python: Path, row: Environment) -> set[str]:
    """Return the versions in an environment of the libraries that a row is about."""
    libraries = {re.split(r"[=\[]", package)[0] for package in row.packages}
    found = _run([*_UV, "pip", "freeze", "--python", python]).split()
    return {one for one in found if one.partition("==")[0] in libraries}


def run(name: str, *, is_asked: bool) -> str:
    """Run the tests of a row, and return how they ended.

    Args:
        name: The name of the row.
        is_asked: Run them also if they have run with these versions.

    Raises:
        RuntimeError: A test fails.
    """
    row, folder, begin = ENVIRONMENTS[name], FOLDER / name, time.monotonic()
    python = folder / "bin" / "python"
    _run([*_UV, "venv", "--clear", "--python", sys.executable, folder])
    install = [*_UV, "pip", "install", "--system-certs", "--upgrade", "--python", python]
    _run([*install, "--group", "test", *row.packages, "--editable", ".[apify]"])
    versions = _versions(python, row)
    same = versions == _versions(Path(sys.executable), row) and not any(
        "[" in package for package in row.packages
    )
    if same and not is_asked:
        result = "the versions of `make test`"
    else:
        output = _run([python, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", *row.tests])
        result = output.strip().splitlines()[-1]
    seconds = time.monotonic() - begin
    return f"{name} ({', '.join(sorted(versions))}): {result}; {seconds:.0f} s"


def main() -> None:
    """Run the rows that are named, or all, two at a time: many of the tests wait."""
    names = sys.argv[1:]
    rows = names or [*ENVIRONMENTS]
    failed = False
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run, name, is_asked=bool(names)) for name in rows]
        for name, one in zip(rows, running, strict=True):
            try:
                print(one.result(), flush=True)  # noqa: T201
            except RuntimeError as error:
                failed = True
                print(f"{name}: {error}", flush=True)  # noqa: T201
    sys.exit(failed)


if __name__ == "__main__":
    main()
