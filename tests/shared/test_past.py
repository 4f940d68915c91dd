"""A program that goes on after so many others that the base does not know it any more."""

from __future__ import annotations

import pytest

from autostate.errors import CorruptStateError, StoreUnavailableError
from autostate.runtime.place import SHARED_KEYS as PREFIX
from autostate.shared import fold as folding
from autostate.shared.copying import fill
from autostate.shared.kinds import COUNTER
from autostate.shared.past import PAST, keep, opened
from autostate.shared.shelf import Prefixed
from autostate.shared.stored import verify
from tests.faulty import SHARING_STORES, FaultyStore, KilledError, Records, Step, untroubled
from tests.shared.writers import Program, Writers, hits

pytestmark = pytest.mark.parametrize("promises", SHARING_STORES.values(), ids=SHARING_STORES)


@pytest.fixture(autouse=True)
def forgets_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the base remember a few writers only."""
    monkeypatch.setattr(folding, "REMEMBERED", 4)


@pytest.fixture
def writers(promises: dict[str, bool]) -> Writers:
    """Processes over one store."""
    return Writers(promises)  # type: ignore[arg-type]


def pages(count: int) -> dict[str, int]:
    """Give what so many items make, each counted once."""
    return {f"page {position}": 1 for position in range(count)}


def is_forgotten(writers: Writers) -> bool:
    """Tell whether the base does not know the program any more."""
    base = writers.new().shelf.read().base
    return Program.NAME not in base.taken and base.known_from > 1


@pytest.mark.parametrize("published", [0, 2, 3])
def test_a_killed_program_publishes_the_rest_once(writers: Writers, published: int) -> None:
    """Whether it was killed before or after a publication; it was folded away meanwhile."""
    writers.others(1)
    killed = Program(writers, published, is_new=True)
    killed.publish()
    writers.others(8)
    assert is_forgotten(writers)
    assert Program(writers, 0).writer.number == published
    Program(writers, 3).publish()
    assert hits(writers) == pages(3)
    writers.others(8)
    assert hits(writers) == pages(3)


def test_what_was_published_in_two_generations_is_known(writers: Writers) -> None:
    """The last one counts, of all records of what was forgotten."""
    for items in (2, 4):
        Program(writers, items).publish()
        writers.others(8)
        assert is_forgotten(writers)
    Program(writers, 5).publish()
    assert hits(writers) == pages(5)


def test_a_lineage_that_was_not_folded_is_known(writers: Writers) -> None:
    """It is newer than all that was forgotten."""
    Program(writers, 2).publish()
    writers.others(8)
    Program(writers, 4).publish()
    Program(writers, 5).publish()
    assert hits(writers) == pages(5)


def test_a_stopped_process_publishes_the_rest_once(writers: Writers) -> None:
    """One that is a writer by itself would be told that nobody knows what was counted."""
    for arrives in (True, False):
        world = Writers(writers.promises)
        stopped = Program(world, 2, is_new=True)
        stopped.publish()
        stopped.put(1, 2)

        def stop(step: Step, arrives: bool = arrives) -> None:
            if arrives or not step.writes:
                step.apply()
            if step.writes:
                raise StoreUnavailableError("no answer")

        store: FaultyStore = stopped.replica._store  # type: ignore[assignment]
        store.on_step = stop
        with pytest.raises(StoreUnavailableError):
            stopped.writer.publish()
        store.on_step = untroubled
        world.others(8)
        assert is_forgotten(world)
        stopped.replica.refresh()
        stopped.put(1, 3)
        stopped.publish()
        assert hits(world) == pages(4)


def test_nothing_is_read_for_who_cannot_be_forgotten(writers: Writers) -> None:
    """A new program is known since it has begun, and a writer without a name keeps none."""
    writers.others(12)
    assert not any(key.startswith(PREFIX + PAST) for key in writers.records)
    Program(writers, 1).publish()
    writers.others(8)
    assert sum(key.startswith(PREFIX + PAST) for key in writers.records) == 1
    steps = []
    for is_new in (True, False):
        store = FaultyStore(writers.records, **writers.promises)
        replica = writers.new(store)
        replica.shelf.past.recall("b" * 16, is_new=is_new)
        replica.shelf.read()
        steps.append(store.steps)
        replica.shelf.read()
        steps[-1] -= store.steps - steps[-1]
    assert steps[1] == steps[0] + 2  # the listing, and the record


def test_nothing_is_forgotten_of_a_base_that_may_be_replaced(writers: Writers) -> None:
    """A process that has claimed it may lack a lineage that came too late."""
    Program(writers, 1).publish()
    writers.others(3)
    writers.open(last := writers.new(), "others", COUNTER)[0].write({"page": 1})
    last.flush(5.0)
    store = FaultyStore(writers.records, **writers.promises)

    def kill(step: Step) -> None:
        step.apply()
        if step.writes:
            raise KilledError

    store.on_step = kill
    dying = writers.new(store)
    with pytest.raises(KilledError):
        folding.fold(dying.shelf, dying.kind_of, dying._clock)
    is_settled = writers.new().shelf.read().base.is_settled
    assert is_settled is store.conditional
    writers.fold()
    kept = [key for key in writers.records if key.startswith(PREFIX + PAST)]
    assert len(kept) == is_settled
    writers.others(4)
    assert is_forgotten(writers)
    Program(writers, 2).publish()
    assert hits(writers) == pages(2)


def test_the_child_of_a_fork_looks_for_the_same_writers(writers: Writers) -> None:
    """It may go on in the place of its parent."""
    parent = Program(writers, 2, is_new=True)
    parent.publish()
    writers.others(8)
    parent.replica.writer = writers.new().writer
    store = FaultyStore(writers.records, **writers.promises)
    parent.replica.leave_to_parent(lambda: store, is_locked=False)
    resumed = parent.replica.resumed(Program.NAME, 2, lambda _: None)
    assert resumed.number == 2


def test_a_copy_remembers_as_much(writers: Writers) -> None:
    """A program goes on from a copy of both its own and the shared state."""
    Program(writers, 2).publish()
    writers.others(8)
    source = FaultyStore(writers.records, **writers.promises)
    copy = Writers(writers.promises)
    fill(source, FaultyStore(copy.records, **copy.promises), None)
    assert is_forgotten(copy)
    Program(copy, 3).publish()
    assert hits(copy) == pages(3)


def test_a_damaged_record_is_an_error(writers: Writers) -> None:
    """And a program that might count twice does not begin."""
    Program(writers, 1).publish()
    writers.others(8)
    [key] = [key for key in writers.records if key.startswith(PREFIX + PAST)]
    store = FaultyStore(writers.records, **writers.promises)
    assert verify(store).problems == []
    writers.records[key] = writers.records[key].replace(b'"body"', b'"bodi"')
    [problem] = verify(store).problems
    assert PAST in problem
    with pytest.raises(CorruptStateError, match=PAST):
        Program(writers, 2)
    with pytest.raises(CorruptStateError, match="does not read"):
        records: Records = {}
        keep(Prefixed(FaultyStore(records)), 1, {"a": ("x", 1)})  # type: ignore[dict-item]
        [(key, data)] = records.items()
        opened(key.removeprefix(PREFIX), data)
