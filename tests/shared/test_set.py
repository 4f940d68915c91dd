"""Shared sets: adds, and removals of what is in view."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.shared.kit import CONTENT, filled, writes

pytestmark = pytest.mark.usefixtures("live")


def test_an_add_counts_also_if_the_member_is_there() -> None:
    """It is written again: a removal elsewhere has not seen it."""
    seen = filled("set")
    seen.add("a")
    seen |= {"b"}
    seen.update("c", ["d"])
    assert writes(seen) == [{"a": True}, {"b": True}, {"c": True, "d": True}]
    with pytest.raises(TypeError, match="unhashable"):
        seen.add([])


def test_removals_are_of_what_is_in_view() -> None:
    """What is not there writes nothing; `remove` raises KeyError."""
    seen = filled("set")
    seen.add(frozenset("x"))
    writes(seen).clear()
    seen.discard("z")
    with pytest.raises(KeyError, match="'z'"):
        seen.remove("z")
    assert not writes(seen)
    seen.remove("a")
    seen.discard({"x"})
    seen -= {"b", "z"}
    seen.difference_update(["q"], ["q"])
    assert writes(seen) == [{"a": False}, {frozenset("x"): False}, {"b": False}]
    seen.clear()
    seen.clear()
    assert writes(seen)[3:] == [{"c": False}]
    assert not seen


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("update", (["a", "z"], "q")),
        ("difference_update", (["a", "z"], "b")),
        ("intersection_update", (["a", "b", "z"], "bc")),
        ("intersection_update", ()),
        ("symmetric_difference_update", (iter("az"),)),
        *((name, ({"a", "z"},)) for name in ("__ior__", "__isub__", "__iand__", "__ixor__")),
        *((name, (["a"],)) for name in ("__ior__", "__isub__", "__iand__", "__ixor__")),
    ],
)
def test_methods_of_sets_do_what_the_builtins_do(name: str, others: tuple[Any, ...]) -> None:
    """Same result, same content, one write."""
    seen, plain = filled("set"), set(CONTENT["set"])
    given = [copy.copy(other) for other in others]
    result, expected = getattr(seen, name)(*others), getattr(plain, name)(*given)
    assert (result is seen) == (expected is plain)
    assert (result is NotImplemented) == (expected is NotImplemented)
    assert seen == plain
    assert len(writes(seen)) <= 1


def test_a_set_may_be_combined_with_itself() -> None:
    """As the builtin may."""
    seen = filled("set")
    seen |= seen
    seen &= seen
    assert seen == CONTENT["set"]
    seen ^= seen
    assert not seen


def test_new_sets_are_plain() -> None:
    """Operators and their methods give plain sets."""
    seen = filled("set")
    for name in ("union", "intersection", "difference", "symmetric_difference"):
        assert type(getattr(seen, name)({"a"})) is set
    assert {type(made) for made in (seen | {1}, seen & {1}, seen - {1}, seen ^ {1})} == {set}
    assert {type(made) for made in ({1} | seen, {1} & seen, {1} - seen, {1} ^ seen)} == {set}
    with pytest.raises(TypeError, match="unsupported operand"):
        seen | [1]
