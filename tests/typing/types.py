"""How types of a program's own are registered, as type checkers see it.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, assert_type

import autostate
from autostate import PersistedDict, Secret, Unknown, pickled, proxy, register


class Money:
    """A class that only its owner can encode."""

    def __init__(self, amount: int, currency: str) -> None:
        self.amount = amount
        self.currency = currency


def save_money(money: Money) -> tuple[int, str]:
    """Encode it."""
    return money.amount, money.currency


def load_money(saved: tuple[int, str]) -> Money:
    """Decode it."""
    return Money(*saved)


@dataclass
class Page:
    """A class whose fields are known."""

    url: str


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


# -- register ------------------------------------------------------------------------------------

assert_type(register(Money, "money", encode=save_money, decode=load_money), type[Money])
register(Money, "money", encode=lambda money: money.amount, decode=lambda saved: Money(saved, "€"))
register(Money, "money", encode=save_money, decode=load_money, mutable=False)
Registered = register(Page, "page")
assert_type(Registered("a").url, str)
assert_type(register(Point, "point", mutable=False)(1, 2).x, int)


def no_pages() -> list[Page]:
    """Be the factory of a defaultdict."""
    return []


assert_type(register(no_pages, "no-pages")(), list[Page])

register(Money)  # error
register(Money, 1)  # error
register("Money", "money")  # error
register(Money(1, "€"), "money")  # error
register(Money, "money", save_money, load_money)  # error
register(Money, "money", encode=save_money)  # error
register(Money, "money", decode=load_money)  # error
register(Money, "money", encode=save_money, decode=save_money)  # error
register(Money, "money", encode=lambda money: money.total, decode=load_money)  # error
register(Page, "page", encode=save_money, decode=load_money)  # error

# -- pickled and proxy: what comes out is what went in -------------------------------------------


def add_one(number: int) -> int:
    """Be a function."""
    return number + 1


assert_type(pickled(Money(1, "€")), Money)
assert_type(pickled(add_one)(1), int)
jobs = PersistedDict[str, Callable[[int], int]]("jobs")
jobs["one"] = pickled(add_one)
jobs["three"] = pickled(lambda number: number * 3)
assert_type(jobs["one"](1), int)

dice = proxy("dice", pickled(Random(7)))
assert_type(dice, Random)
assert_type(dice.randrange(6), int)
page = proxy("page", Page("a"))
assert_type(page, Page)
page.url = "b"
assert_type(autostate.info(page), autostate.Info)
autostate.delete(page)

jobs["text"] = pickled("text")  # error
pickled()  # error
pickled(add_one, "name")  # error
pickled(add_one)("text")  # error
proxy(Page("a"))  # error
proxy(Page("a"), "page")  # error
proxy("page")  # error
str(page.nothing)  # error
page.url = 1  # error

# -- what is not known ---------------------------------------------------------------------------


def look(value: Page | Unknown) -> str:
    """Tell what was kept from what is known."""
    if isinstance(value, Unknown):
        assert_type(value.name, str)
        return value.name
    assert_type(value.url, str)
    return value.url


def unknown(error: autostate.UnknownTypeError, signature: autostate.SignatureError) -> None:
    """Look at the errors."""
    assert_type(error.name, str)
    codecs: list[autostate.CodecError] = [error, signature]
    str(codecs)
    str(error.path)  # error


# -- they go into the state as they are ----------------------------------------------------------

pages = PersistedDict[str, Page]("pages")
pages["a"] = Page("a")
pages["a"].url = "b"
groups = PersistedDict[str, defaultdict[str, deque[Point]]]("groups")
groups.setdefault("x", defaultdict(deque))["a"].append(Point(1, 2))
assert_type(groups["x"]["a"].popleft(), Point)
orders = PersistedDict[str, OrderedDict[str, Any]]("orders")
orders["x"] = OrderedDict(a=1)
orders["x"].move_to_end("a")

pages["a"] = {"url": "a"}  # error
groups["x"]["a"].append((1, 2))  # error


# -- secrets ---------------------------------------------------------------------------------------


@dataclass
class Login:
    """A class with a secret field."""

    password: Secret[str]


assert_type(Secret("word").reveal(), str)
assert_type(Login(Secret("word")).password.reveal(), str)
Login("word")  # error
Secret("word") + "s"  # error
PersistedDict[str, Secret[bytes]]("keys")["key"] = Secret(b"")
