"""Texts of a state, a file or a folder, so that they steer no terminal and break no line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Final

ENCODABLE: Final = "autostate-json"
"""The name of a way to print what a stream cannot encode, under which JSON stays JSON."""


_ODD: Final = re.compile(r"[^\x20-\x7e]+")
_ODD_IN_LINES: Final = re.compile(r"[^\x20-\x7e\n\t]+")
"""What may have to be escaped: few characters of most texts, so that the others cost little."""


def printable(text: str) -> str:
    """Escape all that would move the cursor of a terminal, or break a line."""
    return _escaped(text, _ODD, _as_python)


def lines(text: str) -> str:
    """Escape as `printable`, but neither newlines nor tabs."""
    return _escaped(text, _ODD_IN_LINES, _as_python)


def in_json(text: str) -> str:
    """Escape in JSON what is not printable, which only stands in its strings."""
    return _escaped(text, _ODD_IN_LINES, _as_json)


def _escaped(text: str, odd: re.Pattern[str], escape: Callable[[str], str]) -> str:
    def of(found: re.Match[str]) -> str:
        if found[0].isprintable():
            return found[0]
        return "".join(each if each.isprintable() else escape(each) for each in found[0])

    return text if text.isprintable() else odd.sub(of, text)


def _as_python(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _as_json(char: str) -> str:
    return json.dumps(char)[1:-1]


def _encodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_as_json, error.object[error.start : error.end])), error.end


codecs.register_error(ENCODABLE, _encodable)
