"""Open blocks, over a store on which everything goes wrong: see `test_shelf_faults.py`."""

from __future__ import annotations

import contextvars
from typing import Any, Final

import pytest

from autostate.shared import patience, replica as replicas
from autostate.tracking.atomic import AtomicBlock
from tests.campaign import size
from tests.faulty import STORES
from tests.shared import test_shelf_faults as faults

SEEDS: Final = size("HELD", 4)


class Blocking(faults.Process):
    """A process that counts in blocks, too."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.block: tuple[contextvars.Context, AtomicBlock] | None = None
        self.held = 0

    def count(self) -> None:
        rng = self.world.rng
        if self.block is None:
            if rng.random() < 0.3:
                self.block = contextvars.Context(), self.replica.tracker.atomic()
                self.block[0].run(self.block[1].__enter__)
            super().count()
        elif rng.random() < 0.5:
            self.held += 1
            self.block[0].run(self.objects["hits"].write, {self.name: 1, "all": 1})
        elif rng.random() < 0.5:
            self.end_block()
        else:
            super().count()

    def end_block(self) -> None:
        assert self.block is not None
        context, block = self.block
        if self.world.rng.random() < 0.7:
            self.made += self.held
            context.run(lambda: block.__exit__(None, None, None))
        else:
            context.run(lambda: block.__exit__(KeyError, KeyError(), None))
        self.block, self.held = None, 0
        self.check_view()

    def check_view(self) -> None:
        """All that open blocks have counted is shown, too."""
        assert self.hits[self.name] == self.made + self.held
        self.views.clear()


@pytest.mark.parametrize("store", STORES)
def test_a_block_counts_as_a_whole_or_not_at_all(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is published, folded or lost while it is open."""
    monkeypatch.setattr(faults, "Process", Blocking)
    for seed in range(SEEDS):
        try:
            world = faults.World(STORES[store], seed)
            monkeypatch.setattr(replicas, "time", world.time)
            monkeypatch.setattr(patience, "time", world.time)
            monkeypatch.setattr(replicas, "Deadline", world.time)
            for _ in range(200):
                world.turn()
            world.end()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
