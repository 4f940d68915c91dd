"""Units of work that overlap for ever, and whose writes no cut can leave out."""

from __future__ import annotations

import asyncio

import autostate
from autostate import PersistedCounter
from autostate.runtime.api import current_manager
from autostate.tracking.unit import Unit


def test_units_give_way_to_a_save_that_they_have_refused() -> None:
    """A cut cannot leave out what another thread writes; without the advice it never came."""

    async def main() -> int:
        manager, counts, left = current_manager(), PersistedCounter("counts"), 200

        async def worker() -> None:
            nonlocal left
            while left > 0:
                if manager.advises_against_work():
                    await asyncio.sleep(0.002)
                    continue
                left -= 1
                with Unit(manager._tracker):
                    await asyncio.to_thread(counts.update, ["pages"])
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(worker() for _ in range(5)))
        return autostate.statistics().flushes

    with autostate.open("memory:starvation", debounce=0.02, max_delay=0.05):
        assert asyncio.run(main()) >= 2
