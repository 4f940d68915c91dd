"""Processes whose every step can be explored: the real journal, over a store that answers later.

What a process does next depends on the answers that it got from the store and on nothing else. So
its position is a *node*: where it stood before the call of the journal that it is in (a pickled
`Journal`), and the answers since. To go on from there with one more answer the call is begun again:
the store gives the answers that are known, and at the first step without one it raises, which
unwinds the call. Each node is made once, however many interleavings reach it; two courses of events
after which the journal is the same lead to the same node.
"""

from __future__ import annotations

import builtins
import io
import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import pytest

from autostate.errors import CorruptStateError, FencedError, StoreUnavailableError
from autostate.journal import Journal, Recovered
from autostate.journal.head import HeadKey
from autostate.journal.ownership import Ownership
from autostate.ownership.owner import Owner
from autostate.stores.apart import ApartStore
from autostate.stores.base import OneByOne
from tests.faulty import ObjectsOf, Promises
from tests.journal.changes import change

Items = tuple[tuple[str, bytes | None], ...]


class Step(NamedTuple):
    """One step: a read, a listing, or a write."""

    kind: str
    key: str = ""
    puts: tuple[tuple[str, bytes], ...] = ()
    deletes: tuple[str, ...] = ()
    expect: Items = ()

    def __str__(self) -> str:
        told = [f"{self.kind} {short(self.key)}".strip()]
        told += [f"+{short(key)}" for key, _ in self.puts]
        told += [f"-{short(key)}" for key in self.deletes]
        told += [f"if {short(key)}" + " is none" * (data is None) for key, data in self.expect]
        return " ".join(told)


def short(key: str) -> str:
    """A key without what all keys begin with."""
    return key.removeprefix("autostate-") or "all"


Answer = Any
"""What a step gives: bytes, a list of keys, None; or one of the two errors."""
REFUSED: Final = "refused"
FAILED: Final = "failed"


class WaitingError(BaseException):
    """The process stands before a step."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self.step = step


class AnsweringStore(OneByOne):
    """A store that gives the answers that are known, and waits for the next."""

    metered = False
    max_record = 1 << 20
    owner_file: Path | None = None
    url = "model:"

    def __init__(self, promises: Promises, answers: tuple[Answer, ...] = (), page: int = 0) -> None:
        self.atomic = promises["atomic"]
        self.conditional = promises["conditional"]
        self._page = page  # keys that a listing gives at once; 0: all
        self._answers = iter(answers)
        self.written = False  # a write was sent, whatever became of it
        self.asked: builtins.list[Step] = []
        self.apart = promises.get("apart", ())
        self._inside: ApartStore | None = None
        if self.apart:
            whole = AnsweringStore({"atomic": True, "conditional": True})
            single = AnsweringStore({"atomic": False, "conditional": False}, (), page)
            whole._ask = single._ask = self._ask  # type: ignore[method-assign]
            self._inside = ApartStore(whole, ObjectsOf(single))

    def _ask(self, step: Step) -> Answer:
        try:
            answer = next(self._answers)
        except StopIteration:
            raise WaitingError(step) from None
        self.asked.append(step)
        self.written |= step.kind == "write"
        if answer is REFUSED:
            raise FencedError("expect")
        if answer is FAILED:
            raise StoreUnavailableError("no answer")
        return answer

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """One step."""
        if self._inside is not None:
            return self._inside.read(key)
        return cast("bytes | None", self._ask(Step("read", key)))

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """One step, or one for each page."""
        if self._inside is not None:
            return self._inside.list(prefix)
        if not self._page:
            return [*self._ask(Step("list", prefix))]
        found: builtins.list[str] = []
        while True:
            after = found[-1] if found else "!"
            page = self._ask(Step("page", f"{prefix} {after} {self._page}"))
            found += page
            if len(page) < self._page:
                return found

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """One step, if that is so in a store that makes such promises."""
        if self._inside is not None:
            return self._inside.scan(prefixes)
        if not self.atomic:
            return super().scan(prefixes, timeout=timeout)
        return dict(self._ask(Step("scan", " ".join(prefixes))))

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """One step, or one for each record."""
        if self._inside is not None:
            self._inside.write(puts, deletes, expect=expect)
            return
        if self.atomic:
            wanted = tuple(sorted((expect or {}).items()))
            self._ask(Step("write", "", tuple(puts.items()), tuple(deletes), wanted))
            return
        for item in puts.items():
            self._ask(Step("write", "", (item,)))
        for key in deletes:
            self._ask(Step("write", "", (), (key,)))

    def waits(self) -> bool:
        """One step: however long a claim has been there, it may be left or not."""
        return self._ask(Step("wait")) is True

    def close(self) -> None:
        """Nothing to let go of."""


# --- Journals that can be kept and compared ---------------------------------------------------


class _Pickler(pickle.Pickler):
    """Pickles a journal without its store and its clock."""

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, AnsweringStore):
            return "store"
        return "clock" if obj is _clock else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, store: AnsweringStore) -> None:
        super().__init__(io.BytesIO(data))
        self._known = {"store": store, "clock": _clock}

    def persistent_load(self, pid: Any) -> Any:
        return self._known[pid]


def _clock() -> float:
    return 1.5


def _kept(journal: Journal) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(journal)
    return file.getvalue()


# --- What a process does ----------------------------------------------------------------------

PAGES: dict[str, int] = {}
"""The pages that processes put into the state, each with a bit of its own."""


def bit(page: str) -> int:
    """The bit of a page."""
    return PAGES.setdefault(page, 1 << len(PAGES))


def pages_of(mask: int) -> list[str]:
    """The pages whose bits are set."""
    return [page for page, value in PAGES.items() if value & mask]


def content(recovered: Recovered) -> int:
    """The pages of a state that was recovered."""
    found = [page for node in recovered.nodes.values() for page in node.content]
    return sum(map(bit, found))


class Process(NamedTuple):
    """A process between two calls of the journal.

    Attributes:
        name: Its name; that of its incarnations too.
        script: The calls that it makes.
        at: The next of them.
        inline: Bytes of state that may lie in the head.
        journal: The journal, pickled.
        insists: How often it may still displace whoever was faster, and begin anew.
        more: Whether the present commit was enlarged after it had failed.
        tried: The pages that it has tried to save.
        acknowledged: Those that were acknowledged as durable.
        bases: The states from which it went on, and was acknowledged.
        base: The one that it has recovered.
        wrote: Whether it has sent any write to the store.
        fenced: Whether it has ended because another process has taken over.
        tries: How often it may still try again: two owners could outclaim each other for ever.
        moves: How often it takes over anew above a claim.
        seen: What its last view of a shared state had.
    """

    name: str
    script: tuple[str, ...]
    inline: int
    insists: int = 0
    at: int = 0
    journal: bytes = b""
    more: bool = False
    tried: int = 0
    acknowledged: int = 0
    bases: tuple[str, ...] = ()
    base: str = ""
    wrote: bool = False
    fenced: bool = False
    tries: int = 0
    moves: int = 0
    seen: int = 0

    @property
    def call(self) -> str:
        """What it does next; empty: nothing any more."""
        return self.script[self.at] if self.at < len(self.script) else ""

    def told(self) -> Process:
        """The same, to which everything that it tried to save was acknowledged."""
        bases = tuple(sorted({*self.bases, self.base}))
        return self._replace(acknowledged=self.tried, bases=bases)

    def ended(self, *, fenced: bool = False) -> Process:
        """The same at its end: only what it was told is of interest."""
        return Process(
            self.name,
            (),
            0,
            acknowledged=self.acknowledged,
            bases=self.bases,
            wrote=self.wrote,
            fenced=fenced or self.fenced,
        )


class Node(NamedTuple):
    """A process that stands before a step, or has ended.

    Attributes:
        process: Where it was before the call that it is in.
        answers: What the store has answered since.
        step: The step; None: it has ended.
        found: If it has just recovered: the pages that it found.
        error: What must not happen to any process, and did.
    """

    process: Process
    answers: tuple[Answer, ...]
    step: Step | None
    found: int | None = None
    error: str = ""

    @property
    def begins_to_read(self) -> bool:
        """Whether its next step is the first of a recovery."""
        return self.process.call in {"recover", "read"} and not self.answers


class Runner:
    """Runs processes from node to node over stores of one sort."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises

    def begin(self, process: Process) -> list[Node]:
        """Bring a process to its first step."""
        return self._run(process, ())

    def answer(self, node: Node, answer: Answer) -> list[Node]:
        """Bring a process to its next step; there may be several ways to go on."""
        return self._run(node.process, (*node.answers, answer))

    def _run(
        self, process: Process, answers: tuple[Answer, ...], found: int | None = None
    ) -> list[Node]:
        if not process.call:
            return [Node(process.ended(), (), None, found)]
        store = AnsweringStore(self._promises, answers)
        global _moves, _running
        _moves, _running = process.moves, process.name
        journal: Journal = (
            self.new_journal(process, store)
            if process.call == "recover"
            else _Unpickler(process.journal, store).load()
        )
        try:
            after = self.call(process, journal)
        except WaitingError as waiting:
            process = process._replace(wrote=process.wrote or store.written)
            return [Node(process, answers, waiting.step, found)]
        except StoreUnavailableError:
            followers = self._after_failure(process, journal)
        except FencedError:
            followers = [self._after_fencing(process, journal)]
        except CorruptStateError as error:
            return [Node(process.ended(), (), None, error=f"{process.name} is told: {error}")]
        else:
            if process.call == "recover":
                found = content(after[1])
            followers = [after[0]._replace(journal=_kept(journal), at=after[0].at + 1)]
        if store.written:
            followers = [each._replace(wrote=True) for each in followers]
        return [node for each in followers for node in self._run(each, (), found)]

    def new_journal(self, process: Process, store: AnsweringStore) -> Journal:
        """Make the journal of a new incarnation."""
        name = f"{process.name}{process.insists or ''}"
        return Journal(
            store,
            token=partial(str, name),
            clock=_clock,
            inline_limit=process.inline,
            part_limit=4096,
        )

    def call(self, process: Process, journal: Journal) -> tuple[Process, Any]:
        """Make the next call of the journal."""
        match process.call:
            case "recover":
                recovered = journal.recover()
                base = journal._writer.ownership.found.digest
                return process._replace(base=base), recovered
            case "take over":
                journal.take_over()
            case "commit":
                changes, tried = self._changes(process, journal)
                process = process._replace(tried=tried)
                journal.commit(changes)
                process = process._replace(more=False)
                if self._promises["conditional"]:  # elsewhere `flush()` checks before it returns
                    process = process.told()
            case "check":
                journal.check_owner()
                process = process.told()
            case "compact":
                journal.compact(pause=lambda: None)
            case "renew":
                journal.renew()
            case "displace":
                journal.displace()
        return process, None

    def _changes(self, process: Process, journal: Journal) -> tuple[list[bytes], int]:
        number = process.script[: process.at].count("commit")
        pages = [f"{process.name}{number}"] + [f"{process.name}{number}+"] * process.more
        changes = [change(id=1, put={page: 1}) for page in pages]
        if not journal.sequence:
            changes.insert(0, change(id=1, kind="dict", name="pages", assign={}))
        return changes, process.tried | sum(map(bit, pages))

    def _after_failure(self, process: Process, journal: Journal) -> list[Process]:
        """A call failed: what was to be saved is sent again, perhaps with more."""
        if process.call == "recover":
            return [process]
        if not process.tries:
            return [process.ended()]
        process = process._replace(tries=process.tries - 1)
        if process.call not in ("commit", "check"):
            process = process._replace(at=process.at + 1)
        again = process._replace(journal=_kept(journal))
        if process.call == "commit" and not process.more:
            return [again, again._replace(more=True)]
        return [again]

    def _after_fencing(self, process: Process, journal: Journal) -> Process:
        """Another one has taken over: an end, or the beginning of the next attempt."""
        if process.insists and process.script[0] == "recover" and not process.acknowledged:
            script = ("displace", *process.script)
            insists = process.insists - 1
            return process._replace(
                script=script, at=0, insists=insists, journal=_kept(journal), tried=0, more=False
            )
        return process.ended(fenced=True)


def straight(process: Process, promises: Promises, answers: tuple[Answer, ...]) -> list[Step]:
    """The steps of a process that is run in one go, with the same answers."""
    global _running
    _running = process.name
    runner, store = Runner(promises), AnsweringStore(promises, answers)
    journal = runner.new_journal(process, store)
    with suppress(FencedError, StoreUnavailableError):
        for at in range(len(process.script)):
            process, _ = runner.call(process._replace(at=at), journal)
    return store.asked


_running = ""
_moves = 0


def _is_left(ownership: Ownership, claim: HeadKey | None) -> bool:
    """Let any time go by, in place of the clock's."""
    if claim is None or len(ownership.ranks) > _moves:
        return False
    store: Any = ownership._store
    return isinstance(store, AnsweringStore) and store.waits()


@contextmanager
def same_owners() -> Iterator[None]:
    """Let what a process says of itself be the same in every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ownership, "_is_left", _is_left)
        patch.setattr(
            Owner, "this", classmethod(lambda cls, lease=None: cls(program=_running, lease=lease))
        )
        yield
