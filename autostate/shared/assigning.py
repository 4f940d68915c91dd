"""Assigning one value of a shared dict, as one more process that shares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autostate.errors import StateTypeError
from autostate.settings import Settings
from autostate.shared.handle import ABSENT
from autostate.shared.kinds import MERGED
from autostate.shared.resetting import writing
from autostate.shared.stored import KINDS

Change = Callable[[Mapping[str, str]], tuple[str, Any, str]]
"""Gives, for the texts of the values by those of the keys, one of these texts of keys, the key, and
the text of its new value."""


def assign(url: str, name: str, change: Change, settings: Settings) -> None:
    """Assign a value to a key that is there; whoever assigns later wins.

    Only a program knows of a key that is new whether a function merges its values. One value that
    is not meant to be merged would be an error in all programs.

    Args:
        url: The URL of the shared state.
        name: The name of the dict.
        change: Gives the change.
        settings: The settings of the store.

    Raises:
        StateTypeError: The key is new, or a function merges its values.
        FlushError: It was not published in time.
        StoreError: The store cannot be read or written.
    """
    kind = KINDS["dict"]
    with writing(url, name, kind.name, settings) as shared:
        values: dict[str, str] = {}
        for text, entry in shared.entries.items():
            if entry[0] != MERGED and (shown := kind.show(text, entry)) is not ABSENT:
                [values[text]] = shown
        text, key, value = change(values)
        if text not in values:
            merged = text in shared.entries and shared.entries[text][0] == MERGED
            why = "a function of its programs merges its values" if merged else "it is not there"
            raise StateTypeError(
                f"this key of {name!r} in {url} cannot be set: {why}. Let a program assign it, "
                "which knows what merges"
            )
        shared.write({key: value})
