"""What is undone of lists and deques that several blocks write to, and what it costs."""

from __future__ import annotations

import heapq
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.atomic.blocks import Actor
from tests.campaign import LONG
from tests.conformance.state_kit import Program

LARGE = 300
Write = Callable[[Any, int], object]


def begun(kind: str, content: list[Any], tasks: int = 2) -> tuple[Program, Any, list[Actor]]:
    """A saved list or deque, and tasks that are in a block each."""
    program = Program()
    state = program.root("state", kind, content)
    program.flush()
    actors = [Actor(program.tracker.atomic) for _ in range(tasks)]
    for actor in actors:
        actor.begin()
    return program, state, actors


# -- what it costs ----------------------------------------------------------------------------


WRITES: dict[str, Write] = {
    "append": lambda state, _: state.append("x"),
    "extend": lambda state, _: state.extend(["x", "y"]),
    "add": lambda state, _: state.__iadd__(["x"]),
    "insert left": lambda state, _: state.insert(0, "x"),
    "insert": lambda state, number: state.insert(number, "x"),
    "pop": lambda state, _: state.pop(),
    "delete": lambda state, number: state.__delitem__(number),
    "replace": lambda state, number: state.__setitem__(number, "x"),
}


@pytest.mark.parametrize("kind", ["list", "deque"])
@pytest.mark.parametrize("name", WRITES)
def test_writes_in_turns_keep_only_what_was_written(kind: str, name: str) -> None:
    """Not the whole content with each change of writer; and the undo takes no such copies."""
    size, turns = 20_000, 100
    program, state, actors = begun(kind, list(range(size)))
    tracemalloc.start()
    for number in range(turns):
        for actor in actors:
            actor.do(WRITES[name], state, number)
    kept, _ = tracemalloc.get_traced_memory()
    for actor in actors:
        actor.end(fails=True)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(state) == list(range(size))
    # one copy of the content takes 160,000 bytes, and a list that grows is such a copy
    assert kept < 1_000 * 2 * turns + 10 * size
    assert most < 10 * 8 * size
    program.flush()
    assert list(program.restart().root("state", kind)) == list(range(size))


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_a_block_that_writes_very_often_keeps_no_more_than_a_copy(kind: str) -> None:
    """It replaces the same items again and again."""
    program, state, actors = begun(kind, [0] * 100, tasks=1)
    tracemalloc.start()
    for number in range(20_000):
        actors[0].do(state.__setitem__, number * 37 % 100, 10**6 + number)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
    actors[0].end(fails=True)
    assert list(state) == [0] * 100
    program.flush()


# -- what is undone ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("kind", ["list", "deque"])
def test_an_item_that_others_have_replaced_is_an_entry(kind: str, size: int) -> None:
    """A number is taken back as a difference, and anything else stays."""
    _, state, (mine, others) = begun(kind, ["a", *[0] * size])

    def add(index: int, number: int) -> None:
        state[index] += number

    mine.do(state.__setitem__, 0, "mine")
    others.do(state.__setitem__, 0, "others")
    for index in (1, 2, 3):
        mine.do(add, index, 1)
        others.do(add, index, 10)
        mine.do(add, index, 100)
    mine.end(fails=True)
    assert list(state)[:5] == ["others", 10, 10, 10, 0]
    others.end(fails=True)
    assert list(state) == ["a", *[0] * size]


@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize("kind", ["list", "deque"])
@pytest.mark.parametrize("taken_out_by", ["mine", "others"])
def test_an_entry_stays_one_when_its_neighbour_is_taken_out(
    kind: str, size: int, taken_out_by: str
) -> None:
    """What the block replaced is kept together with its neighbours: each is replaced alone."""
    rest = [f"item {number}" for number in range(size)]
    for out in range(3):
        _, state, (mine, others) = begun(kind, ["a", "b", "c", *rest])
        for index in range(3):
            mine.do(state.__setitem__, index, f"mine {index}")
        (mine if taken_out_by == "mine" else others).do(state.__delitem__, out)
        others.do(state.__setitem__, 0, "others 0")
        others.do(state.__setitem__, 1, "others 1")
        mine.end(fails=True)
        left = ["others 0", "others 1"]
        assert list(state) == [*left[:out], "abc"[out], *left[out:], *rest]


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_an_item_of_a_block_is_none_of_the_entries_beside_it(kind: str) -> None:
    """Others replace one after the other: what the block inserted, and what it replaced."""
    _, state, (mine, others) = begun(kind, ["a", "b"])
    mine.do(state.__setitem__, 0, "mine 0")
    mine.do(state.insert, 1, "mine inserted")
    mine.do(state.__setitem__, 2, "mine 2")
    for index in range(3):
        others.do(state.__setitem__, index, f"others {index}")
    mine.end(fails=True)
    assert list(state) == ["others 0", "others 1", "others 2"]


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_an_entry_beside_an_item_that_the_block_replaces_stays_one(kind: str) -> None:
    """The block inserts an item beside it, and then replaces that."""
    for at in (0, 1):
        _, state, (mine, others) = begun(kind, ["a"])
        mine.do(state.__setitem__, 0, "mine")
        others.do(state.append, "others")
        mine.do(state.insert, at, "mine inserted")
        mine.do(state.__setitem__, at, "mine replaced")
        others.do(state.__setitem__, 1 - at, "others 0")
        mine.end(fails=True)
        assert list(state) == ["others 0", "others"]


def test_an_item_that_is_back_where_it_was_is_an_entry_again() -> None:
    """Somebody else's block took it out, and was undone."""
    _, state, (mine, others) = begun("list", ["a"])
    mine.do(state.__setitem__, 0, "mine")
    others.do(state.pop)
    others.end(fails=True)
    state[0] = "nobody's"
    mine.end(fails=True)
    assert state == ["nobody's"]


@pytest.mark.parametrize("kind", ["list", "deque"])
def test_an_item_of_a_block_that_others_took_out_does_not_come_back(kind: str) -> None:
    """Neither with the undo of the one nor of the other; what was there before does."""
    for first, second in ((0, 1), (1, 0)):
        _, state, actors = begun(kind, ["a", "b"])
        actors[0].do(state.append, "mine")
        actors[1].do(state.pop)
        actors[first].end(fails=True)
        assert list(state) == (["a", "b"] if first == 0 else ["a", "b", "mine"])
        actors[second].end(fails=True)
        assert list(state) == ["a", "b"]


@pytest.mark.parametrize("size", [8, LARGE])
def test_what_was_written_past_the_class_takes_no_item_away(size: int) -> None:
    """`heapq` moves items that the block has not written."""
    program, state, (mine, others) = begun("list", list(range(0, 2 * size, 2)))
    mine.do(state.append, 2 * size)
    mine.do(heapq.heapify, state)
    mine.do(heapq.heappush, state, 1)
    others.do(state.append, 2 * size + 1)
    mine.do(heapq.heappop, state)
    mine.end(fails=True)
    assert set(range(2, 2 * size, 2)) <= set(state)
    assert 2 * size not in state
    assert 2 * size + 1 in state
    program.flush()


def test_an_extension_by_code_of_the_program_is_undone_with_what_that_writes() -> None:
    """A generator that writes to the list which it extends, for somebody else."""
    for fails in ([0], [1], [0, 1], [1, 0]):
        _, state, actors = begun("list", ["a", "b"])

        def items(state: Any = state, other: Actor = actors[1]) -> Iterator[str]:
            yield "mine 1"
            other.do(state.insert, 0, "others")
            yield "mine 2"

        actors[0].do(state.extend, items())
        assert list(state) == ["others", "a", "b", "mine 1", "mine 2"]
        for index in fails:
            actors[index].end(fails=True)
        assert ("others" in state) == (1 not in fails)
        assert ("mine 1" in state) == ("mine 2" in state) == (0 not in fails)
        assert [item for item in state if len(item) == 1] == ["a", "b"]


class Cell:
    """A place in a sequence: who has put which item there, and who has taken it out."""

    def __init__(self, item: str, writer: Block | None) -> None:
        self.items: list[tuple[Block | None, str]] = [(writer, item)]
        self.taken: list[Block | None] = []

    def item(self) -> str | None:
        """What is there, but for what was undone."""
        items = [item for writer, item in self.items if counts(writer)]
        return items[-1] if items and not any(map(counts, self.taken)) else None


class Block:
    """A block of a task."""

    undone = False


def counts(block: Block | None) -> bool:
    """Whether what a block wrote is there."""
    return block is None or not block.undone


class Model:
    """A sequence as a list of cells, in which nothing is ever removed."""

    def __init__(self, items: list[str]) -> None:
        self.cells = [Cell(item, None) for item in items]

    def items(self) -> list[str]:
        """What is there."""
        return [item for cell in self.cells if (item := cell.item()) is not None]

    def cell(self, index: int) -> Cell:
        """The cell of an item."""
        return [cell for cell in self.cells if cell.item() is not None][index]

    def insert(self, index: int, item: str, block: Block | None) -> None:
        """Insert an item behind the one before it."""
        at = self.cells.index(self.cell(index - 1)) + 1 if index else 0
        self.cells.insert(at, Cell(item, block))

    def remove(self, index: int, block: Block | None) -> None:
        """Take an item out: what others have replaced by it was taken out by them."""
        cell = self.cell(index)
        writer = [writer for writer, _ in cell.items if counts(writer)][-1]
        if writer is not None and writer is not block:
            former = [(one, item) for one, item in cell.items if one is not writer and counts(one)]
            if former:
                below = Cell("", None)
                below.items, below.taken = former, [writer]
                self.cells.insert(self.cells.index(cell), below)
                cell.items = [(one, item) for one, item in cell.items if one is writer]
        cell.taken.append(block)


def write(rng: random.Random, state: Any, model: Model, block: Block | None, item: str) -> Any:
    """Choose a write, and do it to the model; give what does it to the state."""
    size = len(state)
    verb = rng.choice(["append", "insert", "left", "pop", "delete", "replace", "extend", "slice"])
    if verb == "append":
        model.insert(size, item, block)
        return lambda: state.append(item)
    if verb in ("insert", "left"):
        index = 0 if verb == "left" else rng.randint(0, size)
        model.insert(index, item, block)
        return lambda: state.insert(index, item)
    if verb == "extend":
        model.insert(size, item, block)
        model.insert(size + 1, item + "+", block)
        return lambda: state.extend([item, item + "+"])
    if not size:
        return lambda: None
    index = rng.choice([0, size - 1, rng.randrange(size)])
    if verb == "replace":
        model.cell(index).items.append((block, item))
        return lambda: state.__setitem__(index, item)
    if verb == "slice" and isinstance(state, list):
        stop = min(index + 3, size)
        for _ in range(index, stop):
            model.remove(index, block)
        return lambda: state.__delitem__(slice(index, stop))
    index = size - 1 if verb == "pop" else index
    model.remove(index, block)
    return state.pop if verb == "pop" else lambda: state.__delitem__(index)


@pytest.mark.parametrize("size", [0, 6, LARGE])
@pytest.mark.parametrize("kind", ["list", "deque"])
def test_random_writes_of_several_tasks(rng: random.Random, kind: str, size: int) -> None:
    """Each item is there as often as the writes that were not undone say."""
    for _ in range(400 if LONG else 16):
        tasks = rng.choice([1, 2, 4])
        program, state, actors = begun(kind, [f"item {n}" for n in range(size)], tasks)
        model = Model(list(state))
        blocks: dict[Actor | None, Block | None] = {actor: Block() for actor in actors}
        if tasks > 1:
            blocks[None] = None
        for number in range(rng.choice([5, 30])):
            actor = rng.choice(list(blocks))
            do = write(rng, state, model, blocks[actor], f"new {number}")
            do() if actor is None else actor.do(do)
            assert list(state) == model.items() or tasks > 1
            if not rng.randrange(8):
                before = list(state)
                program.flush()
                assert list(state) == before
        for actor in rng.sample(actors, len(actors)):
            block = blocks[actor]
            assert block is not None
            block.undone = rng.random() < 0.7
            actor.end(fails=block.undone)
            assert Counter(state) == Counter(model.items())
        if tasks == 1:
            assert list(state) == model.items()
        program.flush()
        assert list(program.restart().root("state", kind)) == list(state)
