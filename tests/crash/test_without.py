"""Each mechanism is removed once, and the campaign that tries it notices.

A campaign that would find nothing says nothing when it finds nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from autostate.journal import compaction
from autostate.stores import apify_folder
from tests.campaign import Tally
from tests.crash import calls, test_power_loss


@pytest.fixture
def tally() -> Tally:
    """Figures that are no campaign's: here losses are what is expected."""
    return Tally()


@pytest.mark.parametrize("kind", test_power_loss.STORES)
def test_without_syncs_a_power_failure_loses_what_was_acknowledged(
    kind: str, tmp_path: Path, rng: random.Random, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite with synchronous=OFF; the folder without `fsync`."""
    execute: Callable[..., Any] = calls._Connection.execute

    def unsynced(connection: Any, sql: str, values: Iterable[Any] = ()) -> Any:
        return execute(connection, sql.replace("synchronous = FULL", "synchronous = OFF"), values)

    monkeypatch.setattr(calls._Connection, "execute", unsynced)
    monkeypatch.setattr(apify_folder, "sync", lambda _handle: None)
    monkeypatch.setattr(compaction, "FLOOR", 1)
    test_power_loss.campaign(tmp_path, test_power_loss.STORES[kind], rng, tally, 60)
    assert tally.lost > 5
