from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from autostate.errors import FencedError, StoreGoneError, StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.ownership import PATIENCE
from autostate.stores.memory import MemoryStore
from tests import faulty
from tests.campaign import sampled
from tests.faulty import STORES, FaultyStore, Promises, Step
from tests.journal.changes import BEGIN, change, journal, stored

Order = Iterable[tuple[str, int]]
FOREVER = 10_000
PACES = (0.9, PATIENCE)
"""Seconds between two looks at the clock: what is patient, and what is not at all."""


class Turns:
    """Lets several threads make their steps in exactly one order: so many of this, then of that."""

    def __init__(self, order: Order) -> None:
        self._order = [[who, count] for who, count in order]
        self._changed = threading.Condition()

    def of(self, who: str) -> Callable[[Step], None]:
        """Make the function through which the steps of one thread pass."""

        def on_step(step: Step) -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: self._turn() == who, timeout=60)
                step.apply()
                self._order[0][1] -= 1  # type: ignore[operator]
                self._changed.notify_all()

        return on_step

    def leave(self, who: str) -> None:
        """Take a thread that has ended out of the order."""
        with self._changed:
            self._order = [turn for turn in self._order if turn[0] != who]
            self._changed.notify_all()

    def _turn(self) -> str | None:
        while self._order and self._order[0][1] == 0:
            self._order.pop(0)
        return str(self._order[0][0]) if self._order else None


@dataclass
class Writer:
    """An incarnation that notes what was acknowledged to it, until it is told to stop."""

    name: str
    journal: Journal
    acknowledged: list[str] = field(default_factory=list)
    early: bool = False

    def run(self, commits: int = 5) -> None:
        """Recover, commit, compact, commit; with a check after each write, as a flush does."""
        try:
            begun = self.journal.recover().nodes
            if self.early:
                self.journal.take_over()
            if not begun:
                self.save(BEGIN)
            for number in range(commits):
                page = f"{self.name}{number}"
                self.save([change(id=1, put={page: "x" * 200 * (number % 3)})], page)
                if number == commits - 2:
                    patiently(lambda: self.journal.compact(pause=lambda: None))
        except FencedError:
            assert self.journal.fenced

    def save(self, changes: list[bytes], page: str | None = None) -> None:
        """Commit; it counts once the check after it has passed."""
        patiently(lambda: self.journal.commit(changes))
        patiently(self.journal.check_owner)
        if page:
            self.acknowledged.append(page)

    def is_told(self) -> bool:
        """Whether it knows by now that it was overtaken."""
        try:
            patiently(self.journal.check_owner)
        except FencedError:
            return True
        return self.journal._writer.ownership.held is False


def patiently(act: Callable[[], object]) -> None:
    """Do something again while another process may be taking over, as the flush job does."""
    for _ in range(100):
        with suppress(StoreUnavailableError):
            act()
            return
    pytest.fail("it waits for ever")


def paced(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever it is looked at."""
    return itertools.count(0, seconds).__next__


@dataclass
class Race:
    """Two incarnations on the same records, in one order of steps."""

    promises: Promises
    names: tuple[str, str]
    seeded: bool
    early: bool = False
    pace: float = 1.0

    def run(self, order: Order) -> tuple[list[Writer], faulty.Records]:
        """Run both to their ends."""
        records: faulty.Records = {}
        if self.seeded:
            Writer("seed", journal(FaultyStore(records, **self.promises))).run(3)
        turns = Turns(order)
        writers = []
        for name in self.names:
            store = FaultyStore(records, turns.of(name), **self.promises)
            made = journal(store, token=lambda name=name: name, monotonic=paced(self.pace))
            writers.append(Writer(name, made, early=self.early))

        def run(writer: Writer) -> None:
            try:
                writer.run()
            finally:
                turns.leave(writer.name)

        threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for writer in writers:
            writer.journal._store.on_step = faulty.untroubled  # type: ignore[attr-defined]
        return writers, records

    def steps(self, number: int) -> int:
        """How many steps one of them takes alone."""
        order = [(self.names[number], FOREVER), (self.names[1 - number], FOREVER)]
        writers, _ = self.run(order)
        return int(writers[number].journal._store.steps)  # type: ignore[attr-defined]


@pytest.mark.parametrize("early", [False, True], ids=["by a commit", "early"])
@pytest.mark.parametrize("seeded", [False, True], ids=["empty", "seeded"])
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids="".join)
@pytest.mark.parametrize("promises", STORES.values(), ids=STORES.keys())
def test_of_two_incarnations_in_any_order_one_is_told_and_nothing_is_lost(
    promises: Promises, names: tuple[str, str], seeded: bool, early: bool, rng: random.Random
) -> None:
    """One is paused at any step, the other runs and is paused at any step, then both go on."""
    race = Race(promises, names, seeded, early)
    first, second = names
    ones, others = range(race.steps(0) + 1), range(race.steps(1) + 1)
    takeover = itertools.product(ones[:10], others[:10])
    later = () if early else itertools.product(ones, others[10:])
    for one, other in [*sampled(rng, takeover, 15), *sampled(rng, later, 10)]:
        race.pace = rng.choice(PACES)
        order = [(first, one), (second, other), (first, FOREVER), (second, FOREVER)]
        writers, records = race.run(order)
        pages = stored(records, promises).get("pages", {})
        for writer in writers:
            assert set(writer.acknowledged) <= pages.keys(), (one, other, race.pace, writer.name)
        assert any(writer.is_told() for writer in writers), (one, other, race.pace)


@pytest.mark.parametrize("promises", STORES.values(), ids=STORES.keys())
def test_a_fenced_writer_deletes_nothing(promises: Promises) -> None:
    """However often it compacts without asking first, what its successor needs stays."""
    records: faulty.Records = {}
    paused = Writer("a", journal(FaultyStore(records, **promises), token=lambda: "a"))
    paused.run()
    successor = Writer("b", journal(FaultyStore(records, **promises), token=lambda: "b"))
    successor.run()
    before = stored(records, promises)

    def goes_on() -> None:
        for number in range(4):
            paused.journal.commit([change(id=1, put={f"late{number}": "x" * 300})])
            paused.journal.compact(pause=lambda: None)

    with pytest.raises(FencedError):
        goes_on()
    assert stored(records, promises) == before
    successor.journal.check_owner()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("promises", STORES.values(), ids=STORES.keys())
def test_whoever_missed_a_first_commit_is_told(promises: Promises, early: bool) -> None:
    """Between a takeover and the first commit after it, nobody may build on the state before."""
    records: faulty.Records = {}
    Writer("seed", journal(FaultyStore(records, **promises))).run(3)
    one = journal(FaultyStore(records, **promises), token=lambda: "a")
    one.recover()
    one.take_over()
    other = journal(FaultyStore(records, **promises), token=lambda: "b")
    other.recover()
    one.commit([change(id=1, put={"first": 1})])
    with pytest.raises(FencedError):
        other.take_over() if early else other.commit([change(id=1, put={"lost": 1})])
    assert stored(records, promises)["pages"]["first"] == 1
    assert other.fenced


@pytest.mark.parametrize("promises", STORES.values(), ids=STORES.keys())
def test_taking_over_early_fences_the_writer_before(promises: Promises) -> None:
    """After take_over, what the one before commits is not acknowledged, and is no obstacle."""
    records: faulty.Records = {}
    before = Writer("a", journal(FaultyStore(records, **promises)))
    before.run()
    later = journal(FaultyStore(records, **promises), token=lambda: "b")
    later.recover()
    later.take_over()
    with pytest.raises(FencedError):
        before.save([change(id=1, put={"too late": 1})])
    later.commit([change(id=1, put={"later": 1})])
    pages = stored(records, promises)["pages"]
    assert pages["later"] == 1
    assert "too late" not in pages


def test_a_store_that_was_wiped_is_told_the_lease_again() -> None:
    """Else a newcomer would count its own, which may be shorter than the owner's."""
    store = MemoryStore()
    owner = journal(store)
    owner.recover()
    owner.hold_lease(60.0)
    owner.commit(BEGIN)
    store.write({}, store.list(""))
    owner.reset()
    owner.commit(BEGIN)
    newcomer = journal(store)
    newcomer.recover()
    found = newcomer.last_owner()
    assert found is not None
    assert found.lease == 60.0


def test_what_this_process_has_lost_may_come_back() -> None:
    """A store that goes back again and again holds nobody else's state: it is told each time."""
    records: dict[str, bytes] = {}
    store = FaultyStore(records, **STORES["conditional"])
    owner = journal(store)
    owner.recover()
    owner.commit(BEGIN)
    earlier = dict(records)
    full = [*BEGIN, change(id=1, put={"again": 1})]
    for there in ([earlier], [{}, earlier], [earlier, {}], [earlier, {}, earlier, {}]):
        owner.commit([change(id=1, put={"lost": 1})])
        for each in there:  # it may be lost again before anything is written
            records.clear()
            records.update(each)
            with pytest.raises(StoreGoneError):
                owner.commit(full)
            owner.reset()
        owner.commit(full)
    assert stored(records, STORES["conditional"])["pages"] == {"again": 1}
    newcomer = journal(store, token=lambda: "other")
    newcomer.recover()
    newcomer.commit([change(id=1, put={"later": 1})])
    with pytest.raises(FencedError):
        owner.commit([change(id=1, put={"never": 1})])


def test_a_renewal_names_the_head_that_is_there() -> None:
    """An owner that does not know that its commit has arrived does not name the head before it."""
    promises = STORES["conditional"]
    store = FaultyStore({}, **promises)
    owner = journal(store)
    owner.recover()
    owner.commit(BEGIN)
    store.on_step = faulty.answer_lost(store.steps)
    with pytest.raises(StoreUnavailableError):
        owner.commit([change(id=1, put={"arrived": 1})])
    store.on_step = faulty.untroubled
    owner.renew()
    assert stored(store.records, promises)["pages"] == {"arrived": 1}


def test_a_renewal_that_is_late_is_not_taken_for_a_takeover() -> None:
    """A check reads the record of the owner once: between two reads a late write may arrive."""
    store = FaultyStore({}, **STORES["conditional"])
    owner = journal(store)
    owner.recover()
    owner.commit(BEGIN)
    store.on_step = faulty.late(store.steps, 2)
    with pytest.raises(StoreUnavailableError):
        owner.renew()
    owner.check_owner()
    owner.check_owner()
    owner.commit([change(id=1, put={"later": 1})])


UNGUARDED = {name: made for name, made in STORES.items() if not made["conditional"]}


def late_claim(records: faulty.Records, promises: Promises, token: str) -> Callable[[], None]:
    """Let a process die while its claim is on its way; give what lets the claim arrive."""
    held: list[Step] = []

    def on_step(step: Step) -> None:
        if step.writes:
            held.append(step)
            raise faulty.KilledError
        step.apply()

    dead = journal(FaultyStore(records, on_step, **promises), token=lambda: token)
    dead.recover()
    with pytest.raises(faulty.KilledError):
        dead.commit(BEGIN)
    return held[0].apply


@pytest.mark.parametrize("early", [False, True], ids=["by a commit", "early"])
@pytest.mark.parametrize("seeded", [False, True], ids=["empty", "seeded"])
@pytest.mark.parametrize("promises", UNGUARDED.values(), ids=UNGUARDED.keys())
def test_a_late_claim_of_a_dead_process_fences_nobody(
    promises: Promises, seeded: bool, early: bool
) -> None:
    """Wherever it arrives, and also a second one on top of the answer to the first."""
    for number, second in itertools.product(range(50), (1, 4, FOREVER)):
        records: faulty.Records = {}
        if seeded:
            Writer("seed", journal(FaultyStore(records, **promises))).run(3)
        late = [late_claim(records, promises, token) for token in ("x", "z")]
        arrivals = dict(zip((number, number + second), late, strict=True))

        def on_step(step: Step, arrivals: dict[int, Callable[[], None]] = arrivals) -> None:
            arrivals.get(step.number, lambda: None)()
            step.apply()

        store = FaultyStore(records, on_step, **promises)
        living = Writer("a", journal(store, token=lambda: "a", monotonic=paced(1.0)), early=early)
        living.run()
        if early and not living.acknowledged:  # as whoever creates a state object: it begins again
            living.journal = journal(store, token=lambda: "aa", monotonic=paced(1.0))
            living.run()
        assert living.acknowledged == [f"a{page}" for page in range(5)], (number, second)
        assert not living.is_told()
        assert set(living.acknowledged) <= stored(records, promises)["pages"].keys()
        if number > store.steps:
            break


@pytest.mark.parametrize("promises", UNGUARDED.values(), ids=UNGUARDED.keys())
def test_a_newcomer_that_has_written_fences_an_owner_without_patience(promises: Promises) -> None:
    """And one that dies before does not; whatever of it arrives later."""
    told = set()
    for steps, is_late in itertools.product(range(14), (False, True)):
        records: faulty.Records = {}
        owner = Writer("a", journal(FaultyStore(records, **promises), monotonic=paced(PATIENCE)))
        owner.run()
        left: list[Step] = []

        def on_step(step: Step, last: int = steps, left: list[Step] = left) -> None:
            if step.number >= last:
                left.append(step)
                raise faulty.KilledError
            step.apply()

        newcomer = Writer("b", journal(FaultyStore(records, on_step, **promises)))
        with suppress(faulty.KilledError):
            newcomer.journal.recover()
            newcomer.save([change(id=1, put={"b": 1})], "b")
        began = newcomer.journal._recovered
        has_head = began and newcomer.journal._writer.me.text in records
        assert owner.is_told() == has_head, steps
        told.add(has_head)
        if is_late and left:
            left[0].apply()
        if not has_head:
            owner.save([change(id=1, put={"more": 1})], "more")
        pages = stored(records, promises)["pages"]
        assert {*owner.acknowledged, *newcomer.acknowledged} <= pages.keys(), steps
    assert told == {False, True}
