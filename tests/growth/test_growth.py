"""Saving costs what changed, however a container grew: entries and bytes are counted."""

from __future__ import annotations

import enum
import itertools
import random
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedSet
from autostate.tracking import LARGE
from tests.growth.growing import Runs, Saves, saving_by_itself, url

STARTS = (0, 1, 50, LARGE - 1, LARGE, LARGE + 1, 300, 1000)
"""Entries at the first save: none, few, just as many as are compared, and more."""

KINDS: dict[str, Any] = {
    "set": PersistedSet,
    "dict": PersistedDict,
    "counter": PersistedCounter,
}
NESTED = {"set": set, "dict": dict, "counter": Counter, "ordereddict": OrderedDict}


def written(saves: Saves, *, since: int = 0) -> int:
    """The entries that were written."""
    return sum(entries for entries, _ in saves[since:])


def filled(kind: str, count: int) -> Any:
    """A state object that was empty when it was first saved, and has grown since."""
    made = KINDS[kind](kind)
    autostate.flush()
    insert(made, range(count))
    autostate.flush()
    return made


def insert(container: Any, numbers: range) -> None:
    """Insert entries one by one."""
    for number in numbers:
        if isinstance(container, set):
            container.add(url(number))
        else:
            container[url(number)] = number


def insert_at_once(container: Any, numbers: range) -> None:
    """Insert entries by one call."""
    if isinstance(container, set):
        container |= {url(number) for number in numbers}
    else:
        container.update({url(number): number for number in numbers})


def set_defaults(container: Any, numbers: range) -> None:
    """Insert entries by other methods."""
    for number in numbers:
        if isinstance(container, set):
            container.update([url(number)])
        else:
            container.setdefault(url(number), number)


def remove(container: Any, number: int) -> None:
    """Remove an entry."""
    if isinstance(container, set):
        container.remove(url(number))
    else:
        del container[url(number)]


@pytest.mark.parametrize("way", [insert, insert_at_once, set_defaults])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_grows_is_saved_entry_by_entry(
    kind: str, start: int, way: Callable[[Any, range], None], saves: Saves
) -> None:
    """Each save writes the entries that came, whatever the size was before."""
    container = filled(kind, start)
    assert written(saves) == start
    for step in range(14):
        way(container, range(start + step * 25, start + step * 25 + 25))
        autostate.flush()
        assert saves[-1][0] == 25


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_growth_at_once_writes_no_entry_again(kind: str, start: int, saves: Saves) -> None:
    """What grows to many times its size between two saves is written without what was saved."""
    container = filled(kind, start)
    insert(container, range(start, start + 4000))
    autostate.flush()
    assert saves[-1][0] == 4000


@pytest.mark.parametrize("start", [10, LARGE - 1, LARGE, LARGE + 1, LARGE + 3, 300, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_writes_a_few_hundred_bytes(kind: str, start: int, saves: Saves) -> None:
    """Whatever the size, and also where a container becomes small."""
    container = filled(kind, start)
    for number in range(8):
        remove(container, number)
        autostate.flush()
        assert saves[-1][0] == 0
    # The head holds the latest changes again, so a commit is a little longer than the one before.
    sizes = [size for _, size in saves[-7:]]
    assert all(later < earlier + 200 for earlier, later in itertools.pairwise(sizes))


@pytest.mark.parametrize("start", [50, 600])
def test_defaults_that_are_worked_off_cost_a_few_hundred_bytes(
    start: int, saves: Saves, runs: Runs
) -> None:
    """However many of them were deleted before; and they stay deleted."""
    todo = PersistedSet("todo", map(url, range(start)))
    autostate.flush()
    for _ in range(start - 10):
        before = len(saves)
        todo.pop()
        autostate.flush()
        assert written(saves, since=before) == 0
    # The head holds the latest changes again; now and then they go into a segment of their own.
    assert max(size for _, size in saves[1:]) < 8192
    assert sum(size for _, size in saves[1:]) < (start - 10) * 3072
    left = set(todo)
    runs.again()
    assert PersistedSet("todo", map(url, range(start))) == left


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_shrinks_and_grows_is_saved_entry_by_entry(
    kind: str, saves: Saves, rng: random.Random, runs: Runs
) -> None:
    """Around the size from which on writes are recorded, too."""
    container = filled(kind, LARGE)
    here = set(range(LARGE))
    fresh = LARGE
    for _ in range(60):
        came = rng.randrange(0, 12)
        insert(container, range(fresh, fresh + came))
        gone = rng.sample(sorted(here), rng.randrange(0, 12))
        for number in gone:
            remove(container, number)
        here = here.union(range(fresh, fresh + came)).difference(gone)
        fresh += came
        count = len(saves)
        autostate.flush()
        assert written(saves, since=count) == came
    expected = {url(number) for number in here}
    assert set(container) == expected
    assert stored(runs, container, kind) == expected


def stored(runs: Runs, container: Any, kind: str) -> set[str]:
    """The keys that the next run finds."""
    plain = dict(container) if kind != "set" else set(container)
    name = "seen" if kind == "set" and "first" in container else kind
    runs.again()
    again = KINDS[kind](name)
    assert again == plain
    return set(again)


@pytest.mark.parametrize("kind", sorted(NESTED))
def test_a_nested_container_that_grows_is_saved_entry_by_entry(kind: str, saves: Saves) -> None:
    """Up to 256 entries it is part of its parent's entry; it moves out of it once."""
    state: Any = PersistedDict("state")
    state["inner"] = NESTED[kind]()
    autostate.flush()
    for step in range(40):
        insert(state["inner"], range(step * 100, step * 100 + 100))
        autostate.flush()
    assert written(saves) <= 4000 + LARGE
    assert [entries for entries, _ in saves[-30:]] == [100] * 30


def test_a_default_dict_that_grows_is_saved_entry_by_entry(saves: Saves) -> None:
    """Also by looking up what is not there."""
    state = PersistedDict("state", counts=defaultdict(int))
    for step in range(10):
        for number in range(step * 100, step * 100 + 100):
            state["counts"][url(number)] += 1
        autostate.flush()
    assert [entries for entries, _ in saves[-6:]] == [100] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_saves_that_come_by_themselves_write_what_changed(kind: str, saves: Saves) -> None:
    """A container that grows while the program works costs no more than one that is flushed."""
    with saving_by_itself() as announced:
        container = filled(kind, 300)
        autostate.flush()
        while not announced.empty():
            announced.get()
        for step in range(30):
            insert(container, range(300 + step * 100, 400 + step * 100))
            came = 0
            while came < 100:
                came += announced.get(timeout=60)
            assert came == 100


def test_what_one_removes_in_bulk_is_recorded(saves: Saves) -> None:
    """Operations in place on large sets and counters write what they change."""
    seen: Any = filled("set", 5000)
    seen &= {url(number) for number in range(10, 6000)}
    autostate.flush()
    assert saves[-1][0] == 0
    seen.intersection_update([url(number) for number in range(20, 6000)])
    seen -= {url(4000)}
    seen ^= {url(4001), url(7000)}
    autostate.flush()
    assert saves[-1][0] == 1
    hits = filled("counter", 5000)
    hits -= Counter({url(3): 3, url(5): 1})
    autostate.flush()
    assert saves[-1][0] == 1  # 0 is dropped at once: Counter keeps what is positive


def test_a_method_that_was_looked_up_earlier_costs_the_whole_container_once(
    saves: Saves, runs: Runs
) -> None:
    """`add = seen.add` may be the builtin's function, which records nothing."""
    seen = PersistedSet("seen")
    seen.add("first")
    add = seen.add  # of a set that is written at full speed
    for number in range(1000):
        add(url(number))
    autostate.flush()
    for step in range(1, 20):
        for number in range(step * 1000, step * 1000 + 10):
            add(url(number))
        seen.discard(url(step))  # is recorded, and must not hide the others
        autostate.flush()
    assert written(saves) <= 1001 + 1000 + 20 * 10
    assert [entries for entries, _ in saves[-10:]] == [10] * 10
    assert len(stored(runs, seen, "set")) == 1001 + 190 - 19


def test_recorded_writes_are_not_taken_for_late_ones(saves: Saves) -> None:
    """Whatever comes, goes and comes again between two saves."""
    seen = filled("set", 1000)
    for step in range(20):
        seen.add("x")
        seen.discard("x")
        seen.add(f"y{step}")
        seen.discard(url(step))
        seen.add(url(step))
        seen.add("x")
        autostate.flush()
        assert saves[-1][0] <= 3
        seen.discard("x")


class Fruit(enum.StrEnum):
    """Members are equal to their names."""

    APPLE = "https://example.com/7"


@pytest.mark.parametrize("start", [10, LARGE, LARGE + 1, 1000])
def test_an_equal_key_of_another_type_changes_the_value_and_leaves_the_key(
    start: int, runs: Runs
) -> None:
    """As in a plain dict, in memory and in the next run."""
    state: Any = PersistedDict("state")
    hits: Any = PersistedCounter("hits")
    plain: dict[Any, Any] = {}
    for number in range(start):
        state[number] = plain[number] = number
        hits[url(number)] = 1
    autostate.flush()
    for target in (state, plain):
        target[True] = "true"
        target[7.0] = "seven"
        del target[4.0]
        target.pop(5.0)
        target[6.0] = ["inner"]
        del target[8]
        target[8.0] = "new"
    hits[Fruit.APPLE] += 1
    autostate.flush()
    for target in (state, plain):
        target[6].append(1)
        del target[9.0]
    shown = [(type(key), key, value) for key, value in plain.items()]
    assert [(type(key), key, value) for key, value in state.items()] == shown
    runs.again()
    again = PersistedDict[Any, Any]("state")
    assert [(type(key), key, value) for key, value in again.items()] == shown
    counts = PersistedCounter("hits")
    assert all(type(key) is str for key in counts if key == url(7) and start > 7)
    assert counts[url(7)] == 2


@pytest.mark.parametrize("start", [10, LARGE, LARGE + 1, 1000])
def test_equal_members_of_another_type_are_found_and_not_added(start: int, runs: Runs) -> None:
    """As in a plain set, in memory and in the next run."""
    numbers: Any = PersistedSet("numbers")
    plain: set[Any] = set()
    for number in range(start):
        numbers.add(number)
        plain.add(number)
    autostate.flush()
    for target in (numbers, plain):
        target.add(True)
        target.add(3.0)
        target.discard(4.0)
        target.remove(5.0)
        target.discard(6)
        target.add(6.0)
    shown = sorted(map(repr, plain))
    assert sorted(map(repr, numbers)) == shown
    runs.again()
    assert sorted(map(repr, PersistedSet("numbers"))) == shown


@pytest.mark.parametrize("start", [10, LARGE // 2 - 1, LARGE, LARGE + 1, 1000])
@pytest.mark.parametrize("more", [0, 6])
def test_what_gives_way_to_an_equal_one_within_a_save(start: int, more: int, runs: Runs) -> None:
    """The one that is there is the one that is saved, also where a set grows large at once."""
    members: Any = PersistedSet("members")
    entries: Any = PersistedDict("entries")
    for number in range(start):
        members.add(number)
        members.add((number,))
        entries[number] = 1
    autostate.flush()
    swaps = [Fraction(5), 6.0, np.int64(7), np.float64(8), (np.int64(1),), (2.0,)]
    for new in (*swaps, *range(start, start + more)):
        members.discard(new)
        members.add(new)
        entries.pop(new, None)
        entries[new] = 2
    shown = {repr(member) for member in members}, list(map(repr, entries))
    assert shown[0].issuperset(map(repr, swaps))
    autostate.flush()
    runs.again()
    members, entries = PersistedSet("members"), PersistedDict("entries")
    assert ({repr(member) for member in members}, list(map(repr, entries))) == shown


@pytest.mark.parametrize("past_the_class", [False, True])
def test_what_gives_way_to_an_equal_one_where_all_is_compared(
    past_the_class: bool, runs: Runs
) -> None:
    """So are large sets and dicts to which something has written past their methods."""
    members: Any = PersistedSet("members")
    entries: Any = PersistedDict("entries")
    members.update(range(LARGE + 10))
    entries.update(dict.fromkeys(range(LARGE + 10), 1))
    autostate.flush()
    set.add(members, -1)
    dict.__setitem__(entries, -1, 1)
    autostate.flush()
    member, entry = (set, dict) if past_the_class else (PersistedSet, PersistedDict)
    for new in (Fraction(5), 6.0, True, np.int64(7), "new"):
        member.discard(members, new)
        member.add(members, new)
        entry.pop(entries, new, None)
        entry.__setitem__(entries, new, 2)
    assert members._node_.entries.compare
    assert entries._node_.entries.compare
    shown = {repr(member) for member in members}, list(map(repr, entries))
    autostate.flush()
    runs.again()
    members, entries = PersistedSet("members"), PersistedDict("entries")
    assert ({repr(member) for member in members}, list(map(repr, entries))) == shown


@pytest.mark.parametrize("start", [10, LARGE + 1])
def test_an_intersection_keeps_the_members_of_the_smaller_one(start: int, runs: Runs) -> None:
    """As that of plain sets does, and equal tuples may hold what differs."""
    members: Any = PersistedSet("members", [(number,) for number in range(start)])
    autostate.flush()
    members &= {(True,), (2.0,), (3,)}
    assert {repr(member) for member in members} == {"(True,)", "(2.0,)", "(3,)"}
    autostate.flush()
    runs.again()
    assert set(map(repr, PersistedSet("members"))) == {"(True,)", "(2.0,)", "(3,)"}


def shops() -> dict[Any, Any]:
    """Make a tree of which no level is large."""
    return {str(shop): {str(n): {"price": n} for n in range(30)} for shop in range(30)}


TREES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "dicts": (shops, lambda tree: tree["5"]["7"].update(price=tree["5"]["7"]["price"] + 1)),
    "dicts, removed": (shops, lambda tree: tree["5"].popitem()),
    "in one that is alone": (lambda: {"all": shops()}, lambda tree: tree["all"]["5"].popitem()),
    "lists": (
        lambda: [[[number] for number in range(20)] for _ in range(20)],
        lambda tree: tree[5].insert(7, []),
    ),
    "records": (
        lambda: [{"id": number, "tags": ["a", "b"]} for number in range(130)],
        lambda tree: tree[5]["tags"].append("c"),
    ),
    "texts": (
        lambda: dict.fromkeys(range(30), "x" * 1000),
        lambda tree: tree.pop(max(tree)),
    ),
    "long members": (
        lambda: {f"{'x' * 500}{n}" for n in range(50)},
        lambda tree: tree.discard(max(tree)),
    ),
}


@pytest.mark.parametrize("grown", [False, True])
@pytest.mark.parametrize("shape", TREES)
def test_a_change_deep_in_a_tree_costs_what_changed(
    shape: str, grown: bool, saves: Saves, runs: Runs
) -> None:
    """Although no container in it is large: what it holds in all counts."""
    make, change = TREES[shape]
    state: Any = PersistedDict("state")
    if grown:
        state["tree"] = type(make())()
        autostate.flush()
    state["tree"] = make()
    autostate.flush()
    for _ in range(3):
        change(state["tree"])
        autostate.flush()
        assert saves[-1][0] <= 1
        assert saves[-1][1] <= 2500
    shown = state.copy()
    runs.again()
    state = PersistedDict("state")
    assert state == shown
    autostate.flush()
    change(state["tree"])
    autostate.flush()
    assert saves[-1][1] <= 2500
    shown = state.copy()
    runs.again()
    assert PersistedDict("state") == shown


@pytest.mark.parametrize("shape", TREES)
def test_a_tree_that_was_saved_in_one_entry_is_divided_when_it_changes(
    shape: str, saves: Saves, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it writes nothing, and what changes is found in the next run."""
    make, change = TREES[shape]
    state: Any = PersistedDict("state")
    with monkeypatch.context() as patch:
        patch.setattr("autostate.tracking.node_capture.LARGEST_ENTRY", 2**40)
        patch.setattr("autostate.tracking.resolver.INLINE", 2**40)
        state["tree"] = make()
        autostate.flush()
    runs.again()
    state, written = PersistedDict("state"), len(saves)
    state["other"] = 1
    autostate.flush()
    for _ in range(3):
        change(state["tree"])
        autostate.flush()
    assert len(saves) == written + 4
    assert saves[-1][1] <= 2500
    shown = state.copy()
    runs.again()
    assert PersistedDict("state") == shown


def test_texts_that_contain_nan_are_no_reason_to_write_all(saves: Saves) -> None:
    """Only numbers can be nan."""
    words: Any = PersistedSet("words", ["banana", ("finance", 1), "x"])
    prices: Any = PersistedDict("prices", {("nan", number): number for number in range(1000)})
    autostate.flush()
    words.add("y")
    prices["nan", 1] = -1
    autostate.flush()
    assert saves[-1][0] == 2


def test_a_number_key_costs_only_its_entry(saves: Saves) -> None:
    """Small dicts whose keys are no strings are compared entry by entry as well."""
    pages: Any = PersistedDict("pages", dict.fromkeys(range(100), "new"))
    autostate.flush()
    pages[5] = "done"
    autostate.flush()
    assert saves[-1][0] == 1


@pytest.mark.parametrize("size", [LARGE + 10, 3000])
def test_an_lru_costs_what_was_used(size: int, saves: Saves, runs: Runs) -> None:
    """An OrderedDict: what is used goes to the end, and the oldest goes."""
    state: PersistedDict[str, Any] = PersistedDict("state")
    state["lru"] = OrderedDict((url(number), number) for number in range(size))
    autostate.flush()
    lru = state["lru"]
    for number in range(5):
        lru.move_to_end(url(number * 7))
        lru[url(size + number)] = number
        lru.popitem(last=False)
        autostate.flush()
        assert saves[-1][0] <= 2
        assert saves[-1][1] < 2048
    expected = list(lru.items())
    runs.again()
    assert list(PersistedDict[str, Any]("state")["lru"].items()) == expected
