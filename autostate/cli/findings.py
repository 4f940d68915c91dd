"""What a check of a state has found."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "note", "warning", "problem"]


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        level: "ok"; "note" for what is good to know; "warning" for what may lose a state, or hide
            it; "problem" for what keeps a program from using it.
        about: What was checked, in a word.
        text: What was found, and what to do.
    """

    level: Level
    about: str
    text: str
