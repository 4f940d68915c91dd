"""Random programs lose neither content nor identity; and those that did, once.

`AUTOSTATE_EXAMPLES` and `AUTOSTATE_STEPS` make more and longer ones. What fails is printed without
the steps that do not matter, as a list that can be put into `FOUND`.
"""

from __future__ import annotations

import os
import random
from typing import Any, Final

import pytest

from autostate.tracking.sharing import Sharing
from tests.conformance.state_kit import Program, shape
from tests.properties.random_programs import (
    MANY,
    Box,
    Frozen,
    Slots,
    Step,
    describe,
    failure,
    random_steps,
    shortest,
)

EXAMPLES: Final = int(os.environ.get("AUTOSTATE_EXAMPLES", "25"))
STEPS: Final = int(os.environ.get("AUTOSTATE_STEPS", "30"))

FOUND: Final[dict[str, list[Step]]] = {
    "an object in a cycle, read before it is complete": [
        (21761, 53150, 29199, 32416),
        (11963, 379, 50160, 58538),
    ],
    "a shared object that holds a list": [
        (6121, 58682, 64499, 48789),
        (53200, 63633, 62836, 53901),
        (46249, 15977, 7367, 21199),
    ],
    "an empty dict inside an element of a deque": [
        (25560, 42239, 44033, 13867),
        (49947, 13060, 31977, 26183),
    ],
    "one element at two positions of a long list": [
        (21001, 4509, 64236, 42961),
        (55102, 18178, 46541, 50017),
        (5801, 531, 30887, 17560),
        (54115, 31244, 4839, 4161),
        (14800, 12662, 57874, 21805),
        (23391, 15660, 34999, 59734),
        (64980, 31641, 35611, 63254),
        (65520, 8227, 21798, 64144),
        (60482, 52576, 17794, 55107),
    ],
    "a plain dict that is in a long list inside of it": [
        (47460, 60704, 3564, 237),
        (33436, 19859, 8052, 41086),
        (10300, 60982, 6527, 19223),
        (11468, 64439, 51414, 51867),
    ],
    "an element that became another one when it was converted": [
        (62011, 29431, 17645, 16862),
        (29828, 61, 59612, 54831),
        (61515, 57763, 58463, 59241),
        (48796, 2774, 36268, 42010),
        (29540, 42446, 51838, 20283),
        (63651, 30287, 10933, 26522),
        (44966, 43582, 3965, 32977),
        (1760, 12302, 51076, 48989),
        (19890, 52915, 17062, 17290),
        (39789, 33033, 51943, 3307),
        (3556, 49683, 62971, 45710),
    ],
    "a list in an object, written to after its list became a node in the cut": [
        (35183, 18551, 42243, 42969),
        (45041, 11972, 12240, 24907),
        (54046, 21293, 2599, 45288),
        (10195, 62880, 47531, 8090),
        (54041, 12614, 28876, 3102),
        (29930, 6488, 43048, 27141),
        (37304, 10594, 50760, 34537),
        (29595, 4866, 30121, 50365),
    ],
    "a container whose long list was held by a plain one only": [
        (35183, 18551, 42243, 42969),
        (45041, 11972, 12240, 24907),
        (54046, 21293, 2599, 45288),
        (10195, 62880, 47531, 8090),
        (54041, 12614, 28876, 3102),
        (37304, 10594, 50760, 34537),
        (29595, 4866, 30121, 50365),
    ],
    "an object that is referred to again, found in the cut": [
        (61391, 34432, 46077, 25585),
        (32160, 33445, 62693, 618),
        (51296, 30480, 21565, 9055),
        (41261, 12074, 12377, 41342),
        (21380, 34503, 8925, 611),
        (57946, 64197, 36767, 42032),
        (5060, 39214, 22782, 40952),
        (57620, 16958, 52106, 29999),
        (59746, 19867, 37347, 38136),
        (64040, 31723, 41091, 46880),
        (10795, 58012, 27645, 54232),
        (53540, 55138, 54763, 10665),
        (59600, 24630, 60453, 16992),
        (11202, 40020, 6918, 30156),
        (53116, 13272, 8263, 25335),
    ],
    "what an object that is put back refers to": [
        (48593, 52570, 3943, 14113),
        (20755, 57777, 9553, 1384),
        (30660, 20877, 37599, 37713),
        (136, 23637, 57329, 9598),
        (60455, 35865, 50248, 1828),
        (11696, 61726, 44294, 54838),
        (63445, 18705, 39039, 52757),
        (25435, 61651, 25780, 61956),
    ],
}
"""Programs that failed."""


DIVIDED: Final = [
    (9481, 1505, 59098, 24380),
    (13200, 21183, 37528, 4906),
    (57430, 43446, 47648, 54235),
    (50935, 45542, 47032, 2964),
    (17585, 50348, 45965, 42438),
]
"""A watched entry of a large dict is stored in one piece, and was divided although it stayed."""


def test_random_programs_come_back_as_they_are(rng: random.Random) -> None:
    """Content, types, order, and which places hold the same object; after losses and rollbacks."""
    if "AUTOSTATE_EXAMPLES" not in os.environ:
        rng = random.Random(5)  # the same programs each time
    for number in range(EXAMPLES):
        steps = random_steps(rng, STEPS)
        if failure(steps) is not None:
            steps = shortest(steps)
            pytest.fail(f"program {number} fails: {failure(steps)}\n{steps}")


def test_they_come_back_when_small_containers_are_nodes_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entry that is large with all that is inline in it is divided, while it is encoded."""
    monkeypatch.setattr("autostate.tracking.resolver.INLINE", 10)
    monkeypatch.setattr("autostate.tracking.node_capture.LARGEST_ENTRY", 300)
    rng = random.Random(6)
    programs = [DIVIDED, *(random_steps(rng, STEPS) for _ in range(EXAMPLES // 2))]
    for steps in programs:
        assert failure(steps) is None, shortest(steps)


@pytest.mark.parametrize("what", FOUND)
def test_programs_that_failed_once_work(what: str) -> None:
    """The shortest form of what was found."""
    assert failure(FOUND[what]) is None


@pytest.mark.parametrize("many", [3, MANY])
@pytest.mark.parametrize("kind", ["list", "deque"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: {"i": 0},
        lambda: [1, {"x": 1}],
        lambda: ({"x": 1}, 2),
        lambda: Box({"x": 1}),
        lambda: (Slots([1]), 1),
        lambda: Frozen({"x": 1}),
    ],
    ids=["dict", "list", "tuple", "object", "object in a tuple", "frozen"],
)
def test_an_element_may_be_put_at_a_second_position(make: Any, kind: str, many: int) -> None:
    """Both positions of a saved sequence hold the same object, though only one was written."""
    for first, second in ((1, many - 1), (many - 1, 1)):
        program = Program()
        state = program.root("state", kind)
        state.extend(make() for _ in range(many))
        program.flush()
        program.flush()
        state[first] = state[second]
        program.flush()
        assert describe([program.restart().root("state", kind)]) == describe([state])
        inner = next((part for part in _containers(state[first])), None)
        if inner is not None:
            inner["y"] = 2
            program.flush()
            assert describe([program.restart().root("state", kind)]) == describe([state])


def _containers(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _containers(part)
    elif isinstance(value, Box | Slots | Frozen):
        yield from _containers((value.left, value.right))


def test_what_is_inside_a_shared_object_stays_inside() -> None:
    """No container becomes a node because the object that holds it is at two places."""
    program = Program()
    state, other = program.root("state"), program.root("other", "list")
    box = Box([1], {"x": 2})
    state["a"] = {"deeper": box}
    other.extend([box, (box,)])
    del box
    for _ in range(3):
        program.flush(full_compare=True)
    box = state["a"]["deeper"]
    assert id(box) in program.tracker.shared
    box.left.append(2)
    [change] = program.flush(full_compare=True)
    assert b'"$ref"' not in change
    program = program.restart()
    program.root("other", "list")
    assert program.root("state")["a"]["deeper"].left == [1, 2]
    assert program.flush(full_compare=True) == []


def test_rolled_back_is_what_a_shared_object_holds() -> None:
    """A plain list in an object at two places is put back, too."""
    program = Program()
    state = program.root("state")
    held = [1]
    box = Box(held, {"x": held})
    state["a"], state["b"] = box, [box]
    program.flush()
    with pytest.raises(ZeroDivisionError), program.tracker.atomic():
        held.append(2)
        state["c"] = 1
        raise ZeroDivisionError
    assert shape(held) == shape([1])
    program.flush()
    assert describe([program.restart().root("state")]) == describe([state])


@pytest.mark.parametrize("kind", ["list", "object", "both"])
def test_what_is_shared_at_every_level_is_looked_into_once(kind: str) -> None:
    """Forty levels, each of which holds the next one twice: a trillion ways through it."""
    program = Program()
    state = program.root("state")
    made: Any = {"v": 1}
    for level in range(40):
        made = [made, made] if kind == "list" or (kind == "both" and level % 2) else Box(made, made)
    state["x"] = made
    del made
    for _ in range(2):
        program.flush(full_compare=True)
        assert not program.errors
    assert describe([program.restart().root("state")]) == describe([state])


def test_a_cycle_that_is_no_node_when_it_is_encoded_becomes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was not looked for, since nothing referred to it, is found while it is encoded."""
    program = Program()
    state = program.root("state")
    state["x"] = Box([1])
    program.flush()
    monkeypatch.setattr(program.tracker.part(Sharing), "resolve", lambda _watched: None)
    box = state["x"]
    box.left.append(box)
    box.right = {"box": box, "again": [box.left]}
    del box
    program.flush()
    assert not program.errors
    assert describe([program.restart().root("state")]) == describe([state])
