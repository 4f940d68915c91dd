"""The replay of changes against plain dicts, sets and lists, order and types of keys included."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given, strategies as st

from autostate.codec import decode_key
from autostate.errors import StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.commit import references, touched
from autostate.journal.replay import DecodedReplay, RawReplay, merged
from tests import faulty
from tests.faulty import STORES, FaultyStore, Step

KINDS = ("dict", "set", "list", "counter", "deque")
SEQUENCES = ("list", "deque")
TEXTS = st.sampled_from(["a", "b", "c", "ä", "1", "", '"', "$ref", "k" * 30])
KEYS: st.SearchStrategy[Any] = TEXTS | st.sampled_from(
    [0, 1, 1.0, True, False, None, -7, 2.5, 2**70, {"$tuple": [1, "x"]}, {"$tuple": []}]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
Fields = dict[str, Any]


def unique(keys: list[Any]) -> list[Any]:
    """Leave out what a dict would take for the same key."""
    return list({decode_key(key): key for key in reversed(keys)}.values())[::-1]


@st.composite
def pairs(draw: st.DrawFn) -> Any:
    """Content of a dict: an object if all keys are strings, else pairs."""
    keys = unique(draw(st.lists(draw(st.sampled_from([TEXTS, KEYS])), max_size=4)))
    values = [draw(VALUES) for _ in keys]
    if all(type(key) is str for key in keys):
        return dict(zip(keys, values, strict=True))
    return [list(pair) for pair in zip(keys, values, strict=True)]


MEMBERS = st.lists(KEYS, max_size=4).map(unique)


class Model:
    """What the changes of one node ought to make, in the plain types themselves."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # A set's order is kept by a dict; a sequence is a dict of its items by their numbers.
        self.plain: dict[Any, Any] = {}
        self.defaults: list[Hashable] = []

    def apply(self, fields: Fields) -> None:
        """Apply one change."""
        self.defaults = [decode_key(key) for key in fields.get("defaults", self.defaults)]
        if self.kind in SEQUENCES:
            if "assign" in fields:
                self.plain = dict(enumerate(fields["assign"], fields.get("at", 0)))
            if "trim" in fields:
                low, high = fields["trim"]
                self.plain = {n: item for n, item in self.plain.items() if low <= n < high}
            for low, high in reversed(fields.get("cut", ())):
                self._move(low, high, by=low - high)
            if "items" in fields:
                at, items = fields["at"], fields["items"]
                if fields.get("insert"):
                    self._move(at, at, by=len(items))
                self.plain |= dict(enumerate(items, at))
            return
        if "assign" in fields:
            self.plain = {}
            self._put(fields["assign"])
        for key in fields.get("drop", ()):
            self.plain.pop(decode_key(key), None)
        self._put(fields.get("put", {}))

    def _move(self, low: int, high: int, *, by: int) -> None:
        """Take out the items of the numbers from `low` to `high`, and move those behind."""
        self.plain = {
            number + by if number >= high else number: item
            for number, item in self.plain.items()
            if not low <= number < high
        }

    def _put(self, content: Any) -> None:
        if isinstance(content, dict):
            self.plain.update(content)
        elif self.kind == "set":
            for key in content:
                self.plain.setdefault(decode_key(key), None)
        else:
            for key, value in content:
                self.plain[decode_key(key)] = value

    def _draw_sequence(self, draw: st.DrawFn) -> Fields:
        if draw(st.integers(0, 4)) == 0 or not self.plain:
            fields: Fields = {"assign": draw(st.lists(VALUES, min_size=1, max_size=5))}
            return fields | ({"at": draw(st.integers(-3, 9))} if draw(st.booleans()) else {})
        fields, numbers = {}, sorted(self.plain)
        low, high = numbers[0], numbers[-1] + 1
        if draw(st.booleans()):
            low = draw(st.integers(low, high - 1))
            high = draw(st.integers(low + 1, high))
            fields["trim"] = [low, high]
        if draw(st.booleans()):
            edges = sorted(draw(st.lists(st.integers(low, high), max_size=6)))
            fields["cut"] = [list(pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
            high -= sum(stop - start for start, stop in fields["cut"])
        if draw(st.booleans()):
            items = draw(st.lists(VALUES, max_size=4))
            insert = draw(st.booleans())
            lowest = low if insert or low == high else low - len(items)
            fields |= {"at": draw(st.integers(lowest, high)), "items": items}
            fields |= {"insert": True} if insert else {}
        return fields

    def content(self) -> Any:
        """What the container holds in the end."""
        if self.kind in SEQUENCES:
            return [self.plain[number] for number in sorted(self.plain)]
        return self.plain

    def draw_change(self, draw: st.DrawFn) -> Fields:
        """Draw a change that fits."""
        fields: Fields = {}
        some = st.booleans()
        if self.kind in SEQUENCES:
            return self._draw_sequence(draw)
        content = MEMBERS if self.kind == "set" else pairs()
        if draw(st.integers(0, 4)) == 0:
            fields["assign"] = draw(content)
        if draw(some):
            fields["drop"] = draw(st.lists(KEYS, max_size=3))
        if draw(some):
            fields["put"] = draw(content)
        if self.kind != "set" and draw(st.integers(0, 4)) == 0:
            fields["defaults"] = draw(MEMBERS)
        return fields


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[bytes], list[Any]]:
    """Draw changes of one node of each kind, and what they ought to make."""
    models = {number: Model(kind) for number, kind in enumerate(KINDS, 1)}
    begun: set[int] = set()
    lines = []
    for _ in range(draw(st.integers(1, 14))):
        number = draw(st.sampled_from(sorted(models)))
        fields = models[number].draw_change(draw)
        models[number].apply(fields)
        first = {} if number in begun else {"kind": models[number].kind, "name": f"root{number}"}
        begun.add(number)
        lines.append(msgspec.json.encode({"id": number} | first | fields))
    return lines, [exactly(models[n].content(), models[n].defaults) for n in sorted(begun)]


def exactly(content: Any, known: list[Hashable]) -> Any:
    """Spell out what == passes over: the order of entries, and the types of all values."""
    return repr(list(content.items()) if isinstance(content, dict) else content), repr(known)


def decoded(lines: list[bytes]) -> list[Any]:
    """What recovery makes of the lines."""
    replayed = DecodedReplay()
    for line in lines:
        replayed.apply(line)
    return [exactly(node.content, node.defaults) for _, node in sorted(replayed.nodes.items())]


def rewritten(lines: list[bytes], limit: int) -> list[bytes]:
    """What compaction makes of the lines."""
    replayed = RawReplay()
    for line in lines:
        replayed.apply(line)
    return [line for number in replayed.nodes for line in replayed.lines(number, limit)]


@given(histories())
def test_changes_make_what_plain_containers_hold(history: tuple[list[bytes], list[Any]]) -> None:
    """Content, order and types of keys are those of the plain containers."""
    lines, expected = history
    assert decoded(lines) == expected


@given(histories(), st.sampled_from([1, 40, 200, sys.maxsize]))
def test_a_rewritten_state_is_the_same_state(
    history: tuple[list[bytes], list[Any]], limit: int
) -> None:
    """What compaction writes, however it is cut into changes, makes the same containers."""
    lines, expected = history
    assert decoded(rewritten(lines, limit)) == expected
    assert decoded(merged(lines)) == expected


@given(histories())
def test_values_are_rewritten_byte_for_byte(history: tuple[list[bytes], list[Any]]) -> None:
    """Rewriting twice changes nothing, and no value is encoded anew."""
    once = rewritten(history[0], sys.maxsize)
    assert rewritten(once, sys.maxsize) == once


def test_numbers_keep_their_spelling() -> None:
    """A float or an int comes out of a compaction as it went in, whatever its form."""
    values = b'{"a":1.10,"b":1e400,"c":-0.0,"d":12345678901234567890123,"e":1E2}'
    line = b'{"id":1,"kind":"dict","name":"a","assign":%s}' % values
    assert rewritten([line], sys.maxsize) == [line]


def committed(journal: Journal, changes: list[bytes]) -> bool:
    """Commit once; whether that was acknowledged."""
    try:
        journal.commit(changes)
    except StoreUnavailableError:
        return False
    return True


@given(histories(), st.data())
def test_any_course_of_events_gives_the_same_state(
    history: tuple[list[bytes], list[Any]], data: st.DataObject
) -> None:
    """Commits of any size, compactions, restarts and lost answers: the state is the same."""
    lines, expected = history
    records: faulty.Records = {}
    promises = STORES[data.draw(st.sampled_from(sorted(STORES)))]
    troubles = data.draw(st.sets(st.integers(0, 60), max_size=4))

    def on_step(step: Step) -> None:
        step.apply()
        if step.writes and step.number in troubles:
            raise StoreUnavailableError("answer lost")

    store = FaultyStore(records, on_step, **promises)
    tokens = (f"t{number}" for number in itertools.count())
    limit = data.draw(st.sampled_from([0, 60, 300, 10_000]))
    journal = Journal(store, token=lambda: next(tokens), part_limit=400, inline_limit=limit)
    journal.recover()
    while lines:
        size = data.draw(st.integers(1, 4))
        now, lines = lines[:size], lines[size:]
        while not committed(journal, now):
            pass
        event = data.draw(st.sampled_from(["go on", "compact", "restart"]))
        if event == "restart":
            journal.recover()
        elif event == "compact":
            with suppress(StoreUnavailableError):
                assert journal.compact(pause=lambda: None) == frozenset()
    nodes = Journal(FaultyStore(records, **promises)).recover().nodes
    assert [exactly(node.content, node.defaults) for _, node in sorted(nodes.items())] == expected


@given(st.sets(st.integers(1, 10**12)), st.text())
def test_references_are_found_exactly(ids: set[int], text: str) -> None:
    """Every reference is found, at any depth; what a user wrote never looks like one."""
    refs = [{"$ref": number} for number in ids]
    value = {"x": [refs, {"y": refs[:1]}], f"t{text}": text, '{"$ref":1}': '{"$ref":2}'}
    line = msgspec.json.encode({"id": 7, "put": {"a": value, "b": {"$dict": [["$ref", 3]]}}})
    assert references(line) == ids
    assert touched(line) == ids | {7}
