"""Defaults fill in what the stored state never had; what the program deleted stays deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedSet
from autostate.tracking import LARGE

MAKE: Final[dict[str, Callable[..., Any]]] = {
    "dict": lambda keys: PersistedDict("s", dict.fromkeys(keys, 1)),
    "set": lambda keys: PersistedSet("s", keys),
    "counter": lambda keys: PersistedCounter("s", dict.fromkeys(keys, 1)),
}
MANY: Final = [str(number) for number in range(LARGE + 50)]


def remove(container: Any, key: str) -> None:
    """Delete one entry."""
    container.discard(key) if isinstance(container, set) else container.__delitem__(key)


def run(body: Callable[[], Any]) -> Any:
    """One run of a program."""
    with autostate.open("sqlite:///state.db"):
        return body()


@pytest.fixture(autouse=True)
def _here(isolated: object) -> None:
    """Each test has a folder of its own."""


@pytest.mark.parametrize("offered", [[], ["b"], ["a"], ["b", "a"]], ids=str)
@pytest.mark.parametrize("others", [[], ["b"], MANY], ids=["alone", "two", "many"])
@pytest.mark.parametrize("kind", MAKE)
def test_what_any_run_deletes_stays_deleted(
    kind: str, others: list[str], offered: list[str]
) -> None:
    """Whatever defaults the run that deletes it gives: none, others, the same."""
    make, defaults = MAKE[kind], ["a", *others]
    run(lambda: make(defaults))
    run(lambda: remove(make(offered), "a"))
    assert "a" not in run(lambda: make(defaults))
    assert set(run(lambda: make([*defaults, "new"]))) == {"new", *others, *offered} - {"a"}
    assert "a" not in run(lambda: make(defaults))


@pytest.mark.parametrize("kind", MAKE)
def test_what_was_there_when_it_was_offered_counts_too(kind: str) -> None:
    """The run that put it in gave no defaults; the next one did, and changed nothing."""
    make = MAKE[kind]
    run(lambda: make([]).update({"a": 5}))
    run(lambda: make(["a"]))
    run(lambda: remove(make([]), "a"))
    assert "a" not in run(lambda: make(["a"]))


@pytest.mark.parametrize("kind", MAKE)
def test_what_came_along_counts_too(kind: str) -> None:
    """A run that reaches it through another state object gives no defaults at all."""
    make = MAKE[kind]

    def holding() -> None:
        PersistedDict[str, Any]("holder")["inner"] = [make(["a", "b"])]

    run(holding)
    run(lambda: remove(PersistedDict[str, Any]("holder")["inner"][0], "a"))
    run(lambda: None)
    assert set(run(lambda: make(["a", "b"]))) == {"b"}


def test_what_could_not_be_saved_is_offered_again() -> None:
    """Nobody has deleted it."""

    def first() -> None:
        del PersistedDict[str, Any]("s", lock=threading.Lock(), a=1)["a"]

    with pytest.raises(autostate.UnsupportedTypeError):
        run(first)
    again: PersistedDict[str, Any] = run(lambda: PersistedDict("s", lock=None, a=1))
    assert again == {"lock": None}


def test_the_same_defaults_again_write_nothing() -> None:
    """However many there are."""
    for defaults in ([], ["a"], MANY):

        def first(defaults: list[str] = defaults) -> None:
            PersistedSet("s", defaults)

        def again(defaults: list[str] = defaults) -> int:
            PersistedSet("s", defaults)
            PersistedSet("s")
            autostate.flush()
            return autostate.statistics().flushes

        run(first)
        assert run(again) == 0


def test_a_state_object_is_renamed_by_its_content_as_defaults() -> None:
    """As docs/reference.md says; and the code that does it may stay in the program."""

    def renaming(key: str) -> None:
        old: PersistedDict[str, Any] = PersistedDict("pages")
        visits: PersistedDict[str, Any] = PersistedDict("visits", old)
        autostate.delete("pages")
        visits[key] = [key]

    run(lambda: PersistedDict("pages", {"done": [1]}))
    for key in "ab":
        run(lambda key=key: renaming(key))  # type: ignore[misc]
    visits: PersistedDict[str, Any] = run(lambda: PersistedDict("visits"))
    assert visits == {"done": [1], "a": ["a"], "b": ["b"]}


@pytest.mark.parametrize(
    "key", ["a\ud800", 10**5000, ("\ud800", -(10**4400))], ids=["text", "int", "both"]
)
def test_a_default_has_any_key_that_can_be_saved(key: Any) -> None:
    """Also one that JSON cannot hold as it is."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("d", {key: 1, "other": 2})
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("d", {key: 3, "new": 4}) == {key: 1, "other": 2, "new": 4}
