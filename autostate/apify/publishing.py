"""A readable copy of the state under a key of the default key-value store, for the Console.

The setting `publish` asks for it. It is made between two callbacks of the event loop, has a bounded
size, and is written at intervals, if it has changed: never by the thread that saves, never while
the process is about to be killed, and never as something on which a save waits. What goes wrong is
told at DEBUG.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from typing import Any, Final
from weakref import WeakKeyDictionary

from autostate import announced
from autostate.runtime.api import current_manager, live
from autostate.runtime.manager import StateManager
from autostate.tracking.barrier import kind_of

logger: logging.Logger = logging.getLogger("autostate")

INTERVAL: float = 60.0
"""Seconds between two copies."""
FIRST: float = 5.0
"""Seconds before the first one: the program begins by creating its state objects."""

_TIMEOUT: Final = 30.0
_AT_THE_END: Final = 5.0


class Publishing:
    """The copies of one Actor context.

    Args:
        actor: The SDK's Actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._published: dict[str, Any] = {}
        self._task = asyncio.get_running_loop().create_task(self._publish_again_and_again())

    async def end(self) -> None:
        """Publish for the last time."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._publish(_AT_THE_END)

    async def _publish_again_and_again(self) -> None:
        await asyncio.sleep(min(FIRST, INTERVAL))
        while True:
            await self._publish(_TIMEOUT)
            await asyncio.sleep(INTERVAL)

    async def _publish(self, timeout: float) -> None:  # noqa: ASYNC109 - for each copy
        if announced.seconds_to_kill() is not None:
            return
        for manager in {id(each): each for each in (*live(), current_manager())}.values():
            try:
                await asyncio.wait_for(self._publish_one(manager), timeout)
            except Exception as error:  # of the API, or of code of the program
                logger.debug("the view of the state was not published: %r", error)

    async def _publish_one(self, manager: StateManager) -> None:
        """Write the copy of one state, if it has changed."""
        chosen = manager.settings.published
        if chosen is None:
            return
        key, names = chosen
        objects = view_of(manager, names)
        if not objects or self._published.get(key) == objects:
            return
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        await self._actor.set_value(key, {"at": now, "store": manager.url, "objects": objects})
        self._published[key] = objects


def view_of(manager: StateManager, names: tuple[str, ...]) -> dict[str, Any]:
    """Give live state objects as JSON for a person, by name.

    Args:
        manager: The manager of the objects.
        names: The names of the objects; none: all.
    """
    from autostate.apify.view import View  # here: few Actors need it

    view, found = View(), {}
    for info in manager.infos():
        if names and info.name not in names:
            continue
        root: Any = manager.live(info.name)
        if info.kind == "loop":
            found[info.name] = {"done": root["position"][0]}
        elif info.kind != "outbox" and root is not None:
            found[info.name] = view.of(kind_of(root).show(root))
    return found


def begin(actor: Any) -> None:
    """Begin to publish what an Actor that was entered has."""
    _all[actor] = Publishing(actor)


async def end(actor: Any) -> None:
    """Publish for the last time."""
    made = _all.pop(actor, None)
    if made is not None:
        await made.end()


_all: WeakKeyDictionary[Any, Publishing] = WeakKeyDictionary()
