"""The same Actors off the platform."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.actor.programs import WITH_AUTOSTATE
from tests.actor_runs import script
from tests.peers.forked import ProgramServer

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


class TestOffThePlatform:
    """On a developer's machine, with the SDK's local storage."""

    BODY = """
    state = PersistedDict("state", n=0)
    async with Actor:
        state["n"] += 1
    """

    @pytest.fixture(autouse=True)
    def _served(self, program_server: ProgramServer) -> None:
        self.server = program_server

    def run(self, folder: Path, body: str, **env: str) -> str:
        """Run an Actor locally to its end, and give its output."""
        command = script(folder, body, WITH_AUTOSTATE)
        code, output, error = self.server.run(command, {**os.environ, **env}, Path.cwd())
        assert code == 0, output + error
        return output + error

    @pytest.mark.parametrize("url", ["apify:", "apify:kept"])
    def test_runs_go_on_where_the_purge_does_not_reach(self, tmp_path: Path, url: str) -> None:
        """A named store is never purged, the default one not with the purge turned off."""
        purge = "0" if url == "apify:" else "1"
        for _ in range(3):
            output = self.run(tmp_path, self.BODY, AUTOSTATE_URL=url, APIFY_PURGE_ON_START=purge)
            assert "has emptied" not in output
        assert self.read(tmp_path, url) == "{'n': 3}"

    def test_state_loaded_before_the_purge_is_saved_again(self, tmp_path: Path) -> None:
        """Records wiped under a resumed state: a warning, and everything written anew."""
        self.run(tmp_path, self.BODY)
        output = self.run(tmp_path, self.BODY)
        assert "has emptied" in output
        assert "saved again" in output
        assert self.read(tmp_path, "apify:") == "{'n': 2}"

    def test_nothing_new_is_written_into_a_wiped_store_by_halves(self, tmp_path: Path) -> None:
        """Also what nobody changed after the purge is there again."""
        body = """
        big = PersistedDict("big", {str(n): "x" * 100 for n in range(1000)})
        small = PersistedDict("small", n=0)
        autostate.flush()
        async with Actor:
            small["n"] += 1
        """
        self.run(tmp_path, body)
        self.run(tmp_path, body)
        read = """
        big, small = PersistedDict("big"), PersistedDict("small")
        print(len(big), dict(small))
        """
        assert "1000 {'n': 2}" in self.run(tmp_path, read, AUTOSTATE_URL="apify:")

    def test_what_nobody_has_opened_is_gone_with_the_purge(self, tmp_path: Path) -> None:
        """An outbox and a loop of a killed run: both begin anew, and all is saved as a whole."""
        killed = """
        autostate.outbox("mails", lambda items: 1 / 0).put("old")
        for page in autostate.resume("pages", [1, 2, 3]):
            PersistedDict("state", n=page)
            PersistedDict("other", n=page)
            autostate.flush()
            __import__("os")._exit(0)
        """
        self.run(tmp_path, killed, AUTOSTATE_URL="apify:")
        body = """
        state = PersistedDict("state", n=0)
        async with Actor:
            mails = autostate.outbox("mails", lambda items: print("sent", *items[0][2:]))
            mails.put("new")
            await mails.drain_async()
            for page in autostate.resume("pages", [1, 2, 3]):
                state["n"] += page
            print(PersistedDict("other", n=0), autostate.statistics().last_error)
        """
        output = self.run(tmp_path, body)
        assert "the rest is gone" in output
        assert "sent new\n" in output
        assert "{'n': 0} None" in output
        assert "could not" not in output
        assert "ERROR" not in output
        assert self.read(tmp_path, "apify:") == "{'n': 7}"

    def test_state_made_after_the_purge_begins_anew_with_a_warning(self, tmp_path: Path) -> None:
        """The SDK's fresh start is respected, but not without a word."""
        body = """
        async with Actor:
            state = PersistedDict("state", n=0)
            state["n"] += 1
        """
        assert "has emptied" not in self.run(tmp_path, body)
        assert "has emptied" in self.run(tmp_path, body)
        assert self.read(tmp_path, "apify:") == "{'n': 1}"

    def read(self, folder: Path, url: str) -> str:
        """What a program without an Actor finds."""
        read = 'print("found", dict(PersistedDict("state")))'
        output = self.run(folder, read, AUTOSTATE_URL=url)
        return next(x for x in output.splitlines() if x.startswith("found")).removeprefix("found ")
