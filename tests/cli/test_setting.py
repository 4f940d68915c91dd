"""`autostate set`: one value, of the type that it had, in a state that no live process owns."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.parser import COMMANDS
from autostate.errors import CorruptStateError
from autostate.runtime.stored_state import read_state
from tests.cli.classes import CLASSES
from tests.cli.test_commands import call, job, told  # noqa: F401 - a fixture
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

URL: Final = "sqlite:///crawl.db"
PROGRAM: Final = (
    CLASSES
    + """
with autostate.open("sqlite:///crawl.db"):
    shop = Shop()
    shop.page = 3
    point = Point(1, [2])
    d = autostate.PersistedDict("d", n=1, f=1.5, yes=True, none=None, text="7", raw=b"x")
    d.update(when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), day=datetime.date(2026, 1, 2))
    d.update(time=datetime.time(1), lasts=datetime.timedelta(1), money=decimal.Decimal("1.10"))
    d.update(id=uuid.UUID(int=1), path=pathlib.PurePosixPath("a"), nan=float("nan"), z=1j)
    d.update(list=[1, [2, 3]], tuple=(1, {2}), set={1}, deque=collections.deque([1], 2))
    d.update(counter=collections.Counter(a=1), ordered=collections.OrderedDict(b=1, a=2))
    d.update(factory=collections.defaultdict(list, x=[1]))
    d["big"] = dict.fromkeys(map(str, range(300)), 0)
    d.update({3: "three", (1, 2): "pair"}, point=point, same=point, color=Color.RED, shop=shop)
    d.update(ints={1: {"a": 1}}, itself=d, secret=autostate.pickled(object))
    autostate.PersistedDeque("last", [1, 2, 3], maxlen=2)
    autostate.PersistedSet("seen", [1, "a"])
    autostate.PersistedCounter("hits")["a"] += 2
    autostate.PersistedList("rows", [1, 2])
    autostate.proxy("total", Point(1, [2]))
    for item in autostate.resume("loop", [1, 2, 3]):
        break
"""
)
LATER: Final = """
    shop, d = Shop(), autostate.PersistedDict("d")
    last, total = autostate.PersistedDeque("last", maxlen=2), autostate.proxy("total", None)
    seen, hits = autostate.PersistedSet("seen"), autostate.PersistedCounter("hits")
    print(d["tuple"], d["point"] is d["same"], d["shop"] is shop, type(d["factory"]).__name__)
    for value in (d["n"], d["when"], d["same"], d["big"]["7"], d[7], d["deque"]):
        print(repr(value))
    print(d["new"], [*last], seen, hits, autostate.PersistedList("rows"))
    print(total.x, shop.page, d["ints"])
"""
CHANGED: Final = {
    ("d", "n", "-7"): "-7",
    ("d", "f", "2"): "2.0",
    ("d", "yes", "false"): "False",
    ("d", "none", "[1]"): "[1]",
    ("d", "text", "8"): "'8'",
    ("d", "raw", "AAE="): r"b'\x00\x01'",
    (
        "d",
        "when",
        "2026-05-06T07:08",
    ): "datetime.datetime(2026, 5, 6, 7, 8, tzinfo=datetime.timezone.utc)",
    ("d", "day", "2026-05-06"): "datetime.date(2026, 5, 6)",
    ("d", "time", "07:08"): "datetime.time(7, 8)",
    ("d", "lasts", "90"): "datetime.timedelta(seconds=90)",
    ("d", "money", "2.50"): "Decimal('2.50')",
    (
        "d",
        "id",
        "{00000000-0000-0000-0000-000000000002}",
    ): f"UUID('{'0' * 8}-0000-0000-0000-{'2':>012}')",
    ("d", "path", "b/c"): "PurePosixPath('b/c')",
    ("d", "nan", "inf"): "inf",
    ("d", "z", "1+2j"): "(1+2j)",
    ("d", "list.1.0", "5"): "5",
    ("d", "tuple.0", "9"): "9",
    ("d", "tuple", "[1, [2]]"): "(1, {2})",
    ("d", "set", "[4]"): "{4}",
    ("d", "deque", "[4, 5]"): "deque([4, 5], maxlen=2)",
    ("d", "deque.0", "6"): "6",
    ("d", "counter.a", "3"): "3",
    ("d", "counter.b", "1"): "1",
    ("hits", "new", "2"): "2",
    ("d", "factory.x.0", "8"): "8",
    ("d", "big.7", "1"): "1",
    ("d", "3", "drei"): "'drei'",
    ("d", "[(1, 2)]", "Paar"): "'Paar'",
    ("d", "point.x", "44"): "44",
    ("d", "same", '{"near": [1]}'): "Point(x=44, near=[1])",
    ("d", "ints[1]", '{"a": 2, "b": 3}'): "{'a': 2, 'b': 3}",
    ("d", "itself.new", "text"): "'text'",
    ("d", "[7]", "1"): "1",
    ("Shop", "page", "8"): "8",
    ("last", "1", "9"): "9",
    ("seen", "", "[5]"): "{5}",
    ("hits", "a", "5"): "5",
    ("rows", "", "[7, 8, 9]"): "[7, 8, 9]",
    ("rows", "-1", "4"): "4",
    ("total", "x", "3"): "3",
}
"""What is set, and what the program has then."""

REFUSED: Final = {
    ("d", "n", "1.5"): "the value is an int, and 1.5 is not: --as json",
    ("d", "n", "x"): "'x' is no JSON",
    ("hits", "b", "x"): "'x' is no JSON",
    ("d", "counter.c", "[1]"): "the value is an int, and [1] is not",
    ("d", "yes", "1"): "the value is true or false",
    ("d", "day", "yesterday"): "is a date, as 2026-03-01, and 'yesterday' is none",
    ("d", "raw", "?"): "is bytes, as base64",
    ("d", "color", "BLUE"): "is a enum, which only its program can make",
    ("d", "secret", "x"): "is a pickled, which only its program can make",
    ("d", "secret.x", "x"): "there is no 'x' in d[\"secret\"]",
    ("d", "deque", "[1, 2, 3]"): "a deque of at most 2 items, not 3",
    ("d", "set", '[{"a": 1}]'): "in the value no list, dict or set can be a member or a key",
    ("d", "list[1.5]", "1"): 'there is no 1.5 in d["list"]',
    ("d", "list[true]", "1"): "there is no 'true' in d[\"list\"]",
    ("d", "set.1", "1"): 'd["set"] is a set, whose members have no places',
    ("d", "n.x", "1"): "there is no 'x' in d[\"n\"]",
    ("d", "missing.x", "1"): 'there is nothing in d["missing"]: set that first',
    ("d", "point.y", "1"): "d[\"point\"] has no stored field 'y'. It has: x, near",
    ("d", "point", '{"y": 1}'): "the value is a Point, whose fields are x, near: not y",
    (
        "d",
        "ints.x",
        "1",
    ): "are no texts, and 'x' is none of them: write one in brackets, such as [1]",
    ("d", "ints", '{"x": 1}'): "the keys of the value are no texts, and 'x' is none of them",
    ("d", "ints", '{"1": {}, "0x1": {}}'): "'0x1' names a key of the value that another name means",
    ("d", "n[{}]", "1"): 'there is no {} in d["n"]',
    ("d", "ints[{}]", "1"): '{} cannot be a key, in d["ints"]',
    ("d", "list.7", "1"): "there is no '7' in d[\"list\"], which has 2 items",
    ("rows", "", '{"a": 1}'): "the value is a list, and {'a': 1} is not",
    ("loop", "position", "1"): "`autostate reset loop` lets the loop begin anew",
    ("nothing", "x", "1"): "holds no state object 'nothing'",
}


@dataclasses.dataclass(unsafe_hash=True)
class Pair:
    """An object in a state."""

    a: Any
    b: Any


def set_(*words: str) -> None:
    """Run the command here."""
    COMMANDS["set"].run([*words, "--url", "crawl.db"])


@pytest.fixture
def crawl(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a program that has ended, with values of many types."""
    monkeypatch.setattr("autostate.codec.registry._ignoring", True)  # as in a command
    assert run(PROGRAM).returncode == 0
    return isolated


def test_a_value_keeps_its_type(crawl: Path) -> None:
    """Also inside what is nested, at several places, or the content of a whole state object."""
    for words in CHANGED:
        set_(*words)
    done = run(PROGRAM.partition("    shop = Shop()")[0] + LATER)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(1, {2}) False True defaultdict",
        "-7",
        "datetime.datetime(2026, 5, 6, 7, 8, tzinfo=datetime.timezone.utc)",
        "Point(x=44, near=[1])",
        "1",
        "1",
        "deque([6, 5], maxlen=2)",
        "text [2, 9] {5} Counter({'a': 5, 'new': 2}) [7, 8, 4]",
        "3 8 {1: {'a': 2, 'b': 3}}",
    ]


def test_each_value_is_shown(crawl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As what it has become."""
    from autostate.cli.paths import follow, parsed
    from autostate.cli.values import Values

    for (name, path, value), shown in CHANGED.items():
        set_(name, path, value)
        found = follow(name, Values(read_state(URL)).of(name), parsed([path]))
        assert repr(found) == shown, path
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'd["n"] is -7 (was 1)'
    assert said[-1] == "total.x is 3 (was 1)"


def test_what_does_not_fit_changes_nothing(crawl: Path) -> None:
    """The error says what is there, or what to write."""
    before = Path("crawl.db").read_bytes()
    for words, problem in REFUSED.items():
        with pytest.raises(CommandError) as caught:
            set_(*words)
        assert problem in str(caught.value), words
    with pytest.raises(UsageError, match="invalid choice"):
        set_("d", "n", "1", "--as", "yaml")
    assert Path("crawl.db").read_bytes() == before


def test_another_type_is_said(crawl: Path) -> None:
    """As JSON, as a literal of Python, or as a text."""
    set_("d", "n", "[1, null]", "--as", "json")
    set_("d", "f", "(1, {'a'})", "--as", "python")
    set_("d", "yes", "7", "--as", "text")
    set_("d", "color", "7", "--as", "json")
    with pytest.raises(CommandError, match="is no literal of Python"):
        set_("d", "n", "print()", "--as", "python")
    with pytest.raises(CommandError, match="is a set, and cannot become another kind"):
        set_("seen", "", '{"a": 1}', "--as", "json")
    shown = PROGRAM.partition("    shop = Shop()")[0] + "    d = autostate.PersistedDict('d')\n"
    done = run(f"{shown}    print(d['n'], d['f'], repr(d['yes']), d['color'])")
    assert done.stdout == "[1, None] (1, {'a'}) '7' 7\n"


def test_secrets_stay_secrets(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also inside a container that is set as a whole; no message quotes what was given."""
    secret = autostate.Secret
    with autostate.open(URL):
        d = autostate.PersistedDict[str, Any]("d", token=secret("old"), pin=secret(1234))
        d.update(both=[secret("old"), secret("old")], by_name={"a": secret("old")})
        d.update(logins=[{"user": "anna", "password": secret("old")}], row=(1, secret("old")))
        d.update(among=["anna", secret("old")], members={secret("old")}, none=None)
    given: list[tuple[str, ...]] = [
        ("d", "token", "n3w"),
        ("d", "pin", "4321"),
        ("d", "both", '["n3w", "n3w", "n3w"]'),
        ("d", "by_name", '{"a": "n3w", "b": "n3w"}'),
        ("d", "by_name.c", "n3w"),
        ("d", "by_name.plain", "text", "--as", "text"),
        ("d", "logins", '[{"user": "bea", "password": "n3w"}, {"user": "eva", "password": "n3w"}]'),
        ("d", "row", '[2, "n3w"]'),
        ("d", "members", '["n3w", "4321", "n3w"]'),
        ("d", "none", "n3w", "--secret"),
        ("d", "more", "4321", "--secret"),
        ("d", "more", "4321", "--secret", "--as", "json"),
    ]
    for each in given:
        set_(*each)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == 'd["token"] is "**********" (was "**********")'
    refused: dict[tuple[str, ...], str] = {
        ("d", "pin", "p1n"): "is a secret, of another type",
        ("d", "both", '["p1n", 7]'): "the value[1] is a secret, of another type",
        ("d", "", '{"among": ["p1n", "p1n"]}'): "secrets are kept beside other values where",
        ("d", "row", '["p1n", 1]'): "the value[0] is an int, and what was given is not",
        ("d", "token", '["p1n"]', "--secret", "--as", "json"): "it cannot be a secret: ",
        ("d", "token", "p1n", "--secret", "--as", "json"): "what was given is no JSON",
    }
    for words, problem in refused.items():
        with pytest.raises(CommandError, match=re.escape(problem)) as caught:
            set_(*words)
        assert "p1n" not in str(caught.value), words
    assert not {"n3w", "old", "4321"} & {*re.split(r"\W", said)}
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        assert (d["token"], d["pin"], d["none"]) == (secret("n3w"), secret(4321), secret("n3w"))
        assert (d["both"], d["row"]) == ([secret("n3w")] * 3, (2, secret("n3w")))
        new = dict.fromkeys("abc", secret("n3w"))
        assert d["by_name"] == {**new, "plain": "text"}
        assert [*d["logins"][1].items()] == [("user", "eva"), ("password", secret("n3w"))]
        assert d["members"] == {secret("n3w"), secret("4321")}
        assert d["more"] == secret(4321)


def test_secrets_of_pydantic_stay_theirs(isolated: Path) -> None:
    """As objects that hold a secret, by their own path and by that of what they hold."""
    pydantic = pytest.importorskip("pydantic")
    with autostate.open(URL):
        autostate.PersistedDict("d", token=pydantic.SecretStr("old"), same=pydantic.SecretStr("x"))
    set_("d", "", '{"token": "n3w", "same": "n3w"}')
    set_("d", "same.value", "n3wer")
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        assert (type(d["token"]), d["token"].get_secret_value()) == (pydantic.SecretStr, "n3w")
        assert d["same"].get_secret_value() == "n3wer"


def test_an_object_without_fields_is_set_as_it_is_kept(isolated: Path) -> None:
    """By the name under which `get` shows it."""

    class Money:
        def __init__(self, amount: int) -> None:
            self.amount = amount

    autostate.register(Money, "cli_money", encode=lambda m: {m.amount}, decode=lambda s: Money(*s))
    with autostate.open(URL):
        autostate.PersistedDict("d", price=Money(5), third=Fraction(1, 3))
    for path, value in (("price", "[7]"), ("price.amount", "7")):
        with pytest.raises(CommandError, match=r"only its program knows|It has: value"):
            set_("d", path, value)
    set_("d", "price.value", "[7]")
    set_("d", "third", "2/3")
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        assert (d["price"].amount, d["third"]) == (7, Fraction(2, 3))


def test_items_of_one_type_keep_it(isolated: Path) -> None:
    """Those that JSON lacks; of a new object all fields are needed."""
    day = dt.date(2026, 1, 1)
    with autostate.open(URL):
        d = autostate.PersistedDict("d", days=[day, None], at=[{"day": day, "n": 1}], floats=[0.5])
        d.update(rows=[(day, "a"), (day, "b")], spans=[dt.timedelta(1)], points=[Pair(1, day)])
    set_("d", "days", '["2026-05-01", null]')
    set_("d", "at", '[{"day": "2026-05-02", "n": "x", "more": [1]}, {}]')
    set_("d", "floats", '[1, "x"]')
    set_("d", "rows", '[["2026-05-03", "c"]]')
    set_("d", "spans", "[90]")
    set_("d", "points", '[{"a": "x", "b": "2026-05-04"}, {"b": "2026-05-04", "a": 2}]')
    for path, value, problem in (
        ("days", '["soon"]', "the value[0] is a date, as 2026-03-01, and 'soon' is none"),
        ("points", '[{"a": 1}]', "is a new Pair, of which all fields have to be given: also b"),
    ):
        with pytest.raises(CommandError, match=re.escape(problem)):
            set_("d", path, value)
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        assert d["days"] == [dt.date(2026, 5, 1), None]
        assert d["at"] == [{"day": dt.date(2026, 5, 2), "n": "x", "more": [1]}, {}]
        assert [*map(type, d["floats"])] == [float, str]
        assert (d["rows"], d["spans"]) == ([(dt.date(2026, 5, 3), "c")], [dt.timedelta(seconds=90)])
        assert d["points"] == [Pair("x", dt.date(2026, 5, 4)), Pair(2, dt.date(2026, 5, 4))]


def test_keys_and_members_that_json_lacks(isolated: Path) -> None:
    """Those that are there by how they are shown; new ones of the type that all others have."""
    day, later = dt.date(2026, 1, 1), dt.date(2026, 5, 6)
    with autostate.open(URL):
        d = autostate.PersistedDict[Any, Any]("d", ints={200: 1}, days={day: 1}, pairs={(1, 2): 1})
        d.update(rows={(1, day): 1}, mixed={True: 1, None: 2, 1.5: 3}, numbers={1: 1, 0.5: 2})
        d.update(raw={b"x": 1}, groups={frozenset({1}): 1}, named={"a": 1, 7: 2}, empty={})
        d.update(same={pathlib.PurePosixPath("a"): 1, pathlib.PureWindowsPath("a"): 2})
        d.update(spans={dt.timedelta(1): 1}, hidden={autostate.Secret("old"): 1})
        d["objects"] = {Pair(1, 2): 1}
        sets: dict[str, set[Any]] = {"s": {(1, 2)}, "t": {frozenset({1})}, "u": {day}, "v": {1}}
        for name, members in sets.items():
            autostate.PersistedSet[Any](name, members)
    for path, value in {
        "ints": '{"200": 5, "404": 6}',
        "ints.500": "7",
        "days": '{"2026-01-01": 5}',
        "days.2026-05-06": "6",
        "days[2026-05-06]": "7",
        "pairs": '{"[1, 2]": 5, "[3,4]": 6, "(5,6)": 7}',
        "pairs[(7, 8)]": "8",
        "pairs[9,9]": "9",
        'rows[(1, "2026-01-01")]': "5",
        'rows[(1, "2026-05-06")]': "6",
        "mixed": '{"true": 5, "null": 6, "1.5": 7}',
        "numbers": '{"1": 5, "2.5": 6, "3": 7}',
        "raw": '{"eA==": 5, "eQ==": 6}',
        "groups": '{"[1]": 5, "[2, 3]": 6}',
        "named": '{"a": 5, "7": 6, "8": 7}',
        "empty": '{"1": 5}',
        "same[PureWindowsPath('a')]": "5",
        "spans": '{"1 day, 0:00:00": 5, "90": 6}',
        "hidden": '{"**********": 5, "n3w": 6}',
    }.items():
        set_("d", path, value)
    for name, value in {
        "s": '[[1, 2], [1, 2], ["a", ["b"]]]',
        "t": "[[1, 2]]",
        "u": '["2026-05-06"]',
        "v": '[[1, [2]], "a", true, 1]',
    }.items():
        set_(name, "", value)
    with pytest.raises(CommandError, match="2 keys are shown as 'a', so that none"):
        set_("d", "same.a", "5")
    with pytest.raises(CommandError, match=r"such as \[2026-01-01\]"):
        set_("d", "days.soon", "5")
    refused = call("set", "d", "objects.soon", "5", "-u", "crawl.db").stderr
    assert refused.endswith("such as [Pair(a=1, b=2)]\n")
    assert refused.count("\n") == 1
    with autostate.open(URL):
        d = autostate.PersistedDict("d")
        assert d["ints"] == {200: 5, 404: 6, 500: 7}
        assert d["days"] == {day: 5, later: 7}
        assert d["pairs"] == {(1, 2): 5, (3, 4): 6, (5, 6): 7, (7, 8): 8, (9, 9): 9}
        assert d["rows"] == {(1, day): 5, (1, later): 6}
        assert d["mixed"] == {True: 5, None: 6, 1.5: 7}
        assert [*map(type, d["numbers"])] == [int, float, int]
        assert (d["raw"], d["empty"]) == ({b"x": 5, b"y": 6}, {"1": 5})
        assert d["groups"] == {frozenset({1}): 5, frozenset({2, 3}): 6}
        assert d["named"] == {"a": 5, 7: 6, "8": 7}
        assert [*d["same"].values()] == [1, 5]
        assert d["spans"] == {dt.timedelta(1): 5, dt.timedelta(seconds=90): 6}
        assert [key.reveal() for key in d["hidden"]] == ["old", "n3w"]
        assert autostate.PersistedSet("s") == {(1, 2), ("a", ("b",))}
        assert autostate.PersistedSet("t") == {frozenset({1, 2})}
        assert autostate.PersistedSet("u") == {later}
        assert autostate.PersistedSet("v") == {(1, (2,)), "a", True}


def test_what_get_prints_set_takes(isolated: Path) -> None:
    """Also keys and members that JSON lacks, so that a script can change a value in between."""
    day = dt.date(2026, 1, 1)
    value = {(1, day): [1.5], 7: {"a": (1, day)}, None: {(1, 2)}, b"x": day, "text": True}
    with autostate.open(URL):
        autostate.PersistedDict("d", value=value)
    set_("d", "value", told("get", "d", "value", "-u", "crawl.db").strip())
    with autostate.open(URL):
        assert autostate.PersistedDict("d")["value"] == value


@pytest.mark.parametrize("given", ["n3w\n", "n3w\r\n", "n3w"])
def test_a_value_is_read(isolated: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """From standard input, where no history of a shell keeps it; a newline at its end is not it."""
    with autostate.open(URL):
        autostate.PersistedDict("d", token=autostate.Secret("old"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    set_("d", "token", "-")
    with autostate.open(URL):
        assert autostate.PersistedDict("d")["token"].reveal() == "n3w"


def test_what_cannot_be_read_changes_nothing(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty standard input is what a program leaves that has failed before the pipe."""
    with autostate.open(URL):
        autostate.PersistedDict("d", n=1)
    for data, problem in (
        (b"", "standard input is empty"),
        (b"\xff", "no text in UTF-8"),
        (b"p1n", "what was given is no JSON"),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(CommandError, match=problem):
            set_("d", "n", "-")
    monkeypatch.setattr("sys.stdin", None)  # as `<&-` leaves it
    with pytest.raises(CommandError, match="standard input is empty"):
        set_("d", "n", "-")
    with pytest.raises(UsageError, match="there is no terminal to ask on"):
        COMMANDS["reset"].run(["d", "--url", "crawl.db"])
    with pytest.raises(CommandError, match="it is no JSON"):
        COMMANDS["import"].run(["-", "e", "--url", "crawl.db"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"7")))
    with pytest.raises(CommandError, match="holds no state object 'e'"):  # and nothing is read
        set_("e", "n", "-")
    set_("d", "n", "-")


def test_a_value_is_asked_for_on_a_terminal(isolated: Path) -> None:
    """And is not shown while it is typed."""
    with autostate.open(URL):
        autostate.PersistedDict("d", token=autostate.Secret("old"))
    main, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "autostate", "set", "d", "token", "-", "-u", "crawl.db"],
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,  # of the terminal of these tests nothing is asked
    ) as process:
        os.close(side)
        shown = b""
        while b"The value of d token: " not in shown:
            shown += os.read(main, 1000)
        os.write(main, b"n3w\n")
        with contextlib.suppress(OSError):  # of Linux, once nobody has the other side open
            while more := os.read(main, 1000):
                shown += more
    os.close(main)
    assert process.returncode == 0
    assert b"n3w" not in shown
    with autostate.open(URL):
        assert autostate.PersistedDict("d")["token"].reveal() == "n3w"


def test_json(crawl: Path) -> None:
    """What was there, and what is now."""
    found = json.loads(told("set", "d", "list.0", "5", "-u", "crawl.db", "--json"))
    url = f"sqlite:///{crawl}/crawl.db"
    place = {"store": url, "name": "d", "path": 'd["list"][0]'}
    assert found | {"store": url} == place | {"was": 1, "is": 5, "added": False, "shared": False}


def test_beside_live_and_killed_owners(job: subprocess.Popen[str]) -> None:  # noqa: F811
    """Refused while the program lives; then it goes on from the value."""
    done = call("set", "progress", "page", "1")
    assert (done.returncode, done.stdout) == (75, "")
    assert f"the state belongs to process {job.pid} (job.py)" in done.stderr
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert told("set", "progress", "page", "1").startswith('progress["page"] is 1 (was ')
    with autostate.open("sqlite:///.autostate/job.db"):
        assert autostate.PersistedDict("progress") == {"page": 1}


FENCED: Final = """
import sys, autostate
with autostate.open("sqlite:///rows.db"):
    rows = autostate.PersistedList("rows", [1, 2])
    autostate.flush()
    print("saved", flush=True)
    sys.stdin.readline()
    try:
        rows.append(3)
        autostate.flush()
    except autostate.FencedError:
        print("fenced", flush=True)
"""
TAKES_OVER: Final = """
import autostate
with autostate.open("sqlite:///rows.db", takeover=True):
    autostate.PersistedList("rows").append(5)
"""


def test_who_held_the_state_is_fenced(isolated: Path) -> None:
    """A process that was taken over from saves nothing over the value, and is in nobody's way."""
    with subprocess.Popen(
        [sys.executable, "-c", FENCED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
        assert run(TAKES_OVER).returncode == 0
        told("set", "rows", "0", "7", "-u", "rows.db")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "fenced\n"
        process.kill()
    assert told("get", "rows", "-u", "rows.db") == "[7, 2, 5]\n"


def test_a_damaged_state(crawl: Path) -> None:
    """It is told, and left as it is."""
    data = Path("crawl.db").read_bytes()
    at = data.index(b'"$timedelta"')
    Path("crawl.db").write_bytes(data[:at] + b'"$timedeltA"' + data[at + 12 :])
    before = Path("crawl.db").read_bytes()
    with pytest.raises(CorruptStateError, match="is damaged"):
        set_("d", "n", "2")
    assert Path("crawl.db").read_bytes() == before


def test_a_history_has_a_commit_of_it(isolated: Path) -> None:
    """So that it can be undone."""
    with autostate.open("sqlite:///h.db", history=10):
        autostate.PersistedDict("progress", page=1)
    told("set", "progress", "page", "2", "-u", "h.db")
    assert [each.objects for each in autostate.history("sqlite:///h.db")][-1] == ("progress",)
    told("restore", "--at", "1", "-y", "-u", "h.db")
    assert told("get", "progress", "page", "-u", "h.db") == "1\n"


def test_a_signed_state_stays_signed(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key that is set."""
    monkeypatch.setenv("AUTOSTATE_KEY", "a-secret-of-the-user")
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("progress", page=1)
    told("set", "progress", "page", "2", "-u", "s.db")
    assert told("get", "progress", "page", "-u", "s.db") == "2\n"
    assert told("verify", "-u", "s.db")
    monkeypatch.delenv("AUTOSTATE_KEY")
    assert "is signed" in call("set", "progress", "page", "3", "-u", "s.db").stderr
