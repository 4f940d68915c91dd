"""The command `diff`."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Final

from autostate.cli import console, plain, points
from autostate.cli.differences import Difference, differences

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_COLOURS: Final = {"added": console.GREEN, "removed": console.RED, "changed": console.YELLOW}
_SHOWN: Final = 200
"""The most differences that are shown on a terminal."""


def diff(
    *,
    a: str,
    b: str,
    url: str | None,
    program: str | None,
    everything: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Tell what differs between two states.

    Raises:
        SystemExit: They differ, and `exit_code` is true.
    """
    one, other = points.named(a, url, program), points.named(b, url, program)
    found = [*compared(one.objects(), other.objects())]
    if as_json:
        listed = [each._asdict() for each in found]
        console.write_json({"a": str(one), "b": str(other), "differences": listed})
    elif sys.stdout.isatty():
        _show(found, None if everything else _SHOWN)
    else:
        for each in found:
            console.write("\t".join((_SIGNS[each.kind], each.path, *_texts(each))))
    if found and exit_code:
        raise SystemExit(1)


def compared(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    """Compare the state objects of two states."""
    for name in sorted({*old, *new}):
        if name not in new:
            yield Difference("removed", name, old[name], None)
        elif name not in old:
            yield Difference("added", name, None, new[name])
        else:
            yield from differences(old[name], new[name], name)


def _texts(each: Difference) -> tuple[str, str]:
    """Give the values before and after; nothing for none."""
    old = "" if each.kind == "added" else plain.in_a_line(each.old)
    return old, "" if each.kind == "removed" else plain.in_a_line(each.new)


def _show(found: list[Difference], most: int | None) -> None:
    width = shutil.get_terminal_size().columns
    for each in itertools.islice(found, most):
        console.write(line_of(each, width), colour=_COLOURS[each.kind])
    left = len(found) - len(found[:most])
    if left:
        console.write(f"… and {left:,} more: --all shows them")
    if not found:
        console.write("they do not differ")


def line_of(each: Difference, width: int) -> str:
    """Tell of a difference in a line that is cut to a width."""
    old, new = _texts(each)
    value = f"{old} → {new}" if each.kind == "changed" else old + new
    line = f"{_SIGNS[each.kind]} {each.path}: {value}"
    if len(line) <= width:
        return line
    if each.kind == "changed":  # show the beginning of both
        room = max(8, (width - len(each.path) - 7) // 2)
        line = f"~ {each.path}: {_cut(old, room)} → {_cut(new, room)}"
    return _cut(line, width)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
