"""Objects and arrays from a store that somebody else can write: no more than the program has."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest

import autostate
from autostate import PersistedDict, PersistedSet, codec
from autostate.codec import Unsupported
from autostate.errors import CorruptStateError
from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore
from tests.conformance.types_kit import round_trip, strict


class Methods:
    """What an object must not lose."""

    limit = 5
    callback = len
    table: ClassVar[dict[str, int]] = {}

    class Inner:
        """A class inside."""

    def save(self) -> str:
        return "saved"

    @classmethod
    def make(cls) -> str:
        return "made"

    @staticmethod
    def static() -> str:
        return "static"

    @property
    def shown(self) -> str:
        return "shown"

    @functools.cached_property
    def cached(self) -> str:
        return "cached"

    partly = functools.partialmethod(save)

    @functools.singledispatchmethod
    def single(self, _value: Any) -> str:
        return "single"


@dataclass
class Plain(Methods):
    """A dataclass."""

    page: int = 1


@dataclass
class Declared:
    """A field whose default is a function."""

    key: Any = len


@attrs.define(slots=False)
class Attrs(Methods):
    """An attrs class."""

    page: int = 1


class Model(pydantic.BaseModel):
    """A pydantic model."""

    page: int = 1

    def save(self) -> str:
        return "saved"


class Row(NamedTuple):
    """A named tuple."""

    page: int = 1

    def save(self) -> str:
        return "saved"


class RowWith(Row):
    """A named tuple with a `__dict__`."""


@dataclass(slots=True)
class Slotted:
    """A dataclass with slots."""

    page: int = 1
    rest: list[Any] = field(default_factory=list)

    def save(self) -> str:
        return "saved"


def loaded(cls: type, **fields: Any) -> Any:
    """What a store gives for an object of a class with these fields."""
    return codec.decode({"$object": [f"{cls.__module__}:{cls.__qualname__}", fields]}, strict)


HIDDEN = ["save", "make", "static", "partly", "single", "Inner", "callback"]
SPECIAL = ["__class__", "__dict__", "__len__", "__reduce_ex__", "__deepcopy__", "__new_one__"]


@pytest.mark.parametrize("name", [*HIDDEN, *SPECIAL])
@pytest.mark.parametrize("cls", [Plain, Attrs])
def test_no_method_is_taken_away(cls: type, name: str) -> None:
    """The error names the class, the attribute and what to do; nothing of it is saved either."""
    with pytest.raises(CorruptStateError, match=f"{cls.__name__} has a field '{name}'.*declare"):
        loaded(cls, page=2, **{name: {"$tuple": []}})
    value = cls()
    vars(value)[name] = 5
    with pytest.raises(Unsupported, match=f"'{name}' of the object hides"):
        codec.jsonable(value, lambda _: None)


@pytest.mark.parametrize("cls", [Model, Row, RowWith, Slotted])
def test_no_method_of_another_kind_of_class_is_taken_away(cls: type) -> None:
    """Nor with slots, nor of a model or a named tuple."""
    assert loaded(cls, page=2).page == 2
    for name in ("save", "__class__"):
        with pytest.raises(CorruptStateError, match=name):
            loaded(cls, page=2, **{name: 5})


def test_what_a_program_may_have_stored_comes_back() -> None:
    """Defaults of the class, caches, former fields, and a field behind a property of its name."""
    for cls in (Plain, Attrs):
        value = cls()
        vars(value).update(limit=7, cached="other", former=[1], shown="behind", table={"a": 1})
        back = round_trip(value)
        assert vars(back) == vars(value)
        assert (back.limit, back.cached, back.shown, back.save()) == (7, "other", "shown", "saved")
    assert round_trip(Declared("other")) == Declared("other")
    model = Model.model_construct(page="no int")
    assert round_trip(model) == model


def test_a_field_may_hold_what_its_annotation_does_not_say() -> None:
    """As in Python: a program that stored None in an int can go on."""
    other: Any
    for other in (None, 1.5, [1], "x"):
        assert round_trip(Plain(page=other)) == Plain(page=other)
        assert round_trip(Slotted(page=other)) == Slotted(page=other)


def test_many_names_of_attributes_are_not_all_remembered() -> None:
    """A program may use data as names."""
    value = Plain()
    vars(value).update({f"name{number}": number for number in range(3_000)})
    assert vars(round_trip(value)) == vars(value)
    fields = codec.entry_for(Plain).decode.__self__  # type: ignore[union-attr]
    assert len(fields._allowed) < 1_100


@autostate.persisted(name="shop")
class Shop:
    """A class of state objects."""

    kind = str

    def __init__(self) -> None:
        self.page = 1

    def save(self) -> str:
        return "saved"


def test_no_method_of_a_state_object_is_taken_away(tmp_path: Path) -> None:
    """What is stored under the name of a method is kept, as of a former field."""
    with autostate.open(f"sqlite:///{tmp_path}/state.db"):
        Shop().page = 2
    store = SqliteStore(tmp_path / "state.db")
    journal = Journal(store)
    [node_id] = journal.recover().nodes
    put = {"save": 5, "__class__": 5, "__iter__": 5, "kind": 5, "page": 3}
    journal.commit([codec.dumps({"id": node_id, "put": put})])
    store.close()
    for _ in range(2):
        with autostate.open(f"sqlite:///{tmp_path}/state.db"):
            shop = Shop()
            assert (vars(shop), shop.save()) == ({"page": 3}, "saved")
            shop.page = 4
            shop.page = 3


@pytest.mark.parametrize(
    "metadata",
    [
        *({}, [], 5, {"class": 5, "version": 1}, {"class": "m:C", "version": "1"}),
        *({"class": "m:C", "version": 1, "fields": 5}, {"class": "m:C", "version": [1]}),
        {"class": "m:C", "version": 1, "fields": [[1], {}, None]},
    ],
)
def test_a_strange_metadata_of_a_state_object_is_an_error(tmp_path: Path, metadata: Any) -> None:
    """Or it is read; never another error."""
    store = SqliteStore(tmp_path / "state.db")
    journal = Journal(store)
    journal.recover()
    change = {"id": 1, "kind": "object", "name": "shop", "metadata": metadata, "put": {"page": 3}}
    journal.commit([codec.dumps(change)])
    store.close()
    with autostate.open(f"sqlite:///{tmp_path}/state.db"):
        try:
            assert Shop().page == 3
        except CorruptStateError as error:
            assert "shop" in str(error)  # noqa: PT017 - or there is none


# -- arrays ----------------------------------------------------------------------------------------


def test_numpy_is_not_imported_for_a_value(tmp_path: Path) -> None:
    """The error says to import it; or the value is kept."""
    with autostate.open(f"sqlite:///{tmp_path}/state.db"):
        autostate.PersistedDict("state", array=np.arange(3), scalar=np.float32(1))
    code = """
        import sys, autostate
        with autostate.open("sqlite:///state.db"):
            try:
                autostate.PersistedDict("state")
            except autostate.UnknownTypeError as error:
                print(error)
        with autostate.open("sqlite:///state.db", on_unknown="keep"):
            state = autostate.PersistedDict("state")
            print(*state.values())
        assert "numpy" not in sys.modules
        import numpy
        with autostate.open("sqlite:///state.db"):
            print(*map(type, autostate.PersistedDict("state").values()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told, kept, read = done.stdout.splitlines()
    assert "holds a numpy.ndarray, which this program does not know" in told
    assert "import numpy" in told
    assert kept == "<autostate.Unknown 'numpy.ndarray'> <autostate.Unknown 'numpy.ndarray'>"
    assert read == "<class 'numpy.ndarray'> <class 'numpy.float32'>"


def npy(header: str, content: bytes = b"", version: int = 1) -> dict[str, str]:
    """An array as a store may hold it."""
    text = header.encode()
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    data = b"\x93NUMPY" + bytes([version, 0]) + size + text + content
    return {"$ndarray": base64.b64encode(data).decode()}


def described(**changed: Any) -> str:
    """A header; values are written as they are."""
    header = {"descr": "'<f8'", "fortran_order": "False", "shape": "(2,)"} | changed
    return "{" + ", ".join(f"'{key}': {value}" for key, value in header.items()) + "}\n"


SIXTEEN = bytes(16)
HEADERS = [
    *(described(shape="(10000000000,)"), described(shape="(1000000,1000000,1000000)")),
    *(described(shape="(3,)"), described(shape="(1,)"), described(shape="(-2,)")),
    *(described(shape="(2.0,)"), described(shape="[2]"), described(shape="('2',)")),
    *(
        described(shape="2"),
        described(shape="(True,)"),
        described(shape="(999999999999999999,)" * 2),
    ),
    *(described(descr="'|O'"), described(descr="'O'"), described(descr="[('a', 'O')]")),
    *(described(descr="'S99999999999'"), described(descr="'<U9999999999'"), described(descr="'x'")),
    *(described(descr="('<f8', (100000, 100000))"), described(descr="5"), described(descr="None")),
    *(described(descr="[('a', '<f8'), ('a', '<f8')]"), described(descr="[" * 150 + "]" * 150)),
    *(
        "",
        "{}",
        "5",
        "(" * 300,
        "-" * 60_000 + "1",
        "[" * 60_000,
        "'" + "x" * 60_000,
        "__import__('os')",
    ),
    *("{'descr': {**{}}}", "\\", described(descr="'<f8' * 9"), "[]" * 9, "{1: {2: {}}}"),
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_an_array_is_as_large_as_what_is_stored(header: str, version: int) -> None:
    """A header that claims more is an error; nothing is unpickled."""
    saved = npy(header, SIXTEEN, version)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStateError, match=r"\$ndarray cannot be read"):
            codec.decode(saved, strict)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_pickled_objects_in_an_array_are_not_loaded() -> None:
    """As `numpy.save` writes them."""
    file = io.BytesIO()
    np.save(file, np.array([Plain(), 1], dtype=object), allow_pickle=True)
    saved = {"$ndarray": base64.b64encode(file.getvalue()).decode()}
    with pytest.raises(CorruptStateError, match=r"\$ndarray cannot be read"):
        codec.decode(saved, strict)


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_arrays_come_back_that_numpy_does_not_read_by_itself() -> None:
    """With more fields than its reader takes; and of no size at all."""
    many = np.zeros(2, [(f"field_{number}", "<f8") for number in range(2_000)])
    for array in (
        *(many, np.zeros(0), np.zeros((0, 5)), np.zeros(3, "V0"), np.zeros(())),
        *(np.zeros((2, 3), order="F"), np.zeros(2, [("\u00e4\u20ac", "<i2"), ("b", "S3")])),
        *(np.array(["a", "b\u20ac"]), np.array([1], "datetime64[s]"), np.zeros(2, "(2,3)<i4")),
    ):
        back = round_trip(array)
        assert (back.dtype, back.shape, back.flags.f_contiguous) == (
            array.dtype,
            array.shape,
            array.flags.f_contiguous,
        )
        assert back.tobytes() == array.tobytes()
        assert back.flags.writeable


# -- keys with one hash ----------------------------------------------------------------------------

SAME_HASH = [str(number * (2**61 - 1)) for number in range(30_000)]


@pytest.mark.parametrize(
    "where", ["a set", "a dict", "a nested set", "a nested dict", "small parts"]
)
def test_keys_with_one_hash_are_refused(where: str, isolated: Path) -> None:
    """To load them would take minutes: the time grows with the square of their number."""
    members = f"[{','.join(SAME_HASH)}]"
    pairs = f"[{','.join(f'[{key},0]' for key in SAME_HASH)}]"
    begin = '"kind":"dict","name":"state"'
    lines = {
        "a set": [f'{{"id":1,"kind":"set","name":"state","assign":{members}}}'],
        "a dict": [f'{{"id":1,{begin},"assign":{pairs}}}'],
        "a nested set": [f'{{"id":1,{begin},"assign":{{"a":{{"$set":{members}}}}}}}'],
        "a nested dict": [f'{{"id":1,{begin},"assign":{{"a":{{"$dict":{pairs}}}}}}}'],
        "small parts": [
            f'{{"id":1,{begin},"assign":{{}}}}',
            *(
                f'{{"id":1,"put":[{",".join(f"[{key},0]" for key in SAME_HASH[at : at + 3000])}]}}'
                for at in range(0, len(SAME_HASH), 3000)
            ),
        ],
    }[where]
    with contextlib.closing(SqliteStore("s.db")) as store:
        journal = Journal(store)
        journal.recover()
        for line in lines:
            journal.commit([line.encode()])
    kind = PersistedSet if where == "a set" else PersistedDict
    with autostate.open("sqlite:///s.db"), pytest.raises(CorruptStateError, match="have the hash"):
        kind("state")
