"""What shells complete: commands, options, programs, formats, names of objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autostate
from autostate.cli.completion import SCRIPTS, candidates
from autostate.cli.parser import COMMANDS
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")


@pytest.fixture
def crawl(isolated: Path) -> Path:
    """The folder of two programs."""
    for name in ("crawl", "shop"):
        with autostate.open(f"sqlite:///.autostate/{name}.db"):
            autostate.PersistedDict("progress")
            autostate.PersistedSet("two words")
            autostate.PersistedCounter(f"hits-{name}")
    Path("file.db").touch()
    return isolated


def words(*before: str, begun: str = "") -> set[str]:
    """What may follow."""
    return {word for word, _ in candidates(before, begun)}


def test_what_may_follow(crawl: Path) -> None:
    """By the place of the word, and the options before it."""
    assert words() == {*COMMANDS, "--help", "--version"}
    assert words("get") == set()  # there are two stores
    assert words("get", "-p", "shop") == {"progress", "two words", "hits-shop"}
    assert words("get", "--program=crawl") == {"progress", "two words", "hits-crawl"}
    assert words("get", "--url", ".autostate/crawl.db", "progress") == set()
    assert words("get", "--url") == {":files"}
    assert words("ls", "--program") == {"crawl", "shop"}
    assert words("export", "x.json", "progress", "-p", "shop") >= {"two words"}
    assert words("export", "x", "--format") >= {"json", "shelve"}
    assert words("set", "a", "b", "c", "--as") == {"json", "python", "text"}
    assert words("completion") == {"bash", "zsh", "fish"}
    assert "--url" not in words("get", "--url", "x", begun="-")
    assert {"--program", "--json", "--help"} < words("get", "--url", "x", begun="-")
    assert "--all" in words("show", begun="--")
    assert words("what", "ever") == set()
    assert {"--json", "--url"} < words("ls")


def test_what_begins_with_a_hyphen(crawl: Path) -> None:
    """Is offered behind --, and no option is."""
    with autostate.open("sqlite:///.autostate/shop.db"):
        autostate.PersistedDict("-names")
    names = {"progress", "two words", "hits-shop"}
    assert words("get", "-p", "shop") == names
    assert words("get", "-p", "shop", begun="-") > names
    assert "-names" not in words("get", "-p", "shop", begun="-")
    assert words("get", "-p", "shop", "--") == {*names, "-names"}
    assert words("get", "-p", "shop", "--", begun="-") == {*names, "-names"}
    assert words("set", "-p", "shop", "--", "-names", "-k", begun="-") == set()


def test_what_cannot_be_read_completes_nothing(crawl: Path) -> None:
    """And tells nothing: the user is in the middle of a line."""
    data = Path(".autostate/shop.db").read_bytes()
    Path(".autostate/shop.db").write_bytes(data[:1000])
    done = call("_complete", "get", "-p", "shop", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert words("get", "-u", "redis://127.0.0.1:1/0?state=a") == set()


@pytest.fixture
def shell_path(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shells find the command."""
    bin_ = crawl / "bin"
    bin_.mkdir()
    (bin_ / "autostate").write_text(f'#!/bin/sh\nexec {sys.executable} -m autostate "$@"\n')
    (bin_ / "autostate").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash(shell_path: None) -> None:
    """A real one completes a name with a blank, a file, and what follows a colon."""
    lines = ["autostate get -p shop two", "autostate diff fi", "autostate restore --a"]
    ask = "".join(
        f"COMP_LINE='{line}' COMP_POINT={len(line)}; _autostate; echo \"${{COMPREPLY[*]}}\"\n"
        for line in lines
    )
    script = f"{told('completion', 'bash')}\ncompopt() {{ :; }}\n{ask}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["two\\ words", "file.db", "--at"]
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell_path: None, shell: str) -> None:
    """They take the script, and complete by it, where they are installed."""
    script = told("completion", shell)
    assert script == SCRIPTS[shell]
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    if shell == "fish":
        command = [shell, "-c", f"{script}\ncomplete -C 'autostate get -p shop pro'"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "progress\tdict\n"
    else:
        subprocess.run([shell, "-nc", script], check=True)
