"""How the containers are made, and what they hold, as type checkers see it.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any, TypedDict, assert_type

from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet

# -- dicts: how they are made --------------------------------------------------------------------

hits = PersistedDict[str, int]("hits")
assert_type(hits, PersistedDict[str, int])
assert_type(PersistedDict[str, int]("hits", {"a": 1}), PersistedDict[str, int])
assert_type(PersistedDict[str, int]("hits", a=1, b=2), PersistedDict[str, int])
assert_type(PersistedDict[str, int]("hits", {"a": 1}, b=2), PersistedDict[str, int])
assert_type(PersistedDict[str, int]("hits", [("a", 1)], b=2), PersistedDict[str, int])

pages_by_map = PersistedDict("pages", {1: "a"})
assert_type(pages_by_map, PersistedDict[int, str])
pairs: list[tuple[int, str]] = [(1, "a")]
pages_by_pairs = PersistedDict("pages", pairs)
assert_type(pages_by_pairs, PersistedDict[int, str])
bodies = PersistedDict("bodies", {"a": b""}, b=b"")
assert_type(bodies, PersistedDict[str, bytes])
assert_type(PersistedDict("progress"), PersistedDict[str, Any])
assert_type(PersistedDict("progress", page=1), PersistedDict[str, Any])  # seldom all of one type

declared: PersistedDict[str, list[int]] = PersistedDict("declared")
anything: PersistedDict[str, Any] = PersistedDict("anything", page=1, links=["a"])

PersistedDict()  # error
PersistedDict(1)  # error
PersistedDict[str, int]("hits", {"a": "b"})  # error
PersistedDict[str, int]("hits", {1: 1})  # error
PersistedDict[str, int]("hits", [("a", "b")])  # error
PersistedDict[str, int]("hits", {"a": 1}, b="x")  # error
PersistedDict[str, int]("hits", {"a": 1}, {"b": 2})  # error

# -- dicts: what they hold -----------------------------------------------------------------------

assert_type(hits["x"], int)
assert_type(hits.get("x"), int | None)
assert_type(hits.get("x", 0), int)
assert_type(hits.pop("x"), int)
assert_type(hits.pop("x", 0), int)
assert_type(hits.pop("x", None), int | None)
assert_type(hits.popitem(), tuple[str, int])
assert_type(hits.setdefault("x", 1), int)
assert_type(list(hits), list[str])
assert_type(iter(hits), Iterator[str])
assert_type(list(reversed(hits)), list[str])
assert_type(list(hits.keys()), list[str])
assert_type(list(hits.values()), list[int])
assert_type(list(hits.items()), list[tuple[str, int]])
assert_type(sorted(hits.items()), list[tuple[str, int]])
assert_type("x" in hits, bool)
assert_type(len(hits), int)
assert_type({**hits}, dict[str, int])
assert_type({key: count for key, count in hits.items() if count}, dict[str, int])
assert_type(hits.copy(), dict[str, int])
assert_type(PersistedDict.fromkeys("ab", 1), dict[Any, Any])
assert_type(hits | {"y": 1}, dict[str, int])
assert_type(hits | {"y": b""}, dict[str, int | bytes])

hits["x"] += 1
hits |= {"y": 1}
hits |= [("y", 1)]
assert_type(hits, PersistedDict[str, int])
hits.update({"y": 1})
hits.update([("y", 1)])
hits.update(y=1)
hits.update(hits, y=1)
del hits["x"]
declared.setdefault("q", []).append(1)
assert_type(declared["q"][0], int)
assert_type(anything["links"], Any)
if (count := hits.get("x")) is not None:
    assert_type(count, int)
match hits:
    case {"x": found}:
        assert_type(found, int)
    case _:
        pass


def wrong_dicts(hits: PersistedDict[str, int], declared: PersistedDict[str, list[int]]) -> None:
    """Use dicts in ways that cannot be meant."""
    hits["x"] = "text"  # error
    hits[1] = 1  # error
    str(hits[1])  # error
    del hits[1]  # error
    hits.update({"y": "text"})  # error
    hits.update(y="text")  # error
    hits.setdefault("x", "text")  # error
    hits.x = 1  # error
    hits |= {"y": "text"}  # error
    declared["q"].append("text")  # error


# -- sets ----------------------------------------------------------------------------------------

seen = PersistedSet[str]("seen")
assert_type(seen, PersistedSet[str])
assert_type(PersistedSet[str]("seen", ["a"]), PersistedSet[str])
assert_type(PersistedSet("seen", ["a"]), PersistedSet[str])
assert_type(PersistedSet("seen", (n for n in (1, 2))), PersistedSet[int])
members: PersistedSet[tuple[str, int]] = PersistedSet("members")

assert_type(seen.pop(), str)
assert_type("x" in seen, bool)
assert_type(len(seen), int)
assert_type(iter(seen), Iterator[str])
assert_type(sorted(seen), list[str])
assert_type(seen.copy(), set[str])
assert_type(seen | {"a"}, set[str])
assert_type(seen | {1}, set[str | int])
assert_type(seen & {"a"}, set[str])
assert_type(seen - {"a"}, set[str])
assert_type(seen ^ {"a"}, set[str])
assert_type(seen.union(["a"]), set[str])
assert_type(seen.intersection(["a"]), set[str])
assert_type(seen.difference(["a"]), set[str])
assert_type(seen.symmetric_difference(["a"]), set[str])
assert_type(seen <= {"a"}, bool)
assert_type(seen.isdisjoint(["a"]), bool)
seen.add("x")
seen.discard("x")
seen.remove("x")
seen.update(["x"], {"y"})
seen.intersection_update({"x"})
seen.difference_update({"x"})
seen.symmetric_difference_update({"x"})
seen |= {"a"}
seen &= {"a"}
seen -= {"a"}
seen ^= {"a"}
assert_type(seen, PersistedSet[str])

PersistedSet()  # error
PersistedSet(1)  # error
PersistedSet[str]("seen", [1])  # error
PersistedSet("seen", 1)  # error
PersistedSet("seen", [], [])  # error


def wrong_sets(seen: PersistedSet[str], members: PersistedSet[tuple[str, int]]) -> None:
    """Use sets in ways that cannot be meant."""
    seen.add(1)  # error
    seen.update([1])  # error
    seen |= {1}  # error
    members.add(("a", "b"))  # error


# -- counters ------------------------------------------------------------------------------------

words = PersistedCounter[str]("words")
assert_type(words, PersistedCounter[str])
assert_type(PersistedCounter[str]("words", "banana"), PersistedCounter[str])
assert_type(PersistedCounter("words", "banana"), PersistedCounter[str])
assert_type(PersistedCounter("words", ["a"]), PersistedCounter[str])
assert_type(PersistedCounter("statuses", {200: 1}), PersistedCounter[int])
assert_type(PersistedCounter("words", a=1), PersistedCounter[str])
assert_type(PersistedCounter("words", {"a": 1}, b=1), PersistedCounter[str])
statuses: PersistedCounter[int] = PersistedCounter("statuses")

assert_type(words["b"], int)
assert_type(words.get("b"), int | None)
assert_type(words.pop("b", 0), int)
assert_type(words.most_common(1), list[tuple[str, int]])
assert_type(words.total(), int)
assert_type(list(words), list[str])
assert_type(list(words.elements()), list[str])
assert_type(words.copy(), Counter[str])
assert_type(words + words, Counter[str])
assert_type(words - words, Counter[str])
assert_type(words & words, Counter[str])
assert_type(words | words, Counter[str])
assert_type(+words, Counter[str])
assert_type(-words, Counter[str])
assert_type(words <= Counter("b"), bool)
words["b"] += 1
words.update("banana")
words.update({"a": 1})
words.update(a=1)
words.subtract("banana")
words += words
words -= words
words |= words
words &= words
assert_type(words, PersistedCounter[str])

PersistedCounter()  # error
PersistedCounter(1)  # error
PersistedCounter("words", 1)  # error
PersistedCounter[str]("words", [1])  # error
PersistedCounter("words", a="b")  # error


def wrong_counters(words: PersistedCounter[str]) -> None:
    """Use counters in ways that cannot be meant."""
    words["b"] = "text"  # error
    words[1] += 1  # error
    words.update([1])  # error


# -- lists ---------------------------------------------------------------------------------------

queue = PersistedList[tuple[str, int]]("queue")
assert_type(queue, PersistedList[tuple[str, int]])
assert_type(PersistedList[int]("numbers", [1]), PersistedList[int])
assert_type(PersistedList("queue", ["a"]), PersistedList[str])
assert_type(PersistedList("queue", (n for n in (1, 2))), PersistedList[int])
links: PersistedList[str] = PersistedList("links")
numbers = PersistedList("numbers", [1])

assert_type(queue[0], tuple[str, int])
assert_type(queue[1:], list[tuple[str, int]])
assert_type(queue.pop(), tuple[str, int])
assert_type(queue.pop(0), tuple[str, int])
assert_type(iter(links), Iterator[str])
assert_type(list(reversed(links)), list[str])
assert_type("a" in links, bool)
assert_type(len(links), int)
assert_type(links.index("a"), int)
assert_type(links.count("a"), int)
assert_type(links.copy(), list[str])
assert_type(links + ["a"], list[str])
assert_type(links + [1], list[str | int])
assert_type(links * 2, list[str])
assert_type(2 * links, list[str])
assert_type(links < ["a"], bool)
links.append("a")
links.extend(["a"])
links.insert(0, "a")
links.remove("a")
links.reverse()
links.sort()
links.sort(key=len, reverse=True)
links.clear()
links += ["a"]
links *= 2
assert_type(links, PersistedList[str])
links[0] = "a"
links[1:] = ["a"]
del links[0]
del links[1:]
for (url, depth), link in zip(queue, links, strict=False):
    assert_type(url, str)
    assert_type(depth, int)
    assert_type(link, str)

PersistedList()  # error
PersistedList(["a"])  # error
PersistedList[str]("links", [1])  # error
PersistedList("links", 1)  # error
PersistedList("links", [], [])  # error


def wrong_lists(
    links: PersistedList[str], numbers: PersistedList[int], queue: PersistedList[tuple[str, int]]
) -> None:
    """Use lists in ways that cannot be meant."""
    links.append(1)  # error
    links.extend([1])  # error
    links[0] = 1  # error
    links[1:] = [1]  # error
    str(links["a"])  # error
    links += [1]  # error
    numbers.append("a")  # error
    queue.append(("a", "b"))  # error


# -- with a name alone they hold anything --------------------------------------------------------

some_dict, some_set = PersistedDict("some_dict"), PersistedSet("some_set")
some_list, some_counter = PersistedList("some_list"), PersistedCounter("some_counter")
assert_type(some_dict, PersistedDict[str, Any])
assert_type(some_set, PersistedSet[Any])
assert_type(some_list, PersistedList[Any])
assert_type(some_counter, PersistedCounter[str])
some_dict["x"] = some_dict["y"] = "y"
some_set.add("x")
some_list.append(1)
some_counter["x"] += 1

# -- they go wherever the builtin goes -----------------------------------------------------------


def takes_builtins(
    a: dict[str, int], b: set[str], c: Counter[str], d: list[tuple[str, int]]
) -> None:
    """Take what the builtins are."""


def takes_protocols(
    a: MutableMapping[str, int],
    b: MutableSet[str],
    c: Mapping[str, int],
    d: MutableSequence[tuple[str, int]],
) -> None:
    """Take what behaves like them."""


takes_builtins(hits, seen, words, queue)
takes_protocols(hits, seen, words, queue)
takes_builtins(anything, seen, words, queue)
takes_builtins(seen, seen, words, queue)  # error
takes_builtins(hits, PersistedSet[int]("numbers"), words, queue)  # error
takes_builtins(hits, seen, statuses, queue)  # error
takes_builtins(hits, seen, words, links)  # error


class Page(TypedDict):
    """What a page is in the state."""

    url: str
    depth: int


# Plain containers go in; what is nested keeps its type.
pages = PersistedDict[str, Page]("pages")
pages["a"] = {"url": "a", "depth": 1}
assert_type(pages["a"]["depth"], int)
shops = PersistedDict[str, dict[str, set[int]]]("shops")
shops.setdefault("s1", {}).setdefault("seen", set()).add(1)
assert_type(shops["s1"]["seen"].pop(), int)

pages["a"] = {"url": "a"}  # error
pages["a"]["depth"] = "deep"  # error
shops["s1"]["seen"].add("x")  # error
