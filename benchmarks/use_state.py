"""The peer: a save of `Actor.use_state` on local storage, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.entries import entries
from benchmarks.measure import Stalls


async def main(size: int, folder: Path) -> dict[str, float]:
    """Save a dict of that size, and give the seconds, the longest stall and the bytes."""
    os.environ["APIFY_LOCAL_STORAGE_DIR"] = os.environ["CRAWLEE_STORAGE_DIR"] = str(folder)
    from apify import Actor
    from crawlee.events import Event, EventPersistStateData

    logging.disable()
    async with Actor(exit_process=False):
        state: Any = await Actor.use_state({})
        state.update(entries(size))
        began = asyncio.get_running_loop().time()
        async with Stalls() as stalls:
            Actor.event_manager.emit(
                event=Event.PERSIST_STATE, event_data=EventPersistStateData(is_migrating=False)
            )
            await Actor.event_manager.wait_for_all_listeners_to_complete()
        seconds = asyncio.get_running_loop().time() - began
        state.clear()
    return {"seconds": seconds, "stall": stalls.longest}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))))
