"""State is shared exactly on servers, by programs of which one keeps its own state there, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict, SharedCounter
from autostate.cli.signing import sign
from tests import programs
from tests.shared.sharing import share


@pytest.mark.usefixtures("forked_programs")
def test_two_programs(url: str) -> None:
    """They begin at once, and each counts once."""
    share(url)


@pytest.mark.usefixtures("forked_programs")
def test_the_commands(url: str, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They show and check what lies there, copy it away and back, and sign it."""
    autostate.configure(url, shared=url)
    PersistedDict("progress", page=3)
    SharedCounter("hits")["page"] += 7
    autostate.flush()

    def told(*arguments: str) -> str:
        done = programs.run_python("-m", "autostate", *arguments)
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout

    assert [line.split("\t")[:2] for line in told("ls", "-u", url).splitlines()] == [
        ["progress", "dict"],
        ["hits", "shared counter"],
    ]
    copy = re.sub(r"state=(\w+)", r"state=\1-copied", url)
    told("copy", url, "copy.db")
    told("copy", "copy.db", copy)
    told("verify", "-u", copy)
    told("reset", "hits", "-y", "-u", url)
    assert told("get", "hits", "-u", url) == "{}\n"
    assert told("get", "hits", "-u", copy) == '{"page": 7}\n'
    monkeypatch.setenv("AUTOSTATE_KEY", "k" * 32)
    assert not sign(copy).left
    assert told("get", "hits", "-u", copy) == '{"page": 7}\n'
