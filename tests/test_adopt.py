"""adopt: a record of `Actor.use_state` or a crawler is taken over once, and left as it is."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import (
    CorruptStateError,
    PersistedCounter,
    PersistedDict,
    PersistedSet,
)
from autostate.testing import LocalPlatform
from autostate.testing.key_value_store import Record
from tests.actor_runs import PRELUDE
from tests.javascript import node
from tests.peers.forked import ProgramServer

KEY = "APIFY_GLOBAL_STATE"
FOLDER = Path("storage/key_value_stores")
STATE = "sqlite:///state.db"
READS = f"*/records/{KEY}"
SAVES = "*/records/autostate-*[0-9a-f]"
"""Records with state; not the claim that announces an incarnation's first one."""
LOGGER = "autostate"


def put(content: Any, key: str = KEY, store: str = "default") -> Path:
    """Keep a record in the local store as the Python SDK does; gives its file."""
    return put_text(json.dumps(content), key, store)


def put_text(text: str, key: str = KEY, store: str = "default") -> Path:
    """The same, of any text."""
    folder = FOLDER / store
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"key": key, "content_type": "application/json; charset=utf-8", "size": len(text)}
    (folder / f"{key}.__metadata__.json").write_text(json.dumps(metadata))
    (folder / key).write_text(text)
    return folder / key


def life(key: str = KEY, defaults: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """What a whole life of a process that adopts a record has in its state."""
    with autostate.open(STATE, flush_timeout=1):
        return dict(autostate.adopt(key, defaults, **options))


class Place:
    """Where programs run one after another, with the same storage: on a platform or off it."""

    def __init__(self, folder: Path, platform: LocalPlatform | None, server: ProgramServer) -> None:
        self.platform = platform
        self.server = server
        self.env: dict[str, str] = {**os.environ, "APIFY_PURGE_ON_START": "0"}
        self.folder = folder
        self._run = None if platform is None else platform.start_run([sys.executable, "-c", ""])
        if self._run is not None:
            self._run.wait()
            self.env = dict(self._run.env)

    def run(self, code: str, *, code_of_exit: int = 0, **env: str) -> str:
        """Run a program to its end; gives what it printed."""
        command = [sys.executable, "-c", textwrap.dedent(code)]
        found, output, error = self.server.run(command, {**self.env, **env}, self.folder)
        assert found == code_of_exit, output + error
        return output

    def actor(self, body: str, **env: Any) -> str:
        """Run an Actor whose `main` has this body in `async with Actor`."""
        inner = textwrap.indent(textwrap.dedent(body), "        ")
        main = (
            f"{PRELUDE}\nasync def main():\n    async with Actor:\n{inner}\nasyncio.run(main())\n"
        )
        return self.run(main, **env)

    @property
    def records(self) -> dict[str, Record]:
        """The run's default store on the platform."""
        assert self._run is not None
        return self._run.store.records

    def record(self, key: str = KEY) -> bytes:
        """The record as it lies there."""
        if self.platform is None:
            return (self.folder / FOLDER / "default" / key).read_bytes()
        return self.records[key].value

    def put(self, text: str, key: str = KEY) -> None:
        """Put a record of JSON there."""
        if self.platform is None:
            put_text(text, key)
        else:
            self.records[key] = Record(text.encode(), "application/json; charset=utf-8")


@pytest.fixture
def platform() -> Iterator[LocalPlatform]:
    """A platform of the test's own."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture(params=["local", "platform"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, program_server: ProgramServer
) -> Iterator[Place]:
    """Both."""
    if request.param == "local":
        yield Place(tmp_path, None, program_server)
        return
    with LocalPlatform() as platform:
        yield Place(tmp_path, platform, program_server)


OLD = """
state = await Actor.use_state({"page": 1})
state["page"] += 6
state["seen"] = ["a", {"b": None}]
state["é"] = "žluťoučký 🐎" * 300
"""
NEW = f"""
import os, signal
import autostate
state = autostate.adopt("{KEY}", {{"page": 1, "new": 0}})
print({{key: value for key, value in state.items() if key != "é"}}, flush=True)
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


class TestWhatIsTakenOver:
    """Which record, and what of it."""

    def test_the_record_is_put_over_the_defaults(self) -> None:
        """An entry of the record wins; a default that the record lacks is there."""
        put({"page": 2, "deep": {"x": [1]}})
        assert life(defaults={"page": 1, "deep": {"y": 1}, "new": 0}) == {
            "page": 2,
            "deep": {"x": [1]},
            "new": 0,
        }

    def test_what_is_taken_over_is_tracked(self) -> None:
        """A change deep inside is saved, as everywhere."""
        put({"deep": {"x": [1]}})
        with autostate.open(STATE):
            autostate.adopt(KEY)["deep"]["x"].append(2)
        assert life() == {"deep": {"x": [1, 2]}}

    def test_the_state_object_has_the_name_of_the_record_or_another(self) -> None:
        """It is the live object of that name."""
        put({"page": 2})
        with autostate.open(STATE):
            assert autostate.adopt(KEY) is PersistedDict(KEY) is autostate.adopt(KEY)
            assert autostate.adopt(KEY, name="other") is PersistedDict("other")

    def test_a_named_store_is_read_when_it_is_named(self) -> None:
        """`kvs_name` of `use_state` is `store` here."""
        put({"page": 2}, store="shops")
        put({"page": 3})
        assert life(store="shops") == {"page": 2}
        assert life(name="own") == {"page": 3}

    def test_a_named_store_of_the_platform_is_read(
        self, platform: LocalPlatform, tmp_path: Path, program_server: ProgramServer
    ) -> None:
        """Over HTTP, by its name."""
        platform.stores.create("shops").set_json(KEY, {"page": 2})
        place = Place(tmp_path, platform, program_server)
        assert place.run(NEW.replace("new", "n").replace("})", '}, store="shops")')) == (
            "{'page': 2, 'n': 0}\n"
        )

    def test_a_value_without_its_metadata_is_read(self) -> None:
        """A program that was killed between the two files had meant to keep it."""
        path = put({"page": 2})
        path.with_name(f"{KEY}.__metadata__.json").unlink()
        assert life() == {"page": 2}

    @pytest.mark.parametrize("text", ["null", ""])
    def test_none_is_no_record(self, text: str) -> None:
        """As for `use_state`, which begins from its defaults then."""
        path = put_text(text)
        if not text:  # as the SDK says it
            described = {"key": KEY, "content_type": "application/x-none", "size": 0}
            path.with_name(f"{KEY}.__metadata__.json").write_text(json.dumps(described))
        assert life(defaults={"page": 1}) == {"page": 1}

    def test_what_javascript_has_written_locally_is_taken_over(self) -> None:
        """Its SDK indents, writes dates as texts, and names the file KEY.json."""
        (FOLDER / "default").mkdir(parents=True)
        node(f"""
            const state = {{
                page: 2, price: 1.5, big: 1e21, none: null, gone: undefined, nan: NaN,
                at: new Date(0), list: [1, [2]], '7': 'seven', text: '\\ud83d\\udc0e \\ud800',
            }};
            const text = JSON.stringify(state, null, 2);
            require('fs').writeFileSync('{FOLDER}/default/{KEY}.json', text);
        """)
        assert life() == {
            "page": 2,
            "price": 1.5,
            "big": 1e21,
            "none": None,
            "nan": None,
            "at": "1970-01-01T00:00:00.000Z",
            "list": [1, [2]],
            "7": "seven",
            "text": "🐎 \ud800",
        }

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
    def test_what_javascript_has_written_on_the_platform_is_taken_over(
        self, platform: LocalPlatform, tmp_path: Path, program_server: ProgramServer, encoding: str
    ) -> None:
        """Its client compresses; the charset stands in the content type."""
        place = Place(tmp_path, platform, program_server)
        compress = {"gzip": "gzipSync", "br": "brotliCompressSync", "deflate": "deflateSync"}
        body = node(f"""
            const text = JSON.stringify({{page: 2, padding: 'ž'.repeat(5000)}}, null, 2);
            process.stdout.write(require('zlib').{compress[encoding]}(Buffer.from(text)));
        """)
        place.records[KEY] = Record(body, "application/json; charset=utf-8", encoding)
        printed = place.run(NEW.replace("print(", "print(len(state['padding']), "))
        assert printed.startswith("5000 {'page': 2,")

    def test_convert_gives_back_types_that_json_has_lost(self) -> None:
        """A list that was a set before, keys that were ints; called once, then never again."""
        put({"seen": ["a", "b"], "byId": {"1": 2}})

        def convert(record: dict[str, Any]) -> dict[str, Any]:
            calls.append(1)
            return {"seen": set(record["seen"]), "by_id": {int(k): 2 for k in record["byId"]}}

        calls: list[int] = []
        for _ in range(2):
            assert life(convert=convert) == {"seen": {"a", "b"}, "by_id": {1: 2}}
        assert len(calls) == 1

    def test_convert_takes_any_json(self) -> None:
        """A record that a program kept by hand may be a list."""
        put([1, 2])
        assert life(convert=lambda pages: {"pages": pages}) == {"pages": [1, 2]}

    def test_convert_that_fails_has_taken_over_nothing(self) -> None:
        """Its error comes through; once it is mended, the record is taken over."""
        put({"page": "2"})
        with pytest.raises(KeyError), autostate.open(STATE):
            autostate.adopt(KEY, {"page": 1}, convert=lambda record: record["pages"])
        assert life(convert=lambda record: {"page": int(record["page"])}) == {"page": 2}

    def test_a_record_goes_into_any_state_object_with_keys(self) -> None:
        """A subclass, a counter: what `into` makes; entries are set, not added."""
        put({"a": 1, "b": 2})

        class Pages(PersistedDict[str, int]):
            __slots__ = ()

        with autostate.open(STATE):
            pages = autostate.adopt(KEY, into=lambda: Pages("pages", a=5, c=3))
            assert (type(pages), pages) == (Pages, {"a": 1, "b": 2, "c": 3})
            hits = autostate.adopt(KEY, into=lambda: PersistedCounter[str]("hits", a=5))
            assert hits == {"a": 1, "b": 2}

    def test_one_record_may_be_split_and_two_joined(self) -> None:
        """What is taken over is known for each state object and each record."""
        put({"page": 2, "seen": ["a"]})
        put({"crawled": 3}, key="CRAWLEE_STATE_0")
        for _ in range(2):
            with autostate.open(STATE):
                page = autostate.adopt(KEY, name="page", convert=lambda r: {"page": r["page"]})
                seen = autostate.adopt(KEY, name="seen", convert=lambda r: dict.fromkeys(r["seen"]))
                both = autostate.adopt("CRAWLEE_STATE_0", into=lambda: PersistedDict("page"))
                assert both is page
                assert (page, seen) == ({"page": 2, "crawled": 3}, {"a": None})


class TestClasses:
    """A record goes into the fields of a `@persisted` class."""

    def test_the_keys_are_the_fields(self) -> None:
        """They take the place of what the constructor set; the others stay."""

        @autostate.persisted
        @dataclass
        class Progress:
            page: int = 1
            seen: list[str] = field(default_factory=list)
            new: int = 0

        put({"page": 2, "seen": ["a"]})
        with autostate.open(STATE):
            progress = autostate.adopt(KEY, into=Progress)
            assert progress is Progress()
            assert progress == Progress(2, ["a"], 0)
            progress.seen.append("b")
            progress.page = 5
        put({"page": 3})
        with autostate.open(STATE):
            again = autostate.adopt(KEY, into=Progress)
            assert (again.page, again.seen, again.new) == (5, ["a", "b"], 0)

    def test_an_object_whose_name_has_arguments_is_made_by_a_function(self) -> None:
        """Each of them takes it over for itself."""

        @autostate.persisted(name="shop-{shop_id}")
        class Shop:
            def __init__(self, shop_id: int) -> None:
                self.shop_id = shop_id
                self.sold = 0

        put({"7": 70, "8": 80})

        def sold(key: str, record: dict[str, int]) -> dict[str, int]:
            return {"sold": record[key]}

        for _ in range(2):
            with autostate.open(STATE):
                for shop_id in (7, 8):
                    convert = partial(sold, str(shop_id))
                    shop = autostate.adopt(KEY, into=partial(Shop, shop_id), convert=convert)
                    assert (shop.shop_id, shop.sold) == (shop_id, shop_id * 10)

    def test_a_key_without_a_field_is_an_error(self) -> None:
        """Nothing is dropped silently: the error names it, and nothing was taken over."""

        @autostate.persisted
        class Progress:
            def __init__(self) -> None:
                self.page = 1

        put({"page": 2, "pageCount": 3, "x": 4})
        message = "keys for which Progress has no field: pageCount, x. Nothing was"
        with pytest.raises(autostate.StateTypeError, match=message), autostate.open(STATE):
            autostate.adopt(KEY, into=Progress)
        with autostate.open(STATE):
            assert Progress().page == 1
        with autostate.open(STATE):
            taken = autostate.adopt(KEY, into=Progress, convert=lambda r: {"page": r["page"]})
            assert taken.page == 2


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
            except autostate.StoreUnavailableError as error:
                print("said", "503" in str(error))
            autostate.flush()
        """
        assert place.run(tries) == "said True\n"
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


class TestRoundTrip:
    """From autostate to a record and back."""

    def test_what_is_exported_can_be_adopted(self, place: Place) -> None:
        """With the SDK's own `set_value` in between, and `use_state` reading it."""
        place.actor(f"""
            import autostate
            state = autostate.PersistedDict("mine", page=2, seen={{"a"}}, span=(1, 2.5), no=None)
            await Actor.set_value("{KEY}", autostate.export(state))
        """)
        expected = {"page": 2, "seen": ["a"], "span": [1, 2.5], "no": None}
        assert f"{expected}\n" in place.actor("print(dict(await Actor.use_state({})))")
        assert eval(place.run(NEW)) == {**expected, "new": 0}
