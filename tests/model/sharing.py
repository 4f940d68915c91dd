"""Processes that share a state, whose every step can be explored: the real code of `shared/`.

As in `processes.py`, the position of a process is what it was before the call that it is in, and
the answers since. What outlasts a call is kept as bytes: what the writer has contributed, the last
view, the base that is known. Waiting is left out: where a process would wait for another one, the
call fails, and the process may try again, or fold by itself.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import pytest

from autostate.errors import AutostateError, FlushError, StoreUnavailableError
from autostate.journal import Journal
from autostate.shared import fold as folding, replica as replicas
from autostate.shared.kinds import COUNTER, SET, Entries
from autostate.shared.replica import Replica, Shared
from autostate.shared.shelf import ClosedError, Reading, Shelf
from autostate.shared.writer import UncertainError, Writer
from autostate.stores.base import Store
from tests.faulty import FaultyStore, Promises
from tests.model import processes
from tests.model.explore import Explorer, ViolationError
from tests.model.processes import (
    Answer,
    AnsweringStore,
    Node,
    Process,
    Runner,
    WaitingError,
    bit,
    pages_of,
    same_owners,
)

MEMBER: Final = "x"
_WRITER: Final = (
    "id",
    "generation",
    "number",
    "pending",
    "sent",
    "line",
    "acknowledged",
    "uncertain",
    "_epoch",
    "_outlasts",
    "_tries",
    "_former",
    "_flying",
    "_arrived",
)
_NOT_KEPT: Final = {
    "_shelf",
    "_kind_of",
    "_clock",
    "_lock",
    "_publishing",
    "_first",
    "accept",
    "held",
}


def _view(reading: Reading) -> dict[str, Any]:
    replica = _replica(FaultyStore({}))
    for shared in replica.objects.values():
        replica._fill(shared, reading)
    return {name: shared.container for name, shared in replica.objects.items()}


def content(view: dict[str, Any]) -> int:
    """The changes in a view, each a bit of its own.

    Raises:
        ViolationError: One was counted twice.
    """
    hits: Counter[str] = view["hits"]
    if twice := [name for name, count in hits.items() if count != 1]:
        raise ViolationError(f"counted twice: {twice}")
    found = sum(map(bit, hits))
    if MEMBER not in view["seen"]:
        found |= bit("gone")
    return found


def _now() -> float:
    return 1e9


def _replica(store: Store, *, one_step: bool = True) -> Replica:
    replica = Replica(store, now=_now)
    replica.shelf._one_step &= one_step
    replica.shelf._is_guarded &= one_step
    for name, kind, container in (("hits", COUNTER, Counter()), ("seen", SET, set())):
        made = Shared(replica, name, kind)
        made.container = container
        replica.objects[name] = made
    return replica


class SharingRunner(Runner):
    """Runs processes that share a state.

    Args:
        promises: What the store promises.
        page: The keys that a listing gives at once; 0: all.
        writers: The names of writers, by those of processes, for those that go on as another one.
        one_step: Whether a publication is one step where the store allows for it.
        generation: The generation in which processes begin; 0: they look.
    """

    def __init__(
        self,
        promises: Promises,
        page: int,
        writers: dict[str, str],
        *,
        one_step: bool = True,
        generation: int = 0,
    ) -> None:
        super().__init__(promises)
        self._promises = promises
        self._page = page
        self._one_step = one_step
        self._generation = generation
        self._writers = writers

    def _run(
        self, process: Process, answers: tuple[Answer, ...], found: int | None = None
    ) -> list[Node]:
        if not process.call:
            return [Node(process.ended(), (), None, found)]
        store = AnsweringStore(self._promises, answers, self._page)
        processes._running = f"{process.name}{process.at}"
        replica = self._restored(process, store)
        try:
            after, found_now = self._call(process, replica, store)
        except WaitingError as waiting:
            return [Node(process, answers, waiting.step, found)]
        except (StoreUnavailableError, FlushError, ClosedError):
            followers = self._failed(process, replica)
        except UncertainError:
            followers = [process.ended()]
        except (AutostateError, ViolationError) as error:
            return [Node(process.ended(), (), None, error=f"{process.name} is told: {error}")]
        else:
            found = found if found_now is None else found_now
            followers = [after._replace(journal=_kept(replica), at=after.at + 1)]
        return [node for each in followers for node in self._run(each, (), found)]

    def _failed(self, process: Process, replica: Replica) -> list[Process]:
        """A call failed: it is tried again, at once or after a fold by this process."""
        if not process.tries:
            return [process.ended()]
        again = process._replace(tries=process.tries - 1, journal=_kept(replica))
        if process.call == "fold":
            return [again, again._replace(at=again.at + 1)]
        if not process.insists:
            return [again]
        script = (*process.script[: process.at], "fold", *process.script[process.at :])
        return [again, again._replace(script=script)]

    def _call(
        self, process: Process, replica: Replica, store: AnsweringStore
    ) -> tuple[Process, int | None]:
        """Make the next call, and tell what was found if it reads."""
        writer = replica.writer
        match process.call:
            case "publish" | "publish beside a refresh" | "publish before a refresh":
                if process.call == "publish beside a refresh":
                    _refresh_after(replica.shelf.store, "write", replica)
                elif process.call == "publish before a refresh":
                    _refresh_after(replica.shelf, "publish", replica)
                replica.publish(writer, 1.0)
                if not self._is_replaced(process):  # else what it is told changes nothing any more
                    process = process._replace(acknowledged=process.tried)
            case "try to publish":
                with suppress(StoreUnavailableError, FlushError):
                    replica.publish(writer, 1.0)
            case "resume":
                writer.resume(replica._read(None))
                arrived = [f"{writer.id}{position}" for position in range(writer.acknowledged)]
                process = process._replace(tried=process.tried | sum(map(bit, arrived)))
            case "restart":
                before, replica.shelf = replica.shelf, Shelf(store, replica.shelf.past)
                replica.shelf._one_step = before._one_step
                replica.shelf._is_guarded = before._is_guarded
                replica._reading, replica.writer = None, replica._own_writer()
                replica.writer.id, replica.writer._outlasts = writer.id, True
            case "fold":
                replica._fold(None)
            case "read":
                return self._read(process, replica)
            case _:
                process = self._change(process, replica)
        return process, None

    def _read(self, process: Process, replica: Replica) -> tuple[Process, int]:
        replica.refresh()
        found = content({name: each.container for name, each in replica.objects.items()})
        if lost := process.seen & ~found & ~bit("gone"):
            raise ViolationError(f"a view went back: {pages_of(lost)}")
        return process._replace(seen=found), found

    def _change(self, process: Process, replica: Replica) -> Process:
        """Change something; return the process, which has tried that."""
        writer, hits, seen = replica.writer, replica.objects["hits"], replica.objects["seen"]
        match process.call:
            case "count":
                page = f"{process.name}{process.script[: process.at].count('count')}"
                hits.write({page: 1})
                return process._replace(tried=process.tried | bit(page))
            case "item":  # of an outbox: the same ones for all incarnations of a writer
                position = self._since_restart(process).count("item")
                page = f"{writer.id}{position}"
                if position + 1 > writer.number:
                    writer.number = position + 1
                    writer.add("hits", COUNTER, {page: 1})
                return process._replace(tried=process.tried | bit(page))
            case "add":
                seen.write({MEMBER: True})
            case "remove":
                is_there = MEMBER in seen.container
                seen.write({MEMBER: False})
                if is_there:
                    return process._replace(tried=process.tried | bit("gone"))
            case other:
                raise AssertionError(other)
        return process

    def _since_restart(self, process: Process) -> tuple[str, ...]:
        past = process.script[: process.at]
        return past[len(past) - past[::-1].index("restart") :] if "restart" in past else past

    def _epoch(self, process: Process) -> int:
        """Which incarnation of its writer a process is."""
        restarts = process.script[: process.at].count("restart")
        return [*self._writers, process.name].index(process.name) + 9 * restarts

    def _is_replaced(self, process: Process) -> bool:
        """Whether another process may go on in the place of this one."""
        return process.name in [*self._writers][:-1]

    def _restored(self, process: Process, store: AnsweringStore) -> Replica:
        replica = _replica(store, one_step=self._one_step)
        writer = replica.writer
        writer.id = self._writers.get(process.name, process.name)
        writer.generation = self._generation
        writer._epoch, writer._outlasts = self._epoch(process), process.name in self._writers
        if writer._outlasts:
            replica.shelf.past.recall(writer.id, is_new=False)
        if process.journal:
            kept: dict[str, Any] = pickle.loads(process.journal)
            for name in _WRITER:
                setattr(writer, name, kept[name])
            writer._epoch = self._epoch(process)
            replica._reading, replica.shelf._base = kept["reading"], kept["base"]
            for name, entries in kept["entries"].items():
                replica.objects[name].set_entries(entries)
        return replica


def _refresh_after(target: Any, name: str, replica: Replica) -> None:
    """Let another thread refresh between the end of a call and what follows."""
    call = getattr(target, name)

    def called(puts: Any, *arguments: Any, **named: Any) -> Any:
        given = call(puts, *arguments, **named)
        if puts:
            setattr(target, name, call)
            replica.refresh()
        return given

    setattr(target, name, called)


def _kept(replica: Replica) -> bytes:
    """What outlasts a call, as bytes that are the same for the same values."""
    writer: Writer = replica.writer
    assert vars(writer).keys() == {*_WRITER, *_NOT_KEPT}
    entries: dict[str, Entries] = {n: shared.entries for n, shared in replica.objects.items()}
    kept: dict[str, Any] = {name: getattr(writer, name) for name in _WRITER}
    kept |= {"reading": replica._reading, "base": replica.shelf._base, "entries": entries}
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.fast = True  # else the identity of values would make a difference
    pickler.dump(kept)
    return file.getvalue()


class SharingExplorer(Explorer):
    """Explores what processes do that share a state; see `Explorer`.

    In every state, also if all had crashed there: what was acknowledged is found, nothing counts
    twice, and a new process folds everything, after which this is still so.
    """

    def _alone(self, records: int) -> int:
        store = FaultyStore(dict(self._stores.values[records]), **self._promises)
        replica = _replica(store)
        found = -1
        for turn in range(3):
            processes._running = f"zz{turn}"
            try:
                reading = replica.shelf.read()
                found &= content(_view(reading))
                folding.fold(replica.shelf, replica.kind_of, replica._clock)
            except AutostateError as error:
                raise ViolationError(f"a process that is alone fails: {error}") from error
        left = [*replica.shelf.read().lines]
        if left:
            raise ViolationError(f"lineages are never folded: {left}")
        return found


def made_by(store: FaultyStore, folded: int, left: int) -> tuple[dict[str, bytes], Process]:
    """What processes leave that have ended, some before a fold; and what they were told."""
    names = [f"s{number}" for number in range(folded + left)]
    for number, name in enumerate(names):
        processes._running = name
        replica = _replica(store)
        replica.writer.id = name
        replica.objects["hits"].write({name: 1})
        with same_owners():
            replica.writer.publish()
            if number < folded:
                folding.fold(replica.shelf, replica.kind_of, replica._clock)
    return store.records, Process("s", (), 0, acknowledged=sum(map(bit, names)))


class _NoTime:
    """A deadline that has passed: whoever would wait gives up."""

    @classmethod
    def after(cls, _: float) -> type[_NoTime]:
        """Make a deadline."""
        return cls

    @classmethod
    def left(cls) -> float:
        """No second is left."""
        return 0.0


@contextmanager
def without_time() -> Iterator[None]:
    """Let nobody wait, and names of incarnations of the base be those of processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicas, "Deadline", _NoTime)
        made = partial(Journal, token=lambda: processes._running, clock=lambda: 1.5)
        patch.setattr(folding, "Journal", made)
        yield
