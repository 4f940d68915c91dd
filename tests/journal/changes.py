"""What the tests of the journal share: changes as bytes, and a program that commits them."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from autostate.errors import StoreUnavailableError
from autostate.journal import Journal, NodeState, Recovered, history
from autostate.journal.head import Keep
from autostate.journal.recovery import replay
from autostate.journal.replay import DecodedReplay
from autostate.stores import Store
from tests import faulty
from tests.faulty import FaultyStore, Promises

Changes = list[bytes]
KEEP: list[Keep] = []
"""The history that journals are to keep, while there is one: see the fixture `history`."""
State = dict[str, Any]


def change(**fields: Any) -> bytes:
    """Encode a change."""
    return msgspec.json.encode(fields)


def journal(store: Store, **arguments: Any) -> Journal:
    """Make a journal in which everything happens that otherwise needs megabytes."""
    tokens = (f"t{number}" for number in itertools.count(1))
    defaults: dict[str, Any] = {"inline_limit": 150, "part_limit": 700}
    defaults |= {"token": lambda: next(tokens), "clock": lambda: 1.5}
    defaults |= {"keep": KEEP[-1] if KEEP else None}
    return Journal(store, **defaults | arguments)


def content(recovered: Recovered) -> State:
    """The content of all roots by name."""
    return content_of(recovered.nodes)


def content_of(nodes: dict[int, NodeState]) -> State:
    """The content of all roots among some nodes, by name."""
    return {node.name: node.content for node in nodes.values() if node.name}


def stored(records: faulty.Records, promises: Promises) -> State:
    """What a fresh process finds."""
    return content(journal(FaultyStore(records, **promises)).recover())


def past(records: faulty.Records, promises: Promises) -> dict[int, State]:
    """What a reader finds at each commit of the history, by its number."""
    return past_in(FaultyStore(records, **promises))


def past_in(store: Store) -> dict[int, State]:
    """What a reader of a store finds at each commit of the history, by its number."""
    found = dict[int, State]()
    for commit in history.commits(store, None):
        at = history.state_at(store, None, number=commit.number)
        assert at is not None
        marker, lines = at
        assert (marker.number, marker.time) == (commit.number, commit.time)
        replayed = DecodedReplay()
        replay(replayed, lines, "a test")
        found[commit.number] = content_of(replayed.nodes)
    return found


def check_past(found: dict[int, State], now: State, *programs: Program) -> None:
    """Every commit reads back as it was, also one of which no program has heard.

    Args:
        found: What a reader finds at each commit.
        now: What a fresh process finds.
        programs: Those that have saved the state, the last one first.
    """
    kept = programs[0].kept
    assert {number: found.get(number) for number in kept} == kept
    assert sorted(found) == [*range(1, len(found) + 1)]
    states = [state for each in programs for state in each.states]
    assert all(state in states for number, state in found.items() if number not in kept)
    if found:
        assert found[max(found)] == now


BEGIN: Changes = [
    change(id=1, kind="dict", name="pages", assign={}),
    change(id=2, kind="list", name="log", assign=[]),
]


@dataclass
class Program:
    """A program that changes its state and saves it: the model and the process in one.

    Attributes:
        states: The state after each commit; those before `acknowledged` may not be found any more.
        kept: The state after each acknowledged commit of the history, by its number.
    """

    journal: Journal
    states: list[State] = field(default_factory=lambda: [{}])
    acknowledged: int = 0
    retry: str = "same"
    kept: dict[int, State] = field(default_factory=dict)

    def run(self, commits: int = 14) -> None:
        """Make commits, of which some are large and some delete; compact now and then."""
        self.save(BEGIN, {"pages": {}, "log": []})
        for number in range(1, commits):
            size = 400 if number % 5 == 3 else 1800 if number == 7 else 20
            self.step(number, "x" * size)
            if number % 6 == 0 or number == 11:
                self.compact()

    def step(self, number: int, value: str) -> None:
        """Put one page, drop an older one, and add to the log."""
        now = self.states[-1]
        pages = {key: old for key, old in now["pages"].items() if key != f"p{number - 4}"}
        changes = [
            change(id=1, drop=[f"p{number - 4}"], put={f"p{number}": value}),
            change(id=2, at=len(now["log"]), items=[number]),
        ]
        self.save(changes, {"pages": pages | {f"p{number}": value}, "log": [*now["log"], number]})

    def save(self, changes: Changes, state: State) -> None:
        """Commit until it is acknowledged; as the flush thread does, with the same or with more."""
        self.states.append(state)
        while True:
            try:
                self.journal.commit(changes)
                self.journal.check_owner()
            except StoreUnavailableError:
                if self.retry == "more":
                    changes = [*changes, change(id=2, at=len(state["log"]), items=["more"])]
                    state = state | {"log": [*state["log"], "more"]}
                    self.states.append(state)
                continue
            break
        self.acknowledged = len(self.states) - 1
        log = self.journal._writer.head.log
        if log is not None:
            self.kept[log.number] = state

    def compact(self) -> None:
        """Compact; if it does not work, leave it."""
        with suppress(StoreUnavailableError):
            self.journal.compact(pause=lambda: None)
