"""What is dirty and what is written: aliases, late calls, bypasses, unsupported values, order."""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autostate.codec import Unknown
from autostate.containers import PersistedDict, PersistedList
from autostate.tracking import watch
from tests.conformance.state_kit import BUILTIN, Program, form, shape


def recovered(program: Program, name: str = "state", kind: str = "dict") -> Any:
    """The state object as the next run would find it."""
    return program.restart().root(name, kind)


def written(changes: list[bytes]) -> list[Any]:
    """The changes, decoded."""
    return [json.loads(change) for change in changes]


# -- aliases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [0, 300])
def test_a_list_held_outside_is_watched_and_adopted_when_it_is_free(many: int) -> None:
    """It stays the same object while it is held; what is appended there is saved."""
    program = Program()
    state = program.root("state", default={f"k{i}": i for i in range(many)})
    queue: list[Any] = []
    state["queue"] = queue
    for item in (1, [2]):
        program.flush()
        assert state["queue"] is queue
        assert program.tracker.needs_polling
        assert program.flush() == []
        queue.append(item)
        program.flush()
        assert recovered(program)["queue"] == queue
    del queue, item
    program.flush()
    assert isinstance(state["queue"], PersistedList)
    assert not program.tracker.watch.knows(state._node_, "queue")
    assert program.flush() == []


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_a_list_held_outside_inside_of_what_was_adopted_is_watched(kind: str) -> None:
    """Conversion of what is around it does not end the watch, nor does a move."""
    program = Program()
    root = program.root("state", kind, {"a": 0} if kind == "dict" else [0])
    queue: list[Any] = []
    put = root.append if kind == "list" else (lambda value: root.update(new=value))
    put({"inner": {"queue": queue}})
    del put
    for item in range(3):
        program.flush()
        queue.append(item)
        program.flush()
        assert shape(recovered(program, kind=kind)) == shape(root)
    holder = root[1] if kind == "list" else root["new"]
    assert isinstance(holder, PersistedDict)
    root.clear()
    root.append(holder) if kind == "list" else root.update(moved=holder)
    program.flush()
    queue.append("after the move")
    program.flush()
    assert shape(recovered(program, kind=kind)) == shape(root)


def test_a_tuple_that_holds_a_list_is_watched() -> None:
    """A list in a tuple cannot be replaced, so it is compared."""
    program = Program()
    state = program.root("state")
    state["pair"] = (1, [2])
    program.flush()
    state["pair"][1].append(3)
    program.flush()
    assert recovered(program) == {"pair": (1, [2, 3])}


def test_what_is_moved_is_saved_where_it_is() -> None:
    """A nested container that moves marks its new home, not its old one."""
    program = Program()
    state = program.root("state", default={"a": {"in": {"x": 1}}, "b": {}})
    program.flush()
    moved = state["a"].pop("in")
    state["b"]["in"] = moved
    program.flush()
    moved["x"] = 2
    program.flush()
    assert shape(recovered(program)) == shape({"a": {}, "b": {"in": {"x": 2}}})


# -- late calls and bypasses ------------------------------------------------------------------


def test_a_method_looked_up_before_a_cut_is_seen_after_it() -> None:
    """`append` of the disarmed variant is the builtin's; called late, it changes the length."""
    program = Program()
    state = program.root("state", default={"queue": []})
    program.flush()
    state["queue"].append(1)
    append = state["queue"].append
    assert form(state["queue"]) == "disarmed"
    program.flush()
    assert form(state["queue"]) == "armed"
    append(2)
    assert program.tracker.needs_polling
    program.flush()
    assert recovered(program) == {"queue": [1, 2]}


async def test_a_method_looked_up_before_an_await_is_seen_after_it() -> None:
    """`results.append(await page())`, with a cut while it waits."""
    program = Program()
    results = program.root("results", "list")
    fetched = asyncio.Event()

    async def page() -> int:
        await fetched.wait()
        return 2

    async def crawl() -> None:
        results.append(1)
        results.append(await page())

    crawling = asyncio.create_task(crawl())
    await asyncio.sleep(0)
    program.flush()
    fetched.set()
    await crawling
    program.flush()
    assert recovered(program, "results", "list") == [1, 2]


@pytest.mark.parametrize("many", [0, 300])
def test_what_is_written_past_the_barrier_is_found_by_a_sweep(many: int) -> None:
    """`heapq` and the builtins' own functions leave no mark; the content tells."""
    program = Program()
    state = program.root("state", default={"heap": [9, 8, 7], "d": {"x": 1}, "s": {1}})
    heap = program.root("heap", "list", list(range(many, 0, -1)))
    program.flush()
    for items in (heap, state["heap"]):
        heapq.heapify(items)
        heapq.heappush(items, -1)
    dict.update(state["d"], y=[2])
    dict.__setitem__(state, "new", {"z": 3})
    set.add(state["s"], 2)
    program.flush(full_compare=True)
    assert shape(recovered(program)) == shape(state)
    assert recovered(program, "heap", "list") == heap
    assert program.flush(full_compare=True) == []


@pytest.mark.parametrize("many", [0, 300])
def test_a_cut_in_the_middle_of_a_call_loses_nothing(many: int) -> None:
    """What an iterator gives after it let others run is saved, too."""
    program = Program()
    numbers = range(many)
    state = program.root("state", default={f"k{i}": i for i in numbers})
    items = program.root("items", "list", list(numbers))
    members = program.root("members", "set", set(numbers))
    words = program.root("words", "counter", {f"k{i}": i for i in numbers})
    inner = program.root("outer", default={"d": {}, "l": [], "s": set()})

    def halting(*given: Any) -> Iterator[Any]:
        for item in given:
            yield item
            program.flush()

    program.flush()
    for _ in range(2):
        state.update(halting(("a", 1), ("b", 2)))
        items.extend(halting("a", "b"))
        members.update(halting("a", "b"))
        members.difference_update(halting("a", 1))
        words.update(halting("a", "b"))
        inner["d"].update(halting(("a", 1), ("b", 2)))
        inner["l"].extend(halting("a", "b"))
        inner["s"].update(halting("a", "b"))
        program.flush()
        following = program.restart()
        again = [
            *(following.root("state"), following.root("items", "list")),
            *(following.root("members", "set"), following.root("words", "counter")),
            following.root("outer"),
        ]
        assert shape(*again) == shape(state, items, members, words, inner)


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


# -- nodes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 200])
def test_a_container_that_grows_becomes_a_node(before: int) -> None:
    """Then one entry of it is written alone, and it comes back whole."""
    program = Program()
    state = program.root("state", default={"big": {f"o{i}": i for i in range(before)}, "x": 1})
    program.flush()
    state["big"].update({f"k{i}": {"n": i} for i in range(300)})
    program.flush()
    assert shape(recovered(program)) == shape(state)
    state["big"]["k7"]["n"] = "changed"
    changes = written(program.flush())
    assert [change.get("put") for change in changes] == [{"k7": {"n": "changed"}}]
    assert shape(recovered(program)) == shape(state)
    while len(state["big"]) > 5:
        state["big"].popitem()
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_what_is_at_two_places_is_one_object_again() -> None:
    """Between roots, in one list twice, in itself; and it stays one while it changes."""
    program = Program()
    state, items = program.root("state"), program.root("items", "list")
    state["a"] = {"n": [0]}
    program.flush()
    shared = state["a"]
    state["b"] = {"deeper": shared["n"]}
    items.extend([shared, {"x": shared}, [1]])
    items.append(items[2])
    shared["self"] = shared
    shared["root"] = items
    for step in range(3):
        program.flush()
        assert program.flush(full_compare=True) == []
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        shared["n"].append(step)
        items[2].append(step)


@pytest.mark.parametrize("many", [0, 300])
def test_a_plain_container_at_two_places_is_one_object_again(many: int) -> None:
    """While it is held outside it is watched; when it is free, it is converted at all places."""
    program = Program()
    state, items = program.root("state"), program.root("items", "list")
    shared: dict[str, Any] = {f"k{i}": i for i in range(many)} | {"in": [1]}
    state["a"] = shared
    state["b"] = {"deep": [shared, (shared,)]}
    items.extend([shared, [shared["in"]]])
    for step in range(3):
        program.flush()
        assert state["a"] is shared
        assert program.flush() == []
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        shared["in"].append(step)
        shared[f"new{step}"] = [step]
    state["b"]["deep"].pop()
    del shared
    for step in range(3):
        program.flush()
        program.flush()
        assert isinstance(state["a"], PersistedDict)
        assert state["a"] is items[0]
        assert isinstance(items[1][0], PersistedList)
        assert not program.tracker.watch.knows(state._node_, "a")
        following = program.restart()
        again = following.root("state"), following.root("items", "list")
        assert shape(*again) == shape(state, items)
        state["a"]["in"].append(step)


def test_an_element_that_is_put_twice_into_a_list_is_one_object_again() -> None:
    """Elements of a list that is a node are entries by identity."""
    program = Program()
    items = program.root("items", "list", [{"n": [0]}, {"n": [1]}])
    program.flush()
    items.append(items[0])
    items.append([items[1], items[1]])
    for step in range(2):
        program.flush()
        assert shape(recovered(program, "items", "list")) == shape(items)
        items[0]["n"].append(step)
        items[1]["n"].append(step)


def test_what_becomes_a_node_while_it_is_encoded_is_saved_as_it_was_at_the_cut() -> None:
    """A cycle is found then; what is written inside of it afterwards is not part of the cut."""
    program = Program()
    state = program.root("state", default={"a": {"in": {"n": 1}}})
    program.flush()
    state["a"]["in"]["up"] = state["a"]
    former = shape(copy.deepcopy(state))
    capture = program.tracker.cut()
    assert capture is not None
    state["a"]["in"]["n"] = 2
    program.journal.commit(capture.encode())
    capture.saved()
    assert shape(recovered(program)) == former
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_a_deleted_object_that_is_put_into_the_state_is_watched_at_any_depth() -> None:
    """It was at full speed; now every write to it, and to what is inside it, is seen."""
    program = Program()
    old, state = program.root("old", default={"a": {"b": [1]}}), program.root("state")
    program.flush()
    program.tracker.detach("old")
    program.flush()
    state["old"] = old
    for step in range(2):
        program.flush()
        old["a"]["b"].append(step)
        old["a"][f"k{step}"] = step
        program.flush()
        assert shape(recovered(program)) == shape(state)


def test_new_nodes_that_refer_to_each_other_are_saved_once() -> None:
    """A capture ends, although neither of them is known to the store."""
    program = Program()
    state = program.root("state", default={"a": {"x": {}}, "b": {}})
    program.flush()
    state["a"]["other"] = state["b"]
    state["b"]["other"] = state["a"]
    changes = program.flush()
    assert len(changes) == len({json.loads(change)["id"] for change in changes})
    assert shape(recovered(program)) == shape(state)


def test_a_plain_container_that_holds_itself_comes_back_so() -> None:
    """A cycle of plain containers is saved, whether it is held outside or not."""
    program = Program()
    state = program.root("state")
    loop: dict[str, Any] = {"x": [1]}
    loop["self"] = loop
    loop["x"].append({"back": loop})
    state["loop"] = loop
    for step in range(3):
        program.flush()
        assert not program.errors
        assert program.flush(full_compare=True) == []
        assert shape(recovered(program)) == shape(state)
        loop["x"].append(step)
    del loop
    program.flush()
    assert shape(recovered(program)) == shape(state)
    del state["loop"]
    program.flush()
    assert recovered(program) == {}


def test_a_node_that_nothing_refers_to_comes_back_when_it_is_used_again() -> None:
    """An unreachable node is held by the program alone; compaction may leave it out."""
    program = Program()
    state = program.root("state", default={"big": {f"k{i}": i for i in range(300)}})
    program.flush()
    big = state.pop("big")
    program.flush()
    program.tracker.collected(program.journal.compact(pause=lambda: None))
    big["k0"] = "changed outside"
    program.flush()
    state["again"] = big
    program.flush()
    assert shape(recovered(program)) == shape(state)


def test_a_deleted_root_is_plain_and_gone() -> None:
    """Its object goes on as a plain one; the next run does not find it."""
    program = Program()
    state = program.root("state", default={"a": {"b": [1]}})
    other = program.root("other")
    other["x"] = state["a"]
    program.flush()
    program.tracker.detach("state")
    state["a"]["b"].append(2)
    state["c"] = 3
    program.flush()
    assert recovered(program) == {}
    assert program.restart().root("other") == {"x": {"b": [1, 2]}}


CONTENT: dict[str, Callable[[range], Any]] = {
    "dict": lambda numbers: {f"k{n}": [n] for n in numbers},
    "counter": lambda numbers: {f"k{n}": n for n in numbers},
    "set": set,
    "list": lambda numbers: [[n] for n in numbers],
    "deque": lambda numbers: [{"n": n} for n in numbers],
}


def overwrite(container: Any) -> None:
    """Change what a container holds, at any depth, then empty it."""
    for inner in container.values() if isinstance(container, dict) else container:
        if isinstance(inner, list | dict):
            overwrite(inner)
    container.clear()


@pytest.mark.parametrize("pauses", range(3))
@pytest.mark.parametrize("known", [0, 2, 900])
@pytest.mark.parametrize("kind", CONTENT)
def test_a_root_that_is_deleted_after_the_cut_is_saved_as_it_was_at_the_cut(
    kind: str, known: int, pauses: int
) -> None:
    """With all else as of that moment; the next save removes it. Also half-way through."""
    program = Program()
    other = program.root("other")
    state = program.root("state", kind, CONTENT[kind](range(known)))
    if known:
        program.flush()
    add = state.extend if kind in {"list", "deque"} else state.update
    add(CONTENT[kind](range(known, known + 100)))
    other["moment"] = 1
    at_the_cut = shape({"moment": 1}, copy.deepcopy(BUILTIN[kind](state)))
    capture = program.tracker.cut()
    assert capture is not None
    times = itertools.count()

    def delete() -> None:
        if next(times) == pauses:
            program.tracker.detach("state")
            overwrite(state)
            other["moment"] = 2

    delete()
    program.journal.commit(capture.encode(delete))
    capture.saved()
    assert shape(recovered(program, "other"), recovered(program, kind=kind)) == at_the_cut
    program.flush()
    assert recovered(program, "other") == {"moment": 2}
    assert not recovered(program, kind=kind)


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


def test_watching_very_much_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an example; it names no value."""
    monkeypatch.setattr(watch, "MANY", 10)
    program = Program()
    held: list[list[int]] = [[] for _ in range(20)]
    program.root("state", default=dict(enumerate(held)))
    for _ in range(3):
        program.flush()
    [record] = caplog.records
    assert record.getMessage().startswith("20 entries, state[0] for example")


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


def test_an_alias_inside_a_tuple_is_found_before_its_first_place_is_encoded() -> None:
    """Also in the only flush that there is after it was put there."""
    for flush_before in (False, True):
        program = Program()
        state = program.root("state")
        state["a"] = {}
        state["d"] = {"q": state["a"]}
        if flush_before:
            program.flush()
        with program.tracker.atomic():
            state["e"] = ({"s": state["d"]},)
        program.flush(full_compare=True)
        state = recovered(program)
        assert state["e"][0]["s"] is state["d"]
        assert state["d"]["q"] is state["a"]
