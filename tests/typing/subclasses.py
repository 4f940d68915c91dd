"""Classes of a user's own that are state objects, as type checkers see them.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, Self, TypeVar, assert_type

from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

# -- of one type ---------------------------------------------------------------------------------


class Cart(PersistedDict[str, int]):
    """A dict with methods of its own."""

    def total(self) -> int:
        """Add up."""
        return sum(self.values())

    def with_one(self, article: str) -> Self:
        """Return itself."""
        self[article] = 1
        return self


cart = Cart("cart", apples=2)
assert_type(cart, Cart)
assert_type(Cart("cart"), Cart)
assert_type(Cart("cart", {"apples": 2}), Cart)
assert_type(Cart("cart", [("apples", 2)]), Cart)
assert_type(cart["apples"], int)
assert_type(cart.total(), int)
assert_type(cart.with_one("pear"), Cart)
assert_type(cart.copy(), dict[str, int])
assert_type(cart | {"pear": 1}, dict[str, int])
plain: dict[str, int] = cart
general: PersistedDict[str, int] = cart

Cart()  # error
Cart("cart", {"apples": "two"})  # error
str(cart.totel())  # error
other: PersistedDict[str, str] = cart  # error


def wrong_carts(cart: Cart) -> None:
    """Use it in ways that cannot be meant."""
    cart["apples"] = "two"  # error
    cart.name = "mine"  # error


# -- generic -------------------------------------------------------------------------------------


class Index(PersistedDict[str, list[T]]):
    """A dict of lists."""

    def add(self, key: str, value: T) -> None:
        """Add to the list of a key."""
        self.setdefault(key, []).append(value)


class Groups(PersistedDict[H, set[T]], Generic[H, T]):
    """A dict of sets."""

    def members(self, key: H) -> set[T]:
        """Give the members of a group."""
        return self.get(key, set())


class Stack(PersistedList[T]):
    """A list with a top."""

    @property
    def top(self) -> T:
        """The last item."""
        return self[-1]


class Queue(PersistedList[T]):
    """A list made in a way of its own."""

    def __init__(self, name: str, *items: T) -> None:
        super().__init__(name, items)


class Members(PersistedSet[H]):
    """A set."""

    def first(self) -> H | None:
        """Give one of them."""
        return next((member for member in self), None)


class Votes(PersistedCounter[H]):
    """A counter."""

    def winner(self) -> H:
        """Give who has most."""
        return self.most_common(1)[0][0]


index = Index[int]("index")
assert_type(index, Index[int])
assert_type(index["a"], list[int])
index.add("a", 1)
groups = Groups[int, str]("groups")
assert_type(groups.members(1), set[str])
assert_type(groups[1].pop(), str)
assert_type(Stack[str]("stack", ["a"]).top, str)
assert_type(Stack("stack", ["a"]), Stack[str])
assert_type(Queue[int]("queue", 1, 2)[0], int)
assert_type(Members[str]("members").first(), str | None)
assert_type(Votes[str]("votes").winner(), str)

index.add("a", "b")  # error
groups.members("a")  # error
Stack[str]("stack", [1])  # error
Queue[int]("queue", "a")  # error
Members[str]("members", [1])  # error

# -- without types -------------------------------------------------------------------------------

untyped = PersistedDict("untyped")
assert_type(untyped["x"], Any)
untyped["x"] = {"y": [1]}
untyped["x"]["y"].append(2)
