"""PersistedDeque, OrderedDict and defaultdict; and what lists and deques write."""

from __future__ import annotations

import collections
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest

import autostate
from autostate.containers import PersistedDeque
from autostate.tracking.barrier import changed
from tests.conformance.state_kit import Program, form, shape

MANY: Final = 3_000


def written(program: Program) -> int:
    """The bytes that a flush writes, once the program has been saved again as it is."""
    size = sum(map(len, program.flush()))
    assert not program.errors
    return size


# -- deques -----------------------------------------------------------------------------------


def test_the_items_of_the_first_start_are_taken_once() -> None:
    """Afterwards the deque is what was saved."""
    with autostate.open("memory:deque"):
        queue = PersistedDeque("queue", [1, 2])
        queue.appendleft(0)
        assert PersistedDeque("queue", [9]) is queue
    with autostate.open("memory:deque"):
        assert PersistedDeque("queue", [1, 2]) == deque([0, 1, 2])


def test_the_maxlen_of_the_call_holds_from_now_on() -> None:
    """What is too much is dropped from the left; left out, it is as it was saved."""
    with autostate.open("memory:maxlen"):
        assert PersistedDeque("queue", range(9), maxlen=5) == deque([4, 5, 6, 7, 8], 5)
    with autostate.open("memory:maxlen"):
        queue: PersistedDeque[int] = PersistedDeque("queue")
        assert queue.maxlen == 5
        assert queue == deque([4, 5, 6, 7, 8])
    with autostate.open("memory:maxlen"):
        queue = PersistedDeque("queue", maxlen=3)
        assert list(queue) == [6, 7, 8]
        queue.append(9)
        assert repr(queue) == "deque([7, 8, 9], maxlen=3)"
    with autostate.open("memory:maxlen"):
        queue = PersistedDeque("queue", maxlen=None)
        queue.extend([1, 2])
        assert list(queue) == [7, 8, 9, 1, 2]
    with autostate.open("memory:maxlen"):
        queue = PersistedDeque("queue")
        assert queue.maxlen is None
        assert list(queue) == [7, 8, 9, 1, 2]


@pytest.mark.parametrize("arguments", [(-1,), ("2",), (2.0,)])
def test_a_maxlen_that_deque_refuses_changes_nothing(arguments: tuple[Any]) -> None:
    """It is the error that it is there, and the next call begins as the first."""
    with autostate.open("memory:"):
        with pytest.raises((TypeError, ValueError)) as expected:
            deque("ab", *arguments)
        with pytest.raises(expected.type, match=str(expected.value)):
            PersistedDeque("queue", "ab", *arguments)
        assert PersistedDeque("queue", [1, 2], 2) == deque([1, 2])


def test_a_block_that_raises_puts_maxlen_back() -> None:
    """As everything else."""
    with autostate.open("memory:bounds"):
        queue = PersistedDeque("queue", range(5))
        with pytest.raises(ZeroDivisionError), autostate.atomic():
            PersistedDeque("queue", maxlen=2)
            assert list(queue) == [3, 4]
            raise ZeroDivisionError
        assert queue.maxlen is None
        assert list(queue) == [0, 1, 2, 3, 4]


AT_THE_ENDS: Final[dict[str, Callable[[Any], Any]]] = {
    "append": lambda items: items.append("x"),
    "pop": lambda items: items.pop(),
    "extend": lambda items: items.extend(["x", "y"]),
    "set one": lambda items: items.__setitem__(MANY // 2, "x"),
    "set last": lambda items: items.__setitem__(-1, "x"),
    "delete first": lambda items: items.__delitem__(0),
    "delete last": lambda items: items.__delitem__(-1),
    "insert first": lambda items: items.insert(0, "x"),
    "insert last": lambda items: items.insert(10 * MANY, "x"),
    "remove near the end": lambda items: items.remove(items[-7]),
}
OF_DEQUES: Final[dict[str, Callable[[Any], Any]]] = {
    "appendleft": lambda items: items.appendleft("x"),
    "popleft": lambda items: items.popleft(),
    "extendleft": lambda items: items.extendleft(c for c in "xy"),
    "rotate": lambda items: items.rotate(3),
    "rotate back": lambda items: items.rotate(-3),
    "round": lambda items: items.rotate(len(items)),
    "+=": lambda items: items.__iadd__("xy"),
}
OF_LISTS: Final[dict[str, Callable[[Any], Any]]] = {
    "take the first": lambda items: items.pop(0),
    "delete some at the left": lambda items: items.__delitem__(slice(None, 5)),
    "delete some at the right": lambda items: items.__delitem__(slice(-5, None)),
    "set some": lambda items: items.__setitem__(slice(70, 73), "xyz"),
    "set every hundredth": lambda items: items.__setitem__(
        slice(None, None, MANY // 3), ["x", "y", "z"]
    ),
    "*= 1": lambda items: items.__imul__(1),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("bound", [None, MANY])
@pytest.mark.parametrize("what", [*AT_THE_ENDS, *OF_DEQUES])
def test_a_long_deque_writes_what_changed(what: str, bound: int | None, nested: bool) -> None:
    """Both ends are cheap, a full deque's too, and so is one item."""
    operation = {**AT_THE_ENDS, **OF_DEQUES}[what]
    items = deque((f"item {i}" for i in range(MANY)), bound)
    if bound and what.startswith("insert"):
        pytest.skip("it is full")
    program = Program()
    if nested:
        program.root("state", default={"in": {"deep": items.copy()}})
        program.flush()
        live = program.root("state")["in"]["deep"]
    else:
        live = program.root("state", "deque", items.copy())
    program.flush()
    for _ in range(2):
        operation(live)
        operation(items)
        assert written(program) < 2_000
        assert form(live) == "armed"
    assert shape(live) == shape(items)
    following = program.restart()
    again = following.root("state")["in"]["deep"] if nested else following.root("state", "deque")
    assert shape(again) == shape(items)
    operation(again)
    assert written(following) < 2_000


@pytest.mark.parametrize("what", [*AT_THE_ENDS, *OF_LISTS])
def test_a_long_list_writes_what_changed(what: str) -> None:
    """Used as a queue or as a stack, and where items are replaced."""
    operation = {**AT_THE_ENDS, **OF_LISTS}[what]
    items = [f"item {i}" for i in range(MANY)]
    program = Program()
    live = program.root("state", "list", list(items))
    program.flush()
    for _ in range(2):
        operation(live)
        operation(items)
        assert written(program) < 2_000
    assert shape(live) == shape(items)
    assert shape(program.restart().root("state", "list")) == shape(items)


# -- OrderedDict and defaultdict --------------------------------------------------------------


def _nested(program: Program, content: Any) -> Any:
    state = program.root("state", default={"in": content})
    del content
    program.flush()
    program.flush()
    return state["in"]


@pytest.mark.parametrize("many", [5, 300])
def test_an_ordereddict_keeps_the_order_that_it_shows(many: int) -> None:
    """Through move_to_end, popitem and re-insertion, in both directions."""
    program = Program()
    live = _nested(program, OrderedDict((f"k{i}", i) for i in range(many)))
    plain = OrderedDict(live)
    operations: list[Callable[[Any], Any]] = [
        lambda d: d.move_to_end("k1"),
        lambda d: d.move_to_end("k2", last=False),
        lambda d: d.popitem(last=False),
        lambda d: d.update(k3=3, new=1),
        lambda d: d.move_to_end("k3"),
        lambda d: d.__setitem__("k4", d.pop("k4")),
    ]
    for operation in operations:
        operation(live)
        operation(plain)
        assert list(live) == list(plain)
        assert list(reversed(live)) == list(reversed(plain))
        assert live == plain
        program.flush()
        again = program.restart().root("state")["in"]
        assert again == plain
        assert list(again) == list(plain)
        assert repr(again) == repr(plain)
    assert live != OrderedDict(reversed(plain.items()))
    assert live == dict(reversed(plain.items()))


def test_moving_to_the_right_end_of_a_large_one_writes_that_entry() -> None:
    """As a cache does with every hit."""
    program = Program()
    live = _nested(program, OrderedDict((f"k{i}", i) for i in range(MANY)))
    live.move_to_end("k7")
    assert written(program) < 200
    live["new"] = 1
    live.popitem(last=False)
    assert written(program) < 200
    again = program.restart().root("state")["in"]
    assert list(again) == list(live)


@pytest.mark.parametrize("many", [0, 300])
def test_a_defaultdict_makes_values_and_saves_them(many: int) -> None:
    """`counts[key].append(…)` is saved, and the factory comes back."""
    program = Program()
    live = _nested(program, defaultdict(list, {f"k{i}": [i] for i in range(many)}))
    live["a"].append(1)
    program.flush()
    live["a"].append(2)
    live["b"].append(3)
    program.flush()
    again = program.restart().root("state")["in"]
    assert again.default_factory is list
    assert (again["a"], again["b"]) == ([1, 2], [3])
    assert repr(again) == repr(collections.defaultdict(list, again))
    with pytest.raises(ZeroDivisionError), program.tracker.atomic():
        live["c"].append(1)
        live.default_factory = None
        raise ZeroDivisionError
    assert "c" not in live
    assert live.default_factory is list


@pytest.mark.parametrize("many", [3, 300])
@pytest.mark.parametrize("form", ["armed", "written"])
def test_a_factory_that_writes_meanwhile_does_what_it_does_in_the_builtin(
    many: int, form: str
) -> None:
    """Under its own key or another, with a cut before the made value is stored."""
    program = Program()
    kept = {f"k{i}": [i] for i in range(many)}
    live = _nested(program, defaultdict(list, kept))
    plain = defaultdict(list, kept)
    if form == "written":
        live["w"] = plain["w"] = [0]

    def make(target: Any) -> list[Any]:
        target["k0"].append("seen")
        target.setdefault("a", ["by the factory"])
        program.flush()
        return ["made"]

    plain.default_factory = lambda: make(plain)
    assert [plain["a"], plain["a"]] == [plain["a"]] * 2
    live.default_factory = lambda: make(live)
    live["a"]
    live.default_factory = plain.default_factory = list
    assert live == plain
    program.flush()
    assert program.restart().root("state")["in"] == plain


@pytest.mark.parametrize("outcome", ["saved", "lost", "unknown"])
@pytest.mark.parametrize("many", [3, 300])
@pytest.mark.parametrize("shared", [False, True])
def test_another_factory_is_a_change(many: int, shared: bool, outcome: Any) -> None:
    """Alone, there and back, whatever became of the flush that was to save it."""
    program = Program()
    live = _nested(program, defaultdict(list, {f"k{i}": i for i in range(many)}))
    if shared:
        program.root("state")["too"] = live
        program.flush()
    for former, factory in pairwise([list, int, None, dict, list]):
        flushed: Any
        for now, flushed in ((factory, outcome), (former, "saved"), (factory, "saved")):
            live.default_factory = now
            program.flush(outcome=flushed)
            if flushed == "saved":
                assert program.restart().root("state")["in"].default_factory is now
        assert program.flush(full_compare=True) == []


def test_a_factory_without_a_name_is_an_error_that_says_so() -> None:
    """The rest is saved, and it is once it has another."""
    program = Program()
    live = _nested(program, defaultdict(list, {f"k{i}": i for i in range(300)}))
    live.default_factory = lambda: 1
    live["a"] = 1
    program.flush()
    [error] = program.errors
    assert "default_factory" in str(error)
    assert program.restart().root("state")["in"]["a"] == 1
    live.default_factory = int
    program.flush()
    assert not program.errors
    assert program.restart().root("state")["in"].default_factory is int


def test_a_bounded_deque_is_compared_by_more_than_its_length() -> None:
    """A late call to the `append` of a full one is saved, though it stays as long as it was."""
    program = Program()
    live = program.root("state", "deque", deque([1, 2, 3], 3))
    program.flush()
    live.append(4)
    late = live.append  # C's own
    program.flush()
    late(5)
    program.flush()
    assert list(program.restart().root("state", "deque")) == [3, 4, 5]
    changed(live)
    program.flush()
