"""The kinds of containers, as they are stored and as they are tracked."""

from __future__ import annotations

from typing import Any

import pytest

# They register their kinds.
import autostate.containers
import autostate.containers.position
import autostate.containers.proxy
import autostate.delivery.ledger
import autostate.tracking.mirror  # noqa: F401
from autostate import codec
from autostate.codec import types
from autostate.journal.commit import KINDS as STORED
from autostate.tracking.kind import KINDS
from tests.codec.test_codec import SCALARS, TAGS
from tests.conformance.parity_kit import CALLS
from tests.conformance.state_kit import BUILTIN, PERSISTED
from tests.conformance.types_kit import OBJECTS


@pytest.mark.parametrize("name", codec.CONTAINERS)
def test_a_kind_is_stored_and_tracked_alike(name: str) -> None:
    """The tables that name a kind agree about it."""
    stored, tracked = codec.CONTAINERS[name], KINDS[name]
    assert (stored.shape, stored.builtin) == (tracked.shape, tracked.builtin)


def test_the_journal_knows_what_is_tracked() -> None:
    """No kind can be saved that could not be read again."""
    assert KINDS.keys() == STORED


def test_every_kind_is_in_the_tables_of_the_tests() -> None:
    """Else nothing would try it."""
    kinds = codec.CONTAINERS.keys()
    assert BUILTIN.keys() == PERSISTED.keys() == kinds
    assert kinds <= CALLS.keys()  # some kinds have several


def test_every_type_is_in_the_tables_of_the_tests() -> None:
    """Its tag is stored wrongly there, and its values are saved."""
    assert {each.tag for each in types.SCALARS} <= {*TAGS}
    tried = {type(value) for value in (*SCALARS, *(make() for make in OBJECTS))}
    tried |= {type(item) for make in OBJECTS for item in _items(make())}
    for each in types.SCALARS:
        assert not each.classes or any(issubclass(cls, each.classes) for cls in tried), each.tag


def _items(value: Any) -> list[Any]:
    """The items of a list."""
    return value if type(value) is list else []
