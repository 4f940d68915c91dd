"""Defaults, and first content, that a program gives again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.state_kit import Program, shape

GIVEN: dict[str, Any] = {
    "dict": {"a": 1},
    "counter": {"a": 1},
    "set": {1},
    "list": ["a"],
    "deque": ["a"],
}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("in_a_block", [False, True])
def test_what_was_removed_is_not_given_again(kind: str, saved: bool, in_a_block: bool) -> None:
    """Not to a live object either, whether it was saved before or not."""
    program = Program()
    root = program.root("r", kind, GIVEN[kind])
    assert len(root) == 1
    if saved:
        program.flush()
    root.clear()
    if in_a_block:
        with program.tracker.atomic():
            pass
    assert not program.root("r", kind, GIVEN[kind])
    program.flush()
    assert not program.restart().root("r", kind, GIVEN[kind])


def test_a_default_that_is_new_is_given_to_a_live_object() -> None:
    """Beside what it holds."""
    program = Program()
    root = program.root("r", default={"a": 1})
    del root["a"]
    assert shape(program.root("r", default={"a": 1, "b": 2})) == shape({"b": 2})
    program.flush()
    assert shape(program.restart().root("r")) == shape({"b": 2})
