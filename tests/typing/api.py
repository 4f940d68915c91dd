"""The public face as the type checker sees it. Never run: mypy reads it in `make test`."""

from __future__ import annotations

from collections import Counter
from typing import assert_type

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet

# Generics: a state object knows its keys and values as the builtin does.
hits = PersistedDict[str, int]("hits", {"a": 1}, b=2)
assert_type(hits["x"], int)
assert_type(hits.get("x"), int | None)
assert_type(list(hits), list[str])

seen = PersistedSet[str]("seen", ["a"])
assert_type(seen.pop(), str)

words = PersistedCounter[str]("words", "abc")
assert_type(words["x"], int)
assert_type(words.most_common(1), list[tuple[str, int]])

queue = PersistedList[tuple[str, int]]("queue", [("a", 1)])
assert_type(queue[0], tuple[str, int])


# Subtypes: they go wherever the builtin goes.
def takes_builtins(
    a: dict[str, int], b: set[str], c: Counter[str], d: list[tuple[str, int]]
) -> None:
    """Take what the builtins are."""


takes_builtins(hits, seen, words, queue)

# The store.
manager = autostate.configure("sqlite:///state.db", debounce=0.5)
assert_type(manager, autostate.StateManager)
assert_type(autostate.info(hits).resumed, bool)
assert_type(autostate.info(hits).downtime, float | None)
autostate.flush(timeout=5.0)
autostate.delete("hits")
autostate.delete(hits)

with autostate.open("memory:") as local, autostate.atomic():
    assert_type(local, autostate.StateManager)


async def asynchronous() -> None:
    """Use it in an event loop."""
    async with autostate.open("memory:", max_delay=1.0) as local:
        assert_type(local, autostate.StateManager)
        await autostate.durable()


# Wrong use is found before the program runs.
PersistedDict()  # type: ignore[call-overload]
hits[1] = 2  # type: ignore[index]
