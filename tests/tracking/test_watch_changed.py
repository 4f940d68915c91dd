"""Watched entries that have changed: what is looked at besides them."""

from __future__ import annotations

from typing import Any

import pytest

from autostate.tracking.mappings import MappingCapture
from autostate.tracking.picture import Picture
from autostate.tracking.sequences import SequenceCapture
from tests.conformance.state_kit import Program, shape


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_one_changed_entry_is_not_searched_in_all_pictures(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in a picture is in no other; and only what has changed is to be encoded."""
    program = Program()
    state = program.root("state", kind)
    held: list[Any] = [{"n": n, "tags": [n]} for n in range(2_000)]
    (state.extend if kind == "list" else state.update)(
        held if kind == "list" else dict(enumerate(held))
    )
    program.flush()
    program.flush()
    searched: list[Picture] = []
    containers = Picture.containers

    def counted(picture: Picture) -> Any:
        searched.append(picture)
        return containers(picture)

    monkeypatch.setattr(Picture, "containers", counted)
    for cls in (MappingCapture, SequenceCapture):
        monkeypatch.setattr(cls, "holding", lambda *_: pytest.fail("nothing else is encoded"))
    held[1_000]["n"] = "new"
    assert len(program.flush()) == 1
    assert searched == []
    assert shape(program.restart().root("state", kind)) == shape(state)
    held[1_000]["tags"] = held[7]["tags"]  # it is new in this entry
    monkeypatch.undo()
    program.flush()
    again = program.restart().root("state", kind)
    assert again[1_000]["tags"] is again[7]["tags"]


def test_what_moves_between_changed_entries_is_found() -> None:
    """Also if its former entry has changed: then both are looked at."""
    program = Program()
    state = program.root("state")
    held: list[Any] = [{"n": n, "tags": [n]} for n in range(600)]
    state.update(enumerate(held))
    program.flush()
    held[3]["n"] = "new"
    held[500]["tags"] = held[3]["tags"]
    program.flush()
    again = program.restart().root("state")
    assert again[3]["tags"] is again[500]["tags"]
    held[3]["tags"] = [0]
    program.flush()
    again = program.restart().root("state")
    assert (again[3], again[500]) == (held[3], held[500])
    held[4]["n"] = 0
    held[9]["tags"] = held[500].pop("tags")
    program.flush()
    assert shape(program.restart().root("state")) == shape(state)


def test_a_container_that_changed_is_converted_when_it_is_free() -> None:
    """The list of what was in pictures is not taken for somebody who holds it."""
    program = Program()
    state = program.root("state")
    held: list[Any] = [{"n": n} for n in range(600)]
    state.update(enumerate(held))
    program.flush()
    held[3]["n"] = "new"
    held.clear()
    program.flush()
    assert not program.tracker.watched.entries
    assert dict not in set(map(type, state.values()))
