"""A state is copied from any store to any other, whatever fails meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import pytest

from autostate.errors import CorruptStateError, StoreError, StoreUnavailableError
from autostate.stores import Store
from tests import faulty
from tests.faulty import STORES, FaultyStore, KilledError, Promises, Step
from tests.journal.changes import Program, State, change, journal, stored

FROM: Promises = STORES["one by one"]


def source() -> tuple[FaultyStore, State]:
    """A store with a state that has a snapshot, commits, pieces of long lines, and last changes."""
    store = FaultyStore({}, **FROM)
    program = Program(journal(store))
    program.journal.recover()
    program.run()
    program.step(50, "y" * 3000)
    program.step(51, "y")
    head = program.journal._writer.head
    assert all((head.snapshot, head.commits, head.changes))
    return store, program.states[-1]


def copy(
    from_: Store,
    to: Store,
    *,
    part_limit: int = 500,
    check_pickled: Callable[[], None] = lambda: None,
    token: str = "copy",
) -> list[str]:
    """Copy; return what was reported as done."""
    made, reported = journal(to, part_limit=part_limit, token=lambda: token), list[str]()
    made.recover()
    made.fill(from_, check_pickled, lambda what, *_: reported.append(what), timeout=None)
    return reported


def killed(from_: Store, store: FaultyStore) -> bool:
    """Copy for as long as this process lives; tell whether it was killed."""
    with suppress(KilledError):
        copy(from_, store)
    return store.dead


@pytest.mark.parametrize("part_limit", [500, 1000, 5000])
def test_the_records_suit_the_other_store(promises: Promises, part_limit: int) -> None:
    """Whatever their size was; the copy can be written, compacted and copied."""
    store, state = source()
    records: faulty.Records = {}
    assert {*copy(store, FaultyStore(records, **promises), part_limit=part_limit)} == {
        "copied",
        "compared",
    }
    assert max(len(data) for key, data in records.items() if "-seg-" in key) <= part_limit
    assert stored(records, promises) == state
    program = Program(journal(FaultyStore(records, **promises), token=lambda: "next"), [state])
    program.journal.recover()
    program.step(60, "z")
    program.compact()
    again: faulty.Records = {}
    copy(FaultyStore(records, **promises), FaultyStore(again, **FROM))
    assert stored(records, promises) == stored(again, FROM) == program.states[-1]


@pytest.mark.parametrize("kill", [faulty.kill_before, faulty.kill_after])
def test_a_kill_at_any_step_leaves_no_half_of_a_state(
    promises: Promises, kill: Callable[[int], Callable[[Step], None]]
) -> None:
    """None, which a second call copies, and then nothing is left of the first; or all of it."""
    store, state = source()
    outcomes = set()
    for number in itertools.count():
        records: faulty.Records = {}
        if not killed(store, FaultyStore(records, kill(number), **promises)):
            break
        found = stored(records, promises)
        outcomes.add(bool(found))
        assert found in ({}, state), number
        if not found:
            copy(store, FaultyStore(records, **promises), token="a")
            assert stored(records, promises) == state
            segments = [key for key in records if "-seg-" in key]
            head = journal(FaultyStore(records, **promises))
            head.recover()
            assert len(segments) == len(head._writer.head.refs), number
        elif number % 3 == 0:
            with pytest.raises(StoreError, match="holds a state"):
                copy(store, FaultyStore(records, **promises))
    assert outcomes == {True, False}


@pytest.mark.parametrize("fault", [faulty.unreachable, faulty.answer_lost])
def test_a_fault_at_any_step_is_an_error_or_survived(
    promises: Promises,
    fault: Callable[[int], Callable[[Step], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy that has raised can be made again, unless it is whole."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    store, state = source()
    number = 0
    while True:
        records: faulty.Records = {}
        target = FaultyStore(records, fault(number), **promises)
        with suppress(StoreUnavailableError):
            copy(store, target)
        if target.steps < number:
            break
        found = stored(records, promises)
        assert found in ({}, state), number
        if not found:
            copy(store, FaultyStore(records, **promises))
            assert stored(records, promises) == state
        number += 1


def test_nothing_is_overwritten(promises: Promises) -> None:
    """Of a state that is there, however small it may be."""
    store, _ = source()
    records: faulty.Records = {}
    program = Program(journal(FaultyStore(records, **promises)))
    program.journal.recover()
    program.save([change(id=1, kind="dict", name="a", assign={})], {"a": {}})
    before = dict(records)
    with pytest.raises(StoreError, match="holds a state, and nothing is overwritten"):
        copy(store, FaultyStore(records, **promises))
    assert records == before


def test_a_target_that_returns_other_bytes_is_found_out(promises: Promises) -> None:
    """Before there is a head: nothing there looks like a state."""

    class Forgetful(FaultyStore):
        """Returns a record of the same form, with other content, and a digest that fits."""

        def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
            data = super().read(key, timeout=timeout)
            if data is None or "-seg-" not in key:
                return data
            from autostate.journal.record import open_record, seal

            record = open_record(key, data, "segment")
            place = record.epoch, record.sequence
            return seal(key, "segment", place, "", record.body.replace(b"y", b"z"))[0]

    store, _ = source()
    records: faulty.Records = {}
    with pytest.raises(CorruptStateError):
        copy(store, Forgetful(records, **promises))
    assert stored(records, promises) == {}


def test_pickled_values_are_noticed() -> None:
    """In the head and in segments; a text that looks like one is none."""
    pickled = {"$pickled": ["AAAA", "signature"]}
    text = '{"$pickled":['

    def refuse() -> None:
        raise StoreError("pickled")

    for value, padding in itertools.product((pickled, text), ("", "x" * 1000)):
        store, records = FaultyStore({}, **FROM), faulty.Records()
        program = Program(journal(store))
        program.journal.recover()
        entries = {"value": value, "padding": padding}
        program.save([change(id=1, kind="dict", name="a", assign=entries)], {"a": entries})
        if value is text:
            copy(store, FaultyStore(records, **FROM), check_pickled=refuse)
            continue
        with pytest.raises(StoreError, match="pickled"):
            copy(store, FaultyStore(records, **FROM), check_pickled=refuse)
        assert stored(records, FROM) == {}
