"""Commands that change a state, where the environment allows no writing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autostate
from autostate.cli.parser import COMMANDS
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")

CHANGES = {
    "set": "set d n 2",
    "import": "import d.json --replace",
    "reset": "reset d --yes",
    "delete": "delete d --yes",
    "restore": "restore --at 1 --yes",
    "sign": "sign --yes",
    "discard": "discard --yes",
}
LOOKS = {"ls", "show", "get", "watch", "where", "doctor", "verify", "log", "diff", "completion"}
MAKES = {"backup", "copy", "export"}
"""What they make is new."""


@pytest.fixture
def kept(isolated: Path) -> None:
    """A state with a history, and a document for it."""
    with autostate.open("sqlite:///.autostate/crawl.db", history="30d"):
        autostate.PersistedDict("d", n=1)
    told("export", "d.json", "d")


def test_each_command_is_one_of_these() -> None:
    """A new one has to be put among them."""
    assert {*CHANGES} | LOOKS | MAKES == {*COMMANDS}


@pytest.mark.parametrize("command", CHANGES)
def test_no_command_changes_what_is_only_read(
    kept: None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so before it asks, and what to do."""
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    monkeypatch.setenv("AUTOSTATE_KEY", "k" * 43)
    before = Path(".autostate/crawl.db").read_bytes()
    done = call(*CHANGES[command].split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "autostate: the state in sqlite:///.autostate/crawl.db is only read here, and nothing of "
        "it was changed. Unset AUTOSTATE_READONLY to write\n"
    )
    assert Path(".autostate/crawl.db").read_bytes() == before


def test_what_only_reads_works(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies are new, so they can be made."""
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    assert json.loads(told("get", "d", "n")) == 1
    assert "d" in told("ls")
    told("backup", "copy.db")
    told("copy", ".autostate/crawl.db", "second.db")
    told("export", "e.json", "d")
    assert "nothing is damaged" in told("verify")


def test_a_program_restores_nothing(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function refuses as the command does."""
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    with pytest.raises(autostate.ReadOnlyError, match="without AUTOSTATE_READONLY"):
        autostate.restore("sqlite:///.autostate/crawl.db", at=1)
