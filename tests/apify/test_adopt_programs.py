"""adopt: real programs take a record over once, and what goes wrong leaves it as it is."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import CorruptStateError, PersistedDict, PersistedSet
from autostate.testing import LocalPlatform
from tests.apify.adopting import FOLDER, KEY, NEW, STATE, Place, life, put, put_text
from tests.peers.forked import ProgramServer

READS = f"*/records/{KEY}"
SAVES = "*/records/autostate-*[0-9a-f]"
"""Records with state; not the claim that announces an incarnation's first one."""
LOGGER = "autostate"

OLD = """
state = await Actor.use_state({"page": 1})
state["page"] += 6
state["seen"] = ["a", {"b": None}]
state["é"] = "žluťoučký 🐎" * 300
"""

DIE = "os.kill(os.getpid(), signal.SIGKILL)"


class TestRealPrograms:
    """Programs with the real SDK, really killed, on the platform and off it."""

    @pytest.mark.parametrize("url", ["", STATE])
    def test_what_use_state_kept_is_there_and_its_record_untouched(
        self, place: Place, url: str
    ) -> None:
        """A program that kept its state with the SDK goes on with autostate, in any store."""
        place.actor(OLD)
        before = place.record()
        assert json.loads(before)["page"] == 7
        url = url or "apify:"
        printed = place.run(NEW, AUTOSTATE_URL=url)
        assert eval(printed) == {"page": 7, "new": 0, "seen": ["a", {"b": None}]}
        printed = place.run(NEW + 'print(state["é"] == "žluťoučký 🐎" * 300)', AUTOSTATE_URL=url)
        assert "True" in printed
        assert place.record() == before

    def test_a_program_that_is_rolled_back_finds_its_record(self, place: Place) -> None:
        """The old program goes on from where it was, whatever the new one did meanwhile."""
        place.actor(OLD)
        place.run(NEW + 'state["page"] = 100; autostate.flush()')
        assert "14\n" in place.actor(
            'state = await Actor.use_state({"page": 1}); state["page"] += 7; print(state["page"])'
        )
        assert "{'page': 100," in place.run(NEW)

    def test_a_kill_before_the_first_save_takes_it_over_again(self, place: Place) -> None:
        """What was read but not saved is read again, as it is then."""
        place.put('{"page": 2}')
        wait = "autostate.configure(debounce=3600)\n"
        body = NEW.replace("state =", f"{wait}state =") + 'state["page"] = 99\n' + DIE
        assert place.run(body, code_of_exit=-9) == "{'page': 2, 'new': 0}\n"
        place.put('{"page": 3}')
        assert place.run(NEW) == "{'page': 3, 'new': 0}\n"

    def test_a_kill_after_the_first_save_never_takes_it_over_again(self, place: Place) -> None:
        """Neither a deleted key comes back, nor what the old program wrote since."""
        place.put('{"page": 2, "old": true}')
        body = NEW + 'del state["old"]; state["page"] = 5; autostate.flush()\n' + DIE
        assert place.run(body, code_of_exit=-9) == "{'page': 2, 'new': 0, 'old': True}\n"
        place.put('{"page": 3, "old": true, "more": 1}')
        reads = [] if place.platform is None else place.platform.traffic.calls_to("GET", READS)
        assert place.run(NEW) == "{'page': 5, 'new': 0}\n"
        if place.platform is not None:
            assert place.platform.traffic.calls_to("GET", READS) == reads

    def test_a_kill_while_the_record_is_read_takes_it_over_again(
        self, platform: LocalPlatform, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """Also when the state object was saved by then, with its defaults alone."""
        place = Place(tmp_path, platform, program_server)
        place.put('{"page": 2}')
        held = platform.traffic.fault("GET", READS, hold=True)
        eager = NEW.replace("state =", "autostate.configure(debounce=0.01)\nstate =")
        process = subprocess.Popen([sys.executable, "-c", eager], env=place.env, cwd=tmp_path)
        held.wait_hit()
        platform.traffic.wait_for_calls("PUT", SAVES)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -9
        assert any(b'"wanted"' in record.value for record in place.records.values())
        platform.traffic.heal()
        assert place.run(NEW) == "{'page': 2, 'new': 0}\n"

    def test_a_crawler_leaves_its_state_to_its_successor(self, place: Place) -> None:
        """`crawler.use_state` keeps it under CRAWLEE_STATE_0."""
        place.actor("""
            from crawlee.crawlers import BasicCrawler
            crawler = BasicCrawler()
            @crawler.router.default_handler
            async def handle(context):
                state = await context.use_state({"pages": []})
                state["pages"].append(context.request.url)
            await crawler.run(["https://example.com/1"])
        """)
        code = NEW.replace(KEY, "CRAWLEE_STATE_0").replace('"page": 1', '"pages": []')
        assert place.run(code) == "{'pages': ['https://example.com/1'], 'new': 0}\n"

    @pytest.mark.parametrize("first", ["use_state", "adopt"])
    def test_two_that_keep_the_same_record_are_warned_of(
        self, tmp_path: Path, program_server: ProgramServer, first: str
    ) -> None:
        """A call of `use_state` that was forgotten in the program is named, once."""
        calls = [
            'old = await Actor.use_state({"page": 1})',
            f'new = autostate.adopt("{KEY}", {{"page": 1}})',
        ]
        calls = calls if first == "use_state" else calls[::-1]
        body = f"""
            import autostate, logging
            logging.basicConfig(format="%(message)s", stream=sys.stdout)
            {calls[0]}
            {calls[1]}
            print("both", flush=True)
            {calls[1]}
            old["page"], new["page"] = 2, 3
        """
        place = Place(tmp_path, None, program_server)
        before, _, after = place.actor(body).partition("both\n")
        counts = [text.count("Remove the call of use_state()") for text in (before, after)]
        assert counts == ([1, 0] if first == "use_state" else [0, 1])
        assert json.loads(place.record()) == {"page": 2}
        assert place.run(NEW, AUTOSTATE_URL="apify:") == "{'page': 3, 'new': 0}\n"

    def test_before_the_purge_there_is_a_record(
        self, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """Made before the Actor starts, a state takes it over and survives the purge with it."""
        place = Place(tmp_path, None, program_server)
        put({"page": 2})
        for _ in range(2):
            printed = place.run(BEFORE_THE_ACTOR, APIFY_PURGE_ON_START="1", AUTOSTATE_URL="apify:")
            assert printed == "{'page': 2}\n"
            assert not (FOLDER / "default" / KEY).exists()

    def test_after_the_purge_there_is_none(
        self, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """Inside the Actor it is gone, as it is for `use_state`."""
        place = Place(tmp_path, None, program_server)
        put({"page": 2})
        assert place.actor(ADOPTS, APIFY_PURGE_ON_START="1") == "{'page': 1}\n"


ADOPTS = f"""
import autostate
print(autostate.adopt("{KEY}", {{"page": 1}}))
"""
BEFORE_THE_ACTOR = f"""
{ADOPTS}
import asyncio
from apify import Actor
async def main():
    async with Actor:
        pass
asyncio.run(main())
"""


class TestOnce:
    """When it is not taken over."""

    def test_a_record_that_appears_later_is_not_looked_at(self) -> None:
        """The first start that was saved decides."""
        assert life(defaults={"page": 1}) == {"page": 1}
        put({"page": 2})
        assert life(defaults={"page": 1}) == {"page": 1}

    def test_a_state_that_was_there_before_goes_on(self, caplog: pytest.LogCaptureFixture) -> None:
        """An old record does not overwrite newer progress; that is said once."""
        with autostate.open(STATE):
            PersistedDict(KEY, page=5)
        put({"page": 2})
        for _ in range(2):
            assert life() == {"page": 5}
        assert caplog.text.count("was there before") == 1
        assert life(name="anew") == {"page": 2}

    def test_a_state_that_was_deleted_begins_from_its_defaults(self) -> None:
        """Not from the record again: that is older than what was deleted."""
        put({"page": 2})
        life()
        with autostate.open(STATE):
            autostate.delete(KEY)
        assert life(defaults={"page": 1}) == {"page": 1}

    def test_threads_take_it_over_once(self) -> None:
        """What one of them has changed is not put back by another that came at the same time."""
        put({"page": 0})
        reading, other_done = threading.Event(), threading.Event()

        def convert(record: dict[str, Any]) -> dict[str, Any]:
            reading.set()
            other_done.wait(0.5)  # in vain: the other one waits for this one
            return record

        def other() -> None:
            reading.wait()
            autostate.adopt(KEY)["page"] += 1
            other_done.set()

        autostate.configure(STATE)
        thread = threading.Thread(target=other)
        thread.start()
        state = autostate.adopt(KEY, convert=convert)
        thread.join()
        assert state == {"page": 1}

    def test_it_is_said_what_happened(self, caplog: pytest.LogCaptureFixture) -> None:
        """In the log, at the level of information, without any value."""
        caplog.set_level(logging.INFO, LOGGER)
        put({"page": "a secret"})
        life()
        life(name="empty", key="NOTHING")
        assert f"record {KEY} of the default key-value store was taken over" in caplog.text
        assert "'empty' begins from its defaults" in caplog.text
        assert "secret" not in caplog.text


class TestWhatGoesWrong:
    """Nothing is overwritten, and the error says what to do."""

    @pytest.mark.parametrize("text", ["[1]", '"text"', "3", '{"page": 2', "\\ud800", "[" * 100_000])
    def test_a_record_that_is_no_object_is_an_error_and_stays(self, text: str) -> None:
        """The error names it; when it is mended, it is taken over."""
        path = put_text(text)
        with pytest.raises(CorruptStateError, match=f"record {KEY} .*nothing was taken over"):
            life(defaults={"page": 1})
        assert path.read_text() == text
        put({"page": 2})
        assert life(defaults={"page": 1}) == {"page": 2}

    def test_an_error_holds_no_values(self) -> None:
        """A record may hold cookies."""
        put_text('{"cookie": "secret", ')
        with pytest.raises(CorruptStateError) as raised:
            life()
        assert "secret" not in str(raised.value)

    def test_a_store_that_cannot_be_reached_is_said_to_be(
        self, platform: LocalPlatform, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """After retries; the state object that was saved meanwhile takes it over later."""
        place = Place(tmp_path, platform, program_server)
        place.put('{"page": 2}')
        platform.traffic.fault("GET", READS, status=503)
        tries = f"""
            import autostate
            autostate.configure("{STATE}", flush_timeout=0.5)
            try:
                autostate.adopt("{KEY}", {{"page": 1}})
            except autostate.StoreUnavailableError:
                print("said")  # the last attempt may have had no time for an answer
            autostate.flush()
        """
        assert place.run(tries) == "said\n"
        assert len(platform.traffic.calls_to("GET", READS)) > 1
        platform.traffic.heal()
        assert place.run(NEW, AUTOSTATE_URL=STATE) == "{'page': 2, 'new': 0}\n"

    def test_a_short_outage_is_waited_out(
        self, platform: LocalPlatform, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """It is tried again, as when a state is resumed."""
        place = Place(tmp_path, platform, program_server)
        place.put('{"page": 2}')
        platform.traffic.fault("GET", READS, status=503, times=2)
        assert place.run(NEW) == "{'page': 2, 'new': 0}\n"

    def test_a_folder_that_cannot_be_read_is_the_stores_error(self) -> None:
        """Here: the value is a folder."""
        (FOLDER / "default" / KEY).mkdir(parents=True)
        with pytest.raises(autostate.StoreError, match=f"{KEY} is no file: .*move it away"):
            life()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: PersistedSet("set"), "made a PersistedSet"),
            (lambda: [1], "made a list"),
            (lambda: {"plain": 1}, "is no state object"),
        ],
    )
    def test_what_has_no_keys_is_refused(self, make: Callable[[], Any], message: str) -> None:
        """A record has entries by key, and so has what it goes into."""
        with pytest.raises(TypeError, match=message):
            autostate.adopt(KEY, into=make)

    def test_wrong_arguments_are_refused(self) -> None:
        """Before anything is read."""
        with pytest.raises(ValueError, match="cannot be the key"):
            autostate.adopt("a key/with a slash")
        with pytest.raises(ValueError, match="is not the URL of a key-value store"):
            autostate.adopt(KEY, store="no name")
        with pytest.raises(TypeError, match="into= makes the whole"):
            autostate.adopt(KEY, {"page": 1}, into=dict)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="must give a dict"):
            put({"page": 1})
            autostate.adopt(KEY, convert=lambda _: [])  # type: ignore[arg-type,return-value]
