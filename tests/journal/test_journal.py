"""The journal writes what changed, and compacts, recovers and refuses as it should."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest

from autostate.errors import (
    CorruptStateError,
    FencedError,
    StoreGoneError,
    StoreUnavailableError,
)
from autostate.journal import Journal, Recovered
from autostate.journal.compaction import Compaction
from autostate.journal.head import OWNER
from autostate.stores.memory import MemoryStore
from tests import faulty
from tests.faulty import STORES, FaultyStore, Promises
from tests.journal.changes import BEGIN, Changes, Program, change, content, journal, stored


def committed(changes: Changes, **arguments: Any) -> tuple[Journal, FaultyStore]:
    """Commit to an empty store."""
    store = FaultyStore({}, atomic=True, conditional=True)
    made = journal(store, **arguments)
    made.recover()
    made.commit(changes)
    return made, store


def large(made: Journal, number: int = 30) -> None:
    """Make the state too large for the head."""
    for page in range(number):
        made.commit([change(id=1, put={f"p{page}": "x" * 200})])


def test_small_state_lies_in_one_readable_record() -> None:
    """A commit to a small state is one write, of JSON that a person can read."""
    made, store = committed([change(id=1, kind="dict", name="progress", assign={"page": 3})])
    before = store.steps
    info = made.commit([b'{"id":1,"put":{"price":1.10}}'])
    assert (info.writes, store.steps - before) == (2, 1)  # the record of the owner names the head
    key, _ = sorted((key for key in store.records if "head" in key), reverse=True)  # one before
    body = b'"body":{"saved_at":1.5,"nodes":[{"id":1,"kind":"dict","name":"progress",'
    assert store.records[key].endswith(body + b'"assign":{"page":3,"price":1.10}}]}}')
    assert info.bytes == len(store.records[key]) + len(store.records[OWNER])


def test_a_large_commit_is_never_decoded() -> None:
    """Once the state is large, commits go through as bytes: nobody looks into them."""
    made, store = committed(BEGIN)
    large(made)
    unreadable = b"\xff not JSON at all " * 20
    made.commit([unreadable])
    made.commit([unreadable[:40]])
    assert any(unreadable in data for data in store.records.values())


def test_a_small_commit_to_a_large_state_is_small() -> None:
    """The head does not grow with the state, and a small commit needs no segment."""
    made, store = committed(BEGIN, inline_limit=1_000, part_limit=10_000)
    large(made, 200)
    made.compact(pause=lambda: None)
    info = made.commit([change(id=1, put={"p0": 1})])
    assert info.writes == 2  # the head, and the record that names it
    assert info.bytes < 1_200
    assert sum(map(len, store.records.values())) > 40_000


def test_an_empty_commit_writes_nothing() -> None:
    """Nothing to save, nothing written; not even the state is taken over."""
    store = FaultyStore({}, atomic=True, conditional=True)
    made = journal(store)
    made.recover()
    steps = store.steps
    assert made.commit([]).writes == 0
    made.check_owner()
    assert made.compact(pause=lambda: None) == frozenset()
    assert store.steps == steps


def test_a_change_longer_than_a_record_is_cut(promises: Promises) -> None:
    """One entry larger than any record is saved all the same, as records that are JSON."""
    records: faulty.Records = {}
    made = journal(FaultyStore(records, **promises))
    made.recover()
    value = 'ä"\\\n€😀' * 700
    made.commit([*BEGIN, change(id=1, put={"large": value, "small": 1})])
    assert all(len(data) <= 700 for key, data in records.items() if "-seg-" in key)
    for data in records.values():
        msgspec.json.decode(data)
    assert stored(records, promises)["pages"] == {"large": value, "small": 1}
    made.compact(pause=lambda: None)
    assert stored(records, promises)["pages"] == {"large": value, "small": 1}


def test_a_state_that_shrinks_is_readable_again(promises: Promises) -> None:
    """After the compaction of a state that became small, it lies in the head again."""
    records: faulty.Records = {}
    made = journal(FaultyStore(records, **promises))
    made.recover()
    made.commit(BEGIN)
    large(made)
    made.commit([change(id=1, assign={"left": 1})])
    made.compact(pause=lambda: None)
    assert b'"assign":{"left":1}' in records[made._writer.me.text]
    made.commit([change(id=1, put={"more": 2})])
    assert stored(records, promises)["pages"] == {"left": 1, "more": 2}


def test_compaction_is_due_when_commits_outweigh_the_snapshot() -> None:
    """Where records are paid for, what is written again is about what was written before."""
    assert compactions(metered=True) <= 2.0


def test_where_records_are_free_commits_are_put_together_earlier() -> None:
    """A few references to commits are what each head repeats; compactions pay for that."""
    assert compactions(metered=False) <= 4.0


def compactions(*, metered: bool) -> float:
    """How often 400 changes of 1,000 bytes are written by compactions."""
    store = FaultyStore({}, metered=metered)
    made = journal(store, part_limit=20_000, inline_limit=None)
    made.recover()
    made.commit(BEGIN)
    again = 0
    for page in range(400):
        made.commit([change(id=1, put={f"p{page}": "x" * 1_000})])
        if made.needs_compaction:
            before = store.records.copy()
            made.compact(pause=lambda: None)
            new = store.records.keys() - before.keys()
            again += sum(len(store.records[key]) for key in new)
            assert not made.needs_compaction
    assert again
    return again / (400 * 1_000)


def test_small_commits_do_not_rewrite_a_large_snapshot() -> None:
    """When only the number of commits is due, they are put together, and the snapshot stays."""
    made, store = committed(BEGIN, part_limit=1 << 19, inline_limit=0)
    made.commit([change(id=1, put={"large": "x" * 3_000_000})])
    made.compact(pause=lambda: None)
    snapshot = made._writer.head.snapshot
    counts = []
    for page in range(640):
        made.commit([change(id=1, put={f"p{page % 70}": page})])
        if made.needs_compaction:
            assert made.compact(pause=lambda: None) == frozenset()
            counts.append(len(made._writer.head.commits))
    assert made._writer.head.snapshot == snapshot
    assert len(counts) >= 9
    assert max(counts) <= 8
    pages = stored(store.records, STORES["conditional"])["pages"]
    assert [pages[f"p{number}"] for number in (0, 9, 10, 69)] == [630, 639, 570, 629]


@pytest.mark.parametrize("inline_limit", [0, 10_000])
def test_compaction_leaves_out_what_no_root_reaches(inline_limit: int) -> None:
    """Nodes that only unreachable nodes refer to go, cycles among them too; the rest stays."""
    refer = {"$ref": 3}
    nodes = [
        change(id=1, kind="dict", name="root", assign={"a": [refer]}),
        change(id=3, kind="list", assign=[{"$ref": 4}]),
        change(id=4, kind="dict", assign={"back": refer}),
        change(id=5, kind="dict", assign={"other": {"$ref": 6}, "root": {"$ref": 1}}),
        change(id=6, kind="set", assign=["x"]),
        change(id=7, kind="dict", assign={}),
    ]
    made, store = committed(nodes, inline_limit=inline_limit)
    made.commit([change(id=1, put={"b": 1})])
    assert made.compact(pause=lambda: None) == {5, 6, 7}
    assert set(journal(FaultyStore(store.records, atomic=True)).recover().nodes) == {1, 3, 4}
    assert made.compact(pause=lambda: None) == frozenset()
    made.commit([change(id=1, drop=["a"])])
    assert made.compact(pause=lambda: None) == {3, 4}


def test_commits_go_on_during_a_compaction(promises: Promises) -> None:
    """A commit made at any pause of a compaction is in the state, and needs what it refers to."""
    for moment in itertools.count():
        records: faulty.Records = {}
        store = FaultyStore(records, **promises)
        made = journal(store)
        made.recover()
        made.commit([*BEGIN, change(id=8, kind="dict", assign={"old": 1})])
        made.commit([change(id=9, kind="list", assign=[1])])
        large(made, 8)
        pauses = itertools.count()

        def pause(
            made: Journal = made,
            store: FaultyStore = store,
            moment: int = moment,
            pauses: Any = pauses,
        ) -> None:
            if next(pauses) == moment:
                store.on_step = faulty.answer_lost(store.steps)
                with suppress(StoreUnavailableError):
                    made.commit([change(id=1, put={"p1": "lost"})])
                made.commit([change(id=1, put={"p1": "during", "n": {"$ref": 8}})])
                made.commit([change(id=9, at=1, items=["y" * 200])])
                made.commit([change(id=1, put={"p2": "small"})])

        left_out = made.compact(pause=pause)
        made.commit([change(id=1, put={"after": 1})])
        pages = stored(records, promises)["pages"]
        if next(pauses) <= moment:
            assert left_out == {8, 9}
            break
        late = {key: pages.get(key) for key in ("p1", "p2", "n", "after")}
        assert late == {"p1": "during", "p2": "small", "n": {"$ref": 8}, "after": 1}, moment
        kept = journal(FaultyStore(records, **promises)).recover().nodes
        assert set(kept) == {1, 2, 8, 9} - left_out
        if left_out:  # it was too late: the caller was told, and has to save them anew
            assert moment > 8


def test_a_compaction_that_is_given_up_changes_nothing(promises: Promises) -> None:
    """`pause` may raise: the state is as it was, and what was written for nothing goes later."""
    records: faulty.Records = {}
    made = journal(FaultyStore(records, **promises))
    made.recover()
    made.commit(BEGIN)
    large(made, 8)
    before = stored(records, promises)

    def pause() -> None:
        if len(records) > in_records + 2:
            raise TimeoutError

    in_records = len(records)
    with pytest.raises(TimeoutError):
        made.compact(pause=pause)
    assert stored(records, promises) == before
    made.commit([change(id=1, put={"after": 1})])
    made.compact(pause=lambda: None)
    made.compact(pause=lambda: None)
    assert stored(records, promises)["pages"] == before["pages"] | {"after": 1}
    named = {ref.key for ref in made._writer.head.refs}
    assert len([key for key in records if "-seg-" in key]) <= 2 * len(named) + 1


def test_nothing_piles_up(promises: Promises) -> None:
    """However often a program is restarted and compacts, few records are left."""
    records: faulty.Records = {}
    for number in range(12):
        made = journal(FaultyStore(records, **promises), token=partial("t{}".format, number))
        program = Program(made)
        found = content(made.recover())
        if found:
            program.states = [found]
            program.step(10 + number, "x" * 300)
            program.compact()
        else:
            program.run()
    assert len([key for key in records if "-head-" in key]) <= 3
    assert len(records) <= 16


def test_a_wiped_store_is_begun_anew(promises: Promises) -> None:
    """After a reset, a full commit makes the state again; nothing refers to what is gone."""
    records: faulty.Records = {}
    made = journal(FaultyStore(records, **promises))
    made.recover()
    made.commit(BEGIN)
    large(made, 8)
    records.clear()
    made.reset()
    made.commit([*BEGIN, change(id=1, put={"again": 1})])
    assert stored(records, promises) == {"pages": {"again": 1}, "log": []}


def test_a_reset_does_not_overwrite_what_is_there() -> None:
    """A reset of a store that was not wiped after all is refused at the next commit."""
    made, store = committed(BEGIN)
    later = journal(store, token=lambda: "later")
    later.recover()
    later.commit([change(id=1, put={"a": 1})])
    made.reset()
    with pytest.raises(FencedError):
        made.commit(BEGIN)
    assert made.fenced


def test_a_reset_over_a_state_of_its_own_is_told_once() -> None:
    """The store was not wiped after all: the process has a later state, and saves that."""
    made, store = committed(BEGIN)
    made.reset()
    with pytest.raises(StoreGoneError):
        made.commit(BEGIN)
    made.reset()
    made.commit([*BEGIN, change(id=1, put={"again": 1})])
    assert content(journal(store).recover())["pages"] == {"again": 1}


def test_sequence_and_epoch_grow_over_restarts() -> None:
    """Each incarnation has a higher epoch, each commit a higher number."""
    made, store = committed(BEGIN)
    made.commit([change(id=1, put={"a": 1})])
    later = journal(store, token=lambda: "later")
    recovered = later.recover()
    assert (recovered.epoch, recovered.next_id, recovered.saved_at) == (1, 3, 1.5)
    assert later.epoch == 2
    info = later.commit([change(id=1, put={"a": 2})])
    assert info.sequence == later.sequence > made.sequence


def test_an_empty_store_recovers_to_nothing() -> None:
    """Nothing stored is no error."""
    recovered = journal(FaultyStore({})).recover()
    assert recovered == Recovered({}, None, 0, 1, [])


def test_a_change_of_a_node_that_nothing_began_is_refused() -> None:
    """A commit that recovery could not read is an error at once while the state is small."""
    made, store = committed(BEGIN)
    with pytest.raises(CorruptStateError, match="node 7, which nothing has begun"):
        made.commit([change(id=7, put={"a": 1})])
    with pytest.raises(CorruptStateError, match="lacks items before item 5"):
        made.commit([change(id=1, put={"lost": 1}), change(id=2, at=5, items=[1])])
    made.commit([change(id=1, put={"a": 1})])
    assert stored(store.records, STORES["conditional"])["pages"] == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"cut": [[0, 6]]}, "has no items 0 to 6 to take out"),
        ({"cut": [[-1, 1]]}, "has no items -1 to 1 to take out"),
        ({"cut": [[2, 1]]}, "has no items 2 to 1 to take out"),
        ({"cut": [[0, 2], [1, 3]]}, "has no items 1 to 3 to take out"),
        ({"trim": [1, 3], "cut": [[0, 2]]}, "has no items 0 to 2 to take out"),
        ({"at": 6, "items": [1], "insert": True}, "lacks items before item 6"),
        ({"at": -1, "items": [1], "insert": True}, "lacks items before item -1"),
        ({"at": 1, "insert": True}, "inserts no items"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(wrong: dict[str, Any], problem: str) -> None:
    """Nothing is taken out, or inserted, beside the items that are there."""
    made, store = committed([change(id=1, kind="list", name="a", assign=[0, 1, 2, 3, 4])])
    with pytest.raises(CorruptStateError, match=problem):
        made.commit([change(id=1, **wrong)])
    made.commit([change(id=1, cut=[[1, 2], [3, 5]]), change(id=1, at=1, items=[7], insert=True)])
    assert stored(store.records, STORES["conditional"])["a"] == [0, 7, 2]


def test_messages_hold_no_values() -> None:
    """An error about a change says which node, never what was to be saved."""
    made, _ = committed(BEGIN)
    with pytest.raises(msgspec.ValidationError) as info:
        made.commit([change(id=1, put={"cookie": "secret"}, at="secret")])
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("meanwhile", ["compact", "refused commit"])
def test_a_commit_that_is_sent_again_is_built_upon(meanwhile: str) -> None:
    """What comes between a lost answer and the retry does not make later commits forget it."""
    made, store = committed(BEGIN)
    lost = [change(id=1, put={"lost": 1})]
    store.on_step = faulty.unreachable(store.steps)
    with pytest.raises(StoreUnavailableError):
        made.commit(lost)
    if meanwhile == "compact":
        assert made.compact(pause=lambda: None) == frozenset()
    else:
        with pytest.raises(CorruptStateError):
            made.commit([change(id=1, put={"refused": 1}), change(id=7, put={})])
    made.commit(lost)
    made.commit([change(id=1, put={"next": 2})])
    pages = stored(store.records, STORES["conditional"])["pages"]
    assert pages == {"lost": 1, "next": 2}


def test_large_records_are_folded_into_small_ones() -> None:
    """A copy of a state from a store with larger records: no piece of a line is cut again."""
    store = MemoryStore()
    put = {"text": "x" * 20_000}
    for part_limit in (5000, 700):
        journal = Journal(store, inline_limit=100, part_limit=part_limit)
        journal.recover()
        if part_limit == 5000:
            begin = {"id": 1, "kind": "dict", "name": "d", "put": {"first": 200 * "y"}}
            journal.commit([json.dumps(begin).encode()])  # the snapshot
            journal.commit([json.dumps({"id": 1, "put": put}).encode()])
        else:
            journal.commit([b'{"id":1,"put":{"last":1}}'])
            folding = Compaction(store, journal._writer, 100, False, lambda: None, None)
            folding._replace(folding._fold(0), new_generation=False)
    nodes = Journal(store).recover().nodes
    assert nodes[1].content == {"first": 200 * "y", **put, "last": 1}


def test_a_large_commit_is_in_memory_once(promises: Promises) -> None:
    """Its changes become views of the records; sent again, they make the same commit."""
    refusals = 0

    def refuse(step: faulty.Step) -> None:
        nonlocal refusals
        if step.writes and refusals:
            refusals -= 1
            raise StoreUnavailableError("busy")
        step.apply()

    records: faulty.Records = {}
    store = FaultyStore(records, refuse, max_record=8 << 20, **promises)
    made = journal(store, part_limit=2 << 20)
    made.recover()
    made.commit(BEGIN)
    whole = {f"p{n}": f"{n}" * 250_000 for n in range(10, 20)}
    changes = [change(id=1, put={key: value}) for key, value in whole.items()]
    changes.append(change(id=1, put={"cut": "x" * (5 << 20)}))  # longer than a record
    before = [bytes(one) for one in changes]
    refusals = 1
    with pytest.raises(StoreUnavailableError):
        made.commit(changes)
    made.commit(changes)
    assert changes == before
    assert sum(isinstance(one, memoryview) for one in changes) >= 4
    assert stored(records, promises)["pages"] == whole | {"cut": "x" * (5 << 20)}
