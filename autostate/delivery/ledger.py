"""What an outbox has not delivered, as a state object, and which of it is durable.

The state is a dict:

    "id"        names the outbox for good
    "place"     what the destination has returned last: see `destination.Destination`
    "next"      above the positions of all items that were delivered or set aside
    "aside"     (text, error) of the items that were set aside, by their positions
    positions   the texts of the items that are pending, by their positions

Positions are counted in memory, not in the state: an `atomic()` block that raises takes back what
it has put, and a number in the state would be taken back with it, below positions that others got
meanwhile. So positions may be missing. None is used twice, as "next" is stored with each delivery.

The bytes of the texts are counted as items come and go, so that `put` costs the same however many
are pending. Items of a block that was undone vanish without a word: they are looked for when the
outbox seems full, and at each save.

Every write is made with the tracker's lock. Without it, a thread that is in the middle of an
assignment while a cut is taken could assign after the cut has copied the entries, and before
`taken` looks: the item would count as part of a cut that does not have it.
"""

from __future__ import annotations

import contextvars
import copy
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from autostate.containers.outbox_state import OutboxState, outbox_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from autostate.runtime.manager import StateManager

LONGEST_ERROR: Final = 1_000
"""Characters of the error that are kept with an item that was set aside."""


class Ledger:
    """What one outbox has not delivered.

    Args:
        manager: The manager of the state.
        name: The name of the outbox.
        tell: Called when items may be delivered, by the flush thread.

    Attributes:
        id: Names the outbox for good.
        state: The state object.
        saved: The number of the newest cut that is durable.
        bytes: The bytes of the texts of the pending items.
        aside_count: The number of items that were set aside.
        aside_bytes: The bytes of their texts.
        resumed: The positions that a former process has left, in order.
    """

    def __init__(
        self, manager: StateManager, name: str, tell: Callable[[], None], *, own: bool = False
    ) -> None:
        self._tracker = manager._tracker()
        self._name = name
        self._tell = tell
        self.state: OutboxState = outbox_state(manager, name, own=own)
        with self._tracker.lock:
            state = self.state
            if "id" not in state:
                # In an empty context: an `atomic()` block around the first use of the outbox may
                # raise. The id would be undone with it, and the next process would have another.
                contextvars.Context().run(state.__setitem__, "id", uuid.uuid4().hex[:16])
            self.id: str = state["id"]
            self.resumed: list[int] = sorted(key for key in state if type(key) is int)
            self._next = max(state.get("next", 0), *(at + 1 for at in self.resumed[-1:]), 0)
            self._place: Any = state.get("place")
            self._place_in: int | None = None if state.get("place") is None else 0
            self._fresh: dict[int, int] = {}  # positions that no cut has, and their bytes
            self.bytes: int = sum(size_of(state[position]) for position in self.resumed)
            self._count_aside()
            self._taken: deque[tuple[int, list[int]]] = deque()
            self._ready: deque[int] = deque(self.resumed)
            self.saved = 0
            self._tracker.followers.append(self)

    # -- for any thread -----------------------------------------------------------------------

    def put(self, texts: Iterable[str]) -> list[int]:
        """Add items, which are delivered when they are durable; return their positions.

        Raises:
            RuntimeError: The outbox was deleted or closed, and keeps nothing.
        """
        added = []
        with self._tracker.lock:
            self.check_kept()
            for text in texts:
                # The item comes last: of Ctrl-C in between only a number remains that no item has.
                position, self._next = self._next, self._next + 1
                self._fresh[position] = size = size_of(text)
                self.bytes += size
                self.state[position] = text
                added.append(position)
        return added

    def check_kept(self) -> None:
        """Refuse what would not be kept.

        Raises:
            RuntimeError: The outbox was deleted or closed.
        """
        if not self.is_kept:
            raise RuntimeError(
                f"the outbox {self._name!r} was deleted, or its state was closed, and keeps "
                "nothing: make it again by outbox()"
            )

    @property
    def next_position(self) -> int:
        """The position of the next item, unless others put items meanwhile."""
        position: int = self._next
        return position

    def take_position(self) -> int:
        """Return a position that no item gets, below those of all later ones."""
        with self._tracker.lock:
            position: int = self._next
            self._next = position + 1
            return position

    def ask_for_cut(self) -> None:
        """Let a cut come as after a change; the lock is held.

        Raises:
            RuntimeError: The outbox was deleted or closed.
        """
        self.check_kept()
        node = self.state._node_
        if node is not None:
            self._tracker.touch(node, "id")
            self._tracker.wake()

    def skip_to(self, position: int) -> None:
        """Give no later item a position below this one."""
        with self._tracker.lock:
            self._next = max(self._next, position)

    def __len__(self) -> int:
        """Return the number of pending items; those of open `atomic()` blocks count."""
        state = self.state  # no loop: each `put` asks
        others = ("id" in state) + ("place" in state) + ("next" in state) + ("aside" in state)
        return max(0, len(state) - others)

    @property
    def is_all_fresh(self) -> bool:
        """Whether no cut has any of the pending items."""
        return len(self._fresh) >= len(self)

    def drop_undone(self) -> None:
        """Count no longer the items of blocks that were undone."""
        with self._tracker.lock:
            for position in [at for at in self._fresh if at not in self.state]:
                self.bytes -= self._fresh.pop(position)

    @property
    def is_kept(self) -> bool:
        """Whether the state object is saved: it was neither deleted nor closed."""
        return self.state._node_ is not None

    @property
    def is_ours(self) -> bool:
        """Whether this process may write the state, as far as it knows.

        The child of a fork, a process that only reads, and one whose state a later process has
        taken over must not deliver: another process does.
        """
        return self._tracker.gate is None and self.is_kept

    def pass_gate(self) -> None:
        """Claim the state if this process may; raise the error of a write otherwise."""
        self._tracker.pass_gate()

    def close(self) -> None:
        """Follow the cuts no longer."""
        with self._tracker.lock:
            self._tracker.followers = [f for f in self._tracker.followers if f is not self]

    # -- for the thread that delivers -------------------------------------------------------------

    @property
    def place(self) -> Any:
        """What the destination has returned last.

        This is the destination's object, of which the state has a copy: nobody holds that one, so
        that it is converted, and no cut has to wait until it is let go.
        """
        return self._place

    @property
    def has_place(self) -> bool:
        """Whether there is a place, and it is durable."""
        return self._place_in is not None and self._place_in <= self.saved

    @property
    def knows_place(self) -> bool:
        """Whether there is a place, durable or not."""
        return self.place is not None

    def set_place(self, place: Any) -> None:
        """Note where the first item will arrive."""
        with self._tracker.lock:
            self._set_place(place)

    def _set_place(self, place: Any) -> None:
        self._place = place
        self.state["place"] = copy.deepcopy(place)

    def snapshot(self) -> tuple[Any, list[tuple[int, str]]]:
        """Return the place, and all pending items as positions and texts, at one moment."""
        with self._tracker.lock:
            state = self.state
            positions = sorted(key for key in state if type(key) is int)
            return state.get("place"), [(position, state[position]) for position in positions]

    def positions(self) -> list[int]:
        """Return the positions of all durable items."""
        with self._tracker.lock:
            return [position for position in self._ready if position in self.state]

    def ready(self, most: int | None, most_bytes: int | None = None) -> list[tuple[int, str]]:
        """Return the next durable items, as positions and texts.

        Args:
            most: The most items; None: all.
            most_bytes: The most bytes of all texts, unless the first alone has more; None: any
                number.
        """
        found: list[tuple[int, str]] = []
        total = 0
        ready, state = self._ready, self.state
        while ready and ready[0] not in state:  # delivered, set aside, or deleted by hand
            ready.popleft()
        # `durable` may append meanwhile, and an iterator of a deque does not bear that: a batch is
        # found by numbers. They are fast near the beginning, where all of a batch is.
        for index in range(len(ready)):
            if most is not None and len(found) >= most:
                break
            position = ready[index]
            text = state.get(position)
            if text is None:  # delivered out of order
                continue
            total += size_of(text)
            if found and most_bytes is not None and total > most_bytes:
                break
            found.append((position, text))
        return found

    def has(self, position: int) -> bool:
        """Tell whether an item is pending."""
        return position in self.state

    def delivered(self, positions: Collection[int], place: Any) -> None:
        """Forget items that have arrived, and note where the next one will."""
        with self._tracker.lock:  # in one cut
            self._note_next(positions)
            for position in positions:
                self.bytes -= size_of(self.state.pop(position, ""))
            if not len(self):  # what Ctrl-C in the middle of a count has left over
                self.bytes = 0
            if place != self.state.get("place"):  # the destination may have changed its object
                self._set_place(place)

    def set_aside(self, position: int, error: str) -> None:
        """Keep an item that cannot be delivered, and deliver the others."""
        with self._tracker.lock:
            self._note_next([position])
            text = self.state.pop(position, None)
            if text is not None:
                aside = self.state.setdefault("aside", {})
                aside[position] = (text, error[:LONGEST_ERROR])
                self.bytes -= size_of(text)
                self._count_aside()

    def aside(self) -> list[tuple[int, str, str]]:
        """Return the items that were set aside, as positions, texts and errors."""
        with self._tracker.lock:
            found = self.state.get("aside", {})
            return [(position, *kept) for position, kept in found.items()]

    def retry_aside(self) -> None:
        """Put the items that were set aside at the end again."""
        with self._tracker.lock:  # in one cut; Ctrl-C in between loses nothing
            self.put([text for _, text, _ in self.aside()])
            self.forget_aside()

    def forget_aside(self) -> None:
        """Delete the items that were set aside."""
        with self._tracker.lock:
            self.state.pop("aside", None)
            self._count_aside()

    def _count_aside(self) -> None:
        aside = self.state.get("aside", {})
        self.aside_count: int = len(aside)
        self.aside_bytes: int = sum(size_of(text) for text, _ in aside.values())

    def _note_next(self, positions: Iterable[int]) -> None:
        following = max(positions, default=-1) + 1
        if following > self.state.get("next", 0):
            self.state["next"] = following

    # -- a follower of the cuts -------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether something waits to become durable: see `tracking.capture.Follower`."""
        if self._fresh or self._taken:
            return True
        return self.knows_place and not self.has_place

    def taken(self, number: int) -> None:
        """Note which items are part of a cut; the lock is held."""
        state = self.state
        here = [position for position in self._fresh if position in state]
        for position in here:
            del self._fresh[position]
        if here:
            self._taken.append((number, here))
        if self._place_in is None and state.get("place") is not None:
            self._place_in = number

    def durable(self, number: int) -> None:
        """Note that all cuts up to a number are durable."""
        with self._tracker.lock:
            self.saved = max(self.saved, number)  # the child of a fork begins at 0
            while self._taken and self._taken[0][0] <= number:
                self._ready.extend(self._taken.popleft()[1])
            self.drop_undone()
        if self._ready or self._fresh or self.knows_place:
            self._tell()


def size_of(text: str) -> int:
    """Return the bytes of a text in the state; in one step for most, which are ASCII."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
