"""The history of a state in the commands: `log`, `restore`, and `--at` of those that look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autostate
from tests.cli.test_commands import STORE, _on_a_terminal, call, told

pytestmark = pytest.mark.usefixtures("forked_programs")


def test_the_history_is_listed_and_restored(isolated: Path) -> None:
    """By number and by time; without one, that is said."""
    with autostate.open(f"sqlite:///{STORE}"):
        autostate.PersistedDict("hits", a=1)
    for words, said in ((["log"], ""), (["log", "--json"], "[]\n")):
        done = call(*words)
        assert (done.returncode, done.stdout) == (1, said)
        assert done.stderr.count("\n") == 1
        assert "has no history" in done.stderr
        assert "AUTOSTATE_HISTORY=30d" in done.stderr
    assert "has no history" in call("restore", "--at", "1", "-y").stderr
    with autostate.open(f"sqlite:///{STORE}", history=100, debounce=1000):
        for number in (1, 2):
            autostate.PersistedDict("pages")["number"] = number
            autostate.flush()
    [first, second] = json.loads(told("log", "--json"))
    assert (first["number"], first["objects"], second["number"]) == (1, ["pages"], 2)
    assert len(told("log").splitlines()) == 2
    for words in (["get", "pages", "number"], ["show", "pages", "number"]):
        assert told(*words, "--at", "1") == "1\n"
        assert told(*words, "--at", second["time"]) == told(*words) == "2\n"
        assert "kept no commit 7" in call(*words, "--at", "7").stderr
        assert call(*words, "--at", "yesterday").returncode == 2
    assert "holds no state object 'hitz'" in call("get", "hitz", "--at", "1").stderr
    then, now = (json.loads(told("ls", "--json", *words)) for words in (("--at", "1"), ()))
    assert then["last_saved"] < now["last_saved"]
    assert then["objects"] == now["objects"]
    assert (then["owner"], then["alive"], then["shared"]) == (None, None, [])
    assert told("ls", "--at", "1") == told("ls")
    assert "crawl.db\nas of 1; saved: " in _on_a_terminal("ls", "--at", "1")[1]
    assert call("restore", "--at", "1").returncode == 2
    assert told("restore", "--at", "1", "-y") == "done, by the commit 3\n"
    assert told("get", "pages", "number") == "1\n"
    assert told("restore", "--at", second["time"], "-y") == "done, by the commit 4\n"
    assert told("get", "pages", "number") == "2\n"
    assert "kept no commit" in call("restore", "--at", "2000-01-01", "-y").stderr
    refused = call("restore", "--at", "yesterday", "-y")
    assert refused.returncode == 2
    assert "neither the number of a commit nor a time" in " ".join(refused.stderr.split())
