from __future__ import annotations

import random
from itertools import count
from typing import Any

import pytest

from autostate.errors import CorruptStateError, StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.head import parse_key
from tests import faulty
from tests.campaign import LONG, sampled
from tests.faulty import STORES, FaultyStore, Promises, Records, Step
from tests.journal.changes import BEGIN, Program, change, content, journal, stored

STATE_RECORDS = ("autostate-head-", "autostate-seg-")


@pytest.fixture(params=list(STORES))
def promises(request: pytest.FixtureRequest) -> Promises:
    """What a store promises."""
    return STORES[request.param]


def filled(promises: Promises) -> tuple[Records, Program]:
    """Records of a program that has compacted, with a snapshot, commits, and changes after."""
    records: Records = {}
    program = Program(journal(FaultyStore(records, **promises)))
    program.journal.recover()
    program.run(17)
    return records, program


def in_use(program: Program) -> list[str]:
    """The keys of the records that make up the current state."""
    head = program.journal._writer.head
    assert head.snapshot
    assert head.commits
    assert head.changes
    return [program.journal._writer.me.text, *(ref.key for ref in head.refs)]


def recover(records: Records, promises: Promises, **arguments: Any) -> Journal:
    """Make a journal on a copy of the records, and recover."""
    made = journal(FaultyStore(dict(records), **promises), **arguments)
    made.recover()
    return made


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_changed_byte_of_every_record_is_found(
    promises: Promises, mask: int, rng: random.Random
) -> None:
    """One byte changes: recovery names the record, or that byte was of no account."""
    records, program = filled(promises)
    for key in in_use(program):
        for at in sampled(rng, range(len(records[key])), 40):
            changed = bytearray(records[key])
            changed[at] ^= mask
            with pytest.raises(CorruptStateError, match=key):
                recover(records | {key: bytes(changed)}, promises)


def test_every_missing_record_is_found(promises: Promises) -> None:
    """A segment that is gone is an error that names it, never a shorter state."""
    records, program = filled(promises)
    for key in in_use(program)[1:]:
        rest = {other: data for other, data in records.items() if other != key}
        with pytest.raises(CorruptStateError, match=f"{key} is missing"):
            recover(rest, promises)


def test_exchanged_segments_are_found(promises: Promises) -> None:
    """Two whole segments in each other's place are found."""
    records, program = filled(promises)
    _, one, other, *_ = in_use(program)
    with pytest.raises(CorruptStateError, match="another key"):
        recover(records | {one: records[other], other: records[one]}, promises)


def test_an_older_head_under_the_newest_key_is_found(promises: Promises) -> None:
    """A head that was copied from another incarnation's key is found."""
    records, program = filled(promises)
    later = recover(records, promises)
    later.commit([change(id=1, put={"later": 1})])
    records = later._store.records  # type: ignore[attr-defined]
    copied = records | {later._writer.me.text: records[program.journal._writer.me.text]}
    with pytest.raises(CorruptStateError, match="another key"):
        recover(copied, promises)


def test_damage_is_left_as_it_is(promises: Promises) -> None:
    """By default nothing is written or deleted while a record is damaged."""
    records, program = filled(promises)
    key = in_use(program)[0]
    records[key] = records[key][:-9]
    before = dict(records)
    made = journal(FaultyStore(records, **promises))
    with pytest.raises(CorruptStateError):
        made.recover()
    with pytest.raises(RuntimeError, match="recover"):
        made.commit(BEGIN)
    assert records == before


def test_recovery_only_reads(promises: Promises) -> None:
    """Recovering takes nothing over: the records stay, and the writer goes on."""
    records, program = filled(promises)
    before = dict(records)
    journal(FaultyStore(records, **promises)).recover()
    assert records == before
    program.step(99, "on")
    assert stored(records, promises) == program.states[-1]


@pytest.mark.parametrize("which", ["head", "snapshot", "commit"])
def test_previous_goes_back_to_a_good_state(promises: Promises, which: str) -> None:
    """If the user says so, an older state is found, the notice says so, and the record is kept."""
    records, program = filled(promises)
    head = program.journal._writer.head
    key = {
        "head": program.journal._writer.me.text,
        "snapshot": head.snapshot[0].key,
        "commit": head.commits[-1].key,
    }[which]
    bad = records[key][:-7] + b"garbage"
    records[key] = bad
    made = journal(FaultyStore(records, **promises), on_corrupt="previous", token=lambda: "later")
    recovered = made.recover()
    assert content(recovered) in program.states[1:-1]
    assert key in recovered.notices[0]
    state = content(recovered)
    state["pages"] = state["pages"] | {"new": 1}
    made.commit([change(id=1, put={"new": 1})])
    assert records[key.replace("autostate-", "autostate-corrupt-", 1)] == bad
    assert stored(records, promises) == state


@pytest.mark.parametrize("inline_limit", [10_000, 20])
@pytest.mark.parametrize("saves", [1, 2, 3, 4, 9])
def test_there_is_a_state_to_go_back_to_from_the_second_save_on(
    promises: Promises, saves: int, inline_limit: int
) -> None:
    """The one before the last, or the first of the process where a store writes one by one."""
    records: Records = {}
    made = journal(FaultyStore(records, **promises), inline_limit=inline_limit)
    made.recover()
    states = []
    for number in range(saves):
        made.commit([change(id=1, put={"n": number})] if number else BEGIN)
        states.append(stored(records, promises))
    head = made._writer.me.text
    records[head] = records[head][:-7] + b"garbage"
    told = "begin anew" if saves == 1 else 'on_corrupt="previous"'
    with pytest.raises(CorruptStateError, match=told):
        recover(records, promises)
    if saves > 1:
        found = journal(FaultyStore(records, **promises), on_corrupt="previous").recover()
        assert content(found) == states[-2 if promises["conditional"] else 0]
    heads = [key for key in records if parse_key(key) and "-head-" in key and "claim" not in key]
    assert len(heads) == min(saves, 2)


def test_previous_survives_a_takeover(promises: Promises) -> None:
    """A damaged snapshot can be passed over after a restart too: the one before it is kept."""
    records, program = filled(promises)
    later = journal(FaultyStore(records, **promises), token=lambda: "later")
    later.recover()
    later.commit([change(id=1, put={"later": 1})])
    records[program.journal._writer.head.snapshot[0].key] = b"garbage"
    with pytest.raises(CorruptStateError):
        recover(records, promises)
    found = journal(FaultyStore(records, **promises), on_corrupt="previous").recover()
    assert content(found) in program.states[1:]


def test_with_everything_damaged_previous_is_an_error_too(promises: Promises) -> None:
    """Never begin from nothing where there was a state."""
    records, _ = filled(promises)
    broken = {key: b"x" if key.startswith(STATE_RECORDS) else data for key, data in records.items()}
    with pytest.raises(CorruptStateError, match="autostate-head-"):
        recover(broken, promises, on_corrupt="previous")


def test_a_newer_version_is_never_gone_back_from(
    promises: Promises, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head of a newer version is an error even where going back is allowed."""
    records, _ = filled(promises)
    later = journal(FaultyStore(records, **promises), token=lambda: "later")
    later.recover()
    monkeypatch.setattr("autostate.journal.record.FORMAT", 3)
    later.commit([change(id=1, put={"later": 1})])
    monkeypatch.undo()
    with pytest.raises(CorruptStateError, match="newer version"):
        recover(records, promises, on_corrupt="previous")


def test_a_state_that_is_compacted_meanwhile_is_read_again(promises: Promises) -> None:
    """At whatever step of a recovery another incarnation compacts, twice, this is no damage."""
    for number in count():
        records, program = filled(promises)

        def on_step(step: Step, number: int = number, program: Program = program) -> None:
            if step.number == number:
                for page in range(100, 104):
                    program.step(page, "x" * 300)
                    program.compact()
            step.apply()

        store = FaultyStore(records, on_step, **promises)
        found = content(journal(store).recover())
        assert found in program.states[-5:]
        if store.steps <= number:
            break


def test_a_writer_that_never_rests_is_reported() -> None:
    """If the state changes faster than it can be read, that is said; nothing waits for ever."""
    promises = STORES["one by one"]
    records, program = filled(promises)
    pages = count(100)

    def on_step(step: Step) -> None:
        step.apply()
        if step.number % 3 == 0:
            for _ in range(3):
                program.step(next(pages), "x" * 300)
                program.compact()

    with pytest.raises(StoreUnavailableError, match="another process"):
        journal(FaultyStore(records, on_step, **promises)).recover()


def test_foreign_records_are_left_alone(promises: Promises) -> None:
    """Records with names that are not ours are neither read nor deleted."""
    foreign = {
        "INPUT": b"{}",
        "autostate-head-": b"?",
        "autostate-head-note": b"?",
        "autostate-seg-x": b"?",
        "autostate-other": b"?",
    }
    records: Records = dict(foreign)
    program = Program(journal(FaultyStore(records, **promises)))
    program.journal.recover()
    program.run()
    assert {key: records[key] for key in foreign} == foreign
    assert stored(records, promises) == program.states[-1]


def test_random_damage_never_makes_a_wrong_state(promises: Promises, rng: random.Random) -> None:
    """However records are damaged, recovery gives a state that was saved, or an error."""
    records, program = filled(promises)
    for _ in range(3_000 if LONG else 100):
        damaged = dict(records)
        for key in rng.sample(sorted(records), rng.randint(1, 3)):
            data = bytearray(damaged[key])
            start = rng.randrange(len(data))
            data[start : start + rng.randint(1, 40)] = rng.randbytes(rng.randint(0, 40))
            damaged[key] = bytes(data)
        try:
            made = journal(FaultyStore(damaged, **promises), on_corrupt="previous")
            assert content(made.recover()) in program.states
        except CorruptStateError:
            continue


def test_faults_while_reading_are_unavailability(promises: Promises) -> None:
    """A store that does not answer is no damage and no empty state."""
    records, _ = filled(promises)
    steps = FaultyStore(dict(records), **promises)
    journal(steps).recover()
    for number in range(steps.steps):
        store = FaultyStore(records, faulty.unreachable(number), **promises)
        with pytest.raises(StoreUnavailableError):
            journal(store).recover()


@pytest.mark.parametrize("lost", ["owner", "head", "heads", "all but segments", "newer"])
def test_records_of_several_moments_are_found_out(lost: str) -> None:
    """Where a store is atomic, the newest head is the one that the record of the owner names."""
    promises = STORES["conditional"]
    records, program = filled(promises)
    heads = sorted(key for key in records if key.startswith("autostate-head-"))
    newest = program.journal._writer.me
    gone = {
        "owner": ["autostate-owner"],
        "head": [newest.text],
        "heads": heads,
        "all but segments": ["autostate-owner", *heads],
        "newer": [],
    }[lost]
    mixed = {key: data for key, data in records.items() if key not in gone}
    if lost == "newer":
        mixed[newest._replace(attempt=newest.attempt + 1).text] = records[newest.text]
    with pytest.raises(CorruptStateError, match="a copy that was made while"):
        recover(mixed, promises)
