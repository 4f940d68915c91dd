"""What the shared containers have in common: real builtins whose changes go through the handle."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from typing import Any, Final

import pytest

from autostate.shared.handle import ABSENT
from tests.shared.kit import BUILTIN, CLASSES, CONTENT, filled, writes
from tests.shared.test_frozen import NEWER
from tests.test_parity import FOREIGN, READING, mutating

pytestmark = pytest.mark.usefixtures("live")

WORKS: Final = {
    "counter": {"__setitem__", "update", "subtract", "__iadd__", "__isub__"},
    "set": {
        *("add", "discard", "remove", "update", "__ior__", "difference_update", "__isub__"),
        *("intersection_update", "__iand__", "symmetric_difference_update", "__ixor__", "clear"),
    },
    "dict": {"__setitem__", "__delitem__", "update", "__ior__", "setdefault", "pop", "clear"},
}
REFUSED: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "counter": {
        "__delitem__": ("a",),
        "pop": ("a",),
        "popitem": (),
        "clear": (),
        "setdefault": ("a", 1),
        "__ior__": (Counter("a"),),
        "__iand__": (Counter("a"),),
        "_keep_positive": (),
    },
    "set": {"pop": ()},
    "dict": {"popitem": (), "__reversed__": ()},
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_mutating_method_works_or_is_refused(kind: str) -> None:
    """A method that a newer Python adds fails here until somebody decides what it does."""
    known = WORKS[kind] | set(REFUSED[kind])
    unknown = set(dir(BUILTIN[kind])) - READING[kind] - FOREIGN - NEWER - known
    assert not unknown
    assert mutating(kind) <= known | {"__init__"}
    for name in known:
        assert getattr(CLASSES[kind], name) is not getattr(BUILTIN[kind], name), name


@pytest.mark.parametrize("kind", CLASSES)
def test_defaults_are_refused_with_advice(kind: str) -> None:
    """Persisted containers take them: here each process would write them again."""
    make: Any = CLASSES[kind]
    for defaults, named in [(([1, 2],), {}), ((), {"a": 1})]:
        with pytest.raises(
            TypeError, match=r"\('s'\): shared objects have no defaults.*update\(\)"
        ):
            make("s", *defaults, **named)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_refused_method_changes_nothing_and_says_what_to_do(kind: str) -> None:
    """It raises TypeError with its own name and an advice."""
    for name, args in REFUSED[kind].items():
        shared = filled(kind, name)
        with pytest.raises(TypeError, match=rf"Shared\w+\.{name}: .{{20}}"):
            getattr(shared, name)(*args)
        assert not writes(shared)
        assert shared == CONTENT[kind]


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_public_is_added_but_refresh(kind: str) -> None:
    """The public names are those of the builtin, and `refresh`."""
    added = {name for name in dir(CLASSES[kind]) if not name.startswith("_")}
    assert added - set(dir(BUILTIN[kind])) == {"refresh"}
    shared = filled(kind)
    assert hasattr(shared, "__dict__") == hasattr(BUILTIN[kind](), "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(shared)


@pytest.mark.parametrize("kind", CLASSES)
def test_copies_and_pickles_are_plain(kind: str) -> None:
    """Whatever leaves a shared container is the builtin, and equal to it."""
    shared = filled(kind)
    copies = [shared.copy(), copy.copy(shared), copy.deepcopy(shared)]
    copies += [pickle.loads(pickle.dumps(shared, number)) for number in range(6)]
    for made in copies:
        assert type(made) is BUILTIN[kind]
        assert made == shared
        assert shared == made
        assert (shared != made) is False


@pytest.mark.parametrize("kind", CLASSES)
def test_a_repr_has_the_name_of_the_class(kind: str) -> None:
    """An empty one has no content in it, as that of set and Counter."""
    cls = CLASSES[kind]
    empty = cls("empty")
    assert repr(empty) == f"{cls.__name__}()"
    made = eval(repr(filled(kind)), {cls.__name__: BUILTIN[kind]})
    assert made == CONTENT[kind]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_name_gives_the_same_object_which_is_not_made_anew(
    kind: str, live: dict[str, Any]
) -> None:
    """`__init__` does nothing, also if it is called for a live object."""
    shared = filled(kind)
    assert CLASSES[kind]("shared") is shared
    assert CLASSES[kind][str]("shared") is shared
    shared.__init__("shared")
    assert shared == CONTENT[kind]
    with pytest.raises(TypeError, match="is its name, a str, not int"):
        CLASSES[kind](1)
    with pytest.raises(TypeError, match="no defaults"):
        CLASSES[kind]("other", {})
    assert set(live) == {"shared"}


@pytest.mark.parametrize("kind", CLASSES)
def test_refresh_shows_what_others_wrote(kind: str) -> None:
    """`refresh` passes its timeout on."""
    shared = filled(kind)
    shared._handle_.others.append({"z": True if kind == "set" else 7})
    assert "z" not in shared
    shared.refresh()
    shared.refresh(timeout=1.5)
    assert "z" in shared
    assert shared._handle_.refreshes == [None, 1.5]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_subclass_is_shared_too(kind: str) -> None:
    """The object is of the subclass, and may have attributes."""
    sub: Any = type("Sub", (CLASSES[kind],), {})
    made = sub("sub")
    made.update(CONTENT[kind])
    made.note = 1
    assert type(made) is sub
    assert repr(made).startswith("Sub(")
    assert type(made.copy()) is BUILTIN[kind]


@pytest.mark.parametrize("kind", CLASSES)
def test_one_call_is_one_write_or_none(kind: str) -> None:
    """What changes nothing writes nothing."""
    shared = filled(kind)
    shared.update(CONTENT[kind])
    assert [set(write) for write in writes(shared)] == [set(CONTENT[kind])]
    shared.update(())
    shared.update({})
    assert len(writes(shared)) == 1


@pytest.mark.parametrize(
    ("kind", "name", "args"),
    [
        *(("set", name, ("a",)) for name in ("discard", "remove", "difference_update")),
        *(
            ("set", name, ("az",))
            for name in ("intersection_update", "symmetric_difference_update")
        ),
        *(("set", name, ({"a", "z"},)) for name in ("__isub__", "__iand__", "__ixor__")),
        *(("dict", name, ("a",)) for name in ("__delitem__", "pop")),
        *(("dict", "setdefault", ("z", 1)), ("dict", "clear", ()), ("set", "clear", ())),
    ],
)
def test_what_reads_and_then_writes_holds_the_lock(kind: str, name: str, args: Any) -> None:
    """No refresh comes between."""
    shared = filled(kind)
    shared._handle_.held.clear()
    getattr(shared, name)(*args)
    assert shared._handle_.held == [True]


def test_absent_is_one_object() -> None:
    """Copies and pickles of it are the same."""
    assert copy.deepcopy(ABSENT) is pickle.loads(pickle.dumps(ABSENT)) is ABSENT
