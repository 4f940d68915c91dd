"""Ways to break the protocol of shared state, each a small change of the real code."""

from __future__ import annotations

from typing import Any

import pytest

from autostate.errors import StoreUnavailableError
from autostate.journal import Journal
from autostate.runtime.place import SHARED_KEYS
from autostate.shared import line as lines, past, shelf as shelves, writer as writers
from autostate.shared.kinds import SetKind
from autostate.shared.line import LineKey, parse_key
from autostate.shared.shelf import Base, Reading, Shelf
from autostate.shared.writer import Writer
from autostate.stores.apart import ApartStore
from tests.model.processes import AnsweringStore


def publishes_without_looking(patch: pytest.MonkeyPatch) -> None:
    """A publication does not look for the mark of its generation."""
    patch.setattr(Shelf, "_is_closed", lambda *_: False)


def nothing_is_expected(patch: pytest.MonkeyPatch) -> None:
    """The store is not asked to compare the marks."""
    publish = Shelf.publish

    def blindly(self: Shelf, *arguments: Any, **named: Any) -> int:
        write = self.store.write

        def written(puts: Any, deletes: Any = (), **options: Any) -> None:
            write(puts, deletes, **options | {"expect": None})

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.store, "write", written)
            return publish(self, *arguments, **named)

    patch.setattr(Shelf, "publish", blindly)


def looks_before_the_write(patch: pytest.MonkeyPatch) -> None:
    """A publication looks for the marks before it writes, and not afterwards."""
    publish, is_closed = Shelf.publish, Shelf._is_closed

    def checked(self: Shelf, key: LineKey, *arguments: Any, **named: Any) -> int:
        if is_closed(self, key.generation, None):
            raise shelves.ClosedError(key.generation, is_certain=True)
        return publish(self, key, *arguments, **named)

    patch.setattr(Shelf, "_is_closed", lambda *_: False)
    patch.setattr(Shelf, "publish", checked)


def no_generation_is_closed(patch: pytest.MonkeyPatch) -> None:
    """A fold writes no mark."""
    patch.setattr(Shelf, "close_generation", lambda *_: None)


def closes_after_reading(patch: pytest.MonkeyPatch) -> None:
    """A fold writes the mark when it has read the lineages."""
    close, through = Shelf.close_generation, Shelf.lines_through

    def read_first(self: Shelf, generation: int, timeout: float | None = None) -> Any:
        found = through(self, generation, timeout)
        close(self, generation, timeout)
        return found

    patch.setattr(Shelf, "close_generation", lambda *_: None)
    patch.setattr(Shelf, "lines_through", read_first)


def deletes_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """A fold deletes the lineages when it has read them."""
    through = Shelf.lines_through

    def read_and_delete(self: Shelf, generation: int, timeout: float | None = None) -> Any:
        found = through(self, generation, timeout)
        self.sweep(generation, timeout)
        return found

    patch.setattr(Shelf, "lines_through", read_and_delete)


def deletes_unchecked(patch: pytest.MonkeyPatch) -> None:
    """A fold deletes the lineages without having looked whether it still owns the base."""
    patch.setattr(Journal, "tidy", lambda *_, **__: None)


def trusts_an_unsettled_base(patch: pytest.MonkeyPatch) -> None:
    """A writer goes on from a base that another process may be about to replace."""
    base_of = Shelf._base_of

    def settled(self: Shelf, version: Any, timeout: float | None) -> Base:
        return base_of(self, version, timeout)._replace(is_settled=True)

    patch.setattr(Shelf, "_base_of", settled)


def same_key_after_an_unknown_outcome(patch: pytest.MonkeyPatch) -> None:
    """What may arrive late, and what is written after it, have one key."""
    patch.setattr(writers, "LineKey", lambda *place: LineKey(*place)._replace(attempt=0))


def all_attempts_count(patch: pytest.MonkeyPatch) -> None:
    """Of a writer each record counts, and not the last one only."""

    def each(keys: Any) -> dict[Any, LineKey]:
        return {tuple(key): key for key in filter(None, map(parse_key, keys))}

    patch.setattr(shelves, "newest", lambda keys: {(k[0], k): v for k, v in each(keys).items()})


def epochs_do_not_count(patch: pytest.MonkeyPatch) -> None:
    """Of two incarnations of a writer the one with more attempts counts."""

    def latest(keys: Any) -> dict[tuple[int, str], LineKey]:
        found: dict[tuple[int, str], LineKey] = {}
        for key in sorted(filter(None, map(parse_key, keys)), key=lambda key: -key.epoch):
            found[key[:2]] = key
        return found

    patch.setattr(shelves, "newest", latest)


def closed_publications_are_repeated(patch: pytest.MonkeyPatch) -> None:
    """A writer whose generation was closed publishes again what it does not know of."""
    follow = Writer._follow

    def forgetful(self: Writer, base: Base, generation: int) -> None:
        follow(self, base._replace(taken={}), generation)

    patch.setattr(Writer, "_follow", forgetful)


def closed_publications_are_taken_for_counted(patch: pytest.MonkeyPatch) -> None:
    """A writer whose generation was closed takes all that it has sent for counted."""
    follow = Writer._follow

    def trusting(self: Writer, base: Base, generation: int) -> None:
        taken = {**base.taken, self.id: (self.generation, self.sent)}
        follow(self, base._replace(taken=taken), generation)

    patch.setattr(Writer, "_follow", trusting)


def goes_on_before_the_base_is_known(patch: pytest.MonkeyPatch) -> None:
    """A writer goes on in the open generation as soon as its own is closed."""
    follow = Writer.follow

    def hasty(self: Writer, base: Base, generation: int) -> None:
        follow(self, base, generation)
        if generation > self.generation:
            self._begin(generation)

    patch.setattr(Writer, "follow", hasty)


def a_replaced_process_begins_a_generation(patch: pytest.MonkeyPatch) -> None:
    """A writer whose name outlasts its process begins a generation as any other does."""
    follow = Writer.follow

    def as_others(self: Writer, base: Base, generation: int) -> None:
        self._outlasts = False
        follow(self, base, generation)
        self._outlasts = True

    patch.setattr(Writer, "follow", as_others)


def resumes_what_may_be_late(patch: pytest.MonkeyPatch) -> None:
    """Who goes on as a former process trusts a lineage that no fold may have seen."""
    read = Shelf._read

    def trusting(self: Shelf, timeout: float | None) -> Reading | None:
        found = read(self, timeout)
        return found and found._replace(is_settled=True)

    patch.setattr(Shelf, "_read", trusting)


def shows_what_may_be_late(patch: pytest.MonkeyPatch) -> None:
    """A reader shows lineages of a generation that is being folded."""
    resumes_what_may_be_late(patch)


def reads_content_unmarked(patch: pytest.MonkeyPatch) -> None:
    """A reader does not look for the mark again when it has read the lineages."""
    read = Shelf._read

    def unchecked(self: Shelf, timeout: float | None) -> Reading | None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Shelf, "_is_closed", lambda *_: False)
            return read(self, timeout)

    patch.setattr(Shelf, "_read", unchecked)


def reads_the_base_first(patch: pytest.MonkeyPatch) -> None:
    """A reader lists the lineages when it has the base."""
    read, base_of = Shelf._read, Shelf._base_of

    def first(self: Shelf, timeout: float | None) -> Reading | None:
        self._base = None
        base = base_of(self, None, timeout)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Shelf, "_base_of", lambda *_: base)
            return read(self, timeout)

    patch.setattr(Shelf, "_read", first)


def passes_over_what_is_gone(patch: pytest.MonkeyPatch) -> None:
    """A reader does not begin again when a lineage is gone that it has listed."""
    read_many = AnsweringStore.read_many

    def there(self: AnsweringStore, keys: Any, *, timeout: float | None = None) -> Any:
        nothing = [lines.sealed(parse_key(key[7:]) or _NO_KEY, lines.Line()) for key in keys]
        for data, empty in zip(read_many(self, keys, timeout=timeout), nothing, strict=True):
            yield empty if data is None else data

    patch.setattr(AnsweringStore, "read_many", there)


_NO_KEY = LineKey(1, "a", 0, 0)


def reads_what_lies_apart_last(patch: pytest.MonkeyPatch) -> None:
    """A reading has base and marks first, and then the lineages that lie apart."""

    def scan(self: ApartStore, prefixes: Any, *, timeout: float | None = None) -> Any:
        rest = [each for each in prefixes if not each.startswith(self.apart)]
        others = self.store.scan(rest, timeout=timeout) if rest else {}
        return self._scan_apart(prefixes, timeout) | others

    patch.setattr(ApartStore, "scan", scan)


def leaves_out_what_is_gone(patch: pytest.MonkeyPatch) -> None:
    """A lineage that lies apart, and has gone before it was read, is not listed anew."""

    def there(self: ApartStore, prefixes: Any, timeout: float | None) -> Any:
        keys = [*self._list_apart(prefixes, timeout)]
        found = zip(keys, self._get(keys, timeout), strict=True)
        return {key: each.data for key, each in found if each is not None}

    patch.setattr(ApartStore, "_scan_apart", there)


def counts_old_lineages(patch: pytest.MonkeyPatch) -> None:
    """A reader counts lineages that are in the base, where they are there again."""
    base_of = Shelf._base_of

    def of(self: Shelf, version: Any, timeout: float | None) -> Any:
        base = base_of(self, version, timeout)
        return base._replace(through=0)

    patch.setattr(Shelf, "_base_of", of)


def lineages_sort_last(patch: pytest.MonkeyPatch) -> None:
    """In a listing of several pages the base comes before the lineages."""
    pages = AnsweringStore.list

    def reversed_(self: AnsweringStore, prefix: str, **named: Any) -> list[str]:
        first = [] if prefix != SHARED_KEYS else pages(self, prefix + "a", **named)
        rest = pages(self, prefix, **named)
        gone = set() if prefix != SHARED_KEYS else {k for k in rest if k[7:8] == "a"}
        return sorted({*first, *rest} - (gone - {*first}))

    patch.setattr(AnsweringStore, "list", reversed_)


def settles_removals_too_early(patch: pytest.MonkeyPatch) -> None:
    """A fold forgets a removal although the addition may come yet."""
    settled = SetKind.settled
    patch.setattr(
        SetKind,
        "settled",
        lambda self, entry, _, generation: settled(self, entry, None, generation),
    )


def deletes_marks_before_that_of_the_era(patch: pytest.MonkeyPatch) -> None:
    """The mark of an era is not there when those in it are deleted."""

    def only(self: Shelf, generation: int, timeout: float | None = None) -> None:
        self.store.write({f"{shelves.CLOSED}{generation:08}": b"{}"}, timeout=timeout)

    patch.setattr(Shelf, "close_generation", only)


def looks_for_the_era_first(patch: pytest.MonkeyPatch) -> None:
    """A publication looks for the mark of the era, and then for that of the generation."""
    marks = shelves._marks
    patch.setattr(shelves, "_marks", lambda generation: marks(generation)[::-1])


def notices_no_refresh_beside(patch: pytest.MonkeyPatch) -> None:
    """A publication is taken for good although a refresh has found its generation closed."""
    note = Writer._note_success

    def blind(self: Writer, key: LineKey, line: Any) -> None:
        note(self, key._replace(generation=self.generation), line)

    patch.setattr(Writer, "_note_success", blind)


def forgets_for_good(patch: pytest.MonkeyPatch) -> None:
    """A fold keeps nothing of writers that the base forgets."""
    patch.setattr(past, "keep", lambda *_: None)


def keeps_after_the_commit(patch: pytest.MonkeyPatch) -> None:
    """A fold keeps what the base forgets when the base has forgotten it."""
    keep, sweep = past.keep, Shelf.sweep
    kept: list[Any] = []

    def swept(self: Shelf, *arguments: Any) -> None:
        keep(*kept.pop())
        sweep(self, *arguments)

    patch.setattr(past, "keep", lambda *arguments: kept.append(arguments))
    patch.setattr(Shelf, "sweep", swept)


def a_lost_answer_is_a_refusal(patch: pytest.MonkeyPatch) -> None:
    """A publication whose outcome is unknown is taken for one that was not made."""
    publish = Shelf.publish

    def sure(self: Shelf, key: LineKey, *arguments: Any, **named: Any) -> int:
        try:
            return publish(self, key, *arguments, **named)
        except StoreUnavailableError as error:
            raise shelves.ClosedError(key.generation, is_certain=True) from error

    patch.setattr(Shelf, "publish", sure)
