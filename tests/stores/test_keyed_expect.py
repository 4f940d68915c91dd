"""What a write to a protected store expects is remembered as it is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from autostate.errors import FencedError
from autostate.journal import Journal
from autostate.settings import Settings
from autostate.stores.keyed import KeyedStore
from autostate.stores.memory import MemoryStore

KEY, OTHER = "a-secret-of-at-least-sixteen-bytes", "another-secret-of-sixteen"


class CountingStore(MemoryStore):
    """A store that notes its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        self.calls.append("read")
        return super().read(key, timeout=timeout)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.calls.append("write")
        super().write(puts, deletes, expect=expect, timeout=timeout)


def protected(store: MemoryStore, *keys: str, encrypt: bool) -> KeyedStore:
    """The store, with keys."""
    return KeyedStore(store, Settings(key=keys, encrypt=encrypt), name="a")


@pytest.mark.parametrize("encrypt", [False, True])
def test_a_commit_is_one_call_of_the_store(encrypt: bool) -> None:
    """Neither the first one, after a recovery, nor a later one reads what it expects."""
    counting = CountingStore()
    for first in (b'{"id":1,"kind":"dict","name":"s","assign":{"page":1}}', b'{"id":1,"put":{}}'):
        journal = Journal(protected(counting, KEY, encrypt=encrypt))
        journal.recover()
        counting.calls.clear()
        journal.commit([first])
        assert counting.calls[0] == "write"  # then records of an earlier process are deleted
        counting.calls.clear()
        journal.check_owner()
        journal.commit([b'{"id":1,"put":{"page":2}}'])
        assert counting.calls == ["read", "write"]


@pytest.mark.parametrize("encrypt", [False, True])
def test_a_record_that_was_sealed_anew_is_as_expected(encrypt: bool) -> None:
    """Another process may have changed the key; the record is the same."""
    inner = MemoryStore()
    mine = protected(inner, OTHER, KEY, encrypt=encrypt)
    mine.write({"owner": b"1"}, expect={"owner": None})
    other = protected(inner, KEY, encrypt=encrypt)
    inner.write({"owner": other.sealed("owner", b"1")})
    mine.write({"owner": b"2"}, expect={"owner": b"1"})
    inner.write({"owner": other.sealed("owner", b"3")})
    with pytest.raises(FencedError):
        mine.write({"owner": b"4"}, expect={"owner": b"2"})
    assert mine.read("owner") == b"3"


def test_few_records_are_remembered() -> None:
    """Reading many records, or large ones, keeps none of them in memory."""
    store = protected(MemoryStore(), KEY, encrypt=False)
    store.write({str(number): b"x" * 9_000 * number for number in range(20)})
    for number in range(20):
        store.read(str(number))
    assert sum(len(data) for _, data in store._known.values()) <= 8 * 65_536
