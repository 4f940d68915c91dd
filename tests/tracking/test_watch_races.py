"""Threads write to watched values during a cut: no change is taken for saved that is not."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from autostate.tracking import watch
from autostate.tracking.mappings import KeyedCapture
from tests.conformance.state_kit import Program
from tests.tracking.held import MADE, Page, change, content, loose, pictured, restored


def test_a_cut_that_fails_loses_no_watched_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next cut looks at them again."""
    program = Program()
    root = program.root("state")
    held: list[Any] = [[1], [2]]
    root.update(enumerate(held))

    def fail(_self: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(watch.Watch, "encode", fail)
    with pytest.raises(MemoryError):
        program.flush()
    monkeypatch.undo()
    program.flush()
    assert pictured(program) == 2
    held[0].append(3)
    program.flush()
    assert content(restored(program)) == content(root)


@pytest.mark.parametrize("what", ["a list", "a list in a tuple", "an object"])
def test_a_settled_entry_is_saved_as_of_the_cut(what: str) -> None:
    """If it is compared again with everything else, too."""
    program = Program()
    root = program.root("state", "list")
    held = [MADE[what]() for _ in range(3)]
    root.extend(held)
    program.flush()
    assert pictured(program) == 3
    before = content(root)
    capture = program.tracker.cut(full_compare=True)
    assert capture is not None
    change(random.Random(1), held[1], [])
    assert content(root) != before
    program.journal.commit(capture.encode())
    capture.saved()
    assert content(restored(program, "list")) == before
    program.flush()
    assert content(restored(program, "list")) == content(root)


@pytest.mark.parametrize("what", ["a dict", "an object"])
def test_a_change_during_the_encoding_is_not_lost(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was encoded is compared with the picture: a thread may write in between."""
    program = Program()
    root = program.root("state")
    held = [MADE[what]() for _ in range(3)]
    names = vars(held[1]) if what == "an object" else held[1]
    root.update(enumerate(held))
    name = "url" if what == "an object" else "n"
    program.flush()
    encode_each = getattr(watch, "encode_each")  # noqa: B009 - it is not exported

    def late(values: list[Any]) -> Any:
        names[name] = ("late",)
        return encode_each(values)

    names[name] = "before"
    monkeypatch.setattr(watch, "encode_each", late)
    program.flush()
    monkeypatch.undo()
    assert content(restored(program)) == content(root)
    names[name] = "before"  # the same object again as in the picture
    program.flush()
    assert content(restored(program)) == content(root)


def test_a_change_while_python_code_encodes_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of entries that msgspec cannot write, copies are encoded."""
    program = Program()
    root = program.root("state")
    held = [{"n": 1, "at": (1,)} for _ in range(3)]
    root.update(enumerate(held))
    program.flush()
    put_copy = KeyedCapture.put_copy

    def late(self: Any, entry: Any, copy: Any) -> None:
        held[1]["n"] = "late"
        put_copy(self, entry, copy)

    held[1]["n"] = "before"
    monkeypatch.setattr(KeyedCapture, "put_copy", late)
    program.flush()
    monkeypatch.undo()
    held[1]["n"] = "before"
    program.flush()
    assert content(restored(program)) == content(root)


@pytest.mark.usefixtures("often_switched")
@pytest.mark.parametrize(
    "what", ["a dict", "a list", "a nested dict", "an object", "a list in a tuple"]
)
def test_what_threads_write_to_held_values_is_saved_in_the_end(what: str) -> None:
    """No cut takes a change for saved that it has not encoded."""
    program = Program()
    root = program.root("state")
    held = [MADE[what]() for _ in range(40)]
    root.update((f"k{number}", value) for number, value in enumerate(held))
    stop = threading.Event()

    def write(seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            value = rng.choice(held)
            if isinstance(value, Page):
                value.url = rng.choice("ab")
            elif isinstance(value, tuple):
                value[0][0] = rng.choice("ab")
            elif isinstance(value, dict):
                value["n"] = rng.choice("ab")
            else:
                value[0] = rng.choice("ab")

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        program.flush()
    stop.set()
    for thread in threads:
        thread.join()
    program.flush()
    assert content(restored(program)) == content(root)
    assert pictured(program) + loose(program) == 40
