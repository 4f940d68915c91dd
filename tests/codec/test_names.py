"""A stored class is found by its name among those that are loaded, or is unknown."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import msgspec
import pytest

from autostate import Unknown, UnknownTypeError, codec
from autostate.codec import Unsupported, names
from tests.codec.test_codec import no_node
from tests.conformance.types_kit import (
    SOURCE,
    UNKNOWN,
    Level,
    Point,
    Row,
    field_of_name,
    keeping,
    module,
    numbered,
    refused,
    registered,
    round_trip,
    stored,
    strict,
)
from tests.conformance.values_kit import exact


def test_a_class_may_move_to_another_module() -> None:
    """If no other class has its name, it is found: a script that became a module, for example."""
    with module("shop_a", SOURCE) as a:
        saved = stored([a.Moved(1), a.Tint.RED, a.Outer.Inner(2)])
        assert codec.decode(saved, strict) == [a.Moved(1), a.Tint.RED, (2,)]
        names.look_again()
    del a
    text = str(saved).replace("shop_a", "__main__")
    with module("shop_b", SOURCE.replace("Moved", "Moved2").replace("Tint", "Tint2")) as b:
        saved = eval(text.replace("Moved", "Moved2").replace("Tint", "Tint2"))
        found = codec.decode(saved[:2], strict)
        assert (type(found[0]), found[1]) == (b.Moved2, b.Tint2.RED)
        vars(b)["Old"] = b.Moved2  # another name for it helps as well, after it was renamed
        back = codec.decode(field_of_name("shop_b:Old", x=1), strict)
        assert type(back) is b.Moved2
        assert stored(back) == field_of_name("shop_b:Moved2", x=1)


def test_a_name_of_several_classes_is_unknown() -> None:
    """None of them is taken by chance, unless it is where the name says."""
    source = SOURCE.replace("Moved", "Twice").replace("Tint", "Tint3")
    with module("shop_c", source) as c, module("shop_d", source) as d:
        for stored_ in (field_of_name("shop_e:Twice", x=1), {"$enum": ["shop_e:Tint3", "RED"]}):
            names.look_again()
            with pytest.raises(UnknownTypeError, match="no other class"):
                codec.decode(stored_, strict)
        assert type(codec.decode(field_of_name("shop_c:Twice", x=1), strict)) is c.Twice
        assert type(codec.decode(field_of_name("shop_d:Twice", x=1), strict)) is d.Twice


def test_after_a_reload_the_new_class_is_meant() -> None:
    """Objects of the old class are saved, and come back as objects of the new one."""
    with module("shop_f", SOURCE) as f:
        old = f.Moved(1)
        assert type(round_trip(old)) is f.Moved
        exec(textwrap.dedent(SOURCE), f.__dict__)
        assert type(old) is not f.Moved
        assert type(round_trip(old)) is f.Moved


def local() -> type:
    """A class of a function's body."""

    class Local(NamedTuple):
        x: int

    return Local


def slotted() -> type:
    """One that its decorator has made of another one, which its methods keep alive."""

    @dataclasses.dataclass(slots=True)
    class Slotted:
        x: int

        def __str__(self) -> str:
            return super().__str__()

    return Slotted


def test_a_class_of_a_function_is_found() -> None:
    """Also if the function was called before, as long as nobody has the class of that time."""
    for _ in range(3):
        cls = local()
        assert type(round_trip(cls(1))) is cls
        del cls
        cls = slotted()
        assert type(round_trip(cls(1))) is cls
        del cls


def test_classes_of_one_name_are_refused() -> None:
    """Objects of both would come back as objects of one of them."""
    older = local()
    assert type(round_trip(older(1))) is older
    newer = local()
    for cls in (newer, older, newer):
        for _ in range(2):
            assert "same name as another class" in refused(cls(1)).problem
    with registered(older, "older"), registered(newer, "newer"):
        assert type(round_trip(older(1))) is older
        assert type(round_trip(newer(1))) is newer


def test_a_class_made_at_run_time_is_refused() -> None:
    """A later process has not made it yet when the state is restored: rather an error now."""
    columns: Any = collections.namedtuple("columns", ["a", "b"])  # noqa: PYI024 - made by names
    made = columns(1, 2)
    problem = refused([made])
    assert "made while the program runs" in problem.problem
    assert problem.path == "[0]"
    with registered(columns, "columns"):
        assert round_trip(made) == made


def test_a_class_is_found_wherever_it_was_defined() -> None:
    """In a doctest or a notebook, where no module of its name holds it; under another name."""
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(textwrap.dedent(SOURCE).replace("Moved", "Roaming"), namespace)
    value = [namespace["Roaming"](1), namespace["Outer"].Inner(2)]
    assert exact(round_trip(value)) == exact(value)
    source = "from collections import namedtuple\nPrivate = namedtuple('Public', 'x')"
    with module("shop_h", source) as h:
        assert exact(round_trip(h.Private(1))) == exact(h.Private(1))


@pytest.mark.parametrize("saved", UNKNOWN, ids=numbered)
def test_an_unknown_type_is_an_error_or_is_kept(saved: Any) -> None:
    """Kept, it is written back as it was: as a value, in a key, inside other objects."""
    [(name, _)] = saved.values()
    for place in (saved, [saved], {"$set": [saved]}, {"$dict": [[{"$tuple": [saved]}, saved]]}):
        with pytest.raises(UnknownTypeError) as caught:
            codec.decode(place, strict)
        assert caught.value.name == name
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert stored(codec.decode(place, keeping)) == place
    kept = codec.decode(saved, keeping)
    assert isinstance(kept, Unknown)
    assert kept.name == name
    assert repr(kept) == f"<autostate.Unknown {name!r}>"
    assert kept == copy.deepcopy(kept) == pickle.loads(pickle.dumps(kept)) != Unknown("gone", {})
    assert {kept: 1}[codec.decode(saved, keeping)] == 1
    assert codec.is_atom(type(kept))


def test_a_kept_value_holds_the_nodes_that_it_refers_to() -> None:
    """They stay alive with it; its references are written as those of nodes are."""
    nodes = {7: {"seven"}, 8: {"eight"}}
    saved = {
        "$object": [
            "gone",
            [{"$ref": 7}, {"$counter": {"$dict": [["$ref", 1]]}}, {"$set": []}, {"$ref": 8}],
        ]
    }

    def make(kind: str, content: Any) -> Any:
        return nodes[content] if kind == "ref" else keeping(kind, content)

    kept = codec.decode(saved, make)

    def ref(value: Any) -> Any:
        return {"$ref": next(i for i, node in nodes.items() if node is value)}

    assert codec.dump(codec.jsonable(kept, ref)) == codec.dump(saved)
    nodes[9] = nodes.pop(7)
    assert codec.dump(codec.jsonable(kept, ref)).count(b'{"$ref":9}') == 1
    with pytest.raises(Unsupported, match="another store"):
        codec.jsonable(kept, no_node)


def test_an_unknown_factory_is_kept() -> None:
    """The dict can be used; only where it would have to be called there is an error."""
    saved = {"$defaultdict": ["gone", {"a": 1}]}
    with pytest.raises(UnknownTypeError):
        codec.decode(saved, strict)
    kept = codec.decode(saved, keeping)
    assert kept["a"] == 1
    with pytest.raises(UnknownTypeError):
        kept["b"]
    assert stored(kept) == saved


def test_a_key_is_looked_at_again_when_its_class_may_be_known() -> None:
    """A store is read before all modules of the program are imported."""
    keys = [Level.LOW, (1, Row(2)), frozenset({Point(3)}), Point(Level.LOW), "text", 5]
    saved = [msgspec.json.decode(codec.dump(codec.encode_key(key))) for key in keys]
    text = str(saved).replace("tests.conformance.types_kit", "late").replace("Level", "LateLevel")
    later = eval(text.replace("Row", "LateRow").replace("Point", "LatePoint"))
    early = [codec.decode_key(key) for key in later]
    assert [type(key) for key in early] == [Unknown, Unknown, Unknown, Unknown, str, int]
    for key, json_ in zip(early[:4], later, strict=False):
        with pytest.raises(UnknownTypeError):
            codec.resolve_key(key, strict)
        for kept in (key, codec.resolve_key(key, keeping)):
            assert msgspec.json.decode(codec.dump(codec.encode_key(kept))) == json_
    with module("late", "") as late:
        late.LateLevel, late.LateRow, late.LatePoint = Level, Row, Point  # type: ignore[attr-defined]
        assert [codec.resolve_key(key, strict) for key in early] == keys


def test_numpy_is_not_needed_to_read_the_rest() -> None:
    """An array where there is no NumPy is of an unknown type, and can be kept."""
    code = """
    import sys, json
    sys.modules["numpy"] = None
    from autostate import codec, UnknownTypeError, Unknown
    def raising(kind, content):
        if kind == "unknown":
            raise UnknownTypeError(content[0])
        return content
    def keeping(kind, content):
        return Unknown(*content) if kind == "unknown" else content
    for saved in ({"$ndarray": "AAAA"}, {"$npscalar": "AAAA"}):
        try:
            codec.decode(saved, raising)
        except UnknownTypeError as error:
            assert error.name == "numpy.ndarray", error
        else:
            raise AssertionError
        kept = codec.decode(saved, keeping)
        assert codec.jsonable(kept, lambda _: None) == saved
    codec.jsonable([1, (2,)], lambda _: None)
    assert sys.modules["numpy"] is None
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_saving_never_imports_numpy() -> None:
    """A program without it does not pay for it."""
    code = """
    import sys
    from autostate import codec
    class Odd: pass
    try:
        codec.jsonable([1, Odd()], lambda _: None)
    except codec.Unsupported:
        pass
    assert not codec.is_atom(Odd)
    sys.exit("numpy" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_reading_a_class_again_finds_the_module_that_was_loaded_since() -> None:
    """A class that is unknown now may be known at the next try."""
    saved = field_of_name("json.decoder_of_later:Later", x=1)
    with pytest.raises(UnknownTypeError):
        codec.decode(saved, strict)
    with module("json.decoder_of_later", SOURCE.replace("Moved", "Later")) as late:
        assert type(codec.decode(saved, strict)) is late.Later
