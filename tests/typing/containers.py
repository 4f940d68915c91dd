"""What type checkers see of the containers. Checked by mypy, never run."""

from __future__ import annotations

from collections import Counter
from typing import Any, assert_type

from autostate.containers import PersistedCounter, PersistedDict, PersistedList, PersistedSet

hits = PersistedDict[str, int]("hits")
assert_type(hits["x"], int)
assert_type(hits.get("x"), int | None)
assert_type(hits.copy(), dict[str, int])
hits["x"] = "text"  # type: ignore[assignment]
hits[1] = 1  # type: ignore[index]

progress = PersistedDict("progress", page=1)
assert_type(progress, PersistedDict[str, Any])  # defaults are seldom all of one type

pages = PersistedDict("pages", {1: "a"})
assert_type(pages, PersistedDict[int, str])
assert_type(list(pages.items()), list[tuple[int, str]])

anything: PersistedDict[str, Any] = PersistedDict("anything", page=1, links=["a"])
plain: dict[str, Any] = anything

queue = PersistedList("queue", ["a"])
assert_type(queue, PersistedList[str])
assert_type(queue[0], str)
assert_type(queue[1:], list[str])
queue.append(1)  # type: ignore[arg-type]

seen = PersistedSet[str]("seen")
seen.add("x")
seen.add(1)  # type: ignore[arg-type]
members: set[str] = seen
assert_type(seen.pop(), str)

words = PersistedCounter[str]("words")
words.update("banana")
assert_type(words["b"], int)
assert_type(words.most_common(1), list[tuple[str, int]])
counts: Counter[str] = words
