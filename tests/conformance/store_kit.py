"""What every store must do: one check for each promise of `autostate.stores.base.Store`.

To run a store through it:

    @pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
    def test_conforms(check: store_kit.Check, tmp_path: Path) -> None:
        check(lambda: MyStore(tmp_path / "records"))

The argument opens the *same* records anew each time it is called. Promises that a store does
not make (`atomic`, `conditional`) are skipped for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from autostate.errors import FencedError, StoreError
from autostate.stores import Store

Open = Callable[[], Store]
Check = Callable[[Open], None]

ALPHABET = "abcxyzABCXYZ0189!-_.'()"
LARGE = 3 << 20


@contextmanager
def opened(open_: Open) -> Iterator[Store]:
    """Open a store, and close it."""
    store = open_()
    try:
        yield store
    finally:
        store.close()


def what_is_written_is_read(open_: Open) -> None:
    """A record reads back byte for byte, also one that is empty, binary, or large."""
    values = [b"", b"\x00\xff\r\n", b'{"a":1}', bytes(range(256)) * (LARGE // 256)]
    with opened(open_) as store:
        for number, value in enumerate(values):
            store.write({f"record-{number}": value})
        for number, value in enumerate(values):
            assert store.read(f"record-{number}") == value


def what_was_never_written_is_none(open_: Open) -> None:
    """A key without a record reads as None, and is not listed."""
    with opened(open_) as store:
        assert store.read("missing") is None
        assert store.list("") == []


def a_record_is_replaced(open_: Open) -> None:
    """The last value of a key counts, also when it is shorter."""
    with opened(open_) as store:
        store.write({"record": b"a long first value"})
        store.write({"record": b"short"})
        assert store.read("record") == b"short"
        assert store.list("") == ["record"]


def a_record_outlives_the_store(open_: Open) -> None:
    """Closing and opening again loses nothing, and brings nothing deleted back."""
    with opened(open_) as store:
        store.write({"kept": b"1", "deleted": b"2"})
        store.write({}, ["deleted"])
    with opened(open_) as store:
        assert store.read("kept") == b"1"
        assert store.list("") == ["kept"]


def several_are_written_and_deleted(open_: Open) -> None:
    """One call writes and deletes several records; deleting a missing one is no error."""
    with opened(open_) as store:
        store.write({"a": b"1", "b": b"2", "c": b"3"})
        store.write({"d": b"4", "a": b"5"}, ["b", "c", "missing"])
        assert store.list("") == ["a", "d"]
        assert (store.read("a"), store.read("d")) == (b"5", b"4")


def keys_may_have_all_their_characters(open_: Open) -> None:
    """Keys of 200 characters out of the whole alphabet work, and are told apart by case."""
    keys = [ALPHABET, ALPHABET.swapcase(), "k" * 200, "autostate-head-00000001-'(!._)"]
    with opened(open_) as store:
        for key in keys:
            store.write({key: key.encode()})
        assert [store.read(key) for key in keys] == [key.encode() for key in keys]
        assert set(store.list("")) == set(keys)


def a_listing_holds_exactly_the_prefix(open_: Open) -> None:
    """Listing gives all keys with the prefix, sorted, and no others; `_` and `%` mean nothing."""
    keys = ["a-1", "a-10", "a-2", "a_1", "ab", "b-1", "A-1"]
    with opened(open_) as store:
        store.write(dict.fromkeys(keys, b"x"))
        assert store.list("a-") == ["a-1", "a-10", "a-2"]
        assert store.list("a_") == ["a_1"]
        assert store.list("c") == []
        assert store.list("") == sorted(keys)


def a_long_listing_is_complete(open_: Open) -> None:
    """A listing is complete however many keys there are: pages are the store's business."""
    keys = [f"record-{number:04d}" for number in range(1_100)]
    with opened(open_) as store:
        store.write(dict.fromkeys(keys, b"x"))
        assert store.list("record-") == keys


def two_stores_see_the_same(open_: Open) -> None:
    """What one store wrote, another one that is open already reads, lists and replaces."""
    with opened(open_) as one, opened(open_) as other:
        one.write({"record": b"1"})
        assert other.read("record") == b"1"
        other.write({"record": b"2"})
        assert one.read("record") == b"2"
        one.write({}, ["record"])
        assert other.list("") == []


def another_thread_may_call(open_: Open) -> None:
    """A store is not bound to the thread that opened it."""
    with opened(open_) as store:
        thread = threading.Thread(target=store.write, args=({"record": b"1"},))
        thread.start()
        thread.join()
        assert store.read("record") == b"1"


def a_closed_store_says_so(open_: Open) -> None:
    """Closing twice is no error; what comes after is one that says what happened."""
    store = open_()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.read("record")
    with pytest.raises(StoreError, match="closed"):
        store.write({"record": b"1"})


def timeouts_are_taken(open_: Open) -> None:
    """Each call takes a timeout."""
    with opened(open_) as store:
        store.write({"record": b"1"}, timeout=10)
        assert store.read("record", timeout=10) == b"1"
        assert store.list("", timeout=10) == ["record"]


def its_attributes_are_set(open_: Open) -> None:
    """A store says what it can promise, and takes records of at least a megabyte."""
    with opened(open_) as store:
        promises = (store.atomic, store.conditional, store.metered)
        assert {type(promise) for promise in promises} == {bool}
        assert store.max_record >= 1 << 20
        assert ":" in store.url


def expect_is_honoured(open_: Open) -> None:
    """A write whose expectation does not hold writes and deletes nothing, and raises."""
    with opened(open_) as store:
        if not store.conditional:
            pytest.skip("the store makes no conditional writes")
        store.write({"owner": b"1", "other": b"x"}, expect={"owner": None})
        for wrong in ({"owner": None}, {"owner": b"2"}, {"owner": b"1", "missing": b""}):
            with pytest.raises(FencedError):
                store.write({"owner": b"3", "new": b"y"}, ["other"], expect=wrong)
        assert store.list("") == ["other", "owner"]
        store.write({"owner": b"2"}, ["other"], expect={"owner": b"1", "missing": None})
        assert store.list("") == ["owner"]
        assert store.read("owner") == b"2"


def one_of_many_wins(open_: Open) -> None:
    """Of several stores that expect the same at the same time, exactly one writes."""
    with opened(open_) as store:
        if not store.conditional:
            pytest.skip("the store makes no conditional writes")
    winners: list[int] = []
    start = threading.Barrier(4)

    def compete(number: int) -> None:
        with opened(open_) as store:
            start.wait()
            try:
                store.write({"owner": b"%d" % number}, expect={"owner": None}, timeout=30)
            except FencedError:
                return
            winners.append(number)

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(open_) as store:
        assert [b"%d" % number for number in winners] == [store.read("owner")]


CHECKS: list[Check] = [
    what_is_written_is_read,
    what_was_never_written_is_none,
    a_record_is_replaced,
    a_record_outlives_the_store,
    several_are_written_and_deleted,
    keys_may_have_all_their_characters,
    a_listing_holds_exactly_the_prefix,
    a_long_listing_is_complete,
    two_stores_see_the_same,
    another_thread_may_call,
    a_closed_store_says_so,
    timeouts_are_taken,
    its_attributes_are_set,
    expect_is_honoured,
    one_of_many_wins,
]


def name(check: Check) -> str:
    """Name a check in a test report."""
    return check.__name__
