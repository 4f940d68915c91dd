"""The progress of an Actor as the status message of its run, if a setting asks for it.

It tells of resumable loops, of crawlers, by their own messages, and of outboxes. The program's own
message goes before: once the program has called `Actor.set_status_message`, nothing is told any
more, in the later processes of the run neither. A call that comes while a message is on its way
waits for it, so that it comes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from autostate.containers.dict import PersistedDict
from autostate.containers.root import blank
from autostate.delivery.outbox import Outbox
from autostate.loops.run import LoopRun
from autostate.ownership.state_names import OWN
from autostate.runtime.api import current_manager, live
from autostate.runtime.manager import StateManager

logger: logging.Logger = logging.getLogger("autostate")

NOTES: Final = f"{OWN}status_message"
"""The name of the state object that says that the program has a message of its own."""

INTERVAL: float = 20.0
"""Seconds between two messages."""

_telling: contextvars.ContextVar[bool] = contextvars.ContextVar("autostate_telling", default=False)
"""True in the task that sets the library's messages, and in no task of the program."""

_TIMEOUT: Final = 10.0
_LONGEST: Final = 250
_OWN: Final = "the program's own"


class StatusMessage:
    """The messages of one Actor context.

    Args:
        actor: The SDK's Actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._crawlers: dict[int, str] = {}
        self._said = ""
        self._lock = asyncio.Lock()
        self._theirs = False
        self._task = asyncio.get_running_loop().create_task(self._tell_again_and_again())

    def listen(self) -> None:
        """Listen to what crawlers say about themselves."""
        from apify import Event

        self._actor.event_manager.on(event=Event.CRAWLER_STATUS, listener=self._heard)

    async def _heard(self, data: Any) -> None:
        self._crawlers[data.crawler_id] = str(data.message)

    async def end(self) -> None:
        """Tell nothing more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def let_program(self) -> None:
        """Leave the message to the program from now on; return when none is on its way."""
        if _telling.get():
            return
        self._theirs = True
        for manager in _asked():
            _notes(manager)[_OWN] = True
        async with self._lock:
            pass

    async def _tell_again_and_again(self) -> None:
        _telling.set(True)
        while not self._theirs:
            await asyncio.sleep(INTERVAL)
            try:
                await self._tell()
            except Exception as error:  # of the API, or of an SDK that is not known
                logger.debug("the status message was not set: %r", error)

    async def _tell(self) -> None:
        """Set the message if it has changed."""
        managers = _asked()
        if any(_notes(manager).get(_OWN) for manager in managers):
            self._theirs = True
        text = "; ".join([*self._crawlers.values(), *_progress(managers)])
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - 1]}…"
        if not text or text == self._said:
            return
        async with self._lock:
            if self._theirs or not managers:
                return
            await asyncio.wait_for(self._actor.set_status_message(text), _TIMEOUT)
            self._said = text


def _asked() -> list[StateManager]:
    """Give the managers whose settings ask for the message."""
    found = {id(each): each for each in (*live(), current_manager())}
    return [each for each in found.values() if each.settings.status_message]


def _notes(manager: StateManager) -> PersistedDict[str, bool]:
    notes: PersistedDict[str, bool] = manager.create(
        NOTES, "dict", functools.partial(blank, PersistedDict), own=True
    )
    return notes


def _progress(managers: list[StateManager]) -> Iterator[str]:
    """Give what loops and outboxes have done."""
    for manager in managers:
        for loop in manager.loops():
            if isinstance(loop, LoopRun) and loop.outer is None:
                done, total = loop.done_of
                share = loop.share if total is None else None
                of = "" if total is None else f" of {total}"
                yield f"{loop.name}: {done}{of}" + ("" if share is None else f" ({share:.0%})")
        for companion in manager.companions():
            if isinstance(companion, Outbox) and len(companion):
                yield f"{companion.name}: {len(companion)} to deliver"


def begin(actor: Any) -> None:
    """Begin to tell about an Actor that was entered."""
    _messages[actor] = made = StatusMessage(actor)
    made.listen()


async def end(actor: Any) -> None:
    """Tell nothing more about an Actor."""
    made = _messages.pop(actor, None)
    if made is not None:
        await made.end()


async def let_program(actor: Any) -> None:
    """The program is about to set a message."""
    made = _messages.get(actor)
    if made is not None:
        await made.let_program()


_messages: WeakKeyDictionary[Any, StatusMessage] = WeakKeyDictionary()
