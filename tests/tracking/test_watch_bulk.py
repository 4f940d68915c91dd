"""Watched entries are compared in bulk: every change is found, whatever changes."""

from __future__ import annotations

import copy
import random
import sys
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import autostate
from autostate.containers import PersistedList
from autostate.errors import UnsupportedTypeError
from autostate.tracking import watch, watched
from autostate.tracking.barrier import Barrier
from autostate.tracking.picture import Group
from autostate.tracking.survey import Met, Survey
from autostate.tracking.watched import Watched
from tests.conformance.classes_kit import Plain, life
from tests.conformance.state_kit import Program
from tests.tracking.held import (
    MADE,
    NAN,
    ODD,
    Frozen,
    Page,
    Point,
    change,
    content,
    loose,
    pictured,
    restored,
)


@pytest.mark.parametrize("what", MADE)
@pytest.mark.parametrize("kind", ["dict", "list"])
def test_an_unchanged_entry_is_settled_and_costs_no_python_code(kind: str, what: str) -> None:
    """Ten times as many entries take no more calls than some for each picture."""
    counts = []
    for number in (60, 600):
        program = Program()
        root = program.root("state", kind)
        held = [MADE[what]() for _ in range(number)]
        root.update(enumerate(held)) if kind == "dict" else root.extend(held)
        for _ in range(2):
            program.flush()
        assert pictured(program) == number
        assert loose(program) == 0
        calls = 0

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            capture = program.tracker.cut()
        finally:
            sys.setprofile(None)
        assert capture is not None
        assert capture.encode() == []
        capture.saved()
        counts.append(calls)
        held.clear()
    few, many = counts
    assert many - few < 100


@pytest.mark.parametrize("kind", ["dict", "list"])
@pytest.mark.parametrize("size", [2, 512])
@pytest.mark.parametrize("example", range(8))
def test_random_changes_of_held_values_are_all_saved(
    kind: str, size: int, example: int, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Types, order, identity and keys included; the program drops some, and shares others."""
    monkeypatch.setattr(watched, "SIZE", size)
    monkeypatch.setattr(watch, "SIZE", size)
    program = Program()
    root = program.root("state", kind)
    held: list[Any] = []
    for _ in range(120):
        action = rng.random()
        if action < 0.25 or not held:
            held.append(rng.choice([*MADE.values(), *ODD.values()])())
            if kind == "dict":
                root[rng.choice([f"k{rng.randrange(12)}", rng.randrange(5)])] = held[-1]
            else:
                root.insert(rng.randrange(len(root) + 1), held[-1])
        elif action < 0.7:
            others = [one for one in held if isinstance(one, list | dict)]
            change(rng, rng.choice(held), others if rng.random() < 0.2 else [])
        elif action < 0.78:
            held.remove(rng.choice(held)) if rng.random() < 0.5 else held.pop()
        elif action < 0.84 and root:
            root.pop(rng.choice([*root]) if kind == "dict" else rng.randrange(len(root)))
        else:
            outcome: Any = rng.choice(["saved", "saved", "saved", "lost", "unknown"])
            program.flush(full_compare=rng.random() < 0.3, outcome=outcome)
            if outcome == "saved" and not program.errors:
                assert content(restored(program, kind)) == content(root)
    program.flush()
    if not program.errors:
        assert content(restored(program, kind)) == content(root)
        assert program.flush() == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (None, NAN),
        ((1,), [1]),
        ("2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_an_equal_value_of_another_type_is_a_change(before: Any, after: Any) -> None:
    """Also at the depth of a container in a container."""
    program = Program()
    root = program.root("state")
    held = [{"n": before, "in": {"m": before}} for _ in range(3)]
    root.update(enumerate(held))
    inner = held[0]["in"]
    program.flush()
    assert pictured(program) == 3
    inner["m"] = after
    assert program.flush() != []
    held[1]["n"] = after
    assert program.flush() != []
    assert content(restored(program)) == content(root)


def test_the_order_of_a_held_dict_is_saved() -> None:
    """The same entries in another order are another state; so is the same value at another key."""
    program = Program()
    root = program.root("state")
    value = object.__new__(Page)
    value.links, value.url = (1,), (2,)
    held: list[Any] = [{"a": 1, "b": 1}, vars(value), {"a": 1, "b": 2}]
    root.update(enumerate(held))
    program.flush()
    assert pictured(program) == 3
    assert content(restored(program)) == content(root)
    for one in held[:2]:
        first = next(iter(one))
        one[first] = one.pop(first)
    program.flush()
    assert content(restored(program)) == content(root)
    held[2]["c"] = held[2].pop("b")
    program.flush()
    assert content(restored(program)) == content(root)


def test_a_picture_that_was_left_half_made_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or a lack of memory, while changed entries are taken out of it."""
    program = Program()
    root = program.root("state")
    held = [[{"n": n}] for n in range(10)]
    root.update(enumerate(held))
    program.flush()
    assert pictured(program) == 10
    held[3].append({})
    with monkeypatch.context() as patched:
        patched.setattr(Group, "keep", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            program.flush()
    held[7].append({})
    for _ in range(2):
        program.flush()
        assert content(restored(program)) == content(root)
    assert pictured(program) == 10


def test_what_a_finalizer_writes_when_a_picture_lets_go_is_tracked() -> None:
    """The picture has kept an object until the cut, and a large dict is recorded by key."""
    program = Program()
    root = program.root("state")
    root.update((f"k{n}", n) for n in range(300))
    held: list[list[Any]] = [[Page(n)] for n in range(5)]

    def write(n: int) -> None:
        root[f"later {n}"] = [[]]

    for n, [page] in enumerate(held):
        weakref.finalize(page, write, n)
    del page
    root.update(enumerate(held))
    program.flush()
    assert pictured(program) == 5
    for one in held:
        one.clear()
    program.flush()
    for n in range(5):
        root[f"later {n}"][0].append(n)
    program.flush()
    assert content(restored(program)) == content(root)


@pytest.mark.parametrize("what", ["lists", "dicts"])
def test_what_moves_from_one_held_container_to_the_next_is_saved(what: str) -> None:
    """All parts of both, one after the other, are the same as before."""
    program = Program()
    root = program.root("state")
    held: list[Any] = [[1, "x"], [2]] if what == "lists" else [{"a": 1, "x": 9}, {"b": 2}]
    root.update(enumerate(held))
    program.flush()
    assert pictured(program) == 2
    if what == "lists":
        held[1].insert(0, held[0].pop())
    else:
        moved = {"x": held[0].pop("x"), **held[1]}
        held[1].clear()
        held[1].update(moved)
    program.flush()
    assert content(restored(program)) == content(root)


def test_a_held_dict_that_looks_like_a_tag_is_a_dict() -> None:
    """Also inside another one."""
    program = Program()
    root = program.root("state")
    held: list[Any] = [{"$set": [1]}, {"x": {"$set": [1]}}, {1: 2}, {"$set": [1], "y": 2}]
    root.update(enumerate(held))
    program.flush()
    assert pictured(program) == 4
    assert content(restored(program)) == content(root)


def test_a_declared_field_that_an_object_does_not_have_is_missing_afterwards() -> None:
    """And an attribute that is not declared is there."""
    program = Program()
    root = program.root("state")
    held = [Page("x"), Page("y"), Page("z")]
    root.update(enumerate(held))
    program.flush()
    del held[0].links
    held[1].more = 1  # type: ignore[attr-defined]
    program.flush()
    assert pictured(program) == 3
    assert content(restored(program)) == content(root)


def test_objects_of_a_class_that_is_registered_later_are_saved_under_the_tag() -> None:
    """Nothing in them has changed, but the way in which they are saved has."""
    made = type("Late", (Point,), {"__slots__": (), "__module__": __name__})
    program = Program()
    root = program.root("state")
    held = [made(1, 2)]
    root["x"] = held[0]
    program.flush()
    assert pictured(program) == 1
    autostate.register(made, "pictures.late")
    [change] = program.flush()
    assert b"pictures.late" in change


def test_no_equality_of_the_program_is_asked() -> None:
    """Values are compared by identity, whatever their classes say."""

    class Never(str):
        __slots__ = ()

        def __eq__(self, _other: object) -> bool:
            raise AssertionError

        __hash__ = str.__hash__

    autostate.register(Never, "never", encode=str, decode=Never, mutable=False)
    program = Program()
    root = program.root("state")
    held = [{"n": "a", "m": "b"} for _ in range(3)]
    root.update(enumerate(held))
    program.flush()
    held[0]["n"] = Never("a")
    held[1][Never("c")] = held[1].pop("m")
    program.flush()
    assert program.errors == []
    assert program.flush() == []
    held[0]["n"] = Never("d")
    assert program.flush() != []
    assert pictured(program) == 3


def test_a_value_that_cannot_be_saved_is_reported_each_time_and_the_others_are_saved() -> None:
    """It stays loose, with its path."""
    program = Program()
    root = program.root("state")
    held = [{"n": [1, 2]} for _ in range(5)]
    root.update((f"k{number}", value) for number, value in enumerate(held))
    held[3]["n"][1] = object()  # type: ignore[call-overload]
    for _ in range(2):
        program.flush()
        [error] = program.errors
        assert isinstance(error, UnsupportedTypeError)
        assert error.path == 'state["k3"]["n"][1]'
        assert pictured(program) == 4
    held[3]["n"][1] = 3
    program.flush()
    assert program.errors == []
    assert content(restored(program)) == content(root)
    program.flush()
    assert pictured(program) == 5


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_what_lies_in_two_settled_entries_becomes_one_object(kind: str) -> None:
    """Also if a second place is inside another held value, or is the same item again."""
    program = Program()
    root = program.root("state", kind)
    held: list[Any] = [{"n": number, "in": {}} for number in range(5)]
    root.update(enumerate(held)) if kind == "dict" else root.extend(held)
    inner = [1]
    held[1]["in"]["inner"] = inner
    program.flush()
    assert pictured(program) == 5
    held[3]["again"] = inner
    if kind == "list":
        root.append(held[0])
    program.flush()
    state = restored(program, kind)
    assert state[3]["again"] is state[1]["in"]["inner"]
    if kind == "list":
        assert state[5] is state[0]


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_settled_containers_are_converted_when_they_become_free(kind: str) -> None:
    """Each of them, at any depth, and no other."""
    program = Program()
    root = program.root("state", kind)
    held: list[Any] = [{"n": number} for number in range(9)]
    inner = [[number] for number in range(9)]
    for one, other in zip(held, inner, strict=True):
        one["in"] = other
    root.update(enumerate(held)) if kind == "dict" else root.extend(held)
    del one, other
    program.flush()
    assert pictured(program) == 9
    del inner[4], held[6:], inner[6:]
    program.flush()
    assert [type(root[number]) is dict for number in range(9)] == [True] * 6 + [False] * 3
    kinds = [type(root[number]["in"]) is list for number in range(9)]
    assert kinds == [True, True, True, True, False, True, True, False, False]
    held.clear()
    inner.clear()
    program.flush()
    assert len(program.tracker.part(Watched)) == 0
    assert not program.tracker.part(Watched).pictures
    assert content(restored(program, kind)) == content(root)


def test_entries_of_nodes_that_are_gone_are_forgotten() -> None:
    """Whether the entry, the node or the root is gone."""
    program = Program()
    root, other = program.root("state"), program.root("other")
    held = [[number] for number in range(400)]
    root["node"] = {f"k{number}": value for number, value in enumerate(held[:300])}
    other.update(enumerate(held[300:]))
    program.flush()
    program.flush()
    assert pictured(program) == 400
    del root["node"]["k7"], other[9]
    program.flush()
    assert pictured(program) == len(program.tracker.part(Watched)) == 398
    del root["node"]
    program.flush()
    assert pictured(program) == len(program.tracker.part(Watched)) == 99
    program.tracker.detach("other")
    assert len(program.tracker.part(Watched)) == 0
    assert not program.tracker.part(Watched).pictures


def test_a_list_of_held_values_that_moves_stays_settled() -> None:
    """Items that come and go at the ends, and in the middle, change none of the others."""
    program = Program()
    root = program.root("state", "list")
    held = [[number] for number in range(20)]
    root.extend(held)
    program.flush()
    program.flush()
    assert pictured(program) == 20
    root.append(1)
    del root[0]
    root.insert(5, "new")
    program.flush()
    assert pictured(program) == 19
    held[10][0] = 0
    program.flush()
    assert content(restored(program, "list")) == content(root)


@pytest.mark.parametrize("at", [1, 5])
def test_a_settled_item_that_is_written_past_the_barrier_is_one_object(at: int) -> None:
    """A full compare finds it at its second position, at which another one was, or a number."""
    program = Program()
    root = program.root("state", "list")
    held: list[Any] = [[number] for number in range(5)]
    root.extend([*held, 1])
    program.flush()
    program.flush()
    assert pictured(program) == 5
    list.__setitem__(root, at, held[2])
    program.flush(full_compare=True)
    state = restored(program, "list")
    assert state[at] is state[2]


def test_a_persisted_container_in_a_held_one_and_elsewhere_is_one_object() -> None:
    """It has moved into the held one, or is at both places."""
    program = Program()
    root = program.root("state")
    root["a"], root["b"], root["c"] = {"n": 1}, {"n": 2}, {"n": 3}
    program.flush()
    held = {"x": root["a"], "y": root.pop("b")}
    root["held"] = held
    program.flush()
    state = restored(program)
    assert state["held"]["x"] is state["a"]
    root["a"]["n"] = 3
    held["y"]["n"] = 4
    program.flush()
    assert content(restored(program)) == content(root)
    assert pictured(program) == 1
    held["z"] = root["c"]  # nothing marks it
    program.flush()
    state = restored(program)
    assert state["held"]["z"] is state["c"]


@pytest.mark.parametrize("inner", [{"m": 1}, [1], {"m": [1]}])
def test_what_is_written_to_a_persisted_container_in_a_held_one_is_saved(inner: Any) -> None:
    """By its methods, and past the barrier; also a value that JSON does not have."""
    program = Program()
    root = program.root("state")
    held: list[Any] = [{"n": number, "in": copy.deepcopy(inner)} for number in range(3)]
    root.update(enumerate(held))
    for _ in range(2):
        program.flush()
    assert pictured(program) == 3
    one: Any = held[1]["in"]
    assert issubclass(type(one), Barrier)
    key: Any = "m" if isinstance(one, dict) else 0
    for value in (2, (3,), Page("x"), {"more": (4,)}, 4):
        one[key] = value
        program.flush()
        assert content(restored(program)) == content(root)
        assert program.flush() == []
        assert pictured(program) == 3
    builtin: Any = dict if isinstance(one, dict) else list
    builtin.__setitem__(one, key, (5,))
    program.flush(full_compare=True)
    assert content(restored(program)) == content(root)


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_a_shared_value_stays_a_node_when_one_of_its_places_is_left(kind: str) -> None:
    """Nothing of it is written again."""
    program = Program()
    root = program.root("state", kind)
    shared: list[Any] = [1]
    root.update({0: shared, 1: shared}) if kind == "dict" else root.extend([shared, shared])
    program.flush()
    program.flush()
    del root[1]
    assert len(program.flush()) == 1
    shared.append(2)
    program.flush()
    assert content(restored(program, kind)) == content(root)


def test_a_field_that_becomes_free_later_is_converted() -> None:
    """A field is referenced by the object and by what the store keeps of it."""
    with life("memory:later"):
        one = Plain(n=1)
        one.seen = seen = [1]
        for _ in range(2):
            autostate.flush()
        seen.append(2)
        autostate.flush()
        assert type(one.seen) is list
        del seen
        autostate.flush()
        assert isinstance(one.seen, PersistedList)


def test_what_an_object_of_another_root_holds_is_one_object() -> None:
    """The root was not asked for yet, and refers to the object, as nothing else does any more."""
    program = Program()
    page = Page("x")
    program.root("other")["page"] = page
    program.root("state")["page"] = page
    program.flush()
    program = program.restart()
    root = program.root("state")
    page = root.pop("page")
    program.flush()
    page.links = links = [1]
    root["links"] = links
    program.flush()
    program = program.restart()
    assert program.root("other")["page"].links is program.root("state")["links"]


def test_an_int_with_very_many_digits_is_saved() -> None:
    """As msgspec would write it, no reader would take it."""
    limit = sys.get_int_max_str_digits()
    program = Program()
    root = program.root("state")
    held = [{"n": 10**5000, "m": 1}, {"n": 1, "m": 2}]
    root.update(enumerate(held))
    sys.set_int_max_str_digits(0)
    try:
        program.flush()
    finally:
        sys.set_int_max_str_digits(limit)
    assert pictured(program) == 2
    assert restored(program)[0]["n"] == 10**5000


def test_objects_of_two_classes_of_one_name_are_reported() -> None:
    """As those of a class that cannot be saved for any other reason."""
    made: list[Any] = [
        dataclass(type("Twin", (), {"__module__": __name__, "n": 1})) for _ in range(2)
    ]
    program = Program()
    root = program.root("state")
    held = [cls() for cls in made]
    root.update(enumerate(held))
    program.flush()
    assert {error.path for error in program.errors} == {"state[0]", "state[1]"}
    assert pictured(program) == 0


def test_an_entry_with_a_key_that_cannot_be_saved_is_reported() -> None:
    """It cannot be saved with its value."""

    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Key)

    program = Program()
    root = program.root("state")
    held = [{"n": 1}, {"n": 2}]
    root.update({Key(): held[0], "a": held[1]})
    program.flush()
    assert len(program.errors) == 1
    assert restored(program) == {"a": {"n": 2}}


def test_tuples_that_are_nested_too_deeply_are_reported() -> None:
    """Nothing recurses for ever, and the others are saved."""
    program = Program()
    root = program.root("state")
    value: Any = [1]
    for _ in range(3 * sys.getrecursionlimit()):
        value = (value,)
    held: list[Any] = [[2], [(value,)]]
    root.update(enumerate(held))
    program.flush()
    held[0].append(3)
    program.flush()
    assert restored(program)[0] == [2, 3]


def test_a_value_that_holds_itself_ends_the_survey() -> None:
    """Lists, and a frozen object that was given itself."""
    program = Program()
    root = program.root("state")
    around: list[Any] = [1]
    around.append(around)
    root["list"] = around
    program.flush()
    again = restored(program)["list"]
    assert again[1] is again
    frozen = Frozen(None)
    object.__setattr__(frozen, "items", (frozen, []))
    Survey(root._node_, ["x"], [frozen], Met())
