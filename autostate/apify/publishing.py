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
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from autostate import announced
from autostate.runtime.api import current_manager, live
from autostate.runtime.manager import StateManager
from autostate.tracking.barrier import kind_of

if TYPE_CHECKING:
    from autostate.apify.view import View

logger: logging.Logger = logging.getLogger("autostate")

Stores = dict[str, dict[str, Any]]
"""The objects of each state, by the URL of its store."""

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
        try:
            found = views()
        except Exception as error:  # of code of the program
            logger.debug("there is no view of the state: %s", type(error).__name__)
            return
        for key, stores in found.items():
            try:
                await asyncio.wait_for(self._put(key, stores), timeout)
            except Exception as error:  # of the API
                logger.debug("the view of the state was not published: %s", type(error).__name__)

    async def _put(self, key: str, stores: Stores) -> None:
        """Write a copy, if it has changed."""
        if self._published.get(key) == stores:
            return
        (store, objects), *others = stores.items()
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        record = {"at": now, "store": store, "objects": objects}
        await self._actor.set_value(key, record | ({"others": dict(others)} if others else {}))
        self._published[key] = stores


def views() -> dict[str, Stores]:
    """Give the copies of all live states, by key; that of the Actor's own state comes first."""
    found: dict[str, Stores] = {}
    made: dict[str, View] = {}
    for manager in {id(each): each for each in (current_manager(), *live())}.values():
        chosen = manager.settings.published
        if chosen is not None:
            from autostate.apify.view import View  # here: few Actors need it

            key, names = chosen
            objects = view_of(manager, names, made.setdefault(key, View()))
            if objects:
                found.setdefault(key, {}).setdefault(manager.url, {}).update(objects)
    return found


def view_of(manager: StateManager, names: tuple[str, ...], view: View) -> dict[str, Any]:
    """Give live state objects as JSON for a person, by name.

    Args:
        manager: The manager of the objects.
        names: The names of the objects; none: all.
        view: Makes it.
    """
    found: dict[str, Any] = {}
    chosen = [info for info in manager.infos() if info.name in names or not names]
    for number, info in enumerate(chosen):
        root: Any = manager.live(info.name)
        if info.kind == "outbox" or root is None:
            continue
        if not view.has_room():
            found["…"] = f"{len(chosen) - number:,} more"
            break
        if info.kind == "loop":
            found[info.name] = {"done": root["position"][0]}
        else:
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
