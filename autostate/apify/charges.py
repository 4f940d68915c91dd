"""Charged events of a run as the destination of an outbox: each is charged exactly once.

Each charge is sent with an idempotency key, the id of its item. The platform ignores a key that it
has seen in the last 180 seconds. So a charge that was first sent less than `TRUST` seconds ago is
sent again when it is not known whether it has arrived; after a kill the time at which it was put
into the outbox stands for the time at which it was sent. For an older one the run's own counts of
charged events are asked: the place of the outbox is what they are after all confirmed charges, and
what they are above that has arrived. Which of several charges that was does not matter: it is
enough that as many are taken for arrived as have been counted.

What this rests on:

- The counts of a run (`chargedEventCounts`) lag by less than `api.LATE` seconds, and include a
  request without an answer by then, or never will: so long `find` waits.
- The clocks of two containers differ by less than 180 - `TRUST` seconds.
- Nobody else charges for the same events of this run, but through this outbox; and the program does
  not use a key of its own again that a former process has used, within 180 seconds: the platform
  ignores such a charge, and the place counts it.
"""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, TypedDict
from urllib.parse import quote

from autostate.apify import api
from autostate.deadline import backoff
from autostate.delivery.destination import Destination, OutboxItem
from autostate.process.interrupts import Worker

TRUST: Final = 120.0
"""Seconds for which a key is trusted to be known; the platform keeps it for 180."""


ATTEMPTS: Final = 6
SENDING: Final = 20.0
"""How often one charge is sent before the courier is told, and for how many seconds."""


CONNECTIONS: Final = 8
"""So many charges are sent at a time: one after another they would be slower than a crawl."""


class Charge(TypedDict):
    """What is charged.

    Attributes:
        event: The name of the event.
        count: How often.
        key: The idempotency key of the program; None: the id of the item.
        at: When it was put into the outbox, in seconds since 1970.
    """

    event: str
    count: int
    key: str | None
    at: float


class UnsureError(ConnectionError):
    """It has become too late to send a charge again without asking for the counts."""


class PlatformCharges(Destination[Charge]):
    """The charges of a run.

    Args:
        run_id: The id of the run.
        credentials: Where the API is.
        now: Seconds since 1970.
    """

    batch = 100
    settle = api.LATE

    def __init__(
        self, run_id: str, credentials: api.Credentials, *, now: Callable[[], float] = time.time
    ) -> None:
        self._connections = [api.Api(credentials) for _ in range(CONNECTIONS)]
        self._path = f"/v2/actor-runs/{quote(run_id, safe='')}"
        self._now = now
        self._first_sent: dict[int, float] = {}
        self._doubtful: set[int] = set()
        self._confirmed: set[int] = set()  # in a delivery that has failed for others

    def settle_after(self, error: BaseException | None) -> float:
        """Return how many seconds a request may still be carried out: not after an answer."""
        is_answered = error is not None and not isinstance(error, api.UnansweredError)
        return 0.0 if is_answered else api.lateness(self.settle)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def begin(self) -> dict[str, int]:
        """Return the counts of the run."""
        return self._counts()

    def deliver(self, items: Sequence[OutboxItem[Charge]], place: Any) -> dict[str, int]:
        """Charge, several at a time; the order of charges means nothing."""
        counts: Counter[str] = Counter(place or {})
        for item in items:
            if item.position not in self._doubtful:  # else the former process may have sent it
                self._first_sent.setdefault(item.position, self._now())
            elif not self._is_young(item):
                raise UnsureError("a charge was not confirmed in time; the counts are asked")
        self._send_all(items)
        counts.update(sums(items))
        for item in items:
            self._forget(item)
        return dict(counts)

    def find(
        self, items: Sequence[OutboxItem[Charge]], place: Any
    ) -> tuple[Collection[int], dict[str, int]]:
        """Tell which of the older charges have arrived; the younger ones are sent again."""
        confirmed = [item for item in items if item.position in self._confirmed]
        asked = [item for item in items if item.position not in self._confirmed]
        old = [item for item in asked if not self._is_young(item)]
        if old and len(old) < len(asked):
            raise UnsureError("some charges are in doubt; the counts are asked later")
        counts: Counter[str] = Counter(place or {})
        counts.update(sums(confirmed))
        arrived = [item.position for item in confirmed]
        found = Counter(self._counts() if old else {})
        for event in {item.value["event"] for item in old}:
            these = [item for item in old if item.value["event"] == event]
            chosen = subset([item.value["count"] for item in these], found[event] - counts[event])
            arrived += [these[at].position for at in chosen]
            counts[event] += sum(these[at].value["count"] for at in chosen)
        self._doubtful.update(item.position for item in asked)
        for item in [*confirmed, *old]:
            self._forget(item)
        return arrived, dict(counts)

    def _forget(self, item: OutboxItem[Charge]) -> None:
        self._doubtful.discard(item.position)
        self._confirmed.discard(item.position)
        self._first_sent.pop(item.position, None)

    def _is_young(self, item: OutboxItem[Charge]) -> bool:
        """Tell whether the platform still knows the key, if the charge was sent."""
        return self._now() - self._first_sent.get(item.position, item.value["at"]) < TRUST

    def _send_all(self, items: Sequence[OutboxItem[Charge]]) -> None:
        """Send charges over several connections; raise if any was not confirmed."""
        left = deque(items)
        errors: list[Exception] = []

        def send(connection: api.Api) -> None:
            while left and not errors:
                try:
                    item = left.popleft()
                except IndexError:  # another one was faster
                    return
                try:
                    self._send(connection, item)
                except Exception as error:
                    errors.append(error)
                else:
                    self._confirmed.add(item.position)

        first, *others = self._connections[: len(items)]
        workers: list[Worker] = []
        for connection in others:
            worker = Worker(functools.partial(send, connection), "autostate-charges")
            try:
                worker.start()
            except RuntimeError:  # the interpreter is ending
                break
            workers.append(worker)
        send(first)
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]

    def _send(self, connection: api.Api, item: OutboxItem[Charge]) -> None:
        """Send one charge. It is sent again with the same key while there is no answer."""
        charge = item.value
        body = json.dumps({"eventName": charge["event"], "count": charge["count"]}).encode()
        headers = {"idempotency-key": charge["key"] or item.id}
        begun = time.monotonic()
        for attempt in itertools.count(1):
            try:
                connection.send("POST", f"{self._path}/charge", body, headers)
            except ConnectionError:
                if attempt == ATTEMPTS or time.monotonic() - begun > SENDING:
                    raise
                time.sleep(backoff(attempt, first=0.1, longest=2.0))
            else:
                return

    def _counts(self) -> dict[str, int]:
        """Return how often each event was charged for, as the run tells."""
        run = self._connections[0].read(self._path)["data"]
        return {
            str(event): int(count) for event, count in (run.get("chargedEventCounts") or {}).items()
        }


def sums(items: Iterable[OutboxItem[Charge]]) -> Counter[str]:
    """Return how often each event is charged for."""
    sums: Counter[str] = Counter()
    for item in items:
        sums[item.value["event"]] += item.value["count"]
    return sums


def subset(counts: Sequence[int], total: int) -> list[int]:
    """Choose some of several counts whose sum is a total, or as near below it as possible.

    Args:
        counts: Positive numbers.
        total: What they are to add up to.

    Returns:
        The indices of the chosen ones.
    """
    total = min(total, sum(counts))
    if total <= 0:
        return []
    if len(set(counts)) == 1:  # nearly always: one event at a time
        return list(range(total // counts[0]))
    # Bit n of `sums[i]` says whether some of the first i counts add up to n.
    sums = [1]
    mask = (1 << total + 1) - 1
    for count in counts:
        sums.append((sums[-1] | sums[-1] << count) & mask)
    left = sums[-1].bit_length() - 1
    chosen = []
    for at in range(len(counts) - 1, -1, -1):
        if not sums[at] >> left & 1:  # not without this one
            chosen.append(at)
            left -= counts[at]
    return chosen[::-1]
