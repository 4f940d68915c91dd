"""`autostate export` and `autostate import`: documents, and the files of other libraries."""

from __future__ import annotations

import collections
import contextlib
import json
import pickle
import re
import shelve
import shutil
import signal
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from sqlitedict import SqliteDict

import autostate
from autostate.cli.errors import CommandError, UsageError
from autostate.cli.parser import COMMANDS
from autostate.errors import CorruptStateError, StateInUseError
from tests.cli.classes import CLASSES
from tests.cli.test_commands import call, job, told  # noqa: F401 - a fixture
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

PROGRAM: Final = f"""
{CLASSES}
with autostate.open("sqlite:///crawl.db", history=10):
    shop = Shop()
    shop.page, shop.seen = 3, {{"a"}}
    same = [1]
    d = autostate.PersistedDict("d", {{3: "three", (1, 2): 1.5, "when": datetime.date(2026, 1, 2)}})
    d.update(point=Point(1, [2]), color=Color.RED, shop=shop, one=same, other=same, raw=b"x")
    d.update(big=dict.fromkeys(map(str, range(300)), 0), nan=float("nan"), tag={{"$set": [1]}})
    d["ordered"] = collections.OrderedDict(b=1, a=2)
    d["factory"] = collections.defaultdict(list, a=[1])
    d["itself"] = d
    del d["when"]
    autostate.PersistedDict("$set", a=1)
    autostate.PersistedCounter("hits").update(a=2)
    autostate.PersistedSet("seen").update([1, (2, 3), Color.RED])
    autostate.PersistedDeque("last", maxlen=2).extend([1, 2, 3])
    autostate.PersistedList("rows", range(1000))
    autostate.proxy("total", Point(7, []))
    for item in autostate.resume("loop", [1, 2, 3]):
        if item == 2:
            break
"""
LATER: Final = f"""
{CLASSES}
with autostate.open("sqlite:///new.db"):
    shop = Shop()
    d = autostate.PersistedDict("d", when=7)
    print(shop.page, shop.seen, d["shop"] is shop, d["itself"] is d, d["one"] is d["other"])
    print(d[3], d[(1, 2)], d["point"], d["color"], d["raw"], d["tag"], len(d["big"]), d["nan"])
    print(type(d["ordered"]).__name__, [*d["ordered"]], d["factory"]["b"], "when" in d)
    print(autostate.PersistedCounter("hits"), len(autostate.PersistedSet("seen")))
    print(autostate.PersistedDeque("last", maxlen=2), autostate.PersistedDict("$set"))
    print(sum(autostate.PersistedList("rows")), autostate.proxy("total", None))
    print([*autostate.resume("loop", [1, 2, 3])])
"""


def export(*words: str) -> None:
    """Run the command here."""
    COMMANDS["export"].run([*words, "--url", "crawl.db"])


def import_(*words: str) -> None:
    """Run the command here."""
    COMMANDS["import"].run([*words, "--url", "new.db"])


@pytest.fixture(autouse=True)
def no_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is found by its name, as in a command."""
    monkeypatch.setattr("autostate.codec.registry._ignoring", True)


@pytest.fixture
def crawl(isolated: Path) -> Path:
    """The state of a program that has ended, with values of many types."""
    assert run(PROGRAM).returncode == 0
    return isolated


@pytest.fixture
def plain(isolated: Path) -> dict[str, Any]:
    """A state whose values any library can keep, and these values."""
    value = {
        "page": 7,
        "seen": {"a", 1},
        "hits": collections.Counter(a=2),
        "last": collections.deque([1, 2], 2),
        "ordered": collections.OrderedDict(b=1, a=2),
        "by": collections.defaultdict(list, a=[(1, None)]),
        "nested": {"1": [True, 1.5, b"x"]},
    }
    with autostate.open("sqlite:///crawl.db"):
        autostate.PersistedDict("crawl", value)
        autostate.PersistedList("rows", [1, 2])
    return value


def test_a_document_loses_nothing(crawl: Path) -> None:
    """Neither types nor identities, classes, defaults that were deleted, nor positions of loops."""
    told("export", "all.json", "-u", "crawl.db")
    assert stat.S_IMODE(Path("all.json").stat().st_mode) == 0o600
    said = told("import", "all.json", "-u", "new.db")
    assert said.startswith("imported into sqlite:///new.db: $set (dict), Shop (object), d (dict)")
    assert "nothing is damaged" in told("verify", "-u", "new.db")
    assert told("diff", "crawl.db", "new.db") == ""
    done = run(LATER)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "3 {'a'} True True True",
        "three 1.5 Point(x=1, near=[2]) Color.RED b'x' {'$set': [1]} 300 nan",
        "OrderedDict ['b', 'a'] [] False",
        "Counter({'a': 2}) 3",
        "deque([2, 3], maxlen=2) {'a': 1}",
        "499500 Point(x=7, near=[])",
        "[2, 3]",
    ]


def test_a_document_is_readable(plain: dict[str, Any]) -> None:
    """Plain JSON, with tags where JSON lacks a type."""
    export("rows.json", "rows")
    found = json.loads(Path("rows.json").read_text())
    assert found == {"autostate": 1, "objects": {"rows": [1, 2]}}
    shown = json.loads(told("export", "-", "crawl", "-u", "crawl.db"))["objects"]["crawl"]
    assert (shown["page"], shown["seen"]) == (7, {"$set": ["a", 1]})


def test_of_the_history(isolated: Path) -> None:
    """A document as of a commit."""
    with autostate.open("sqlite:///crawl.db", history=10, debounce=1000):
        progress = autostate.PersistedDict("progress", page=1)
        autostate.flush()
        progress["page"] = 2
    shown = told("export", "-", "--at", "1", "-u", "crawl.db")
    assert json.loads(shown)["objects"] == {"progress": {"page": 1}}


def test_into_a_state_that_is_there(plain: dict[str, Any]) -> None:
    """Names that exist are refused, unless they are to be replaced; others stay as they are."""
    export("crawl.json", "crawl")
    with autostate.open("sqlite:///new.db", history=10):
        autostate.PersistedDict("crawl", page=1)
        autostate.PersistedDict("mine", page=2)
        autostate.PersistedDict("rows", page=2)
    before = Path("new.db").read_bytes()
    with pytest.raises(CommandError, match="holds crawl already"):
        import_("crawl.json")
    assert Path("new.db").read_bytes() == before
    import_("crawl.json", "--replace")
    export("rows.json", "rows")
    import_("rows.json", "--replace")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("crawl") == plain
        assert autostate.PersistedDict("mine") == {"page": 2}
        assert autostate.PersistedList("rows") == [1, 2]
    told("restore", "--at", "1", "-y", "-u", "new.db")
    assert told("get", "crawl", "-u", "new.db") == '{"page": 1}\n'


def test_what_others_refer_to_does_not_become_another_kind(isolated: Path) -> None:
    """Nothing is written."""
    with autostate.open("sqlite:///new.db"):
        inner = autostate.PersistedDict("inner", page=1)
        autostate.PersistedDict("outer", inner=inner)
    Path("inner.json").write_text("[1]")
    with pytest.raises(CommandError, match="is found inside other state objects"):
        import_("inner.json", "--replace")
    for text in ('{"$deque": [[1], 3]}', '{"$defaultdict": [null, {}]}'):
        document = f'{{"autostate": 1, "objects": {{"inner": {text}}}}}'
        Path("inner.json").write_text(document)
        with pytest.raises(CommandError, match="is found inside other state objects"):
            import_("inner.json", "--replace")
    Path("inner.json").write_text('{"page": 2}')
    import_("inner.json", "--replace")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("outer")["inner"] is autostate.PersistedDict("inner")
        assert autostate.PersistedDict("outer")["inner"] == {"page": 2}


def test_another_length_is_another_deque(isolated: Path) -> None:
    """What is replaced gets all that describes the new one."""
    with autostate.open("sqlite:///new.db"):
        autostate.PersistedDeque("last", [1, 2], maxlen=2)
    Path("a.json").write_text('{"autostate": 1, "objects": {"last": {"$deque": [[1, 2, 3], 3]}}}')
    import_("a.json", "--replace")
    with autostate.open("sqlite:///new.db"):
        last = autostate.PersistedDeque("last", maxlen=3)
        assert (list(last), last.maxlen) == ([1, 2, 3], 3)


def test_two_stores_are_none(isolated: Path) -> None:
    """A new store is made only if one is named."""
    Path("a.json").write_text("[1]")
    with pytest.raises(CommandError, match="name two stores"):
        import_("a.json", "--program", "p")
    with pytest.raises(CommandError, match="holds no store"):
        COMMANDS["import"].run(["a.json"])
    for program, meant in {"../p": "p", "shops/crawl.py": "shops.crawl", "": "crawl"}.items():
        with pytest.raises(UsageError, match=rf"is no name .* --program {re.escape(meant)}$"):
            COMMANDS["import"].run(["a.json", "--program", program])
    with pytest.raises(CommandError, match="a name: a text that is not blank"):
        import_("a.json", "")
    assert [*map(str, Path().rglob("*"))] == ["a.json"]


def test_nothing_is_put_into_the_memory_of_a_command(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be gone with the command. `where` and `doctor` tell of such a store."""
    Path("a.json").write_text("[1]")
    with autostate.open("sqlite:///a.db"):
        autostate.PersistedDict("d")
    monkeypatch.setenv("AUTOSTATE_URL", "memory:")
    for words in (
        ["import", "a.json"],
        ["import", "a.json", "--url", "memory:x"],
        ["copy", "a.db", "memory:x"],
        ["diff", "a.db"],
        ["diff", "memory:x", "a.db"],
        ["ls"],
    ):
        with pytest.raises(CommandError, match="is the memory of a process"):
            COMMANDS[words[0]].run(words[1:])
    COMMANDS["where"].run([])
    COMMANDS["doctor"].run([])
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", "sqlite:///shared.db")
    run("import autostate; autostate.SharedCounter('hits')['a'] += 1; autostate.flush()")
    assert told("ls").startswith("hits\tshared counter\t1\t")
    with pytest.raises(CommandError, match="is the memory of a process"):
        COMMANDS["import"].run(["a.json"])


def test_plain_json(isolated: Path) -> None:
    """Becomes a dict, a list, or a proxy, called as the file or as it is said."""
    for name, text in {"a": '{"x": [1]}', "b": "[1]", "c": "7"}.items():
        Path(f"{name}.json").write_text(text)
        import_(f"{name}.json")
    import_("a.json", "other")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("a") == autostate.PersistedDict("other") == {"x": [1]}
        assert autostate.PersistedList("b") == [1]
        assert autostate.proxy("c", 0) == 7
    told("import", "a.json", "--program", "made.py")
    assert told("get", "a", "x.0", "--program", "made") == "1\n"
    found = json.loads(told("import", "b.json", "d", "-u", "new.db", "--json"))
    assert found["objects"] == [{"name": "d", "kind": "list", "replaced": False}]


WRONG: Final = {
    "no": "it is no JSON",
    '{"autostate": 2, "objects": {}}': "of the format 2, and this version knows 1",
    '{"autostate": 1, "objects": {"a": 7}}': "a state object has no known kind",
    '{"autostate": 1, "objects": {"a": {"$what": 7}}}': "a state object has no known kind",
    '{"autostate": 1, "objects": {"a": {"b": {"$what": 7}}}}': "holds a $what",
    '{"autostate": 1, "objects": {"a": {"b": {"$ref": 7}}}}': "it refers to what is not in it",
    '{"autostate": 1, "objects": {"a": {"$deque": 7}}}': "no document of a state",
    '{"autostate": 1, "objects": {"a": {"$persisted": [7, {}]}}}': "no document of a state",
    '{"autostate": 1, "objects": {"a": {"b": {"$pickled": ["YQ==", "x"]}}}}': "pickled values",
    '{"autostate": 1, "objects": {"a": {"$set": [[1]]}}}': "no document of a state",
    '{"autostate": 1, "objects": {"autostate.x": {}}}': "begins with 'autostate.'",
    '{"autostate": 1, "objects": [], "nodes": 7}': "no document of a state",
}


def test_what_is_no_document_is_not_imported(isolated: Path) -> None:
    """The error names the file, and nothing is made."""
    for text, problem in WRONG.items():
        Path("a.json").write_text(text)
        with pytest.raises(CommandError) as caught:
            import_("a.json")
        assert str(caught.value).startswith("nothing was imported from a.json: "), text
        assert problem in str(caught.value), text
    assert not Path("new.db").exists()
    with pytest.raises(CommandError, match="there is no file missing"):
        import_("missing.json")


def test_use_state(plain: dict[str, Any], tmp_path: Path) -> None:
    """The record that Actor.use_state keeps; what JavaScript would not read is an error."""
    with pytest.raises(CommandError, match=r'crawl\["nested"\]\["1"\]\[2\]: .* no form in JSON'):
        export("r.json", "crawl", "-f", "use_state")
    assert not Path("r.json").exists()
    told("set", "crawl", "nested.1", "[1]", "--as", "json", "-u", "crawl.db")
    export("r.json", "crawl", "-f", "use_state")
    found = json.loads(Path("r.json").read_text())
    assert (found["page"], found["last"]) == (7, [1, 2])
    with pytest.raises(CommandError, match="rows is no dict"):
        export("-", "rows", "-f", "use_state")
    folder = Path("storage/key_value_stores/default")
    folder.mkdir(parents=True)
    (folder / "STATE.json").write_text('{"page": 9}')
    import_("r.json", "-f", "use_state")
    import_("apify:STATE", "-f", "use_state")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("STATE") == {"page": 9}
        assert autostate.PersistedDict("r")["last"] == [1, 2]
    with pytest.raises(CommandError, match="there is no record MISSING"):
        import_("apify:MISSING", "-f", "use_state")
    Path("list.json").write_text("[1]")
    with pytest.raises(CommandError, match="holds no JSON object"):
        import_("list.json", "-f", "use_state")


def _exact(value: Any) -> Any:
    """The types inside a value, and the value."""
    if isinstance(value, dict):
        return type(value), [(key, _exact(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return type(value), [*map(_exact, value)]
    return type(value), value


def test_shelve(plain: dict[str, Any]) -> None:
    """A shelf for `shelve.open`, and back."""
    export("shelf", "crawl", "-f", "shelve")
    with shelve.open("shelf", flag="r") as shelf:
        assert {key: _exact(shelf[key]) for key in shelf} == {
            key: _exact(item) for key, item in plain.items()
        }
    assert not list(Path().glob("*.new-*"))
    with pytest.raises(UsageError, match="--unsafe-pickle"):
        import_("shelf", "-f", "shelve")
    assert not Path("new.db").exists()
    import_("shelf", "-f", "shelve", "--unsafe-pickle")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("shelf") == plain
    with pytest.raises(CommandError, match="is no shelf"):
        import_("missing", "-f", "shelve", "--unsafe-pickle")


def test_sqlitedict(plain: dict[str, Any]) -> None:
    """A file for `SqliteDict`, and back; its JSON needs no consent."""
    export("kept.sqlite", "crawl", "-f", "sqlitedict")
    with SqliteDict("kept.sqlite") as kept:
        assert {key: _exact(item) for key, item in kept.items()} == {
            key: _exact(item) for key, item in plain.items()
        }
    with pytest.raises(UsageError, match="--unsafe-pickle"):
        import_("kept.sqlite", "-f", "sqlitedict")
    import_("kept.sqlite", "-f", "sqlitedict", "--unsafe-pickle")
    with SqliteDict("j.sqlite", "t", autocommit=True, encode=json.dumps, decode=json.loads) as kept:
        kept["page"] = [1]
    with pytest.raises(CommandError, match="Its tables are: t: see"):
        import_("j.sqlite", "-f", "sqlitedict")
    import_("j.sqlite", "-f", "sqlitedict", "--table", "t")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("kept") == plain
        assert autostate.PersistedDict("j") == {"page": [1]}
    with pytest.raises(CommandError, match="there is no file"):
        import_("missing", "-f", "sqlitedict")
    with contextlib.closing(sqlite3.connect("n.sqlite")) as made, made:
        made.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        made.execute("INSERT INTO unnamed VALUES ('a', 7)")
    with pytest.raises(CommandError, match="is neither pickled nor JSON"):
        import_("n.sqlite", "-f", "sqlitedict")


def test_pickle(plain: dict[str, Any]) -> None:
    """A pickle, and back."""
    export("crawl.pickle", "crawl", "-f", "pickle")
    assert _exact(pickle.loads(Path("crawl.pickle").read_bytes())) == _exact(plain)
    with pytest.raises(UsageError, match="--unsafe-pickle"):
        import_("crawl.pickle", "-f", "pickle")
    import_("crawl.pickle", "-f", "pickle", "--unsafe-pickle")
    assert told("get", "crawl", "page", "-u", "new.db") == "7\n"
    same = [1]
    for value, problem in (
        ({"a": same, "b": [same]}, r'bad\["b"\]\[0\]: it is found at two places'),
        ({"a": object()}, r'bad\["a"\]: '),
        (collections.OrderedDict(a=1), "is an OrderedDict"),
    ):
        Path("bad.pickle").write_bytes(pickle.dumps(value))
        with pytest.raises(CommandError, match=problem):
            import_("bad.pickle", "-f", "pickle", "--unsafe-pickle")
    for data in (b"no pickle", b"cmissing_module\nname\n."):
        Path("bad.pickle").write_bytes(data)
        with pytest.raises(CommandError, match=r"bad\.pickle cannot be unpickled \("):
            import_("bad.pickle", "-f", "pickle", "--unsafe-pickle")


class Evil:
    """A value whose pickle makes a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


def test_no_pickle_runs_without_consent(isolated: Path) -> None:
    """In no format."""
    Path("evil").write_bytes(pickle.dumps(Evil()))
    with SqliteDict("evil.sqlite", autocommit=True) as kept:
        kept["a"] = Evil()
    with shelve.open("evil.shelf") as shelf:
        shelf["a"] = Evil()
    for name, form in (("evil", "pickle"), ("evil.sqlite", "sqlitedict"), ("evil.shelf", "shelve")):
        done = call("import", name, "-f", form, "-u", "new.db")
        assert (done.returncode, done.stdout) == (2, "")
    assert not Path("touched").exists()
    assert not Path("new.db").exists()


def test_what_has_no_form(crawl: Path) -> None:
    """Is an error before a file is made."""
    for words, problem in (
        (["x", "d", "-f", "pickle"], r'd\["point"\]: Point is an object that only its program'),
        (["x", "seen", "-f", "pickle"], "a member of seen: Color.RED is an object"),
        (["x", "rows", "-f", "shelve"], "rows is no dict, and a shelf is one"),
        (["x", "-f", "pickle"], "holds one state object"),
        (["-", "hits", "-f", "pickle"], "is no text: name a file"),
        (["x", "total", "hitz"], "holds no state object 'hitz'"),
        (["x", "d"], "d refers to Shop: export that, too"),
        (["missing/x", "hits"], "there is no folder"),
    ):
        with pytest.raises((CommandError, FileNotFoundError), match=problem):
            export(*words)
    with autostate.open("sqlite:///crawl.db", on_unknown="keep"):
        autostate.PersistedDict("p")["secret"] = autostate.pickled(Evil)
        autostate.PersistedDict[int, int]("ints")[3] = 1
    with pytest.raises(CommandError, match="p holds pickled values, which are code"):
        export("x", "p")
    with pytest.raises(CommandError, match="ints has keys that are no texts"):
        export("x", "ints", "-f", "sqlitedict")
    assert not list(Path().glob("x*"))
    Path("x").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already, and was left"):
        export("x", "hits")
    assert Path("x").read_text() == "mine"


def test_secrets_are_not_exported(isolated: Path) -> None:
    """In no format, unless they are to be revealed."""
    with autostate.open("sqlite:///crawl.db"):
        autostate.PersistedDict("login", token=autostate.Secret("s3cr3t"))
        autostate.PersistedDict("deep", a=[{"b": autostate.Secret(7)}])
    for form in ("json", "use_state", "shelve", "sqlitedict", "pickle"):
        with pytest.raises(CommandError, match="--reveal writes what"):
            export("x", "login", "-f", form)
        assert not Path("x").exists()
        export(f"x{form}", "login", "-f", form, "--reveal")
    assert json.loads(Path("xuse_state").read_text()) == {"token": "s3cr3t"}
    with pytest.raises(CommandError, match=r'deep\["a"\]\[0\]\["b"\]: it is a secret'):
        export("x", "deep", "-f", "pickle")
    import_("xjson")
    with autostate.open("sqlite:///new.db"):
        assert autostate.PersistedDict("login") == {"token": autostate.Secret("s3cr3t")}


def test_beside_live_and_killed_owners(job: subprocess.Popen[str]) -> None:  # noqa: F811
    """An export reads; an import is refused while the program lives."""
    assert json.loads(told("export", "-"))["objects"]["progress"]["page"] >= 20
    Path("rows.json").write_text("[1]")
    done = call("import", "rows.json")
    assert (done.returncode, done.stdout) == (75, "")
    assert f"process {job.pid} (job.py)" in done.stderr
    job.send_signal(signal.SIGKILL)
    job.wait()
    told("import", "rows.json")
    assert told("get", "rows") == "[1]\n"
    assert int(told("get", "progress", "page")) >= 20


def test_damaged_states(plain: dict[str, Any]) -> None:
    """They are told, and left as they are."""
    Path("rows.json").write_text("[1]")
    data = Path("crawl.db").read_bytes()
    Path("new.db").write_bytes(data.replace(b'"page":7', b'"page":8'))
    before = Path("new.db").read_bytes()
    with pytest.raises(CorruptStateError):
        import_("rows.json", "other")
    shutil.copy("new.db", "crawl.db")
    with pytest.raises(CorruptStateError):
        export("-")
    assert Path("new.db").read_bytes() == before
    with autostate.open("sqlite:///live.db"):
        autostate.PersistedList("rows", [1])
        autostate.flush()
        with pytest.raises(StateInUseError):
            COMMANDS["import"].run(["rows.json", "b", "--url", "live.db"])
