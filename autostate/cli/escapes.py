"""Texts of a state, a file or a folder, so that they steer no terminal and break no line."""

from __future__ import annotations

import codecs
import json
from typing import Final

ENCODABLE: Final = "autostate-json"
"""The name of a way to print what a stream cannot encode, under which JSON stays JSON."""


def printable(text: str) -> str:
    """Escape all that would move the cursor of a terminal, or break a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _as_python(each) for each in text)


def lines(text: str) -> str:
    """Escape as `printable`, but neither newlines nor tabs."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else _as_python(each) for each in text
    )


def in_json(text: str) -> str:
    """Escape in JSON what is not printable, which only stands in its strings."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _as_json(each) for each in text)


def _as_python(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _as_json(char: str) -> str:
    return json.dumps(char)[1:-1]


def _encodable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_as_json, error.object[error.start : error.end])), error.end


codecs.register_error(ENCODABLE, _encodable)
