"""`atomic()`: how a block ends, what it undoes, and how saves and blocks give way to each other."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import random
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet, hub
from autostate.stores import memory
from tests.conformance.state_kit import Program

WAIT = 120.0
LARGE = 300


class Actor:
    """One task of a program: what it does happens in a context of its own."""

    def __init__(self, make: Callable[[], Any] = autostate.atomic) -> None:
        self._make = make
        self._context = contextvars.copy_context()
        self._blocks: list[contextlib.ExitStack] = []

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function as this task."""
        return self._context.run(function, *args)

    def begin(self) -> None:
        """Enter a block."""
        stack = contextlib.ExitStack()
        self.do(stack.enter_context, self._make())
        self._blocks.append(stack)

    def end(self, *, fails: bool = False) -> None:
        """Leave the innermost block."""
        error = (ValueError, ValueError(), None) if fails else (None, None, None)
        self.do(self._blocks.pop().__exit__, *error)

    @property
    def depth(self) -> int:
        """How many blocks it is in."""
        return len(self._blocks)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A store in memory that is empty."""
    return f"memory:{request.node.name}"


@pytest.fixture
def state(url: str) -> Iterator[Any]:
    """A dict that is saved only when a test asks for it."""
    with autostate.open(url, debounce=3600, max_delay=3600):
        yield PersistedDict("state", n=0)


def stored(url: str) -> Any:
    """What a process that begins now would find."""
    memory._shared["copy"] = memory._Records()
    memory._shared["copy"].update(memory._shared[url.removeprefix("memory:")])
    with autostate.open("memory:copy"):
        return PersistedDict("state")


def still_saves(state: Any) -> None:
    """Nothing is open and nothing is locked: a flush returns, from any thread."""
    state["last"] = state.get("last", 0) + 1
    autostate.flush(WAIT)
    done = threading.Event()

    def write() -> None:
        state["other"] = 1
        with autostate.atomic():
            state["other"] += 1
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(WAIT)
    autostate.flush(WAIT)


# -- how a block ends -------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_it_may_be_left_in_another_context(state: Any, fails: bool) -> None:
    """And is done, or undone, as if it had been left where it was begun."""
    stack = contextlib.ExitStack()

    def begin() -> None:
        stack.enter_context(autostate.atomic())
        state["n"] = 1

    contextvars.copy_context().run(begin)
    error = (ValueError, ValueError(), None) if fails else (None, None, None)
    contextvars.copy_context().run(stack.__exit__, *error)
    assert state["n"] == (0 if fails else 1)
    still_saves(state)


@pytest.mark.parametrize("fails", [False, True])
def test_it_may_be_left_by_another_thread(state: Any, fails: bool) -> None:
    """The first thread has ended by then."""
    stack = contextlib.ExitStack()

    def begin() -> None:
        stack.enter_context(autostate.atomic())
        state["n"] = 1

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    error = (ValueError, ValueError(), None) if fails else (None, None, None)
    assert not stack.__exit__(*error)
    assert state["n"] == (0 if fails else 1)
    still_saves(state)


def transaction() -> Generator[None]:
    """What web frameworks take as a dependency."""
    with autostate.atomic():
        yield


@pytest.mark.parametrize("how", ["next", "throw", "close", "collect"])
def test_a_generator_may_begin_and_end_it(state: Any, how: str) -> None:
    """Begun by one thread of a pool, written to by a second, ended by a third."""
    made = [transaction()]

    def in_thread(function: Callable[..., Any], *args: Any) -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(function, *args))
        thread.start()
        thread.join()

    def end() -> None:
        with contextlib.suppress(StopIteration, ValueError):
            if how == "next":
                next(made[0])
            elif how == "throw":
                made[0].throw(ValueError())
            elif how == "close":
                made[0].close()
            else:
                made.clear()

    in_thread(lambda: next(made[0]))
    in_thread(lambda: state.update(n=state["n"] + 1))
    in_thread(end)
    assert state["n"] == (1 if how == "next" else 0)
    still_saves(state)


def test_the_garbage_collector_may_end_it_at_any_moment(state: Any) -> None:
    """Also in the middle of a cut, which then is not disturbed."""

    class Holder:
        block: Any
        me: Any

    holder = Holder()
    holder.block, holder.me = transaction(), holder
    next(holder.block)
    state["n"] = 1
    gone = weakref.ref(holder)
    del holder
    from autostate.runtime.api import current_manager

    tracker = current_manager()._tracker()
    with tracker.lock:
        gc.collect()
        assert gone() is None
        assert state["n"] == 1, "undone while somebody holds the lock"
    still_saves(state)
    assert state["n"] == 0


def test_blocks_may_end_in_any_order(state: Any) -> None:
    """Generators that overlap do that."""
    first, second = transaction(), transaction()
    next(first)
    state["a"] = 1
    next(second)
    state["b"] = 1
    with contextlib.suppress(StopIteration):
        next(first)
    with pytest.raises(ValueError):
        second.throw(ValueError())
    assert state == {"n": 0, "a": 1}
    still_saves(state)


def test_it_ends_where_the_with_statement_is_left_open(state: Any) -> None:
    """Ctrl-C can strike between the calls of `__enter__` and `__exit__`, in no frame of ours."""
    block: Any = autostate.atomic()
    leave = block.__exit__  # what a `with` statement has on its stack
    block.__enter__()
    state["n"] = 1
    del leave
    assert state["n"] == 0
    still_saves(state)


def test_it_may_be_entered_and_left_by_hand(state: Any) -> None:
    """As by `setUp` and `tearDown`; and by `with` several times."""
    block = autostate.atomic()
    for _ in range(2):
        block.__enter__()
        state["n"] += 1
        block.__exit__(None, None, None)
    block.__enter__()
    state["n"] += 1
    with block:
        state["n"] += 1
    block.__exit__(ValueError, ValueError(), None)
    assert state["n"] == 2
    assert hasattr(block, "__exit__")
    with pytest.raises(ValueError), block:
        state["n"] += 1
        raise ValueError
    assert state["n"] == 2
    with pytest.raises(RuntimeError, match="not entered"):
        block.__exit__(None, None, None)
    still_saves(state)


def test_it_decorates_functions_and_coroutine_functions(state: Any) -> None:
    """Each call is a block, also one that calls itself."""

    @autostate.atomic()
    def descend(depth: int) -> int:
        state["n"] += 1
        if not depth:
            raise ValueError
        return descend(depth - 1)

    @autostate.atomic()
    async def work(fails: bool) -> None:
        state["n"] += 1
        await asyncio.sleep(0)
        if fails:
            raise ValueError

    with pytest.raises(ValueError):
        descend(3)
    assert state["n"] == 0
    with pytest.raises(ValueError):
        asyncio.run(work(True))
    assert state["n"] == 0
    asyncio.run(work(False))
    assert state["n"] == 1
    with pytest.raises(TypeError, match="generator"):
        autostate.atomic()(transaction)


# -- what it undoes ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, LARGE], ids=["small", "large"])
def test_random_blocks_leave_what_others_did(rng: random.Random, size: int) -> None:
    """Against a model that only adds up: tasks with nested blocks, and one without any."""
    for _ in range(30):
        one_history(rng, size)


class History:
    """Tasks that write in turns, and what is to be left of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.program = Program()
        self.roots = roots_of(self.program, size)
        self.program.flush()
        self.actors = [Actor(self.program.tracker.atomic) for _ in range(4)]
        self.done: dict[Any, list[list[Any]]] = {actor: [[]] for actor in [*self.actors, None]}
        self.written: list[Any] = []

    def write(self, actor: Actor | None, what: Any) -> None:
        """Let a task, or somebody in no block, add something."""
        self.written.append(what)
        self.done[actor][-1].append(what)
        add(self.roots, self.size, *what) if actor is None else actor.do(
            add, self.roots, self.size, *what
        )

    def end(self, actor: Actor, *, fails: bool) -> None:
        """Let a block end."""
        actor.end(fails=fails)
        inner = self.done[actor].pop()
        if not fails:
            self.done[actor][-1] += inner

    def check(self, program: Program) -> None:
        """Compare with what is done, of no open block."""
        kept = [what for layers in self.done.values() for what in layers[0]]
        left = [what for what in self.written if what in kept]
        size, roots = self.size, roots_of(program, self.size)
        of = {kind: [value for k, value in left if k == kind] for kind in KINDS}
        assert roots["number"] == {
            k: sum(v for v in of["number"] if v % size == k) for k in range(size)
        }
        counts = {k: sum(v for v in of["count"] if v % 3 == k) for k in range(3)}
        assert +roots["count"] == {k: v for k, v in counts.items() if v}
        assert roots["member"] == {*range(size), *of["member"]}
        assert roots["item"] == [*range(size), *of["item"]]
        assert roots["nested"] == {"inner": {"n": sum(of["nested"])}}


def roots_of(program: Program, size: int) -> dict[str, Any]:
    """The state objects."""
    return {
        "number": program.root("number", default=dict.fromkeys(range(size), 0)),
        "count": program.root("count", "counter"),
        "member": program.root("member", "set", default=set(range(size))),
        "item": program.root("item", "list", default=list(range(size))),
        "nested": program.root("nested", default={"inner": {"n": 0}}),
    }


def add(roots: dict[str, Any], size: int, kind: str, value: int) -> None:
    """Add something to one of them."""
    root = roots[kind]
    if kind == "number":
        root[value % size] += value
    elif kind == "count":
        root[value % 3] += value
    elif kind == "member":
        root.add(value)
    elif kind == "item":
        root.append(value)
    else:
        root["inner"]["n"] += value


def one_history(rng: random.Random, size: int) -> None:
    """Let tasks write in turns, save at random, and compare with what is to be left."""
    history = History(size)
    for step in range(60):
        actor = rng.choice([*history.actors, None])
        move = rng.choice(["begin", "end", "fail", "write", "write", "write", "save"])
        if move == "write" or actor is None:
            history.write(actor, (rng.choice(KINDS), 1000 + step))
        elif move == "begin" and actor.depth < 3:
            actor.begin()
            history.done[actor].append([])
        elif move in ("end", "fail") and actor.depth:
            history.end(actor, fails=move == "fail")
        elif move == "save":
            history.program.flush()
            history.check(history.program.restart())
    for actor in history.actors:
        while actor.depth:
            history.end(actor, fails=False)
    history.check(history.program)
    history.program.flush()
    history.check(history.program.restart())


KINDS = ("number", "count", "member", "item", "nested")


def overtaken(mine: Callable[[Any], Any], others: Callable[[Any], Any], content: Any) -> Any:
    """Let a block write, then somebody else, and undo the block."""
    program = Program()
    state = program.root("state", default=content)
    program.flush()
    actor = Actor(program.tracker.atomic)
    actor.begin()
    actor.do(mine, state)
    others(state)
    actor.end(fails=True)
    program.flush()
    assert program.restart().root("state") == state
    return dict(state)


@pytest.mark.parametrize(
    ("before", "mine", "others", "left"),
    [
        ({"n": 5}, 1, 2, {"n": 7}),
        ({}, 1, 2, {"n": 2}),
        ({"n": 0.5}, 0.25, 1, {"n": 1.5}),
        ({"n": Decimal("0.1")}, Decimal("0.2"), 3, {"n": Decimal("3.1")}),
    ],
)
def test_numbers_are_taken_back_as_differences(
    before: Any, mine: Any, others: Any, left: Any
) -> None:
    """What others have added meanwhile stays."""

    def add(number: Any) -> Callable[[Any], None]:
        return lambda state: state.update(n=state.get("n", 0) + number)

    assert overtaken(add(mine), add(others), before) == left


def test_what_is_no_number_stays_as_the_others_left_it() -> None:
    """And goes back where nobody has written since."""

    def mine(state: Any) -> None:
        state.update(a="mine", b="mine", flag=True)
        del state["c"]

    def others(state: Any) -> None:
        state.update(a="others", flag=False)

    before = {"a": "before", "b": "before", "c": "before", "flag": None}
    left = overtaken(mine, others, before)
    assert left == {"a": "others", "b": "before", "c": "before", "flag": False}


def test_a_later_block_goes_back_to_what_was_before_the_first() -> None:
    """The first was undone meanwhile: what it wrote does not come back."""
    program = Program()
    state = program.root("state", default={"text": "before", "n": 0})
    first, second = Actor(program.tracker.atomic), Actor(program.tracker.atomic)
    first.begin()
    first.do(state.update, {"text": "first", "n": 1})
    second.begin()
    second.do(state.update, {"text": "second", "n": 3})
    first.end(fails=True)
    assert state == {"text": "second", "n": 2}
    second.end(fails=True)
    assert state == {"text": "before", "n": 0}


@pytest.mark.parametrize("size", [5, LARGE])
def test_items_are_taken_back_where_others_have_written(size: int) -> None:
    """Of lists and deques: by identity, wherever they are by then."""
    for kind in ("list", "deque"):
        program = Program()
        state = program.root("state", kind, [str(number) for number in range(size)])
        program.flush()
        actor = Actor(program.tracker.atomic)
        actor.begin()
        actor.do(state.append, "mine")
        actor.do(state.insert, 1, "mine too")
        actor.do(state.remove, "3")
        state.append("others")
        state.insert(0, "others")
        actor.end(fails=True)
        expected = ["others", *[str(number) for number in range(size)], "others"]
        assert list(state) == expected
        program.flush()
        assert list(program.restart().root("state", kind)) == expected


@pytest.mark.parametrize("size", [3, LARGE])
def test_undone_is_undone_exactly(size: int) -> None:
    """Order included, where nobody else has written."""
    program = Program()
    state = program.root("state", default={str(number): number for number in range(size)})
    program.flush()
    before = list(state.items())
    with pytest.raises(ValueError), program.tracker.atomic():
        del state["1"]
        state.pop("0")
        state["1"] = 7
        state["new"] = {"a": [1]}
        state.clear()
        raise ValueError
    assert list(state.items()) == before
    program.flush()
    assert list(program.restart().root("state").items()) == before


def test_an_entry_that_is_put_back_is_saved_where_it_was() -> None:
    """Also of a large dict of which the last save is remembered, to be compared with."""
    program = Program()
    state = program.root("state", default={str(number): number for number in range(LARGE)})
    program.flush()
    state._node_.compare = state._node_.all_dirty = True
    program.tracker.dirty_nodes[state._node_] = None
    program.flush()
    before = list(state.items())
    with pytest.raises(ValueError), program.tracker.atomic():
        del state["1"]
        raise ValueError
    program.flush()
    assert list(program.restart().root("state").items()) == before


def test_blocks_that_overlap_keep_no_records_of_those_that_have_ended() -> None:
    """However long there is always one that is open."""
    program = Program()
    state = program.root("state", default={"n": 0, "list": [0]})
    actors = [Actor(program.tracker.atomic) for _ in range(2)]
    actors[0].begin()
    for number in range(1, 200):
        actors[number % 2].begin()
        for actor in actors:
            actor.do(state.update, {"n": state["n"] + 1})
            actor.do(state["list"].append, number)
        actors[(number + 1) % 2].end()
    logs = program.tracker._undo_log._logs.values()
    assert max(map(len, logs)) <= 4
    actors[1].end(fails=True)
    assert state["n"] == 397


def test_what_is_written_after_a_block_that_nobody_can_end_stays(state: Any) -> None:
    """It was entered by hand, and forgotten."""

    def forget() -> None:
        stack = contextlib.ExitStack()
        stack.enter_context(autostate.atomic())
        state["n"] = 1

    forget()
    gc.collect()
    state["later"] = True
    autostate.flush(WAIT)
    assert state == {"n": 0, "later": True}


# -- saves and blocks -------------------------------------------------------------------------


def test_a_save_leaves_out_what_waiting_tasks_have_written(state: Any, url: str) -> None:
    """And has all that others wrote, to the same entries too."""

    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with autostate.atomic():
                state["n"] += 1
                state["half"] = True
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        state["n"] += 10
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 10}
        assert state == {"n": 11, "half": True}
        autostate.flush(WAIT)  # the loop stands still meanwhile
        over.set()
        await task
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 11, "half": True}

    asyncio.run(main())


def test_a_save_waits_for_what_cannot_be_left_out() -> None:
    """An object that was changed in a block is saved after it."""

    @autostate.persisted(name="shop")
    class Shop:
        def __init__(self) -> None:
            self.visits = 0

    async def main(shop: Any) -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with autostate.atomic():
                shop.visits += 1
                inside.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        with pytest.raises(autostate.FlushError, match="atomic"):
            await autostate.durable(0.5)
        over.set()
        await task
        await autostate.durable(WAIT)

    with autostate.open("memory:shop", debounce=3600, max_delay=3600):
        asyncio.run(main(Shop()))
    with autostate.open("memory:shop"):
        assert Shop().visits == 1


def test_a_save_waits_where_a_held_container_came_while_a_block_is_open(
    state: Any, url: str
) -> None:
    """The block may have written to it, which nothing tells."""
    held: list[str] = []

    async def main() -> None:
        inside, go, written, over = (asyncio.Event() for _ in range(4))

        async def work() -> None:
            with autostate.atomic():
                inside.set()
                await go.wait()
                held.append("half")
                written.set()
                await over.wait()

        task = asyncio.create_task(work())
        await inside.wait()
        state["held"] = held
        go.set()
        await written.wait()
        with pytest.raises(autostate.FlushError, match="atomic"):
            await autostate.durable(0.5)
        over.set()
        await task
        await autostate.durable(WAIT)
        assert stored(url) == {"n": 0, "held": ["half"]}

    asyncio.run(main())


def test_what_others_write_to_what_they_put_in_stays() -> None:
    """Into the state, while a block is open: it is not taken for the block's, held or not."""
    program = Program()
    state = program.root("state")
    mine, others = (Actor(program.tracker.atomic) for _ in range(2))
    mine.begin()
    held: list[str] = ["others"]
    others.do(state.__setitem__, "held", held)
    program.flush()
    others.do(held.append, "others too")
    del held
    program.tracker.prepare(lambda: None)
    others.do(lambda: state["held"].append("others three"))
    mine.end(fails=True)
    assert state == {"held": ["others", "others too", "others three"]}
    program.flush()
    assert program.restart().root("state") == state


def test_a_block_looks_once_at_what_is_held_and_shares_its_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However large a list is that the program holds too, and however many blocks are open."""
    from autostate.tracking import conversion

    program = Program()
    held: list[Any] = list(range(LARGE))
    program.root("state").update(held=held, n=0)
    program.flush()
    looked: list[Any] = []
    values_of = conversion._values_of

    def looking(container: Any) -> list[Any]:
        looked.append(container)
        return values_of(container)

    monkeypatch.setattr(conversion, "_values_of", looking)
    actors = [Actor(program.tracker.atomic) for _ in range(3)]
    for actor in actors:
        looked.clear()
        actor.begin()
        assert sum(one is held for one in looked) <= 1
    copies = {id(content) for point in program.tracker.savepoints for _, content in point.plain}
    assert len(copies) == 1
    held.append("changed")
    late = Actor(program.tracker.atomic)
    late.begin()
    late.do(held.append, "half")
    late.end(fails=True)
    assert held == [*range(LARGE), "changed"]
    actors[2].end(fails=True)
    assert held == list(range(LARGE))


@contextlib.contextmanager
def until_saved(times: int) -> Iterator[Callable[[], bool]]:
    """Give what tells whether so many saves are still to come."""
    saves: list[Any] = []

    def note(_: Any, **counts: Any) -> None:
        saves.append(counts)

    hub.flushed.connect(note)
    try:
        yield lambda: len(saves) < times
    finally:
        hub.flushed.disconnect(note)


def test_blocks_that_follow_each_other_let_saves_pass() -> None:
    """In one thread, and in several that are hardly ever outside at the same time."""
    for threads in (1, 3):
        with (
            autostate.open("memory:", debounce=0.01, max_delay=0.05),
            until_saved(5) as waiting,
        ):
            state = PersistedCounter[int]("state")
            pause = threading.Event()

            def work(number: int, state: Any = state, waiting: Any = waiting) -> None:
                while waiting():
                    with autostate.atomic():
                        state[number] += 1
                        pause.wait(0.02)  # noqa: B023 - as long as the block is open

            workers = [
                threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(WAIT)
                assert not worker.is_alive(), "nothing is saved"


def test_tasks_that_overlap_let_saves_pass() -> None:
    """At each moment some of them are inside, across an await."""

    async def main() -> None:
        state = PersistedCounter[int]("state")
        with until_saved(5) as waiting:

            async def work(number: int) -> None:
                while waiting():
                    with autostate.atomic():
                        state[number] += 1
                        await asyncio.sleep(0.01)

            async with asyncio.timeout(WAIT):
                await asyncio.gather(*map(work, range(10)))

    with autostate.open("memory:", debounce=0.01, max_delay=0.05):
        asyncio.run(main())


def test_other_kinds_are_undone_as_roots() -> None:
    """Each kind of state object, by the methods that it has."""
    with autostate.open("memory:"):
        seen, queue = PersistedSet("seen", {1, 2}), PersistedList("queue", [1, 2])
        hits = PersistedCounter("hits", a=1)
        with pytest.raises(ValueError), autostate.atomic():
            seen.discard(1)
            seen |= {3}
            queue[0] = 9
            queue.pop()
            hits.update({"a": 3, "b": 1})
            hits.subtract({"c": 1})
            raise ValueError
        assert (seen, queue, hits) == ({1, 2}, [1, 2], {"a": 1})
        autostate.flush()


def test_a_block_that_is_dropped_is_told_with_its_place(
    isolated: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each place where blocks are entered by hand; those that are left say nothing."""
    state = autostate.PersistedDict("state", n=0)

    def enter() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(autostate.atomic())
        return stack

    line = enter.__code__.co_firstlineno + 2
    with enter():
        state["n"] = 1
    for _ in range(2):
        stack = enter()
        state["n"] += 1
        del stack
        gc.collect()
        autostate.flush()
        assert state["n"] == 1
    (told,) = [each for each in caplog.messages if "never left" in each]
    assert f"{__file__}:{line} was never left, and is undone" in told
    block = autostate.atomic()
    block.__enter__()
    state["n"] = 5
    del block
    gc.collect()
    autostate.flush()
    assert [__file__ in each for each in caplog.messages if "never left" in each] == [True, True]
    assert state["n"] == 1
