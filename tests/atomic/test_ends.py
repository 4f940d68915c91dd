"""How a block ends: in another context or thread, by a generator, or never."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

import autostate
from tests.atomic.blocks import WAIT


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
