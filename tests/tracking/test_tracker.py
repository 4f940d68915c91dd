"""What is written, and what is not: unsupported values, defaults, failed flushes."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import pytest

from autostate.codec import Unknown
from tests.conformance.state_kit import Program, shape
from tests.tracking.written import recovered, written

# -- what cannot be saved ---------------------------------------------------------------------


def test_an_unsupported_value_is_named_and_the_rest_is_saved() -> None:
    """The error names the path; every other entry is saved, and so is the value's successor."""
    program = Program()
    state = program.root("crawl", default={"pages": [{"url": "a"}], "done": 1})
    program.flush()
    state["pages"].append({"lock": object()})
    state["done"] = 2
    program.flush()
    assert [error.path for error in program.errors] == ['crawl["pages"][1]["lock"]']
    stands_for_it = Unknown("builtins.object", {"$unsaved": "builtins.object"})
    assert recovered(program, "crawl") == {
        "pages": [{"url": "a"}, {"lock": stands_for_it}],
        "done": 2,
    }
    program.flush(full_compare=True)
    assert len(program.errors) == 1
    state["pages"][1]["lock"] = None
    program.flush()
    assert not program.errors
    assert recovered(program, "crawl") == state


@pytest.mark.parametrize("many", [1, 300])
def test_unsupported_entries_are_left_out_of_dicts_of_any_size(many: int) -> None:
    """In a keyed dict, too, only the entry itself is left out."""
    program = Program()
    state = program.root("state", default={f"k{i}": i for i in range(many)})
    state["bad"] = lambda: None
    state["good"] = 1
    program.flush()
    assert [error.path for error in program.errors] == ['state["bad"]']
    assert recovered(program) == {key: value for key, value in state.items() if key != "bad"}


def test_an_unsupported_key_or_member_is_named() -> None:
    """Keys and members are checked as values are."""
    program = Program()
    state = program.root("state")
    state["x"] = {object(): 1}
    members = program.root("members", "set", {1})
    members.add(object())
    program.flush()
    assert any('state["x"]' in error.path for error in program.errors)
    assert any("members" in error.path for error in program.errors)
    assert recovered(program, "members", "set") == {1}


def test_an_unsupported_key_of_a_root_leaves_the_rest_saved() -> None:
    """The key is at the root itself, beside others that can be saved."""
    program = Program()
    state = program.root("state", default={"a": 1})
    program.flush()
    state[object()] = 1
    state["b"] = 2
    program.flush()
    assert len(program.errors) == 1
    assert recovered(program) == {"a": 1, "b": 2}
    state.update({f"k{i}": i for i in range(300)})
    program.flush()
    assert recovered(program)["k299"] == 299


# -- how much is written ----------------------------------------------------------------------


def test_one_of_many_entries_is_written_alone() -> None:
    """Touching one of 10,000 nested entries emits that entry."""
    program = Program()
    state = program.root("state", default={f"k{i}": {"n": [i]} for i in range(10_000)})
    program.flush()
    program.flush()
    state["k5000"]["n"].append(1)
    changes = written(program.flush())
    assert len(changes) == 1
    assert changes[0]["put"] == {"k5000": {"n": [5000, 1]}}
    assert len(changes[0]) == 2


def test_an_appended_item_is_written_alone() -> None:
    """A list that only grew is saved as its tail."""
    program = Program()
    items = program.root("items", "list", [{"n": i} for i in range(10_000)])
    program.flush()
    items.append(1)
    changes = written(program.flush())
    assert changes == [{"id": 1, "at": 10_000, "items": [1]}]
    items[5_000]["n"] = "changed"
    program.flush()
    assert shape(recovered(program, "items", "list")) == shape(items)


def test_an_unchanged_state_writes_nothing() -> None:
    """Neither a flush nor a full compare, neither now nor in the next run."""
    program = Program()
    default = {"a": [1, {"b": {2}}], "c": Counter("x"), "t": (1, [2]), 3: float("nan")}
    program.root("state", default=default)
    program.flush()
    for _ in range(2):
        assert program.flush() == []
        assert program.flush(full_compare=True) == []
    following = program.restart()
    following.root("state", default=default)
    assert following.flush() == []
    assert following.flush(full_compare=True) == []


def test_assigning_what_is_there_writes_nothing() -> None:
    """A small container is compared with what was saved."""
    program = Program()
    state = program.root("state", default={"a": 1, "b": [1, 2], "c": {"x": {1}}})
    program.flush()
    state["a"] = 1
    state["b"] = [1, 2]
    state["c"]["x"].add(1)
    assert program.flush() == []
    state["a"] = True
    assert written(program.flush())
    assert recovered(program)["a"] is True


def test_the_order_of_entries_survives() -> None:
    """A key that is removed and put back is the last one, in dicts of any size."""
    for many in (3, 1000):
        program = Program()
        state = program.root("state", default={f"k{i}": i for i in range(many)})
        program.flush()
        state["k1"] = state.pop("k1")
        state["new"] = 1
        program.flush()
        assert list(recovered(program)) == list(state)


# -- defaults ---------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [0, 300])
@pytest.mark.parametrize("kind", ["dict", "set", "counter"])
def test_deleted_defaults_stay_deleted_and_new_ones_appear(kind: str, many: int) -> None:
    """Defaults fill in what the stored state never had."""
    program = Program()
    old = {"a": 1, "b": 2, **{f"k{i}": i for i in range(many)}}
    state = program.root("state", kind, old)
    program.flush()
    state.discard("a") if kind == "set" else state.pop("a")
    program.flush()
    for _ in range(2):
        program = program.restart()
        state = program.root("state", kind, {**old, "new": 3})
        assert "a" not in state
        assert "new" in state
        assert len(state) == many + 2
        program.flush()
    state.add("a") if kind == "set" else state.update({"a": 7})
    program.flush()
    program = program.restart()
    assert "a" in program.root("state", kind, old)


def test_a_default_is_not_taken_over_what_is_stored() -> None:
    """What the program had saved wins over the default, also if it is None or empty."""
    program = Program()
    state = program.root("state", default={"page": 1, "links": ["start"]})
    state.update(page=None, links=[])
    program.flush()
    following = program.restart().root("state", default={"page": 1, "links": ["start"]})
    assert following == {"page": None, "links": []}


def test_a_list_takes_its_default_once() -> None:
    """An emptied list stays empty."""
    program = Program()
    program.root("queue", "list", ["start"])
    program.flush()
    program.root("queue", "list").clear()
    program.flush()
    assert program.restart().root("queue", "list", ["start"]) == []


# -- failed flushes ---------------------------------------------------------------------------


@pytest.mark.parametrize("many", [0, 300])
@pytest.mark.parametrize("outcome", ["lost", "unknown"])
def test_what_a_failed_flush_had_is_in_the_next(many: int, outcome: Any) -> None:
    """Whether or not the store had got it, nothing is lost, and what was dropped stays so."""
    program = Program()
    state = program.root("state", default={f"k{i}": i for i in range(many)} | {"gone": 1})
    items = program.root("items", "list", list(range(many)))
    members = program.root("members", "set", set(range(many)) | {"gone"})
    program.flush()
    del state["gone"]
    state["new"] = [1]
    items.append(1)
    members.remove("gone")
    program.flush(outcome=outcome)
    state["new"].append(2)
    state["gone"] = "back"
    items[0:1] = ["first"]
    members.add("late")
    program.flush()
    assert shape(recovered(program)) == shape(state)
    assert shape(recovered(program, "items", "list")) == shape(items)
    assert shape(recovered(program, "members", "set")) == shape(members)


class Moody:
    """A key that raises when it is compared."""

    calm = True

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        if not Moody.calm:
            raise ValueError
        return self is other


@pytest.mark.parametrize("size", [1, 500])
def test_keys_that_raise_cost_their_container_only(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What the user's own code raises does not keep anything else from being saved."""
    program = Program()
    bad = program.root("bad", default={str(i): i for i in range(size)})
    good = program.root("good", default={"n": 1})
    program.flush()
    bad[Moody()] = {"x": 1}
    bad[Moody()] = {"x": [2]}
    good["n"] = 2
    monkeypatch.setattr(Moody, "calm", False)
    program.flush()
    assert any(error.path.startswith("bad") for error in program.errors)
    assert program.restart().root("good") == {"n": 2}
    monkeypatch.setattr(Moody, "calm", True)
    bad.clear()
    bad["n"] = 3
    program.flush()
    assert program.restart().root("bad") == {"n": 3}


@pytest.mark.parametrize("changed", [800, 950, 1_000])
def test_what_has_nearly_all_changed_is_saved_as_a_whole(changed: int) -> None:
    """The cut then need not look for each entry; with fewer changes only these are written."""
    program = Program()
    state = program.root("state", default={f"k{n}": [n] for n in range(1_000)})
    program.flush()
    for n in range(changed):
        state[f"k{n}"] = [0, n]
    assert program.tracker.estimate() > changed
    changes = written(program.flush())
    entries = sum(len(one.get("put", {})) + len(one.get("assign", {})) for one in changes)
    assert entries == (800 if changed == 800 else 1_000)
    assert program.restart().root("state") == state


@pytest.mark.parametrize("kind", ["list", "deque", "set"])
def test_the_estimate_counts_the_items_of_inline_containers(kind: str) -> None:
    """All of a written container is encoded with its entry, of whatever kind it is."""
    program = Program()
    make = {"list": list, "deque": deque, "set": set}[kind]
    items = [f"item {n}" for n in range(100)]
    state = program.root("state", default={f"k{n}": make(items) for n in range(50)})
    program.flush()
    for n in range(50):
        (state[f"k{n}"].add if kind == "set" else state[f"k{n}"].append)("new")
    estimate = program.tracker.estimate()
    size = sum(map(len, program.flush()))
    assert size / 2 < estimate < size * 5


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_the_estimate_counts_the_new_items_of_a_large_sequence(kind: str) -> None:
    """Those alone will be written."""
    program = Program()
    state = program.root("state", kind, [{"n": n} for n in range(2_000)])
    program.flush()
    state.append({"n": -1})
    program.flush()
    state.extend([{"n": n} for n in range(500)])
    if kind == "deque":
        state.popleft()
    estimate = program.tracker.estimate()
    size = sum(map(len, program.flush()))
    assert size / 2 < estimate < size * 5
