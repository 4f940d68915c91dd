"""The demo with its state on a server."""

from __future__ import annotations

import signal
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from autostate.errors import StoreError
from autostate.stores import open_store
from examples.crawl import server
from examples.crawl.demo import main
from tests.servers import need
from tests.servers.kinds import PACKAGES

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def s3_threads() -> None:
    """The client of S3 begins threads at its first call, which stay."""
    need(*PACKAGES["seaweed"])
    url = "s3://bucket?state=a&endpoint=http://127.0.0.1:1"
    with closing(open_store(url)) as store, suppress(StoreError):
        store.read("record")


@pytest.mark.servers
@pytest.mark.usefixtures("s3_threads", "forked_actors")
@pytest.mark.parametrize("store", server.KINDS)
def test_a_killed_crawl_is_exact(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is there twice, nothing is lost, and nothing waits for a lease."""
    need(*PACKAGES[server.KINDS[store]])
    options = ["--kills", "2", "--pages", "120", "--no-peers", "--store", store]
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the demo is not a process of its own
    monkeypatch.setattr(sys, "argv", ["demo", *options])
    monkeypatch.chdir(ROOT)
    assert main() == 0, capsys.readouterr().out


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(PACKAGES, "seaweed", ("nothing_of_that_name",))
    with pytest.raises(SystemExit, match="pip install nothing-of-that-name"), server.served("s3"):
        pass
