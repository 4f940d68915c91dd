"""`autostate diff`: what differs between two states, or points of one history, by entry."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.cli.differences import differences
from autostate.cli.values import Fields, Opaque
from tests.cli.test_commands import (
    PROGRAM,
    _on_a_terminal,
    call,
    job,  # noqa: F401 - a fixture
    told,
)
from tests.counting import called
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

NAN: Final = float("nan")


def rows(*arguments: str) -> list[list[str]]:
    """What the command prints into a pipe."""
    return [line.split("\t") for line in told("diff", *arguments).splitlines()]


def _point(x: int) -> Fields:
    return Fields.of_class("shop:Point", {"x": x})


CASES: Final[list[tuple[Any, Any, list[tuple[str, str]]]]] = [
    ({"a": 1}, {"a": 1}, []),
    ({"a": 1}, {"a": 2, "b": 3}, [("changed", 'd["a"]'), ("added", 'd["b"]')]),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [("changed", 'd["a"]["b"][1]')]),
    ({"a": 1}, {"a": True}, [("changed", 'd["a"]')]),
    ({"a": 1}, {"a": 1.0}, [("changed", 'd["a"]')]),
    ({1: 0}, {True: 0}, [("removed", "d[1]"), ("added", "d[True]")]),
    ({"a": NAN}, {"a": float("nan")}, []),
    ({"a": 0.0}, {"a": -0.0}, [("changed", 'd["a"]')]),
    ([1, 2, 3, 4], [1, 9, 3, 4], [("changed", "d[1]")]),
    ([1, 2, 3, 4], [1, 4], [("removed", "d[1]"), ("removed", "d[2]")]),
    (
        [1, 4],
        [0, 1, 4, 5],
        [("changed", "d[0]"), ("changed", "d[1]"), *[("added", f"d[{n}]") for n in (2, 3)]],
    ),
    ([{"a": 1}], [{"a": 2}], [("changed", 'd[0]["a"]')]),
    ((1, 2), [1, 2], [("changed", "d")]),
    (deque([1], 2), deque([1], 3), [("changed", "d")]),
    ({1, (2, 3)}, {1, (2, 4)}, [("removed", "d"), ("added", "d")]),
    ({1}, {1.0}, [("removed", "d"), ("added", "d")]),
    (_point(1), _point(1), []),
    (_point(1), _point(2), [("changed", "d.x")]),
    (_point(1), Fields.of_class("shop:Place", {"x": 1}), [("changed", "d")]),
    ({_point(1): 1}, {_point(1): 2}, [("changed", "d[Point(x=1)]")]),
    (Opaque("<pickled>", "a"), Opaque("<pickled>", "a"), []),
    (Opaque("<pickled>", "a"), Opaque("<pickled>", "b"), [("changed", "d")]),
]


@pytest.mark.parametrize(("old", "new", "found"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_what_differs(old: Any, new: Any, found: list[tuple[str, str]]) -> None:
    """At any depth, and types count."""
    assert [(each.kind, each.path) for each in differences(old, new, "d")] == found


def test_what_holds_itself() -> None:
    """The comparison ends."""
    one: dict[str, Any] = {"n": 1}
    other: dict[str, Any] = {"n": 2}
    one["itself"], other["itself"] = one, other
    assert [each.path for each in differences(one, other, "d")] == ['d["n"]']
    first: list[Any] = [1, {"a": 1}]
    second: list[Any] = [1, {"a": 1}]
    first[1]["outer"], second[1]["outer"] = first, second
    assert [*differences(first, second, "d")] == []
    second.append(2)
    assert [each.path for each in differences(first, second, "d")] == ["d[2]"]


def test_two_stores(isolated: Path) -> None:
    """By their files or URLs, and the store here by a point."""
    Path("crawl.py").write_text(PROGRAM)
    assert run(PROGRAM).returncode == 0
    shutil.copy(".autostate/crawl.db", "before.db")
    assert rows("before.db") == []
    told("set", "crawl", "pages.1.title", "second")
    told("set", "crawl", "new", "[1]")
    told("reset", "hits", "-y")
    assert rows("before.db") == [
        ["~", 'crawl["pages"][1]["title"]', '"ünï"', '"second"'],
        ["+", 'crawl["new"]', "", "[1]"],
        ["-", "hits", '{"a": 2}', ""],
    ]
    assert rows(".", f"sqlite:///{isolated}/before.db")[1] == ["-", 'crawl["new"]', "[1]", ""]
    found = json.loads(told("diff", "before.db", "--json"))
    assert found["differences"][1] == {
        "kind": "added",
        "path": 'crawl["new"]',
        "old": None,
        "new": [1],
    }
    assert call("diff", "before.db", "--exit-code").returncode == 1
    assert call("diff", ".", ".", "--exit-code").returncode == 0


def test_points_of_the_history(isolated: Path) -> None:
    """By number and by time, of the store here or of another one."""
    with autostate.open("sqlite:///.autostate/crawl.db", history=10, debounce=1000):
        progress = autostate.PersistedDict("progress", page=1)
        for page in (2, 3):
            autostate.flush()
            progress["page"] = page
    changed = ["~", 'progress["page"]', "1", "3"]
    assert rows("@1") == rows("@1", "@3") == rows(".autostate/crawl.db@1", ".") == [changed]
    last = json.loads(told("log", "--json"))[-1]["time"]
    assert rows(f"@{last}") == []
    assert "kept no commit" in call("diff", "@2000-01-01T12:00").stderr
    assert "kept no commit 9" in call("diff", "@9").stderr
    assert call("diff", "@2026-99").returncode == 1
    Path("named@1").write_bytes(b"")
    assert "is empty" in call("diff", "named@1").stderr


def test_a_document_of_export(isolated: Path) -> None:
    """It is compared like the state from which it was made."""
    with autostate.open("sqlite:///.autostate/crawl.db"):
        autostate.PersistedDict("progress", page=1, seen={1})
        autostate.PersistedSet("tags", ["a"])
    told("export", "all.json")
    assert rows("all.json") == []
    told("set", "progress", "page", "2")
    assert rows("all.json") == [["~", 'progress["page"]', "1", "2"]]
    Path("other.json").write_text("{}")
    assert "is no document of autostate export" in call("diff", "other.json").stderr
    assert call("diff", "missing.json").returncode == 1


def test_shared_objects_of_two_stores(isolated: Path) -> None:
    """They are compared, too."""
    for number in (1, 2):
        shares = f"import autostate; autostate.configure('memory:', shared='sqlite:///{number}.db')"
        assert run(f"{shares}; autostate.SharedCounter('hits')['a'] += {number}").returncode == 0
    assert rows("1.db", "2.db") == [["~", 'hits["a"]', "1", "2"]]


@pytest.mark.parametrize("width", [80, 200])
def test_on_a_terminal(isolated: Path, width: int) -> None:
    """No line is wider than that, and what is beyond two hundred is counted."""
    for number in (1, 2):
        with autostate.open(f"sqlite:///{number}.db"):
            rows_ = autostate.PersistedDict[str, str]("rows")
            rows_.update({str(at): str(number) * 150 for at in range(300)})
    code, seen = _on_a_terminal("diff", "1.db", "2.db", width=width)
    lines = seen.splitlines()
    assert (code, len(lines)) == (0, 201)
    assert lines[-1] == "… and 100 more: --all shows them"
    line = lines[0].removeprefix("\x1b[33m").removesuffix("\x1b[0m")
    assert len(line) <= width
    assert line.startswith('~ rows["0"]: "111')
    assert " → " in line
    assert line.endswith("…")
    assert _on_a_terminal("diff", "1.db", "1.db", width=width)[1] == "they do not differ\n"


def test_beside_a_running_program(job: subprocess.Popen[str]) -> None:  # noqa: F811
    """It is not disturbed; nor is a program in the way that was killed."""
    told("backup", "before.db")
    while not (found := rows("before.db")):
        assert job.poll() is None
    [[sign, path, old, new]] = found
    assert (sign, path) == ("~", 'progress["page"]')
    assert int(old) < int(new)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert rows("before.db")


def test_a_damaged_state(isolated: Path) -> None:
    """It is told."""
    with autostate.open("sqlite:///a.db"):
        autostate.PersistedDict("progress", page=1)
    shutil.copy("a.db", "b.db")
    data = Path("b.db").read_bytes()
    Path("b.db").write_bytes(data.replace(b'"page":1', b'"page":2'))
    done = call("diff", "a.db", "b.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is damaged" in done.stderr
    assert done.stderr.count("\n") == 1


def _nested(depth: int, leaf: int) -> Any:
    """A list in a list in a list, with something on both sides of each."""
    made: Any = [leaf]
    for _ in range(depth):
        made = [[1, 2], made, [3]]
    return made


GROWING: Final[dict[str, Callable[[int], tuple[Any, Any]]]] = {
    "equal": lambda n: ([*range(n)], [*range(n)]),
    "all differ": lambda n: ([[i] for i in range(n)], [[i] for i in range(n, 2 * n)]),
    "one more": lambda n: ([[i] for i in range(n)], [[n], *([i] for i in range(n))]),
    "one in the middle": lambda n: (
        [[i] for i in range(n)],
        [[i if i != n // 2 else -1] for i in range(n)],
    ),
    "dicts": lambda n: ({i: {"a": i} for i in range(n)}, {i + 1: {"a": i} for i in range(n)}),
    "sets": lambda n: ({*range(n)}, {*range(n // 2, 2 * n)}),
    "nested": lambda n: (_nested(n, 1), _nested(n, 2)),
    "at many places": lambda n: ([[*range(n)]] * n, [[*range(n)]] * n),
    "at many places, and beside others": lambda n: (
        [[i, items] for items in [[*range(n)]] for i in range(n)],
        [[-i, items] for items in [[*range(1, n + 1)]] for i in range(n)],
    ),
}


def _calls(old: Any, new: Any) -> int:
    """Count the calls of Python functions of the module in a comparison."""
    calls = called(lambda: list(differences(old, new, "d")))
    return sum(code.co_filename == differences.__code__.co_filename for code in calls)


@pytest.mark.parametrize("case", GROWING)
def test_the_time_is_linear(case: str) -> None:
    """Four times as much takes four times as many calls, however it is nested or shared."""
    few, many = (_calls(*GROWING[case](size)) for size in (50, 200))
    assert many / few < 5
