"""adopt: what is taken over of a record of `Actor.use_state`, and how it comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict
from autostate.testing import LocalPlatform
from autostate.testing.key_value_store import Record
from tests.apify.adopting import FOLDER, KEY, NEW, STATE, Place, life, put, put_text
from tests.javascript import node
from tests.peers.forked import ProgramServer


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
