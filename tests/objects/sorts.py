"""What the tests of objects share: classes of each sort, and what is stored of an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import autostate
from tests.conformance.classes_kit import SORTS


def sorts(function: Callable[..., None]) -> Any:
    """Run a test for each sort of class."""
    return pytest.mark.parametrize("cls", SORTS, ids=lambda cls: cls.__name__)(function)


@autostate.persisted(name="box-{n}")
class Box:
    """An object of which little is known."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.a: Any = None
        self.b: Any = None
        self.c: Any = None


def numbers_stored(url: str) -> dict[str, int]:
    """The numbers that are stored now, by name."""
    from autostate.journal import Journal
    from autostate.stores import open_store
    from autostate.tracking import convert

    store = open_store(url)
    try:
        recovered = Journal(store, convert=convert).recover(timeout=10)
        return {
            str(state.name): state.content.get("page", state.content.get("at"))
            for state in recovered.nodes.values()
            if state.name is not None
        }
    finally:
        store.close()
