"""What an outbox has not delivered, as a state object, and which of it is durable.

The state is a dict:

    "id"        names the outbox for good
    "place"     what the destination has returned last: see `destination.Destination`
    positions   the texts of the items that are pending, by their positions
    "aside N"   (text, error) of the item at position N, which was set aside

Positions are counted in memory, not in the state: an `atomic()` block that raises takes back what
it has put, and a number in the state would be taken back with it, below positions that others got
meanwhile. So positions may be missing. None is used twice, as "next" is stored with each delivery.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from autostate.containers.outbox_state import OutboxState, outbox_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from autostate.runtime.manager import StateManager

_ASIDE: Final = "aside "


class Ledger:
    """What one outbox has not delivered.

    Args:
        manager: The manager of the state.
        name: The name of the outbox.
        tell: Called when items have become durable, by the flush thread.

    Attributes:
        id: Names the outbox for good.
        resumed: The positions that a former process has left, in order.
        waits: Whether something waits to become durable: see `tracking.capture.Follower`.
    """

    def __init__(self, manager: StateManager, name: str, tell: Callable[[], None]) -> None:
        tracker = manager.tracker()
        self._tell = tell
        self._lock = tracker.lock
        self._state: OutboxState = outbox_state(manager, name)
        with self._lock:
            state = self._state
            self.id: str = state.setdefault("id", uuid.uuid4().hex[:16])
            self.resumed: list[int] = sorted(key for key in state if type(key) is int)
            self._others = len(state) - len(self.resumed)
            self._next = max(state.get("next", 0), *(at + 1 for at in self.resumed[-1:]), 0)
            self._place_in: int | None = 0 if "place" in state else None
        self._numbers = itertools.count(self._next)
        self._fresh: dict[int, bool] = {}
        self._taken: deque[tuple[int, list[int]]] = deque()
        self._ready: deque[int] = deque(self.resumed)
        self._durable = 0
        self.waits = True
        tracker.followers.append(self)

    # -- for any thread -----------------------------------------------------------------------

    def put(self, texts: Iterable[str]) -> list[int]:
        """Add items, which are delivered when they are durable; return their positions."""
        added = []
        self.waits = True
        for text in texts:
            position = next(self._numbers)
            # Before it is written: a cut that has the item must find it here.
            self._fresh[position] = False
            self._state[position] = text
            self._fresh[position] = True
            added.append(position)
        return added

    def __len__(self) -> int:
        """Return the number of pending items; those of open `atomic()` blocks count."""
        return max(0, len(self._state) - self._others)

    @property
    def is_kept(self) -> bool:
        """Whether the state object is saved: it was neither deleted nor closed."""
        return self._state._node_ is not None

    # -- for the thread that delivers -------------------------------------------------------------

    @property
    def place(self) -> Any:
        """What the destination has returned last."""
        return self._state.get("place")

    @property
    def has_place(self) -> bool:
        """Whether there is a place, and it is durable."""
        return self._place_in is not None and self._place_in <= self._durable

    def set_place(self, place: Any) -> None:
        """Note where the first item will arrive."""
        with self._lock:
            self._others += "place" not in self._state
            self._state["place"] = place

    def positions(self) -> list[int]:
        """Return the positions of all durable items."""
        return list(self._ready)

    def ready(self, most: int, most_bytes: int) -> list[tuple[int, str]]:
        """Return the next durable items, as positions and texts.

        Args:
            most: The most items.
            most_bytes: The most characters of all texts, unless the first alone has more.
        """
        found: list[tuple[int, str]] = []
        for position in list(itertools.islice(self._ready, most)):
            text = self._state.get(position)
            if text is None:  # deleted by hand
                self._ready.remove(position)
                continue
            most_bytes -= len(text)
            if found and most_bytes < 0:
                break
            found.append((position, text))
        return found

    def delivered(self, positions: Collection[int], place: Any) -> None:
        """Forget items that have arrived, and note where the next one will."""
        with self._lock:  # in one cut
            self._note_next(positions)
            for position in positions:
                self._state.pop(position, None)
            if place != self.place:
                self._others += "place" not in self._state
                self._state["place"] = place
        self._forget(positions)

    def set_aside(self, position: int, error: str) -> None:
        """Keep an item that cannot be delivered, and deliver the others."""
        with self._lock:
            self._note_next([position])
            text = self._state.pop(position, None)
            if text is not None:
                self._state[f"{_ASIDE}{position}"] = (text, error)
                self._others += 1
        self._forget([position])

    def aside(self) -> list[tuple[int, str, str]]:
        """Return the items that were set aside, as positions, texts and errors."""
        with self._lock:
            keys = [key for key in self._state if type(key) is str and key.startswith(_ASIDE)]
            return [(int(key[len(_ASIDE) :]), *self._state[key]) for key in keys]

    def forget_aside(self, positions: Iterable[int]) -> None:
        """Delete items that were set aside."""
        with self._lock:
            for position in positions:
                if self._state.pop(f"{_ASIDE}{position}", None) is not None:
                    self._others -= 1

    def _note_next(self, positions: Iterable[int]) -> None:
        following = max(positions, default=-1) + 1
        if following > self._state.get("next", 0):
            self._others += "next" not in self._state
            self._state["next"] = following

    def _forget(self, positions: Collection[int]) -> None:
        gone = set(positions)
        while self._ready and self._ready[0] in gone:
            gone.discard(self._ready.popleft())
        for position in gone:  # out of order
            with contextlib.suppress(ValueError):
                self._ready.remove(position)

    # -- a follower of the cuts -------------------------------------------------------------------

    def taken(self, number: int) -> None:
        """Note which items are part of a cut; the lock is held."""
        state = self._state
        here = [position for position in list(self._fresh) if position in state]
        for position in here:
            del self._fresh[position]
        if here:
            self._taken.append((number, here))
        if self._place_in is None and "place" in state:
            self._place_in = number

    def durable(self, number: int) -> None:
        """Note that all cuts up to a number are durable."""
        had_place = self.has_place
        self._durable = number
        news = self.has_place and not had_place
        while self._taken and self._taken[0][0] <= number:
            self._ready.extend(self._taken.popleft()[1])
            news = True
        for position, is_written in list(self._fresh.items()):
            if is_written and position not in self._state:  # its block was undone
                self._fresh.pop(position, None)
        self.waits = bool(self._fresh or self._taken or not self.has_place)
        if news:
            self._tell()
