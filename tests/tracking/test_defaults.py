"""Defaults, and first content, that a program gives again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.state_kit import Program, shape

GIVEN: dict[str, Any] = {
    "dict": {"a": 1},
    "counter": {"a": 1},
    "set": {1: None},  # as `PersistedSet` gives them
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


@pytest.mark.parametrize("kind", ["dict", "counter", "set"])
def test_defaults_that_are_given_while_the_first_save_is_under_way_are_saved(kind: str) -> None:
    """The capture has taken the marks of the new object, and has nothing of the defaults."""
    program = Program()
    program.root("r", kind)
    capture = program.tracker.cut()
    assert capture is not None
    root = program.root("r", kind, GIVEN[kind])
    assert len(root) == 1
    program.journal.commit(list(capture.encode()))
    capture.saved()
    program.flush()
    assert shape(program.restart().root("r", kind)) == shape(root)


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_the_first_content_may_come_after_the_object(kind: str) -> None:
    """As long as nothing was in it."""
    program = Program()
    program.root("r", kind)
    assert list(program.root("r", kind, ["a"])) == ["a"]
    program.flush()
    assert list(program.restart().root("r", kind)) == ["a"]
