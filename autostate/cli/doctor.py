"""The command `doctor`: why a state is not where it is expected, and whether it is safe there."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from autostate.cli import checks, console, escapes
from autostate.cli.choosing import Choice, look_up
from autostate.cli.errors import CommandError
from autostate.cli.findings import Finding

_SIGNS: Final = {"ok": "ok", "note": "note", "warning": "WARNING", "problem": "PROBLEM"}
_COLOURS: Final = {"ok": "32", "note": "36", "warning": "33", "problem": "31"}
_INDENT: Final = " " * 23


def doctor(*, url: str | None, program: str | None, as_json: bool) -> None:
    """Check all that decides where a state is, and whether it is found and saved there.

    Raises:
        SystemExit: There is a problem.
    """
    found = list(_found(url, program))
    problems = sum(each.level == "problem" for each in found)
    warnings = sum(each.level == "warning" for each in found)
    if as_json:
        listed = [each._asdict() for each in found]
        console.write_json({"problems": problems, "warnings": warnings, "findings": listed})
    else:
        for each in found:
            _show(each)
        if sys.stdout.isatty():
            console.write(f"problems: {problems}; warnings: {warnings}")
    if problems:
        raise SystemExit(1)


def _found(url: str | None, program: str | None) -> Iterator[Finding]:
    yield from checks.check_versions()
    yield from checks.check_environment()
    chosen: Choice | None = None
    try:
        chosen = look_up(url, program)
    except (CommandError, ValueError) as error:
        yield Finding("problem", "store", str(error))
    if url is None:
        yield from checks.check_surroundings()
    if chosen is None:
        return
    yield from checks.check_resolution(chosen)
    settings = list(checks.check_settings(chosen.url))
    yield from settings
    yield from checks.check_place(chosen.url)
    if not any(each.level == "problem" for each in settings):
        yield from checks.check_state(chosen.url)


def _show(found: Finding) -> None:
    if not sys.stdout.isatty():
        console.write("\t".join(map(escapes.printable, found)))
        return
    sign = console.coloured(f"{_SIGNS[found.level]:<8}", _COLOURS[found.level])
    width = max(40, shutil.get_terminal_size().columns)
    first, *rest = textwrap.wrap(
        escapes.printable(found.text),
        width - len(_INDENT),
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.write_exactly(f"{sign} {found.about:<13} {first}")
    for line in rest:
        console.write(f"{_INDENT}{line}")
