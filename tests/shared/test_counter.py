"""Shared counters add."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from autostate.shared.counter import MOST_NOTES, SharedCounter
from tests.counting import called
from tests.shared.kit import CONTENT, filled, writes

pytestmark = pytest.mark.usefixtures("live")


def test_an_increment_is_the_difference_to_what_was_read() -> None:
    """What arrives between the reading and the assignment stays."""
    hits: Any = SharedCounter[str]("hits")
    read = hits["a"]
    hits._handle_.others.append({"a": 10})
    hits.refresh()
    hits["a"] = read + 1
    assert writes(hits) == [{"a": 1}]
    assert hits["a"] == 11
    hits["a"] -= 11
    assert "a" not in hits
    hits["a"] += 0
    assert hits["a"] == 0
    assert "a" not in hits
    assert len(writes(hits)) == 2


def test_an_assignment_that_no_read_precedes_is_refused() -> None:
    """A read is good for one assignment, by each way of reading."""
    hits: Any = filled("counter")
    with pytest.raises(TypeError, match=r"a shared counter adds; write x\[k\] \+= n"):
        hits["a"] = 5
    hits["a"] += 1
    with pytest.raises(TypeError, match="a shared counter adds"):
        hits["a"] = 5
    hits["a"] = hits.get("a") + 1
    hits["new"] = hits.get("new", 0) + 1
    hits["other"] = hits.get("other", 5) + 1
    assert hits.get("none") is None
    assert writes(hits) == [{"a": 1}, {"a": 1}, {"new": 1}, {"other": 6}]


def test_keys_that_are_read_in_an_expression_do_not_disturb_each_other() -> None:
    """As many as a quarter of the notes that a thread keeps."""
    hits: Any = SharedCounter("hits")
    keys = range(MOST_NOTES // 4 - 1)
    hits.update(dict.fromkeys(keys, 2))
    hits["all"] += sum(hits[key] for key in keys)
    a, b = hits["a"], hits["b"]
    hits["a"] = a + 1
    hits["b"] = b + 2
    assert (hits["all"], hits["a"], hits["b"]) == (2 * len(keys), 1, 2)


def test_each_thread_has_notes_of_its_own() -> None:
    """A thread that reads and assigns in different functions takes no note of another away."""
    hits: Any = SharedCounter("hits")

    def read() -> int:
        count: int = hits["a"]
        return count

    def count() -> None:
        hits["a"] = read() + 10

    def beside() -> int:
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
        return 1

    hits["a"] = read() + beside()
    assert writes(hits) == [{"a": 10}, {"a": 1}]


def test_what_is_added_may_read_and_assign_the_key() -> None:
    """An assignment is the difference to what its own function has read."""
    hits: Any = SharedCounter("hits")

    def crawl() -> int:
        hits["a"] += 10
        hits._handle_.others.append({"a": 100})
        hits.refresh()
        count: int = hits["a"] - 109
        return count

    def read() -> int:
        count: int = hits["a"]
        return count

    hits["a"] += crawl()
    hits["a"] = read() + 1
    assert writes(hits) == [{"a": 10}, {"a": 1}, {"a": 1}]


def test_a_key_that_is_read_again_is_not_the_oldest() -> None:
    """Its note stays longer than those of keys that were read after its first reading."""
    hits: Any = SharedCounter("hits")
    assert sum(hits[key] for key in (*range(MOST_NOTES // 2), 0, "new")) == 0
    hits[0] = 1
    assert hits == {0: 1}


def test_notes_are_bounded() -> None:
    """The oldest are dropped; an assignment without its note is refused."""
    hits: Any = SharedCounter("hits")
    assert sum(hits[key] for key in range(10 * MOST_NOTES)) == 0
    assert len(hits._notes_.read) <= MOST_NOTES
    with pytest.raises(TypeError, match="a shared counter adds"):
        hits[0] = 1


def test_increments_of_threads_beside_refreshes_are_exact() -> None:
    """Four threads increment one key while the storage is changed beside them."""
    hits: Any = SharedCounter("hits")
    done = threading.Event()
    rounds, others = 3000, 0
    interval = sys.getswitchinterval()

    def count() -> None:
        for _ in range(rounds):
            hits["a"] += 1

    def refresh() -> None:
        nonlocal others
        while not done.is_set():
            hits._handle_.others.append({"a": 1})
            hits.refresh()
            others += 1

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        refreshing = threading.Thread(target=refresh)
        for thread in (refreshing, *threads):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        done.set()
        sys.setswitchinterval(interval)
    refreshing.join()
    assert others
    assert hits["a"] == 4 * rounds + others


async def test_increments_of_tasks_that_wait_inside_are_exact() -> None:
    """Another task reads and assigns the key meanwhile."""
    hits: Any = SharedCounter("hits")

    async def size(waits: int) -> int:
        for _ in range(waits):
            await asyncio.sleep(0)
        return waits

    async def add(waits: int) -> None:
        hits["bytes"] += await size(waits)

    waits = [number * 7 % 50 for number in range(50)]
    await asyncio.gather(*map(add, waits))
    assert hits["bytes"] == sum(waits)
    assert writes(hits) == [{"bytes": number} for number in range(1, 50)]


def test_update_and_subtract_take_what_those_of_counter_take() -> None:
    """Mappings, iterables and keywords; all of a call in one write, without zeros."""
    for call in [
        ("update", ("abca",), {}),
        ("update", ({"a": 1.5, "b": 0},), {"b": 2, "c": 3}),
        ("update", (), {"iterable": 1}),
        ("update", ({"a": 1, "z": 0},), {}),
        ("subtract", ("abca",), {}),
        ("subtract", ({"a": 1, "d": 7},), {"a": 2}),
    ]:
        name, args, kwargs = call
        hits, plain = filled("counter", str(call)), Counter(CONTENT["counter"])
        assert getattr(hits, name)(*args, **kwargs) is None
        getattr(plain, name)(*args, **kwargs)
        assert hits == +plain - -plain or hits == {k: n for k, n in plain.items() if n}
        assert len(writes(hits)) == 1
        assert all(writes(hits)[0].values())


def test_operators_in_place_add_and_keep_negative_counts() -> None:
    """They take mappings and iterables."""
    hits: Any = SharedCounter("hits")
    same = hits
    hits += Counter(a=2)
    hits += "ab"
    hits -= {"b": 3}
    hits += hits
    assert hits is same
    assert hits == {"a": 6, "b": -4}
    assert len(writes(hits)) == 4
    with pytest.raises(TypeError, match="not NoneType"):
        hits += None


@pytest.mark.parametrize("count", [True, "1", None, 1j, float("inf"), float("nan")])
def test_counts_are_ints_and_finite_floats(count: Any) -> None:
    """Nothing of the call is recorded otherwise."""
    hits = filled("counter")
    with pytest.raises(TypeError, match="int or finite float"):
        hits.update({"a": 1, "b": count})
    with pytest.raises(TypeError, match="int or finite float"):
        hits.subtract({"a": 1, "b": count})
    assert hits["a"] == 3
    with pytest.raises(TypeError, match="int or finite float"):
        hits["a"] = count
    assert not writes(hits)


def test_reading_methods_of_counters_are_plain_and_leave_no_notes() -> None:
    """They are written in Python, and would read key by key."""
    hits, other, plain = filled("counter"), filled("counter", "other"), Counter(CONTENT["counter"])
    results = [hits + other, hits - other, hits | other, hits & other, +hits, -hits]
    expected = [plain + plain, plain - plain, plain | plain, plain & plain, +plain, -plain]
    assert results == expected
    assert {type(result) for result in results} == {Counter}
    assert hits == other
    assert hits <= other
    assert not hits < other
    assert hits >= plain
    assert sorted(hits.elements()) == sorted(plain.elements())
    assert hits.most_common(2) == plain.most_common(2)
    assert hits.total() == 2
    assert (dict(hits), list(hits), len(hits)) == (dict(plain), list(plain), 3)
    assert not hits._notes_.read
    assert not other._notes_.read


def test_an_increment_costs_few_calls() -> None:
    """Python functions that `x[k] += 1` calls beside the handle's."""
    hits: Any = SharedCounter("hits")

    def count() -> None:
        hits["a"] += 1

    count()
    calls = [code.co_name for code in called(count)]
    assert calls == ["__getitem__", "_note", "_call", "__setitem__", "_call"]
