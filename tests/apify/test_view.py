"""A view shows anything, is of bounded size, and is JSON."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given

import autostate
from autostate.apify.view import ALL_ENTRIES, View
from tests.codec.test_codec import values
from tests.conformance.types_kit import Model, Pair, Shelf


class Color(enum.Enum):
    """An enum."""

    RED = 1


@dataclass
class Point:
    """An object with fields."""

    x: int
    rest: Any = None


class Bad:
    """An object of which nothing is known, and that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


class BadText(str):
    """A text that cannot be shown."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class BadList(list[int]):
    """A list that cannot be shown."""

    def __iter__(self) -> Any:
        raise RuntimeError


@dataclass
class Login:
    """An object with a field that is not in its repr."""

    user: str = "anna"
    token: str = field(default="hunter2", repr=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (1, 1),
        (1.5, 1.5),
        (math.nan, "nan"),
        (2**60, str(2**60)),
        (True, True),
        (None, None),
        (b"123", "3 bytes"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (PurePosixPath("/a"), "/a"),
        (Color.RED, "RED"),
        (autostate.Secret("hunter2"), "**********"),
        (Bad(), "a Bad"),
        (Point(1, [2]), {"x": 1, "rest": [2]}),
        (Shelf("a"), {"name": "a", "boxes": [], "_secret": 3}),
        (Model(name="a"), {"name": "a", "inner": []}),
        (Pair(1), [1, None]),
        ({1: "a", (1, 2): "b", None: "c"}, {"1": "a", "[1, 2]": "b", "None": "c"}),
        ({1: "a", "1": "b"}, {"1": "a", "1 (2)": "b"}),
        ({autostate.Secret(1): 1, autostate.Secret(2): 2}, {"*" * 10: 1, f"{'*' * 10} (2)": 2}),
        ({"x" * 2_000: 1, "x" * 2_001: 2}, {f"{'x' * 1_000}…": 1, f"{'x' * 1_000}… (2)": 2}),
        ({2, 1}, [1, 2]),
        ({Decimal("nan"), Decimal(1)}, ANY),
        ("\ud800", "?"),
        ("x" * 2_000, "x" * 1_000 + "…"),
        (10**400, "1" + "0" * 400),
        ([10**5_000], [hex(10**5_000)[:1_000] + "…"]),
        ([BadText("x"), BadList([1])], ["a BadText", "a BadList"]),
        (Login(), {"user": "anna"}),
    ],
)
def test_values_are_readable(value: Any, expected: Any) -> None:
    """As a person wants to see them."""
    assert View().of(value) == expected


def test_it_has_a_bounded_size() -> None:
    """However much there is, and if it holds itself."""
    itself: list[Any] = [1]
    itself.append(itself)
    assert View().of(itself) == [1, "…"]
    assert View().of(list(range(1_000)))[-1] == "… 900 more"
    assert View().of({str(at): at for at in range(1_000)})["…"] == "900 more"
    view = View()
    wide = {str(at): {str(at): "x" * 900 for at in range(90)} for at in range(90)}
    text = json.dumps([view.of(wide) for _ in range(10)])
    assert len(text) < 800_000
    assert text.count('": ') < ALL_ENTRIES + 500
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert "…" in json.dumps(View().of(deep), ensure_ascii=False)


@given(values)
def test_any_value_has_one(value: Any) -> None:
    """And it is JSON."""
    json.loads(json.dumps(View().of(value), allow_nan=False))
