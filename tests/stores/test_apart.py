"""Records that lie apart from all others, as those of shared states do on S3."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest

from autostate.errors import StoreError, StoreUnavailableError
from autostate.runtime.place import SHARED_KEYS
from autostate.shared.line import LINES, LineKey
from autostate.shared.past import PAST
from autostate.stores import apart
from autostate.stores.apart import APART, ApartStore
from autostate.stores.indexed import Found, size_of
from autostate.stores.memory import MemoryStore
from tests.faulty import SHARING_STORES, FaultyStore, KilledError, Records, Step

ONE, OTHER = (f"{SHARED_KEYS}{LineKey(1, name, 0, 0).text}" for name in "ab")
KEPT = f"{SHARED_KEYS}{PAST}00000001-0123456789abcdef"
WHOLE = f"{SHARED_KEYS}closed-00000001"
FOLDER = "autostate-shared-0"


class Objects:
    """Objects in memory, with all that was asked of them.

    Attributes:
        there: The objects by name.
        asked: What was called, and for what.
        at_listing: Called after each listing.
    """

    def __init__(self) -> None:
        self.there: dict[str, Found] = {}
        self.asked: list[tuple[str, list[str]]] = []
        self.at_listing: Callable[[], object] = list

    def listed(self, folder: str, timeout: float | None) -> dict[str, Any]:
        """List objects."""
        self.asked.append(("list", [folder]))
        found = {n: each.version for n, each in self.there.items() if n.startswith(f"{folder}/")}
        self.at_listing()
        return found

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Return objects."""
        self.asked.append(("get", [*names]))
        return map(self.there.get, names)

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Write objects."""
        self.asked.append(("put", [*contents]))
        for name, data in contents.items():
            self.there[name] = Found(data, len(self.asked))

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects."""
        self.asked.append(("delete", [*names]))
        for name in names:
            self.there.pop(name, None)


@pytest.fixture
def objects() -> Objects:
    """Where records lie apart."""
    return Objects()


@pytest.fixture
def store(objects: Objects) -> Iterator[ApartStore]:
    """A store beside them."""
    with closing(ApartStore(MemoryStore(), objects)) as made:
        yield made


def test_what_each_process_alone_writes_lies_apart() -> None:
    """The protocol needs lineages and what was forgotten one by one, and nothing else."""
    assert {SHARED_KEYS + LINES, SHARED_KEYS + PAST} == {*APART}


def test_records_lie_where_they_belong(store: ApartStore, objects: Objects) -> None:
    """Who asks for one kind alone does not ask for the other one."""
    store.write({ONE: b"1", KEPT: b"2", WHOLE: b"3"})
    assert store.store.list("") == [WHOLE]
    assert [*objects.there] == [f"{FOLDER}/00000001-a-00000000-0000", _named(KEPT)]
    assert store.list("") == sorted([ONE, KEPT, WHOLE])
    assert store.list(SHARED_KEYS + LINES) == [ONE]
    assert store.scan([SHARED_KEYS]) == {ONE: b"1", KEPT: b"2", WHOLE: b"3"}
    assert [*store.read_many([WHOLE, ONE, "none", OTHER, KEPT])] == [b"3", b"1", None, None, b"2"]
    objects.asked.clear()
    assert store.list("autostate-") == []
    assert store.scan([WHOLE]) == {WHOLE: b"3"}
    store.write({WHOLE: b"4"}, expect={WHOLE: b"3"})
    assert not objects.asked
    store.store.close()
    assert store.scan([SHARED_KEYS + LINES]) == {ONE: b"1"}
    assert size_of(_line(ONE)) == 0, "its name ends with a number, which is no size"
    store.write({ONE: b"5"}, [KEPT], expect={})
    assert store.read(ONE) == b"5"
    assert store.read(KEPT) is None


def _named(key: str) -> str:
    return f"autostate-shared-past/{key.removeprefix(SHARED_KEYS + PAST)}"


def test_what_lies_in_a_folder_of_the_folder_is_no_record(
    store: ApartStore, objects: Objects
) -> None:
    """It may belong to another state, whose name is that of the folder."""
    objects.put_many({f"{FOLDER}/other/1": b"x"}, None)
    assert store.list(SHARED_KEYS) == []
    assert store.scan([SHARED_KEYS]) == {}


def test_only_what_has_changed_is_read_again(store: ApartStore, objects: Objects) -> None:
    """A listing tells that; what is gone is forgotten."""
    store.write({ONE: b"1", OTHER: b"2"})

    def read() -> list[str]:
        store.scan([WHOLE])  # which has nothing to do with them
        objects.asked.clear()
        found = store.scan([SHARED_KEYS + LINES])
        assert found == {key: objects.there[_line(key)].data for key in found}
        assert len(found) == len(objects.there)
        return [name for what, names in objects.asked if what == "get" for name in names]

    assert len(read()) == 2
    assert read() == []
    store.write({OTHER: b"3"})
    assert read() == [_line(OTHER)]
    store.write({}, [ONE])
    assert read() == []
    assert [*store._known] == [OTHER]


def _line(key: str) -> str:
    return f"{FOLDER}/{key.removeprefix(SHARED_KEYS + LINES)}"


def test_a_record_that_moves_under_a_reader_is_found(store: ApartStore, objects: Objects) -> None:
    """Its writer has published under another key, and deleted the former one."""
    store.write({ONE: b"1"})

    def move() -> None:
        objects.at_listing = list
        store.write({OTHER: b"2"}, [ONE])

    objects.at_listing = move
    assert store.scan([SHARED_KEYS + LINES]) == {OTHER: b"2"}


def test_a_reader_gives_up_in_the_end(store: ApartStore, objects: Objects) -> None:
    """Where a record is gone whenever it was listed."""
    objects.at_listing = lambda: store.write({}, [ONE])
    listed = objects.listed

    def again(folder: str, timeout: float | None) -> dict[str, Any]:
        store.write({ONE: b"1"})
        return listed(folder, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "listed", again)
        with pytest.raises(StoreUnavailableError, match="deleted again and again"):
            store.scan([SHARED_KEYS + LINES])
    assert sum(what == "list" for what, _ in objects.asked) == apart._ATTEMPTS


def test_it_cannot_be_expected(store: ApartStore, objects: Objects) -> None:
    """Nobody could compare it in the instant of the write; nothing is written."""
    with pytest.raises(ValueError, match="cannot be expected"):
        store.write({ONE: b"1", WHOLE: b"2"}, expect={ONE: None})
    assert not objects.there
    assert store.list("") == []


def test_a_closed_store_says_so(store: ApartStore, objects: Objects) -> None:
    """Not the client, which has no connection any more."""
    store.close()
    for call in (
        lambda: store.read(ONE),
        lambda: store.list(ONE),
        lambda: store.scan([ONE]),
        lambda: store.write({ONE: b"1"}),
        lambda: store.write({}, [ONE]),
    ):
        with pytest.raises(StoreError, match="is closed"):
            call()
    assert not objects.asked


@pytest.mark.parametrize("steps", range(5))
def test_a_kill_in_the_midst_of_a_write(steps: int) -> None:
    """First come records that lie apart, then all others at once, then what is deleted apart."""
    records: Records = {OTHER: b"old", "other": b"old"}
    left = steps

    def on_step(step: Step) -> None:
        nonlocal left
        if step.writes and not left:
            raise KilledError
        left -= step.writes
        step.apply()

    store = FaultyStore(records, on_step, **SHARING_STORES["apart"])
    with suppress(KilledError):
        store.write({"whole": b"1", ONE: b"2", KEPT: b"3"}, [OTHER, "other"])
    states = [
        {OTHER, "other"},
        {OTHER, "other", ONE},
        {OTHER, "other", ONE, KEPT},
        {OTHER, ONE, KEPT, "whole"},
        {ONE, KEPT, "whole"},
    ]
    assert {*records} == states[steps]
