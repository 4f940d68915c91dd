"""Whatever processes do in whichever order, each sees what all have published, merged by the laws.

Clocks differ by hours, and hours go by while a process does nothing; answers are lost, and the
writes of which they told arrive again at any later time; folds come in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st

from autostate.errors import StoreUnavailableError
from autostate.shared import fold as folding, shelf as shelves
from autostate.shared.handle import ABSENT
from autostate.shared.kinds import COUNTER, SET, DictKind, Entries, Kind
from autostate.shared.replica import Replica, Shared
from tests.faulty import STORES, FaultyStore, Promises, Records, Step

SKEWS: Final = (0.0, -4 * 3600.0, 50 * 24 * 3600.0)
KINDS: Final[dict[str, tuple[Kind, type[Any], st.SearchStrategy[Any]]]] = {
    "hits": (COUNTER, Counter, st.integers(-2, 2)),
    "seen": (SET, set, st.booleans()),
    "last": (DictKind(), dict, st.one_of(st.integers(0, 9), st.just(ABSENT))),
    "best": (DictKind(min), dict, st.integers(0, 9)),
}


def expected(name: str, contributions: Iterable[Entries]) -> Any:
    """What an object shows after these contributions, said another way than the library does."""
    found: dict[str, list[Any]] = {}
    for entries in contributions:
        for key, entry in entries.items():
            found.setdefault(key, []).append(entry)
    if name == "hits":
        return {key: sum(each) for key, each in found.items() if sum(each)}
    if name == "seen":
        return {key for key, each in found.items() if _is_member(each)}
    if name == "best":
        return {key: min(int(text) for _, _, text in each) for key, each in found.items()}
    last = {key: max(each, key=lambda entry: entry[:2])[2] for key, each in found.items()}
    return {key: int(text) for key, text in last.items() if text is not None}


def _is_member(entries: Iterable[Any]) -> bool:
    added = {(who, number) for one, _ in entries for who, number in one.items()}
    removed = {
        (who, number)
        for who, number in added
        if any(each[1].get(who, 0) >= number for each in entries)
    }
    return bool(added - removed)


class World:
    """Processes and a store.

    Args:
        promises: What the store promises.
    """

    def __init__(self, promises: Promises) -> None:
        self.promises = promises
        self.records: Records = {}
        self.late: list[Step] = []
        self.now = 1e9
        self.loses_answer = False
        self.processes = [Process(self, skew) for skew in SKEWS]

    def on_step(self, step: Step) -> None:
        """Lose the answer to a write that has arrived, and let it arrive again."""
        step.apply()
        if step.writes and self.loses_answer:
            self.loses_answer = False
            self.late.append(step)
            raise StoreUnavailableError("answer lost")

    def arrive(self) -> None:
        """Let a write arrive again."""
        with suppress(Exception):  # a store refuses it, and tells nobody
            self.late.pop(0).apply()

    def published(self) -> list[tuple[str, Entries]]:
        """All contributions that are published."""
        return [each for process in self.processes for each in process.made[: process.published]]


class Process:
    """A process whose clock is hours off."""

    def __init__(self, world: World, skew: float) -> None:
        self.world = world
        self.made: list[tuple[str, Entries]] = []
        self.published = 0
        self.seen: list[tuple[str, Entries]] = []  # of others
        store = FaultyStore(world.records, world.on_step, **world.promises)
        self.replica = Replica(store, now=lambda: world.now + skew)
        self.containers: dict[str, Any] = {}
        for name, (kind, builtin, _) in KINDS.items():
            self.containers[name] = self.replica.open(name, kind, partial(_made, builtin))
        contribute = self.replica.writer.contribute

        def noted(name: str, kind: Kind, entries: Mapping[str, Any]) -> None:
            self.made.append((name, {**entries}))
            contribute(name, kind, entries)

        self.replica.writer.contribute = noted  # type: ignore[method-assign]

    def publish(self, *, loses_answer: bool) -> None:
        """Publish; if the answer is lost, again."""
        self.world.loses_answer = loses_answer
        while True:
            try:
                self.replica.flush(60.0)
            except StoreUnavailableError:
                continue
            break
        self.world.loses_answer = False
        self.published = len(self.made)

    def refresh(self) -> None:
        """Read what others have published."""
        self.replica.refresh()
        others = [each for each in self.world.processes if each is not self]
        self.seen = [each for other in others for each in other.made[: other.published]]
        self.check()

    def check(self) -> None:
        """All own changes are in view, and those of others as of the last refresh."""
        for name, container in self.containers.items():
            known = [entries for which, entries in self.seen + self.made if which == name]
            assert container == expected(name, known), name

    def fold(self) -> None:
        """Fold."""
        folding.fold(self.replica.shelf, self.replica.kind_of, self.replica._clock)


def _made(builtin: type[Any], _: Shared) -> Any:
    return builtin()


@pytest.mark.parametrize("store", STORES)
@given(data=st.data())
def test_all_see_the_same_in_any_course_of_events(store: str, data: st.DataObject) -> None:
    """Counters, sets and dicts, between folds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelves, "ERA", 2)
        world = World(STORES[store])
        for _ in range(data.draw(st.integers(1, 25))):
            process = data.draw(st.sampled_from(world.processes))
            match data.draw(st.sampled_from("wwwwprflh")):
                case "w":
                    name = data.draw(st.sampled_from(sorted(KINDS)))
                    operation = data.draw(KINDS[name][2])
                    process.replica.objects[name].write(
                        {data.draw(st.sampled_from("ab")): operation}
                    )
                    process.check()
                case "p":
                    process.publish(loses_answer=data.draw(st.booleans()))
                case "r":
                    process.refresh()
                case "f":
                    process.fold()
                case "l" if world.late:
                    world.arrive()
                case _:
                    world.now += 7 * 3600
        for process in world.processes:
            process.publish(loses_answer=False)
        for process in world.processes:
            process.refresh()
        shown = [process.containers for process in world.processes]
        assert shown[0] == shown[1] == shown[2]
