"""The kinds of containers, as they are stored and as they are tracked."""

from __future__ import annotations

import pytest

import autostate.containers  # noqa: F401 - they register their kinds
from autostate import codec
from autostate.journal.commit import KINDS as STORED
from autostate.tracking.kind import KINDS


@pytest.mark.parametrize("name", codec.CONTAINERS)
def test_a_kind_is_stored_and_tracked_alike(name: str) -> None:
    """The tables that name a kind agree about it."""
    stored, tracked = codec.CONTAINERS[name], KINDS[name]
    assert (stored.shape, stored.builtin) == (tracked.shape, tracked.builtin)


def test_the_journal_knows_what_is_tracked() -> None:
    """No kind can be saved that could not be read again."""
    assert KINDS.keys() == STORED
