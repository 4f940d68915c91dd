"""Units of work: what is written while a request is in work belongs to that request.

A unit lasts from the moment at which a queue hands out a request to the moment at which the request
is marked as handled or given back. There are two kinds:

- Crawlee runs each request in a task. The unit is entered at the beginning of the task, begins when
  the request is fetched, and ends with the task: after the mark of a request that has failed for
  good its failed handler runs. Inside, each attempt of the handler is a unit of its own, undone if
  the handler raises.
- A loop of the program (`while request := await queue.fetch_next_request()`) has no such frame. The
  unit is entered in the context of the caller when a request is fetched, and ends when that request
  is marked or reclaimed, in whatever context. A context that fetches another request goes on in the
  unit of the new one; tasks that it has started meanwhile go on in the former one.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from autostate.runtime.api import current_manager
from autostate.tracking.unit import Unit

clock: Callable[[], float] = time.monotonic
"""Seconds that never jump: tests move it by hand."""


class WorkUnit(Unit):
    """The unit of work around one request.

    Attributes:
        of_crawler: Whether a crawler's task ends it.
        keys: The unique keys of the requests that were fetched in it and are not done.
        since: When the request was fetched, by `clock`.
        attempt: The unit of the present attempt, if a crawler makes one.
        links: How many requests with `always_enqueue` the present attempt has added.
        task: A weak reference to the task that has fetched the request.
        is_abandoned: Whether the Actor has ended before the work: the request is not marked.
    """

    def __init__(self, *, of_crawler: bool) -> None:
        super().__init__(current_manager()._tracker)
        self.of_crawler = of_crawler
        self.keys: set[str] = set()
        self.since = clock()
        self.attempt: Unit | None = None
        self.links = 0
        self.task: Callable[[], object] = lambda: None
        self.is_abandoned = False

    def begin_attempt(self) -> None:
        """Let what this context writes belong to a new attempt."""
        self.attempt = Unit(current_manager()._tracker)
        self.links = 0
        self.attempt.enter()
        self.attempt.begin()

    def end_attempt(self, *, kept: bool) -> None:
        """Keep what the attempt has written, or undo it and refuse what it writes later."""
        attempt, self.attempt = self.attempt, None
        if attempt is None:
            return
        if kept:
            attempt.end(kept=True)
            attempt.leave()
        else:
            attempt.close()

    def abandon(self) -> None:
        """Undo the work, and refuse what it writes later."""
        self.is_abandoned = True
        self.end_attempt(kept=False)
        self.close()

    def fetched(self, key: str) -> None:
        """Begin to work on a request."""
        task = asyncio.current_task()
        self.task = (lambda: None) if task is None else weakref.ref(task)
        self.keys.add(key)
        self.links = 0
        self.since = clock()
        self.begin()


working: Final[ContextVar[WorkUnit | None]] = ContextVar("autostate-working", default=None)
"""The unit of the request that this context works on."""
