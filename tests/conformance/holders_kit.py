"""Ways to hold a container that was put into the state, as programs do it.

A *holder* puts a new container into the state, lets it be saved, and writes to the container
through whatever it has kept of it, twice. What it wrote has to be in the state: it is so for a
plain dict.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import traceback
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any, Final

MAKE: Final[dict[str, Callable[[], Any]]] = {
    "list": lambda: [1],
    "dict": lambda: {"a": 1},
    "set": lambda: {1},
    "deque": lambda: deque([1]),
    "counter": lambda: Counter(a=1),
    "ordereddict": lambda: OrderedDict(a=1),
    "defaultdict": lambda: defaultdict(list, a=1),
    "of lists": lambda: [[1], [2]],
}
"""New containers, by kind."""

WRITES: Final = 2
"""So many writes come after the save."""


def write(container: Any) -> None:
    """Add one entry."""
    if isinstance(container, set):
        container.add(f"more {len(container)}")
    elif isinstance(container, dict):
        container[f"more {len(container)}"] = 1
    else:
        container.append(f"more {len(container)}")


class Situation:
    """The state of a holder, as a program sees it.

    Args:
        put: Puts a container into the state.
        make: Makes a new container.
        cut: Saves.
    """

    def __init__(
        self, put: Callable[[Any], None], make: Callable[[], Any], cut: Callable[[], None]
    ) -> None:
        self.put = put
        self.make = make
        self.cut = cut

    def cut_and(self, container: Any) -> Any:
        """Save, and give an argument back."""
        self.cut()
        return container

    def keep(self, container: Any) -> Any:
        """Put a container into the state, and give it back."""
        self.put(container)
        return container

    def write_twice(self, container: Any) -> None:
        """Save, write, save, write: the holder has what it holds all the time."""
        for _ in range(WRITES):
            self.cut()
            write(container)


class Holding:
    """An object of the program's."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def write_twice(self, program: Situation) -> None:
        """Write through an attribute."""
        for _ in range(WRITES):
            program.cut()
            write(self.held)


class Slotted(Holding):
    """The same with a slot."""

    __slots__ = ("held",)


HOLDERS: Final[list[Callable[[Situation], None]]] = []


def holder(function: Callable[[Situation], None]) -> Callable[[Situation], None]:
    """Put a way to hold a container on the list."""
    HOLDERS.append(function)
    return function


# -- variables --------------------------------------------------------------------------------


@holder
def by_a_variable(program: Situation) -> None:
    """The caller's variable, which the callee borrows."""
    held = program.make()
    program.put(held)
    program.write_twice(held)


@holder
def by_a_variable_of_the_same_function(program: Situation) -> None:
    """Nobody gets it as an argument but the state."""
    held = program.make()
    program.put(held)
    program.cut()
    write(held)
    program.cut()
    write(held)


@holder
def by_an_argument_of_the_callers(program: Situation) -> None:
    """A variable of the function that called, two frames up."""

    def put(held: Any) -> None:
        program.put(held)
        program.write_twice(held)

    held = program.make()
    put(held)
    assert held is not None


@holder
def by_an_argument_that_nobody_else_has(program: Situation) -> None:
    """`f(state, [])`."""

    def put(held: Any) -> None:
        program.put(held)
        program.write_twice(held)

    put(program.make())


@holder
def by_keywords_and_defaults(program: Situation) -> None:
    """An argument given by name, in `*args`, in `**kwargs`."""

    def put(*args: Any, **kwargs: Any) -> None:
        program.put(args[0])
        program.cut()
        write(args[0])
        del args
        program.cut()
        write(kwargs["held"])

    held = program.make()
    put(held, held=held)


@holder
def by_a_loops_variable(program: Situation) -> None:
    """What a `for` has at this turn, though its iterable holds it no more."""
    pending = [program.make()]
    while pending:
        for held in map(list.pop, [pending]):
            program.put(held)
            program.write_twice(held)


@holder
def by_unpacking(program: Situation) -> None:
    """What was in a tuple that is gone."""
    held, _ = program.make(), None
    program.put(held)
    program.write_twice(held)


@holder
def by_a_comprehension(program: Situation) -> None:
    """A comprehension's variable, and what it makes."""
    [first] = [program.cut_and(held) for held in map(program.keep, (program.make(),))]
    write(first)
    [found] = [held for held in [program.make()] if first]
    program.put(found)
    program.write_twice(found)


@holder
def by_a_cell(program: Situation) -> None:
    """A variable of an outer function."""
    held = program.make()

    def inner() -> None:
        program.cut()
        write(held)

    program.put(held)
    inner()
    inner()


@holder
def by_a_global(program: Situation) -> None:
    """A variable of a module."""
    global _held
    _held = program.make()
    program.put(_held)
    program.cut()
    write(_held)
    program.cut()
    write(_held)


_held: Any = None


@holder
def by_a_variable_that_another_thread_has(program: Situation) -> None:
    """The state is saved by one thread while another one has it."""
    turns = threading.Barrier(2, timeout=60)

    def work() -> None:
        held = program.make()
        program.put(held)
        for _ in range(WRITES):
            turns.wait()  # the other thread saves
            turns.wait()
            write(held)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(WRITES):
        turns.wait()
        program.cut()
        turns.wait()
    thread.join()


# -- the stack of an expression ---------------------------------------------------------------


@holder
def by_the_stack(program: Situation) -> None:
    """An argument that waits for the next one to be evaluated."""

    def write_to(container: Any, _saved: None) -> None:
        write(container)

    for _ in range(WRITES):
        made = [program.make()]
        program.put(made[0])
        write_to(made.pop(), program.cut())


@holder
def by_a_display(program: Situation) -> None:
    """A list that is not finished."""
    made = [program.make()]
    program.put(made[0])
    found = [made.pop(), program.cut()]
    write(found[0])
    program.cut()
    write(found[0])


@holder
def by_a_method_that_waits_for_its_argument(program: Situation) -> None:
    """`pages.pop().append(page())`: only the stack has what is written to."""

    def page() -> str:
        program.cut()
        return "more, after the save"

    for _ in range(WRITES):
        made = [program.make()]
        program.put(made[0])
        if isinstance(made[0], set):
            made.pop().add(page())
        elif isinstance(made[0], dict):
            made.pop().__setitem__(page(), 1)
        else:
            made.pop().append(page())


@holder
def by_an_item_assignment_that_waits_for_its_key(program: Situation) -> None:
    """`pages.pop()[page()] = 1`."""

    def key() -> str:
        program.cut()
        return "more, after the save"

    made = [program.make()]
    program.put(made[0])
    if isinstance(made[0], dict):
        made.pop()[key()] = 1
    elif isinstance(made[0], set):
        made.pop().__ior__({key()})
    else:
        made.pop().__iadd__([key()])


@holder
def by_a_bound_method(program: Situation) -> None:
    """`write = q.__iadd__`, and nothing else."""
    held = program.make()
    program.put(held)
    later = functools.partial(program.write_twice, held)
    method = getattr(held, "update", None) or held.extend
    del held
    program.cut()
    method(["x1"] if not isinstance(method.__self__, dict) else {"x1": 1})
    later()


@holder
def by_a_partial(program: Situation) -> None:
    """Arguments of C code."""
    held = program.make()
    program.put(held)
    later = functools.partial(write, held)
    del held
    program.cut()
    later()
    program.cut()
    later()


@holder
def by_c_code(program: Situation) -> None:
    """An argument of a callback: `map`, `sorted`, `reduce`."""
    made = [program.make()]

    def step(held: Any) -> int:
        program.put(held)
        program.write_twice(held)
        return 0

    sorted(map(list.pop, [made]), key=step)
    assert made == []


# -- other containers and objects -------------------------------------------------------------


@holder
def by_a_list(program: Situation) -> None:
    """An item of a list of the program's own."""
    held = [program.make()]
    program.put(held[0])
    for _ in range(WRITES):
        program.cut()
        write(held[0])


@holder
def by_a_tuple_and_a_dict(program: Situation) -> None:
    """What does not change, and what is found by key."""
    held = {"q": (program.make(),)}
    program.put(held["q"][0])
    for _ in range(WRITES):
        program.cut()
        write(held["q"][0])


@holder
def by_an_attribute(program: Situation) -> None:
    """Attributes in a dict, in a slot, and of a class."""
    for made in (Holding(program.make()), Slotted(program.make())):
        program.put(made.held)
        made.write_twice(program)
    space = SimpleNamespace(held=program.make())
    program.put(space.held)
    for _ in range(WRITES):
        program.cut()
        write(space.held)


@holder
def by_an_iterator(program: Situation) -> None:
    """An iterator that gives it later."""
    held = program.make()
    program.put(held)
    later = iter([held, held])
    del held
    for one in later:
        program.cut()
        write(one)


@holder
def by_a_generator(program: Situation) -> None:
    """A generator's variable, given by its caller, which has it no more."""

    def work(held: Any) -> Generator[None]:
        program.put(held)
        for _ in range(WRITES):
            yield
            write(held)

    held = program.make()
    running = work(held)
    del held
    for _ in running:
        program.cut()


@holder
def by_a_generator_and_its_caller(program: Situation) -> None:
    """A generator that gives what its caller keeps."""

    def work() -> Iterator[Any]:
        held = program.make()
        program.put(held)
        yield held
        program.cut()
        write(held)

    for held in work():
        program.cut()
        write(held)


@holder
def by_a_context_manager(program: Situation) -> None:
    """The variable of a `with` block."""

    @contextmanager
    def opened() -> Iterator[Any]:
        held = program.make()
        program.put(held)
        yield held
        program.cut()
        write(held)

    with opened() as held:
        program.cut()
        write(held)
    manager: AbstractContextManager[Any] = opened()
    write(manager.__enter__())
    manager.__exit__(None, None, None)


@holder
def by_a_coroutine(program: Situation) -> None:
    """A task that waits, given its argument by one that has it no more."""

    async def later(held: Any, saved: asyncio.Event) -> None:
        await saved.wait()
        write(held)
        await asyncio.sleep(0)
        program.cut()
        write(held)

    async def main() -> None:
        saved = asyncio.Event()
        held = program.make()
        program.put(held)
        task = asyncio.create_task(later(held, saved))
        del held
        await asyncio.sleep(0)
        program.cut()
        saved.set()
        await task

    asyncio.run(main())


@holder
def by_an_asynchronous_generator(program: Situation) -> None:
    """`async for`, and what is waited for."""

    async def work(held: Any) -> AsyncIterator[None]:
        program.put(held)
        for _ in range(WRITES):
            yield
            write(held)

    async def main() -> None:
        async for _ in work(program.make()):
            program.cut()

    asyncio.run(main())


@holder
def by_an_exception(program: Situation) -> None:
    """The frame of a function that has failed."""

    def work() -> None:
        held = program.make()
        program.put(held)
        raise RuntimeError

    try:
        work()
    except RuntimeError as error:
        program.cut()
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        write(frame.f_locals["held"])
        program.cut()


@holder
def by_what_looks_at_frames(program: Situation) -> None:
    """A debugger, or coverage, that reads the variables of its caller."""

    def look() -> dict[str, Any]:
        return dict(sys._getframe(1).f_locals)

    held = program.make()
    program.put(held)
    seen = look()
    del held
    for _ in range(WRITES):
        program.cut()
        write(seen["held"])
