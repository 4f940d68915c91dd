"""The persisted containers do what the builtins do: every method, in every form."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from autostate.tracking.barrier import variants_of
from tests.campaign import sampled
from tests.conformance.parity_kit import (
    CALLS,
    VARIANTS,
    BrokenError,
    Call,
    is_nested,
    kind_of,
    prepare,
    recovered,
)
from tests.conformance.state_kit import BUILTIN, PERSISTED, Program, shape

# -- every method is classified ---------------------------------------------------------------

OBJECT = {
    *("__class__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__"),
    *("__getattribute__", "__getstate__", "__gt__", "__hash__", "__init__", "__init_subclass__"),
    *("__le__", "__lt__", "__ne__", "__new__", "__reduce__", "__reduce_ex__", "__repr__"),
    *("__setattr__", "__sizeof__", "__str__", "__subclasshook__", "__class_getitem__"),
    *("__contains__", "__iter__", "__len__"),
}
READING: Final[dict[str, set[str]]] = {
    "dict": OBJECT
    | {
        *("__getitem__", "__or__", "__reversed__", "__ror__", "copy", "fromkeys", "get", "items"),
        *("keys", "values"),
    },
    "list": OBJECT
    | {"__add__", "__getitem__", "__mul__", "__reversed__", "__rmul__", "copy", "count", "index"},
    "set": OBJECT
    | {
        *("__and__", "__or__", "__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__"),
        *("__xor__", "copy", "difference", "intersection", "isdisjoint", "issubset"),
        *("issuperset", "symmetric_difference", "union"),
    },
}
READING["counter"] = READING["dict"] | {
    *("__add__", "__and__", "__dict__", "__missing__", "__module__", "__neg__", "__pos__"),
    *("__sub__", "__weakref__", "elements", "most_common", "total"),
    *("__firstlineno__", "__static_attributes__"),  # of each class in Python, from 3.13 on
}
READING["ordereddict"] = READING["dict"] | {"__dict__"}
READING["defaultdict"] = READING["dict"] | {"__copy__"}
READING["deque"] = OBJECT | {
    *("__add__", "__copy__", "__getitem__", "__mul__", "__reversed__", "__rmul__", "copy"),
    *("count", "index", "maxlen"),
}
RAW: Final[dict[str, set[str]]] = {
    "dict": {"__delitem__", "__setitem__", "clear", "pop", "popitem", "setdefault"},
    "list": {"__delitem__", "__setitem__", "append", "clear", "insert", "pop"},
    "set": {"add", "clear", "discard", "pop", "remove"},
    "deque": {"append", "appendleft", "clear", "insert", "pop", "popleft"},
}
RAW["counter"] = RAW["ordereddict"] = RAW["defaultdict"] = RAW["dict"]
RECORDED: Final = {
    "dict": {"__setitem__"},
    "counter": {"__setitem__"},
    "ordereddict": {"__setitem__"},
    "defaultdict": {"__setitem__"},
    "list": {"append"},
    "deque": {"append"},
    "set": {"add"},
}
WRAPPED: Final[dict[str, set[str]]] = {
    "dict": {"__ior__", "update"},
    "list": {"__iadd__", "__imul__", "extend", "remove", "reverse", "sort"},
    "set": {
        *("__iand__", "__ior__", "__isub__", "__ixor__", "difference_update"),
        *("intersection_update", "symmetric_difference_update", "update"),
    },
    "counter": {"subtract", "update"},
    "ordereddict": {"__init__", "__ior__", "move_to_end", "update"},
    "defaultdict": {"__init__", "__ior__", "default_factory", "update"},
    "deque": {
        *("__delitem__", "__iadd__", "__imul__", "__setitem__", "extend", "extendleft"),
        *("remove", "reverse", "rotate"),
    },
}
COMPOSED: Final = {
    "counter": {"__iadd__", "__iand__", "__ior__", "__isub__", "_keep_positive"},
    "defaultdict": {"__missing__"},
}
"""Made of other methods: each step of them meets the barrier."""

FOREIGN: Final = {"__implemented__", "__providedBy__", "__provides__", "__module__"}
"""No methods; some of it zope.interface hangs on classes, which ZODB brings."""

KINDS: Final = tuple(BUILTIN)
CALLED: Final = tuple(CALLS)


def mutating(kind: str) -> set[str]:
    """The methods that change a container of this kind."""
    return RAW[kind] | WRAPPED[kind] | COMPOSED.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_of_the_builtin_is_classified(kind: str) -> None:
    """A method that a newer Python adds fails here until somebody decides what it does."""
    unknown = set(dir(BUILTIN[kind])) - READING[kind] - mutating(kind) - FOREIGN
    assert not unknown, f"say in the tables above whether these change a {kind}: {unknown}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_of_the_builtin_exists(kind: str) -> None:
    """Nothing of the builtin is missing, and nothing public is added."""
    assert set(dir(BUILTIN[kind])) <= set(dir(PERSISTED[kind]))
    added = {name for name in dir(PERSISTED[kind]) if not name.startswith("_")}
    assert added <= set(dir(BUILTIN[kind]))
    made = prepare(Program(), kind, "armed")
    assert hasattr(made, "__dict__") == hasattr(BUILTIN[kind](), "__dict__")


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutating_method_meets_the_barrier_in_its_forms(kind: str) -> None:
    """Armed: all are ours. Disarmed: the raw ones are the builtin's. Recording: those in C."""
    builtin, forms = BUILTIN[kind], variants_of(PERSISTED[kind])
    ours = RAW[kind] | WRAPPED[kind]
    for name in ours:
        assert getattr(forms.armed, name) is not getattr(builtin, name), name
    for name in RAW[kind]:
        assert getattr(forms.disarmed, name) is getattr(builtin, name), name
    for name in WRAPPED[kind]:
        assert getattr(forms.disarmed, name) is getattr(forms.armed, name), name
    for name in ours - RECORDED[kind]:
        assert getattr(forms.recording, name) is getattr(forms.armed, name), name
    for name in RECORDED[kind]:
        assert getattr(forms.recording, name) is not getattr(forms.armed, name), name


# -- every mutating method in every form ------------------------------------------------------


NAMES: Final = re.compile("Persisted(Dict|Set|List|Counter|Deque)")
"""Messages of the interpreter name the class."""
INEXACT: Final = re.compile("argument|multiply sequence|unsupported operand")
"""Who passes what cannot be taken may be told so by another function."""


UNHASHABLE: Final = re.compile(
    r"cannot use '[^']*' as a (?:dict key|set element) \((unhashable type: '[^']*')\)"
)
"""From Python 3.14 on some of the functions that hash a key say what for, and others do not."""


def outcome(call: Call, target: Any) -> tuple[str, Any]:
    """What a call gives or raises."""
    try:
        result = call.on(target)
    except Exception as error:
        message = UNHASHABLE.sub(r"\1", NAMES.sub(r"\1", repr(error.args)).lower())
        if isinstance(error, TypeError) and INEXACT.search(message):
            message = ""
        return "raises", (type(error), message)
    return "gives", "itself" if result is target else shape(result)


def check_saved(program: Program, target: Any, called: str, shown: str, label: str) -> None:
    """What is recovered is what is there, and nothing more is to be written."""
    there = shape(target)
    program.flush()
    assert not program.errors, label
    assert shape(target) == there, label
    assert shape(recovered(program, called, shown)) == there, label
    assert program.flush() == [], label
    assert program.flush(full_compare=True) == [], label


EACH: Final = 2
"""Calls of each method that are tried in each form, others each time."""


def of_each_method(rng: random.Random, calls: list[Call]) -> Iterator[Call]:
    """Give all calls in a long run, else some of each method."""
    for name in dict.fromkeys(call.name for call in calls):
        yield from sampled(rng, (call for call in calls if call.name == name), EACH)


@pytest.mark.parametrize("shown", VARIANTS)
@pytest.mark.parametrize("called", CALLED)
def test_mutating_methods_do_what_the_builtins_do(
    called: str, shown: str, rng: random.Random
) -> None:
    """Same result, error, content and order; and what is recovered is the same again."""
    for call in of_each_method(rng, CALLS[called]):
        program = Program()
        target = prepare(program, called, shown)
        plain = copy.deepcopy(target)
        assert type(plain) is BUILTIN[kind_of(called)]
        assert outcome(call, target) == outcome(call, plain), str(call)
        assert shape(target) == shape(plain), str(call)
        if shown != "unbound":
            check_saved(program, target, called, shown, str(call))


SOME: Final = 12
"""Calls of each kind that are tried in the situations below, others each time."""


@pytest.mark.parametrize("shown", ["armed", "recording", "inline"])
@pytest.mark.parametrize("called", CALLED)
def test_a_capture_is_not_changed_by_what_is_written_after_the_cut(
    called: str, shown: str, rng: random.Random
) -> None:
    """Whatever is called before the capture is encoded: it saves the moment of the cut."""
    for call in sampled(rng, CALLS[called], SOME):
        program = Program()
        target = prepare(program, called, shown)
        if is_nested(called, shown):
            program.root("state")["b"] = 2
        plain = copy.deepcopy(target)
        former = shape(plain)
        capture = program.tracker.cut()
        assert capture is not None
        assert outcome(call, target) == outcome(call, plain), str(call)
        if changes := capture.encode():
            program.journal.commit(changes)
        capture.saved()
        assert shape(recovered(program, called, shown)) == former, str(call)
        assert shape(target) == shape(plain), str(call)
        check_saved(program, target, called, shown, str(call))


class ClosedError(Exception):
    """What the gate of the test below raises."""


def closed_gate() -> None:
    """Let no write pass."""
    raise ClosedError


@pytest.mark.parametrize("shown", [form for form in VARIANTS if form != "unbound"])
@pytest.mark.parametrize("called", CALLED)
def test_no_write_passes_a_gate_that_is_closed(called: str, shown: str, rng: random.Random) -> None:
    """Whatever would change something raises before it has, from whatever form."""
    for call in sampled(rng, CALLS[called], SOME):
        program = Program()
        target = prepare(program, called, shown)
        plain = copy.deepcopy(target)
        before = shape(plain)
        with program.tracker.lock:
            program.tracker.set_gate(closed_gate)
        told = outcome(call, target)
        assert shape(target) == before, str(call)
        outcome(call, plain)
        if shape(plain) != before:
            assert "ClosedError" in str(told), (str(call), told)
        with program.tracker.lock:
            program.tracker.set_gate(None)
        check_saved(program, target, called, shown, str(call))


@pytest.mark.parametrize("shown", ["armed", "recording", "written"])
@pytest.mark.parametrize("called", CALLED)
def test_mutating_methods_work_inside_atomic(called: str, shown: str, rng: random.Random) -> None:
    """Every write inside a block is seen and saved, and a block that raises takes it back."""
    for call in sampled(rng, CALLS[called], SOME):
        program = Program()
        target = prepare(program, called, shown)
        plain = copy.deepcopy(target)
        former = shape(plain)
        try:
            with program.tracker.atomic():
                outcome(call, target)
                outcome(call, target)
                raise BrokenError
        except BrokenError:
            assert shape(target) == former, str(call)
        with program.tracker.atomic():
            assert outcome(call, target) == outcome(call, plain), str(call)
        assert shape(target) == shape(plain), str(call)
        check_saved(program, target, called, shown, str(call))


@pytest.mark.parametrize("shown", ["armed", "recording", "written"])
@pytest.mark.parametrize("called", CALLED)
def test_what_a_block_took_back_is_saved_as_it_was(
    called: str, shown: str, rng: random.Random
) -> None:
    """After a block that raised, the content that was there before it is what is saved."""
    for call in sampled(rng, CALLS[called], SOME):
        program = Program()
        target = prepare(program, called, shown)
        try:
            with program.tracker.atomic():
                outcome(call, target)
                raise BrokenError
        except BrokenError:
            check_saved(program, target, called, shown, str(call))


@pytest.mark.parametrize("shown", VARIANTS)
def test_a_set_gives_up_its_members_one_by_one(shown: str) -> None:
    """`pop` gives a member that was there, until there is none."""
    program = Program()
    target = prepare(program, "set", shown)
    members = set(target)
    while members:
        member = target.pop()
        assert member in members
        members.remove(member)
        assert shape(set(target)) == shape(members)
        if shown != "unbound" and len(members) % 50 == 0:
            program.flush()
            assert shape(recovered(program, "set", shown)) == shape(members)
    with pytest.raises(KeyError):
        target.pop()
