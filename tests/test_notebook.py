"""Notebooks show state objects as tables; programs without IPython load nothing for it."""

from __future__ import annotations

import functools
import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import attrs
import pydantic
import pytest
from IPython.core.formatters import DisplayFormatter

import autostate
from autostate import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
    Secret,
    SharedCounter,
    SharedDict,
    SharedSet,
    notebook,
)
from autostate.shared.home import homes
from tests.counting import called


@autostate.persisted
@dataclass
class Shop:
    """An object with fields."""

    page: int = 1
    seen: list[str] = field(default_factory=lambda: ["a"])


@autostate.persisted(name="bigger")
@dataclass
class BiggerShop(Shop):
    """A class that is decorated, as its base is."""

    extra: str = "x"


class Own(PersistedDict[str, Any]):
    """A container that shows itself."""

    def _repr_html_(self) -> str:
        return "<i>own</i>"


class Bad:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.fixture
def formatter() -> Any:
    """The formatters of a shell that knows state objects."""
    made = DisplayFormatter()
    autostate.load_ipython_extension(SimpleNamespace(display_formatter=made))
    return made


@pytest.fixture
def life() -> Iterator[None]:
    """A store."""
    with autostate.open("memory:"):
        yield


def rows(text: str) -> list[list[str]]:
    """The texts of the cells of the outermost table, by row; it is well-formed."""
    tree = ElementTree.fromstring(text)
    table = tree.find("table/tbody")
    assert table is not None
    return [["".join(cell.itertext()) for cell in row] for row in table]


@pytest.mark.usefixtures("life")
def test_every_kind_is_shown_as_a_table(formatter: Any) -> None:
    """Also nested ones, of any variant, and in any order of the first ones."""
    state = PersistedDict("d", a=1, b={"c": [1]}, text="<b>")
    for value, title, first in (
        (state["b"], "PersistedDict", ["'c'", "PersistedList 1 entry01"]),
        (state, "PersistedDict 'd'", ["'a'", "1"]),
        (PersistedSet("s", [2, 1]), "PersistedSet 's'", ["1"]),
        (PersistedCounter("c", a=2), "PersistedCounter 'c'", ["'a'", "2"]),
        (PersistedList("l", ["x"]), "PersistedList 'l'", ["0", "'x'"]),
        (PersistedDeque("q", [(1, 2)]), "PersistedDeque 'q'", ["0", "tuple 2 entries0112"]),
        (BiggerShop(), "BiggerShop 'bigger'", ["page", "1"]),
        (Shop(), "Shop 'Shop'", ["page", "1"]),
    ):
        data, _ = formatter.format(value)
        assert re.search("<b>(.*?)</b>", html.unescape(data["text/html"])).group(1) == title  # type: ignore[union-attr]
        assert rows(data["text/html"])[0] == first
        assert data["text/plain"]
    state["b"]["c"].append(2)  # another variant of its class
    assert "<small>2 entries" in formatter.format(state["b"])[0]["text/html"]
    assert "&lt;b&gt;" in formatter.format(state)[0]["text/html"]
    assert formatter.format({"plain": 1})[0].keys() == {"text/plain"}


@pytest.mark.usefixtures("isolated")
def test_shared_objects_are_shown(formatter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their names."""
    monkeypatch.setenv("AUTOSTATE_URL", "memory:")
    hits, best, seen = SharedCounter[str]("hits"), SharedDict[str, Any]("best"), SharedSet("seen")
    hits["a"] += 1
    best["a"] = {"b": [1]}
    seen.add("x")
    for value in (hits, best, seen):
        text = formatter.format(value)[0]["text/html"]
        assert html.escape(repr(value._info_().name)) in text
        assert len(rows(text)) == 1
    for home in [*homes.values()]:
        home.finish(10.0)


@pytest.mark.usefixtures("life")
def test_a_table_has_a_bounded_size() -> None:
    """However large, deep or odd the object is."""
    state = PersistedDict[str, Any]("d")
    state["itself"] = state
    state["many"] = list(range(10_000))
    state["wide"] = {str(at): {str(at): {"x": 1} for at in range(60)} for at in range(60)}
    state["text"] = "x" * 100_000
    state["empty"] = []
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep, 1]
    state["deep"] = deep
    members = PersistedSet("s", range(20_000))
    text = notebook.shown(state)
    assert text is not None
    assert len(text) < 200_000
    assert text.count("<tr>") < notebook.CELLS + 200
    assert "… and 9,950 more" in text
    assert dict(rows(text)[:6])["'itself'"] == "PersistedDict 6 entries …"
    assert len(rows(notebook.shown(members) or "")) == notebook.SHOWN + 1
    assert rows(notebook.shown(PersistedSet("mixed", [1, "a"])) or "")


@pytest.mark.usefixtures("life")
@pytest.mark.parametrize("cls", [PersistedDict, PersistedList, PersistedSet, PersistedDeque])
def test_what_is_not_shown_costs_nothing(cls: Any) -> None:
    """A cell that ends with a large object is not slow for it."""
    counts = []
    for size in (notebook.SHOWN * 2, notebook.SHOWN * 100):
        values = {f"{at:04}": at for at in range(size)}
        state = cls(f"state {size}", values)
        counts.append(len(called(functools.partial(notebook.shown, state))))
    assert counts[0] == counts[1] < 1_000


@pytest.mark.usefixtures("life")
def test_values_show_what_they_want() -> None:
    """A secret its mask; an object whose repr fails the error; a class what it says."""
    shown = [notebook._text(value) for value in (Secret("hunter2"), Bad(), b"x" * 300)]
    assert shown[0] == "Secret('**********')"
    assert shown[1] == "<Bad: its repr raised RuntimeError>"
    assert len(shown[2]) < 210
    assert notebook.shown(Own("own")) == "<i>own</i>"
    with_secret = PersistedDict("d", token=Secret("hunter2"))
    assert "hunter2" not in (notebook.shown(with_secret) or "")


class BadDict(dict[str, int]):
    """A container that cannot be shown."""

    def __len__(self) -> int:
        raise RuntimeError


@dataclass
class Plain:
    """A field that is not in the repr."""

    user: str = "anna"
    token: str = field(default="hunter2", repr=False)


@attrs.define
class Attributes:
    """The same of attrs."""

    user: str = "anna"
    token: str = attrs.field(default="hunter2", repr=False)


class Model(pydantic.BaseModel):
    """The same of pydantic."""

    user: str = "anna"
    token: str = pydantic.Field(default="hunter2", repr=False)


@pytest.mark.usefixtures("life")
@pytest.mark.parametrize("cls", [Plain, Attributes, Model])
def test_a_field_that_is_not_in_the_repr_is_not_shown(cls: Any) -> None:
    """It may be a secret."""
    assert rows(notebook.shown(autostate.persisted(cls)()) or "") == [["user", "'anna'"]]


@pytest.mark.usefixtures("life")
def test_a_container_whose_code_raises_is_shown_as_text() -> None:
    """The others are shown as ever."""
    state = PersistedList[Any]("l", [2])
    state.append(BadDict(a=1))
    found = rows(notebook.shown(state) or "")
    state.pop()
    assert found == [["0", "2"], ["1", "{'a': 1}"]]


def test_containers_get_no_attribute() -> None:
    """A key, or a method of a class that is based on one, may have any name."""
    for cls in (PersistedDict, PersistedSet, PersistedList, Shop, SharedDict):
        assert not [name for name in dir(cls) if name.startswith(("_repr_", "_ipython"))]


def test_a_shell_that_shows_nothing_is_left_alone() -> None:
    """And so is a process with IPython that has none."""
    notebook.register()
    notebook.register(SimpleNamespace(display_formatter=None))  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]


CODE = """
import sys
import autostate
d = autostate.PersistedDict("d")
assert not {"IPython", "autostate.notebook", "html"} & {*sys.modules}
"""


def test_a_program_without_ipython_loads_nothing_for_it() -> None:
    """Neither IPython nor the module that shows."""
    subprocess.run(
        [sys.executable, "-c", CODE], check=True, env={**os.environ, "AUTOSTATE_URL": "memory:"}
    )
