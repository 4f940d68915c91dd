"""Shared dicts: values are assigned as a whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from autostate.shared.container import SharedContainer
from autostate.shared.dict import SharedDict
from autostate.shared.handle import ABSENT
from tests.shared.kit import BUILTIN, CLASSES, writes

pytestmark = pytest.mark.usefixtures("live")


def test_methods_of_dicts_write_values_and_absences() -> None:
    """Each call is one write."""
    best: Any = SharedDict("best")
    best["a"] = 1
    best.update([("b", 2)], c=3)
    best |= {"d": 4}
    assert best.setdefault("a", 9) == 1
    assert best.setdefault("e") is None
    assert best.pop("a") == 1
    assert best.pop("a", 7) == 7
    del best["b"]
    best.clear()
    best.clear()
    gone = dict.fromkeys("cde", ABSENT)
    assert writes(best) == [
        *({"a": 1}, {"b": 2, "c": 3}, {"d": 4}, {"e": None}, {"a": ABSENT}, {"b": ABSENT}, gone),
    ]
    with pytest.raises(KeyError, match="'a'"):
        best.pop("a")
    with pytest.raises(KeyError, match="'a'"):
        del best["a"]
    with pytest.raises(TypeError, match="not iterable"):
        best.update(1)
    with pytest.raises(TypeError, match="at most 1"):
        best.update([], [])


def test_a_value_is_one_value() -> None:
    """A write inside it raises, and says what to do."""
    best: Any = SharedDict("best")
    best["tags"] = tags = ["a"]
    with pytest.raises(TypeError, match=r"assign the whole: d\[key\] = "):
        best["tags"].append("b")
    tags.append("c")
    best["tags"] = [*best["tags"], "b"]
    assert best == {"tags": ["a", "b"]}
    assert type(copy.deepcopy(best)["tags"]) is list


def test_merged_keys_cannot_be_deleted() -> None:
    """Neither one by one nor with others; other keys can."""
    best: Any = SharedDict("best", merge={"price": min})
    best.update(price=3, name="x")
    best["price"] = 5
    assert best["price"] == 3
    for name, args in (("clear", ()), ("pop", ("price",)), ("__delitem__", ("price",))):
        with pytest.raises(TypeError, match="cannot be deleted"):
            getattr(best, name)(*args)
    assert best.pop("name") == "x"
    least: Any = SharedDict("least", merge=min)
    least["a"] = 1
    with pytest.raises(TypeError, match="cannot be deleted"):
        del least["a"]
    assert best._handle_.options == {"merge": {"price": min}}


def test_merge_takes_functions() -> None:
    """Anything else is an error at once."""
    for merge in (1, {"a": 1}):
        with pytest.raises(TypeError, match="merge takes"):
            SharedDict("best", merge=merge)  # type: ignore[arg-type]


def test_the_shared_containers_are_the_builtins() -> None:
    """For `isinstance`, and for functions in C."""
    for kind, cls in CLASSES.items():
        assert issubclass(cls, BUILTIN[kind])
        assert issubclass(cls, SharedContainer)
