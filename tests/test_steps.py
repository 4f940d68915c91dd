"""The next steps that messages name: what works where the message is read."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import steps
from autostate.stores import open_store
from tests.programs import run_python

PACKAGE: Final = Path(autostate.__file__).parent
FILE: Final = Path("crawl.db")
FUNCTION: Final = re.compile(r"autostate\.delete\(|\bon_corrupt=|configure\(key=")
"""How a message must not name a step itself: the user of a command has no functions."""
pytestmark = pytest.mark.usefixtures("forked_programs")


def _literals(path: Path) -> Iterator[ast.Constant]:
    """Find the texts of a module that are no docstrings, if any may be meant."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source if FUNCTION.search(source) else "")
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node


def test_no_message_names_a_function_for_which_there_is_a_command() -> None:
    """It asks `steps`, which knows who reads it."""
    found = [
        (str(path.relative_to(PACKAGE)), node.lineno)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in _literals(path)
        if FUNCTION.search(str(node.value))
    ]
    assert {path for path, _ in found} == {"steps.py"}, found


def _damage_the_record() -> None:
    FILE.write_bytes(FILE.read_bytes().replace(b'"page":1', b'"page":7'))


def _cut_short() -> None:
    FILE.write_bytes(FILE.read_bytes()[:5000])


def _empty() -> None:
    FILE.write_bytes(b"")


def _store_another_format() -> None:
    store = open_store(f"sqlite:///{FILE}")
    for key in store.list("autostate-head"):
        data = store.read(key)
        assert data is not None
        store.write({key: data.replace(b'{"autostate":2', b'{"autostate":1')})
    store.close()


@pytest.mark.parametrize(
    "harm",
    [_damage_the_record, _cut_short, _empty, _store_another_format],
    ids=lambda f: f.__name__,
)
def test_the_step_that_is_named_works(isolated: Path, harm: Callable[[], None]) -> None:
    """In a program the function, in a shell the command."""
    with autostate.open(f"sqlite:///{FILE}"):
        autostate.PersistedDict[str, Any]("d", page=1)
    harm()
    with autostate.open(f"sqlite:///{FILE}"), pytest.raises(autostate.AutostateError) as caught:
        autostate.PersistedDict("d")
    assert "autostate.delete(name)" in str(caught.value)
    done = run_python("-m", "autostate", "show", "d", "-u", str(FILE))
    assert done.returncode == 1
    assert not FUNCTION.search(done.stderr)
    [command] = re.findall(r"run `(autostate delete NAME)`", done.stderr)
    words = shlex.split(command.replace("NAME", "d"))
    again = run_python("-m", *words, "--yes", "-u", str(FILE))
    assert (again.returncode, again.stdout) == (0, "d was deleted\n")
    with autostate.open(f"sqlite:///{FILE}"):
        assert autostate.PersistedDict("d", page=2) == {"page": 2}


def test_an_earlier_state_is_read_in_both_ways(isolated: Path) -> None:
    """By the setting, or by the variable of it, which the commands read, too."""
    with autostate.open(f"sqlite:///{FILE}"):
        pages = autostate.PersistedDict[str, Any]("d", page=1)
        autostate.flush()
        pages["page"] = 2
        autostate.flush()
        pages["page"] = 3
    FILE.write_bytes(FILE.read_bytes().replace(b'"page":3', b'"page":9'))
    with autostate.open(f"sqlite:///{FILE}"), pytest.raises(autostate.CorruptStateError) as caught:
        autostate.PersistedDict("d")
    assert 'with on_corrupt="previous"' in str(caught.value)
    done = run_python("-m", "autostate", "get", "d", "page", "-u", str(FILE))
    [variable, value] = re.findall(r"with (\w+)=(\w+)", done.stderr)[0]
    done = run_python(
        *("-m", "autostate", "get", "d", "page", "-u", str(FILE)), env={variable: value}
    )
    assert (done.returncode, done.stdout) == (0, "2\n")


def test_a_name_is_written_as_a_shell_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one with a blank or a quote in it."""
    assert steps.delete("my pages") == "call autostate.delete('my pages')"
    assert steps.setting("key") == "AUTOSTATE_KEY, or configure(key=…),"
    monkeypatch.setattr(steps, "_in_a_shell", False)
    steps.name_commands()
    assert steps.delete("pages") == "run `autostate delete pages`"
    assert steps.delete("my pages") == "run `autostate delete 'my pages'`"
    assert steps.setting("key") == "AUTOSTATE_KEY"
