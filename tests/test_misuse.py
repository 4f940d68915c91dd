"""What is nearly right is a TypeError that says what to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

import autostate

anything: Any = autostate


async def entered(manager: Any) -> None:
    """Enter it with `async with`."""
    async with manager:
        pass


MISUSES: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    "@atomic": (lambda: anything.atomic(print), "`@autostate.atomic()`, with parentheses"),
    "atomic(state)": (lambda: anything.atomic({}), "`with autostate.atomic():`"),
    "async with atomic()": (
        lambda: asyncio.run(entered(autostate.atomic())),
        "`with autostate.atomic():`, without `async`",
    ),
    "@atomic() on a class": (lambda: autostate.atomic()(dict), "the class dict: write"),
    "@atomic() on no function": (lambda: autostate.atomic()(5), "`@autostate.atomic()` over a"),
    "open(5)": (lambda: anything.open(5), 'autostate.open("sqlite:///state.db")'),
    "open(b'x')": (lambda: anything.open(b"state.db"), 'autostate.open("sqlite:///state.db")'),
    "configure(5)": (lambda: anything.configure(5), "a store's URL, a path or a store, not int"),
    "open(settings)": (lambda: anything.open({"debounce": 1}), "not dict"),
    "durable(state)": (
        lambda: asyncio.run(anything.durable({})),
        "durable() saves all state objects; its argument is a timeout",
    ),
    "flush(state)": (lambda: anything.flush({}), "flush() saves all state objects"),
    "resume(name)": (lambda: anything.resume("urls"), 'autostate.resume("urls", urls)'),
    "resume(items)": (lambda: anything.resume([1]), 'autostate.resume("urls", urls)'),
    "@resume": (lambda: anything.resume(print), 'autostate.resume("urls", urls)'),
    "@persisted on a function": (lambda: anything.persisted(print), "@persisted is for classes"),
    "persisted(name)": (lambda: anything.persisted("shop"), "@persisted(name="),
    "@actor on a class": (lambda: anything.actor(dict), "is for an async function"),
    "a container without a name": (lambda: anything.PersistedSet([1]), "is its name, a str"),
    "a shared object in another one": (
        lambda: anything.SharedDict("d").update(hits=anything.SharedCounter("hits")),
        "it is stored by itself",
    ),
    "adopt(5)": (lambda: anything.adopt(5), "the key of the record is a str, not int"),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_what_is_nearly_right_says_what_to_write(misuse: str, isolated: object) -> None:
    """At once, and not in words of the inside."""
    use, advice = MISUSES[misuse]
    with pytest.raises(TypeError) as caught:
        use()
    assert advice in str(caught.value)


def test_after_a_misuse_of_atomic_nothing_is_open(isolated: object) -> None:
    """The block was never begun."""
    state = autostate.PersistedDict("state", n=0)
    with pytest.raises(TypeError):
        asyncio.run(entered(autostate.atomic()))
    state["n"] += 1
    autostate.flush()
    assert autostate.info(state).dirty is False
