"""Ctrl-C while a state object loads takes nothing from it: it loads when it is asked for again."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import autostate
from autostate import PersistedDict, PersistedList
from autostate.errors import StoreError, UpgradeError
from tests.campaign import sampled

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*unclosed database:Warning")
"""From 3.13 on it is told when the collector closes one: Ctrl-C strikes before anybody knows it."""


class Interrupt:
    """Raises in the n-th function of the library that is called from here on."""

    def __init__(self, number: int, error: type[BaseException]) -> None:
        self.left = number
        self.error = error

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and "/autostate/" in frame.f_code.co_filename:
            self.left -= 1
            if self.left == 0:
                raise self.error

    def __enter__(self) -> Self:
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def interrupted(
    make: Callable[[], Any],
    check: Callable[[Any], None],
    error: type[BaseException],
    rng: random.Random,
) -> None:
    """Create in a new process, as it were, interrupted somewhere; and then again."""
    with autostate.open("sqlite:///s.db", debounce=3600), Interrupt(sys.maxsize, error) as counting:
        made = make()
    check(made)
    calls = sys.maxsize - counting.left
    for number in [*sampled(rng, range(1, 40), 3), *sampled(rng, range(40, calls), 4)]:
        with autostate.open("sqlite:///s.db", debounce=3600):
            # A TimeoutError in the midst of opening a file is an error of the store.
            with contextlib.suppress(error, StoreError), Interrupt(number, error):
                make()
            check(make())
            autostate.flush()


def fill() -> None:
    """Nested ones that are nodes, shared objects, converted dicts, and a root that refers."""
    with autostate.open("sqlite:///s.db"):
        made: PersistedDict[str, Any] = PersistedDict("made")
        made["rows"] = {f"k{i}": {"a": i, "b": "x"} for i in range(300)}
        made["list"] = [{"a": i, "b": "x"} for i in range(300)]
        made["small"] = {"deep": [1, {2}, {"three": 3}]}
        made["self"] = made["small"]
        PersistedList[Any]("other").append(made["rows"])


def check_made(made: Any) -> None:
    """See that what `fill` made is there, and is one where it was one."""
    assert made["rows"] == {f"k{i}": {"a": i, "b": "x"} for i in range(300)}
    assert made["list"] == [{"a": i, "b": "x"} for i in range(300)]
    assert made["small"] == {"deep": [1, {2}, {"three": 3}]}
    assert made["self"] is made["small"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_a_load_that_was_interrupted_anywhere_is_repeated(
    isolated: Path, rng: random.Random, error: type[BaseException]
) -> None:
    """Also by a TimeoutError that a handler of SIGALRM raises; what is restored is complete."""
    fill()

    def load() -> tuple[Any, Any]:
        return PersistedDict[str, Any]("made"), PersistedList[Any]("other")

    def check(both: tuple[Any, Any]) -> None:
        check_made(both[0])
        assert both[1] == [both[0]["rows"]]

    interrupted(load, check, error, rng)


def test_a_new_name_begins_after_its_creation_was_interrupted(
    isolated: Path, rng: random.Random
) -> None:
    """With all defaults, and the store has it once."""
    for number in sampled(rng, range(1, 150), 8):
        name = f"new{number}"
        with autostate.open("sqlite:///s.db", debounce=3600):
            with contextlib.suppress(KeyboardInterrupt), Interrupt(number, KeyboardInterrupt):
                PersistedDict(name, a=1, b=2)
            gc.collect()  # what Ctrl-C has left
            assert PersistedDict(name, a=1, b=2) == {"a": 1, "b": 2}
        with autostate.open("sqlite:///s.db", debounce=3600):
            assert PersistedDict(name) == {"a": 1, "b": 2}


def test_an_upgrade_that_was_interrupted_begins_from_what_is_stored(isolated: Path) -> None:
    """What it has changed half-way, nested containers too, is forgotten."""

    def shop(version: int) -> Any:
        class Shop:
            def __init__(self) -> None:
                self.rows: dict[str, Any] = {}

        Shop.__qualname__ = "Shop"
        upgrade = upgrade_rows if version == 2 else None
        return autostate.persisted(name="shop", version=version, upgrade=upgrade)(Shop)

    def upgrade_rows(state: dict[str, Any], _version: int) -> None:
        for number, row in enumerate(state["rows"].values()):
            if number == stop[0]:
                raise KeyboardInterrupt
            row["price"] *= 100

    stop = [-1]
    with autostate.open("sqlite:///s.db"):
        shop(1)().rows = {f"k{i}": {"price": i, "b": "x"} for i in range(300)}
    with autostate.open("sqlite:///s.db"):
        cls = shop(2)
        for stop[0] in (0, 1, 150, 299):
            with pytest.raises(KeyboardInterrupt):
                cls()
        stop[0] = -1
        assert cls().rows == {f"k{i}": {"price": i * 100, "b": "x"} for i in range(300)}


def test_an_upgrade_that_fails_is_not_repeated(isolated: Path) -> None:
    """An error of its own is not Ctrl-C."""

    class Cart:
        def __init__(self) -> None:
            self.total = 1

    def fails(_state: dict[str, Any], _version: int) -> None:
        raise ZeroDivisionError

    with autostate.open("sqlite:///s.db"):
        autostate.persisted(name="cart")(Cart)()
    with autostate.open("sqlite:///s.db"):
        made = autostate.persisted(name="cart", version=2, upgrade=fails)(Cart)
        for _ in range(2):
            with pytest.raises(UpgradeError):
                made()
