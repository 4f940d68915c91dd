"""A request queue in step with the state: requests are marked as handled after the save.

`InStepQueueClient` wraps the client of a request queue, within the SDK's public interface for
storage clients; so everything that uses queues goes through it: crawlers, tandems, throttling, and
loops of the program. (What does not work: a `RequestManager` around the queue. Crawlee then
throttles no domains, and purges a queue with a name at the second run of a crawler.)

- A mark is noted in the state, in the unit of work of its request (`units.py`), and answered at
  once; the queue gets it after the save (`pending_marks.py`).
- A request that is handed out although its mark is pending was worked by a former process: it is
  marked, and not handed out.
- No request is handed out while saving fails or a kill is announced, and when the oldest pending
  mark gets so old that the platform could hand out its request again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from crawlee import Request
from crawlee.storage_clients._base import RequestQueueClient
from crawlee.storage_clients.models import ProcessedRequest

from autostate.apify import units, wait_for
from autostate.apify.pending_marks import PendingMarks
from autostate.apify.units import WorkUnit, working
from autostate.ownership.state_names import OWN
from autostate.runtime.api import current_manager
from autostate.tracking.savepoint import inside

if TYPE_CHECKING:
    from crawlee.storage_clients.models import AddRequestsResponse, RequestQueueMetadata

    from autostate.errors import FencedError

logger: logging.Logger = logging.getLogger("autostate")

OLD: Final = 50.0
"""Seconds since a request was fetched after which its mark asks for a save at once."""

TOO_OLD: Final = 75.0
"""Seconds since a request was fetched after which, if it is not marked, no other is handed out.

A queue that is shared hands a request out again 90 s after it has handed it out, at the earliest.
"""

CHECK: Final = 0.05
"""Seconds between checks whether requests may be handed out again."""

FINISHING: Final = 0.5
"""Seconds for which the question whether all is done waits for the last marks."""

HELD_BACK_CHECK: Final = 0.5
"""Seconds for which a crawler waits for a request while none may be handed out."""

_clients: Final[WeakSet[InStepQueueClient]] = WeakSet()
_ending = False
"""Whether an Actor is being left."""


class InStepQueueClient(RequestQueueClient):
    """The client of a request queue whose marks are made after the save that covers them.

    Args:
        inner: The client of the queue.
        queue: The id of the queue.
        title: What messages call it; by default the id.
    """

    def __init__(self, inner: RequestQueueClient, queue: str, title: str | None = None) -> None:
        self._inner = inner
        self._title = title or queue
        self._told_of_others = False
        self._manager = current_manager()
        name = f"{OWN}apify-queue {queue}"
        self._marks: PendingMarks = self._manager.companion(
            name, lambda: PendingMarks(self._manager, name, self._make_mark)
        )
        self._units: dict[str, WorkUnit] = {}
        self._reclaims: dict[str, asyncio.Event] = {}  # those under way
        self._marks.before_end = self.undo_left
        _clients.add(self)
        self._marks.make_now()

    # -- handing out ----------------------------------------------------------------------------

    async def fetch_next_request(self) -> Request | None:
        """Hand out a request, and begin its unit of work.

        While none may be handed out, a crawler gets None; a loop of the program waits, since None
        means to it that all is done.
        """
        unit = working.get()
        of_crawler = unit is not None and unit.of_crawler
        while True:
            if not await self._may_hand_out(HELD_BACK_CHECK if of_crawler else None):
                return None
            request = await self._inner.fetch_next_request()
            if request is None:
                return None
            key = request.unique_key
            if key in self._marks:
                self._marks.make_now(key)
                continue
            # The SDK hands a request out again before the platform has it back. If that call were
            # repeated after a lost answer, it would take back a mark that was made meanwhile.
            if (reclaim := self._reclaims.get(key)) is not None:
                await reclaim.wait()
            self._begin(key, unit)
            return request

    def _begin(self, key: str, unit: WorkUnit | None) -> None:
        """Begin the unit of work of a request."""
        if unit is None or not unit.of_crawler:
            wait_for.tell_of_task()
            former, unit = unit, WorkUnit(of_crawler=False)
            unit.enter(beside=former)
            working.set(unit)
        unit.fetched(key)
        self._units[key] = unit
        self._marks.at_once = max(self._marks.at_once, len(self._units))

    async def _may_hand_out(self, most: float | None) -> bool:
        """Wait until a request may be handed out; tell whether one may.

        Args:
            most: The most seconds to wait; None: as long as it takes.
        """
        end = None if most is None else time.monotonic() + most
        while self._holds_back():
            if end is not None and time.monotonic() >= end:
                return False
            await asyncio.sleep(CHECK)
        return True

    def _holds_back(self) -> bool:
        """Tell whether no request may be handed out now."""
        if _ending:
            return True
        age = units.clock() - self._marks.oldest
        if age >= OLD and self._marks.unsaved:
            self._manager.save_soon()
        # A loop that fetches several requests at once is inside the unit of the last one, which may
        # be what saves wait for.
        unit = working.get()
        inside = unit is not None and unit.is_open
        if (age >= TOO_OLD and not inside) or self._manager.advises_against_work(inside=inside):
            self._check_fenced()
            return True
        return False

    def _check_fenced(self) -> None:
        """Let a process that is fenced end, unless its end would be taken for that of the run.

        Raises:
            FencedError: Another process has taken over, and this is no container of a run.
        """
        error: FencedError | None = self._manager.fenced
        if error is not None and not _at_home():
            raise error

    # -- giving back ----------------------------------------------------------------------------

    async def mark_request_as_handled(self, request: Request) -> ProcessedRequest | None:
        """Note that a request is handled, together with what was written in its unit of work."""
        key, text = request.unique_key, request.model_dump_json(by_alias=True)
        unit, here = self._units.pop(key, None), working.get()
        if unit is not None and unit.is_abandoned:
            return await self._give_back(request)
        since = units.clock() if unit is None else unit.since
        put = functools.partial(self._marks.put, key, text, since)
        if unit is None or not unit.is_open:
            put()
        elif unit.of_crawler:
            unit.run(put)
        else:
            self._check_task(unit, here)
            # A loop that has fetched several requests at once writes in the unit of the last one.
            if here is not None and here is not unit and not here.of_crawler:
                unit.take_over(here)
            unit.run(put)
            self._end(unit, key, kept=True)
            if here is not None and here.keys:
                here.begin()
        if units.clock() - since >= OLD:
            self._manager.save_soon()
        return ProcessedRequest(unique_key=key, was_already_present=True, was_already_handled=False)

    def _check_task(self, unit: WorkUnit, here: WorkUnit | None) -> None:
        """Warn once if a request was worked elsewhere than in what was begun after its fetch."""
        if here is unit or unit.task() is asyncio.current_task() or self._told_of_others:
            return
        self._told_of_others = True
        logger.warning(
            "requests of the queue %r are fetched in one task and worked in others, so that what "
            "is written for each cannot be told apart: after a kill, some is counted and pushed "
            "again. Let each worker fetch, work and mark its requests itself, or start the task "
            "that works a request right after its fetch, before the next one",
            self._title,
        )

    async def reclaim_request(
        self, request: Request, *, forefront: bool = False
    ) -> ProcessedRequest | None:
        """Give a request back; undo what a loop of the program has written for it."""
        key = request.unique_key
        unit = self._units.pop(key, None)
        if unit is not None and not unit.of_crawler:
            self._end(unit, key, kept=False)
        over = self._reclaims[key] = asyncio.Event()
        try:
            return await self._inner.reclaim_request(request, forefront=forefront)
        finally:
            over.set()
            self._reclaims.pop(key, None)

    async def _give_back(self, request: Request) -> ProcessedRequest | None:
        """Give back a request whose work was undone for an end of the Actor that has not come."""
        while _ending:  # noqa: ASYNC110 - of all event loops
            await asyncio.sleep(CHECK)
        return await self._inner.reclaim_request(request)

    def undo_left(self) -> None:
        """Undo what was written for requests that a loop of the program has not finished.

        The next process works them again. Else the last save would wait for these units.
        """
        for unit in self._left():
            unit.end(kept=False)

    def abandon(self) -> None:
        """Undo all requests that are in work, and refuse what is written for them from now on."""
        self._left()
        for unit in list(self._units.values()):
            unit.abandon()

    def _left(self) -> list[WorkUnit]:
        """Return the units of requests that a loop has not finished; tell of them."""
        left = [unit for unit in self._units.values() if not unit.of_crawler and unit.is_open]
        if left:
            logger.warning(
                "%s fetched, and neither marked as handled nor given back: nothing that was "
                "written for %s is saved, and the work is done again",
                *(
                    ("a request was", "it")
                    if len(left) == 1
                    else (f"{len(left)} requests were", "them")
                ),
            )
        return left

    def _end(self, unit: WorkUnit, key: str, *, kept: bool) -> None:
        unit.end(kept=kept)
        unit.keys.discard(key)
        unit.leave()
        if working.get() is unit:
            working.set(None)

    async def _make_mark(self, text: str) -> bool:
        """Mark a request in the queue; tell whether it is handled, or not in the queue any more."""
        request = Request.model_validate_json(text)
        # The clients log errors of the platform, and return None; local ones do so, too, if this
        # process has not fetched the request.
        if await self._inner.mark_request_as_handled(request) is not None:
            return True
        found = await self._inner.get_request(request.unique_key)
        return found is None or found.was_already_handled

    # -- how far the queue is -------------------------------------------------------------------

    async def is_empty(self) -> bool:
        """Tell whether there is nothing to fetch now."""
        return self._holds_back() or await self._inner.is_empty()

    async def is_finished(self) -> bool:
        """Tell whether all requests are handled and marked; ask for the save that marks wait for.

        A crawler asks after each page: as long as there is work, no save is asked for.
        """
        if not len(self._marks):
            return await self._inner.is_finished()
        if not self._marks.unsaved:
            self._marks.make_now()
        if self._in_work() or not await self._inner.is_empty():
            return False
        if self._marks.unsaved:
            self._manager.save_soon()
        # A crawler would ask again after half a second, a loop of the program all the time.
        return await self._marks.made(FINISHING) and await self._inner.is_finished()

    def _in_work(self) -> bool:
        """Tell whether this process works on a request of the queue."""
        return any(unit.is_open for unit in self._units.values())

    # -- the rest -------------------------------------------------------------------------------

    async def get_metadata(self) -> RequestQueueMetadata:
        """Get the metadata of the queue."""
        return await self._inner.get_metadata()

    async def add_batch_of_requests(
        self, requests: Sequence[Request], *, forefront: bool = False
    ) -> AddRequestsResponse:
        """Add requests."""
        return await self._inner.add_batch_of_requests(requests, forefront=forefront)

    async def get_request(self, unique_key: str) -> Request | None:
        """Get a request."""
        return await self._inner.get_request(unique_key)

    async def drop(self) -> None:
        """Drop the queue, and forget its marks."""
        self._marks.forget()
        await self._inner.drop()

    async def purge(self) -> None:
        """Remove all requests, and forget their marks."""
        await self._inner.purge()
        self._marks.forget()

    def __getattr__(self, name: str) -> Any:
        """Give what only the client of this kind of queue has."""
        if name == "_inner":  # it is being made
            raise AttributeError(name)
        return getattr(self._inner, name)


def abandon() -> None:
    """Undo what was written for all requests in work, since the Actor ends: it would be half.

    Their handlers are not waited for: one of them may be what ends the Actor. The requests stay in
    the queue, and no others are handed out until `go_on`. The caller is in no unit afterwards.
    """
    global _ending
    _ending = True
    for client in list(_clients):
        client.abandon()
    if working.get() is not None:
        working.set(None)
        inside.set(None)


@contextlib.contextmanager
def abandoned() -> Generator[None]:
    """Undo what was written for all requests in work; if the body raises, they are worked again."""
    unit, membership = working.get(), inside.get()
    abandon()
    try:
        yield
    except BaseException:
        working.set(unit)  # which refuses what the caller writes from now on
        inside.set(membership)
        go_on()
        raise


def go_on() -> None:
    """Hand out requests again: the Actor has ended, or not after all, and the process goes on."""
    global _ending
    _ending = False


def _at_home() -> bool:
    from apify import Configuration

    return Configuration.get_global_configuration().is_at_home


async def wrap_request_queue_client(inner: RequestQueueClient) -> RequestQueueClient:
    """Give a client of the same queue that marks requests as handled after the save.

    Args:
        inner: The client of the SDK or of Crawlee.
    """
    metadata = await inner.get_metadata()
    return InStepQueueClient(inner, metadata.id, metadata.name)
