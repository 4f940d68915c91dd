"""The history of a state on a server."""

from __future__ import annotations

import autostate
from autostate import PersistedDict


def test_commits_are_kept_and_restored(url: str) -> None:
    """Over processes and compactions."""
    for pages in (range(1, 20), range(20, 31)):
        with autostate.open(url, history=1000, debounce=1000):
            d = PersistedDict("d")
            for page in pages:
                d["page"], d[f"p{page % 3}"] = page, f"{page}" * 4000
                autostate.flush()
    assert [each.number for each in autostate.history(url)] == [*range(1, 31)]
    for number in (1, 7, 19, 20, 30):
        with autostate.open(url, at=number, readonly=True):
            assert PersistedDict("d")["page"] == number
    assert autostate.restore(url, at=7) == 31
    with autostate.open(url, readonly=True):
        d = PersistedDict("d")
        assert (d["page"], d["p1"]) == (7, "7" * 4000)
