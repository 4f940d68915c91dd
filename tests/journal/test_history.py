"""The history: whatever happens to a state, each commit that is kept reads back as it was."""

from __future__ import annotations

import itertools
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from autostate.errors import CorruptStateError, FencedError
from autostate.journal import Journal, history
from autostate.journal.head import HEADS, Keep, open_head, parse_key
from autostate.journal.recovery import replay
from autostate.journal.replay import DecodedReplay
from autostate.journal.verifying import verify
from autostate.stores import Store, open_store
from tests.faulty import STORES, FaultyStore
from tests.journal.changes import Program, State, change, content, content_of, journal, past

KINDS = ("memory", "sqlite", "file", "apify")
STEPS = ("commit", "commit", "commit", "large", "compact", "restart", "take over", "restore")


def opened(kind: str, folder: Path) -> Store:
    """A store of a kind."""
    if kind == "apify":
        from autostate.stores.apify_folder import ApifyFolderStore

        return ApifyFolderStore(folder / "apify", "apify:s", 1 << 20)
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{folder}/s.db"}
    return open_store(urls.get(kind, f"file://{folder}?state=s"))


class Life:
    """A state with a history, and what each of its commits has made.

    Attributes:
        states: The state after each commit, by its number.
        times: When each commit was made, by its own clock.
        ahead: By how much the clock of the machine is wrong.
    """

    def __init__(self, store: Store, keep: Keep) -> None:
        self.store = store
        self.keep = keep
        self.states: dict[int, State] = {}
        self.times: dict[int, float] = {}
        self._now = 1000.0
        self.ahead = 0.0
        self._tokens = itertools.count()
        self.journal = self._begun()
        self._items = itertools.count()

    def _begun(self) -> Journal:
        made = journal(
            self.store,
            token=lambda: f"t{next(self._tokens):04d}",  # of one epoch the later one wins
            clock=lambda: self._now + self.ahead,
            monotonic=lambda: self._now,
            keep=self.keep if not self.states else None,  # a later process need not ask again
        )
        assert content(made.recover()) == (self.state or {})
        return made

    @property
    def state(self) -> State:
        """The present state."""
        return self.states[max(self.states)] if self.states else {}

    def _noted(self, state: State) -> None:
        log = self.journal._writer.head.log
        assert log is not None
        self.states[log.number], self.times[log.number] = state, self._now + self.ahead

    def commit(self, size: int, *, by: Journal | None = None) -> None:
        """Commit a change, or let another journal try."""
        self._now += 1
        item = next(self._items)
        before = self.state.get("d", {})
        begin: dict[str, Any] = {} if before else {"kind": "dict", "name": "d"}
        key, value = f"k{item % 5}", f"{item}" * size
        lines = [change(id=1, **begin, put={key: value})]
        (by or self.journal).commit(lines)
        (by or self.journal).check_owner()
        if by is None:
            self._noted({"d": {**before, key: value}})

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def step(self, what: str, number: int) -> None:
        """Let something happen."""
        if what == "restart":
            self.journal = self._begun()
        elif what == "take over":
            zombie, self.journal = self.journal, self._begun()
            self.journal.take_over()
            if self.states:
                with pytest.raises(FencedError):
                    self.commit(1, by=zombie)
                self.commit(1)  # until then a recovery may find what was not acknowledged
        elif what == "compact":
            self.journal.compact(pause=lambda: None)
        elif what == "restore" and self.states:
            kept = [each.number for each in history.commits(self.store, None)]
            at = kept[number % len(kept)]
            found = history.state_at(self.store, None, number=at)
            assert found is not None
            self._now += 1
            before = max(self.states)
            if self.journal.restore(found[1], timeout=None) > before:
                self._noted(self.states[at])
            assert self.states[at] == self.state
        else:
            self.commit(300 if what == "large" else 1)

    def check(self) -> None:
        """What is kept reads back, by number and by time; what is to be kept is there."""
        kept = history.commits(self.store, None)
        numbers = [each.number for each in kept]
        newest = max(self.states, default=0)
        assert numbers == [*range(newest - len(numbers) + 1, newest + 1)]
        seconds, commits = self.keep
        must = {n for n, at in self.times.items() if at >= self._now - seconds and seconds}
        must |= {n for n in self.states if n > newest - commits}
        assert must <= {*numbers}
        for each in kept:
            assert each.time == self.times[each.number]
            assert each.roots == ("d",)
            for at in ({"number": each.number}, {"time": each.time + 0.5}):
                found = history.state_at(self.store, None, **at)
                assert found is not None
                replayed = DecodedReplay()
                replay(replayed, found[1], "a test")
                assert content_of(replayed.nodes) == self.states[each.number]
        assert history.state_at(self.store, None, number=newest + 1) is None
        if numbers:
            assert history.state_at(self.store, None, number=numbers[0] - 1) is None
            assert history.state_at(self.store, None, time=kept[0].time - 0.5) is None
        assert verify(self.store).problems == []
        keys = {*self.store.list("autostate-")}
        for key in (key for key in keys if key.startswith(HEADS)):
            name = parse_key(key)
            if name is not None and not name.is_claim:  # to go back to, with its history
                head, _ = open_head(key, self.store.read(key))
                assert head.log is not None
                assert history.keys_of(self.store, head.log, None, {}) <= keys


@given(st.data())
@settings(max_examples=30)
def test_every_commit_that_is_kept_reads_back(data: st.DataObject) -> None:
    """Over compactions, restarts, takeovers and restores; also while more than one is at work."""
    keep = data.draw(st.sampled_from([(0.0, 1), (0.0, 6), (0.0, 10**6), (5.0, 0), (10.0**6, 0)]))
    steps = data.draw(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), max_size=40))
    kind = data.draw(st.sampled_from(KINDS))
    with TemporaryDirectory() as folder, closing(opened(kind, Path(folder))) as store:
        life = Life(store, keep)
        for what, number in steps:
            life.step(what, number)
        life.check()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_long_life(kind: str, tmp_path: Path) -> None:
    """Records of dropped commits are deleted; the head does not grow."""
    with closing(opened(kind, tmp_path)) as store:
        life = Life(store, (0.0, 8))
        keys, heads = [], []
        for number in range(72):
            life.step(STEPS[number % len(STEPS)], number)
            if number % 8 == 4:  # after a compaction
                keys.append(len(store.list("autostate-seg-")))
                heads.append(len(msgspec.json.encode(life.journal._writer.head)))
        life.check()
        assert max(keys[7:]) <= 1.2 * max(keys[4:7]), keys
        assert max(heads[7:]) <= 1.2 * max(heads[4:7]), heads
        assert 8 <= len(history.commits(store, None)) < 20


def test_commits_during_a_compaction_are_kept() -> None:
    """They follow the new snapshot."""
    store = FaultyStore({}, **STORES["conditional"])
    life = Life(store, (0.0, 10**6))
    for _ in range(6):
        life.commit(300)
    life.journal.compact(pause=lambda: life.commit(40) if len(life.states) < 12 else None)
    life.commit(1)
    life.check()
    assert len(life.states) == 13
    life.journal.compact(pause=lambda: None)
    life.check()


def test_a_lost_chapter_is_damage_and_stops_no_commit() -> None:
    """Commits and compactions go on; nothing is deleted; `verify` says what is missing."""
    records: dict[str, bytes] = {}
    store = FaultyStore(records, **STORES["conditional"])
    life = Life(store, (0.0, 10**6))
    for _ in range(4):
        for _ in range(6):
            life.commit(300)
        life.journal.compact(pause=lambda: None)
    head = life.journal._writer.head
    assert head.log is not None
    del records[head.log.past[0].key]
    life.journal = life._begun()
    with pytest.raises(CorruptStateError, match="is missing"):
        history.commits(store, None)
    segments = {key for key in records if "-seg-" in key}
    for _ in range(6):
        life.commit(300)
    life.journal.compact(pause=lambda: None)
    assert segments <= records.keys()
    assert any("is missing" in problem for problem in verify(store).problems)
    assert content(journal(store).recover()) == life.state


def chapters_of(life: Life, *, commits: int = 6, pass_by: float = 0.0) -> int:
    """Let two chapters be written; give the number of the first commit that is kept."""
    for _ in range(2):
        for _ in range(commits):
            life.commit(300)
        life.pass_by(pass_by)
        life.journal.compact(pause=lambda: None)
    return history.commits(life.store, None)[0].number


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("begins_so", [False, True], ids=["jumps", "begins wrong"])
def test_a_clock_that_is_wrong_drops_no_commit(kind: str, begins_so: bool, tmp_path: Path) -> None:
    """Nor does what was saved meanwhile keep anything for ever."""
    with closing(opened(kind, tmp_path)) as store:
        life = Life(store, (1000.0, 0))
        assert chapters_of(life) == 1
        life.ahead = 1e8
        if begins_so:
            life.step("restart", 0)
        assert chapters_of(life) == 1
        life.ahead = 0.0
        life.step("restart", 0)
        assert chapters_of(life) == 1
        first = chapters_of(life, pass_by=1500.0)
        assert first > 30
        life.step("restart", 0)
        assert chapters_of(life, pass_by=1500.0) > first


def test_without_a_history_nothing_is_added() -> None:
    """Not a byte, and no call of the store."""
    made = []
    for keep in (None, (0.0, 0)):
        records: dict[str, bytes] = {}
        store = FaultyStore(records, **STORES["conditional"])
        program = Program(journal(store, keep=keep))
        program.journal.recover()
        program.run()
        made.append(({k: v for k, v in records.items() if "owner" not in k}, store.steps))
        assert past(records, STORES["conditional"]) == {}
        assert program.journal._writer.head.log is None
        assert not any(b'{"id":0,' in data for data in records.values())
    assert made[0] == made[1]


def test_marks_are_changes_that_do_nothing() -> None:
    """And no other line is one."""
    marker = history.Marker(17, 1764500000.1234)
    assert marker.line == b'{"id":0,"drop":[17,1764500000.123],"delete":true}'
    assert history.marker_of(marker.line) == (17, 1764500000.123)
    assert history.is_marker(history.BASE)
    assert history.marker_of(history.BASE) is None
    assert history.marker_of(change(id=1, drop=[17, 1.5], delete=True)) is None
    replayed = DecodedReplay()
    for line in (marker.line, history.BASE, marker.line):
        with suppress(KeyError):
            replayed.apply(line)
    assert replayed.nodes == {}
