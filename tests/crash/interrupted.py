"""What the campaign of Ctrl-C shares: operations, and what has to hold after each."""

from __future__ import annotations

import contextlib
import copy
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

import autostate
from autostate.runtime.api import current_manager
from autostate.stores import memory
from tests.campaign import Tally
from tests.interrupting import Interrupt

_SIZE: Final = os.environ.get("CAMPAIGN_INTERRUPTS", "1")
EVERY: Final = _SIZE == "all"
SAMPLE: Final = 1 if EVERY else int(_SIZE)
LARGE: Final = 300


@pytest.fixture(autouse=True)
def counted(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count each place at which an operation was interrupted."""
    monkeypatch.setattr(Interrupt, "tally", tally)


def chosen(places: Sequence[int], least: int, rng: random.Random) -> Sequence[int]:
    """All places, or so many of them."""
    many = min(max(least, SAMPLE), len(places))
    return places if EVERY else sorted(rng.sample(places, many))


Act = Callable[[Any], object]
Make = Callable[[], Any]


@dataclass
class Operation:
    """What is interrupted.

    Attributes:
        make: Makes the state object, or gives the live one.
        fill: Gives it what it has before.
        act: The operation.
        in_steps: It is several operations for Python too: any number of them may be done.
        after: What it leaves when it is not interrupted, once it was tried.
    """

    make: Make
    fill: Act
    act: Act
    in_steps: bool = False
    after: list[Any] = field(default_factory=list)


def plain(state: Any) -> Any:
    """The content, as Python's own containers."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (set, frozenset)):
        return set(state)
    if isinstance(state, str) or not hasattr(state, "__iter__"):
        return {"value": vars(state)} if hasattr(state, "__dict__") else state
    return [plain(item) for item in state]


def a_dict() -> Any:
    """A dict."""
    return autostate.PersistedDict("s")


def a_set() -> Any:
    """A set."""
    return autostate.PersistedSet("s")


def a_list() -> Any:
    """A list."""
    return autostate.PersistedList("s")


def a_deque() -> Any:
    """A deque."""
    return autostate.PersistedDeque("s")


def entries(number: int) -> Act:
    """Fill a mapping."""
    return lambda d: d.update({f"k{i}": i for i in range(number)})


def members(number: int) -> Act:
    """Fill a set."""
    return lambda s: s.update(range(number))


def items(number: int) -> Act:
    """Fill a sequence."""
    return lambda s: s.extend(range(number))


def between(found: Any, before: Any, after: Any) -> bool:
    """Whether each entry is as it was before, or as it is afterwards."""
    if isinstance(found, dict):
        keys = found.keys() | before.keys() | after.keys()
        missing = object()
        return all(
            any(found.get(k, missing) == one.get(k, missing) for one in (before, after))
            for k in keys
        )
    return bool(before & after <= found <= before | after)


urls = iter(range(sys.maxsize))


def stored(url: str, make: Make) -> Any:
    """What the next process would find in a store in memory, as it is now."""
    name = f"copy{next(urls)}"
    copied = memory._shared.setdefault(name, memory._Records())
    copied.update(memory._shared[url.removeprefix("memory:")])
    with autostate.open(f"memory:{name}", debounce=3600):
        return plain(make())


def save(timeout: float = 5.0) -> None:
    """Save without looking at what was not marked."""
    incarnation = current_manager()._incarnation
    assert incarnation is not None
    incarnation.flush_thread.flush(timeout, full_compare=False)


def check_unlocked(url: str) -> None:
    """See that another thread can write and save."""
    manager, failed = current_manager(), []

    def write() -> None:
        with manager_of(manager):
            try:
                autostate.PersistedDict("other")["n"] = 1
                save()
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(8.0)
    assert not thread.is_alive(), "something is locked"
    assert not failed, failed


@contextlib.contextmanager
def manager_of(manager: Any) -> Iterator[None]:
    """Let a manager be the current one in this thread."""
    from autostate.runtime.manager import current

    token = current.set(manager)
    try:
        yield
    finally:
        current.reset(token)


def attempt(
    operation: Operation,
    number: int,
    *,
    again: bool = False,
    error: type[BaseException] = KeyboardInterrupt,
) -> Interrupt:
    """Interrupt an operation at one place, and see how things stand."""
    url = f"memory:interrupts{next(urls)}"
    interrupt = Interrupt(number, error)
    raised = False
    with autostate.open(url, debounce=3600):
        state = operation.make()
        operation.fill(state)
        save()
        before = copy.deepcopy(plain(state))
        try:
            with interrupt:
                operation.act(state)
        except error:
            raised = True
        found = plain(state)
        operation.after = operation.after or [found]
        [after] = operation.after
        where = (number, interrupt.at)
        assert raised or interrupt.left > 0, where
        if operation.in_steps:
            assert between(found, before, after), where
        else:
            assert found in (before, after), where
        if again:
            with contextlib.suppress(KeyError, ValueError, AttributeError, IndexError):
                operation.act(state)
        check_unlocked(url)
        assert stored(url, operation.make) == plain(state), where
    return interrupt


def two_entries(d: Any) -> None:
    """A block of two writes."""
    with autostate.atomic():
        d["k1"], d["k2"] = -1, -2
