"""Records that are signed, or encrypted: which are believed, and what is said of the others."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

import autostate
from autostate import CorruptStateError, PersistedDict, PersistedList, StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.guarded import GuardedOwnership
from autostate.journal.head import HEADS, OWNER
from autostate.journal.recovery import Found
from autostate.process.exit_status import EX_TEMPFAIL
from autostate.settings import Settings
from autostate.stores import open_store
from autostate.stores.base import Store
from autostate.stores.envelope import Unverified
from autostate.stores.keyed import KeyedStore, keyed
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore
from tests.programs import run, run_python

KEY, OTHER = "a-secret-of-at-least-sixteen-bytes", "another-secret-of-sixteen"
SECRET = "the user's own words"
URLS = ["sqlite:///s.db", "apify:"]


def store_of(name: str = "a", key: Any = KEY, encrypt: bool | None = None) -> KeyedStore:
    """A store in memory whose records are protected."""
    return KeyedStore(MemoryStore(), Settings(key=key, encrypt=encrypt), name=name)


def raw(url: str) -> dict[str, bytes]:
    """What the store holds."""
    with closing(open_store(url)) as store:
        found = {key: store.read(key) for key in store.list("")}
    return {key: data for key, data in found.items() if data is not None}


@pytest.fixture(params=[False, True], ids=["signed", "encrypted"])
def encrypt(request: pytest.FixtureRequest) -> bool:
    """Both ways of protecting a state."""
    return bool(request.param)


# -- one record ---------------------------------------------------------------------------------


def test_a_record_comes_back(encrypt: bool) -> None:
    """As it was; what lies in the store shows the state's name, and what it holds if signed."""
    store = store_of("crawl.db", encrypt=encrypt)
    store.write({"k": b'{"x":1}', "empty": b""})
    assert store.read("k") == b'{"x":1}'
    assert store.read("empty") == b""
    assert store.read("none") is None
    found = store.store.read("k")
    assert found is not None
    assert b'"crawl.db"' in found
    assert (b'{"x":1}' in found) != encrypt


def test_any_changed_byte_is_found(encrypt: bool) -> None:
    """Wherever it is, cut or grown records included."""
    store = store_of(encrypt=encrypt)
    store.write({"k": b'{"x":1}'})
    data = store.store.read("k")
    assert data is not None
    for at in range(len(data)):
        for mask in (1, 0x20, 0x80):
            changed = bytearray(data)
            changed[at] ^= mask
            assert isinstance(store.opened("k", bytes(changed)), Unverified)
        assert isinstance(store.opened("k", data[:at]), Unverified)
    assert isinstance(store.opened("k", data + b"}"), Unverified)
    assert not isinstance(store.opened("k", data), Unverified)


@pytest.mark.parametrize(
    ("name", "place", "key", "told"),
    [
        ("a", "other", KEY, "was changed, by a fault or by somebody without the key"),
        ("b", "k", KEY, "was written for the state a, not for b"),
        ("a", "k", OTHER, "was written with the key [0-9a-f]{16}, and what is set is [0-9a-f]{16}"),
    ],
)
def test_a_record_is_bound(encrypt: bool, name: str, place: str, key: str, told: str) -> None:
    """To the key under which it lies, to the state, and to whoever has the key."""
    store = store_of(encrypt=encrypt)
    found = store_of(name, key).opened(place, store.sealed("k", b"x"))
    assert isinstance(found, Unverified)
    assert re.search(told, found.problem)


def test_no_nonce_comes_twice(forked_programs: None) -> None:
    """The same bytes are never the same when encrypted; nor in a child that was forked."""
    code = """
import os, pathlib
from autostate.settings import Settings
from autostate.stores.keyed import KeyedStore
from autostate.stores.memory import MemoryStore
store = KeyedStore(MemoryStore(), Settings(key="k" * 16, encrypt=True), name="a")
store.sealed("k", b"x")
child = os.fork()
for _ in range(300):
    sealed = store.sealed("k", b"x").partition(b"}\\n")
    os.write(1, sealed[0] + b"\\n")
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""
    lines = run(code).stdout.splitlines()
    assert len(lines) == 600
    pairs = [re.findall(r'"(?:salt|nonce)":"(\w+)"', line) for line in lines]
    assert len({tuple(pair) for pair in pairs}) == 600
    assert len({salt for salt, _ in pairs}) == 2
    assert len({nonce[8:] for _, nonce in pairs}) == 301  # counted, not drawn


# -- a state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
def test_a_state_with_a_key(url: str, encrypt: bool) -> None:
    """It is resumed with the key; without it, or with another one, it is refused and left."""
    for page in range(3):
        with autostate.open(url, key=KEY, encrypt=encrypt):
            state = PersistedDict("state", page=0, secret=SECRET, large=["x"] * 30_000)
            assert state["page"] == page
            state["page"] += 1
    before = raw(url)
    assert all(SECRET.encode() not in data for data in before.values()) == encrypt
    for key, told in ((None, "no key is set"), (OTHER, "was written with the key")):
        with autostate.open(url, key=key), pytest.raises(CorruptStateError, match=told) as info:
            PersistedDict("state")
        assert "AUTOSTATE_KEY" in str(info.value)
        assert "previous" not in str(info.value)
    assert raw(url) == before
    with autostate.open(url, key=KEY):  # encrypted as before
        PersistedDict("state")["page"] += 1
    assert all(SECRET.encode() not in data for data in raw(url).values()) == encrypt


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("on_corrupt", ["raise", "previous"])
def test_what_nobody_has_signed_is_refused(url: str, on_corrupt: Any) -> None:
    """A whole state, or its newest head alone; also where damage is passed over."""
    with autostate.open(url):
        PersistedDict("state", page=1)
    with (
        autostate.open(url, key=KEY, on_corrupt=on_corrupt),
        pytest.raises(CorruptStateError, match=r"is not signed.*`autostate sign`"),
    ):
        PersistedDict("state")
    assert any(b'"page":1' in data for data in raw(url).values())


def test_a_forged_head_is_found(encrypt: bool) -> None:
    """Whoever can write the store, and has no key, signs with one of his own, or with none."""
    store = MemoryStore()
    mine = KeyedStore(store, Settings(key=KEY, encrypt=encrypt), name="a")
    journal = Journal(mine)
    journal.recover()
    journal.commit([b'{"id":1,"kind":"dict","name":"s","assign":{"page":1}}'])
    for forger in (store, KeyedStore(store, Settings(key=OTHER), name="a")):
        forged = MemoryStore()
        forged.write({key: store.read(key) or b"" for key in store.list("")})
        target: Store = (
            forged if forger is store else KeyedStore(forged, Settings(key=OTHER), name="a")
        )
        lies = Journal(target)
        lies._begin(Found(), 49)
        ownership = lies._writer.ownership
        assert isinstance(ownership, GuardedOwnership)
        ownership._expect = {}
        lies.commit([b'{"id":1,"kind":"dict","name":"s","assign":{"page":9}}'])
        with pytest.raises(CorruptStateError):
            Journal(KeyedStore(forged, Settings(key=KEY), name="a")).recover()


def test_a_file_under_another_name_is_refused(isolated: Path, encrypt: bool) -> None:
    """The state of one program is not that of another, though both have one key."""
    with autostate.open("sqlite:///one.db", key=KEY, encrypt=encrypt):
        PersistedDict("state", page=1)
    shutil.copy("one.db", "two.db")
    with (
        autostate.open("sqlite:///two.db", key=KEY),
        pytest.raises(CorruptStateError, match=r"for the state one\.db, not for two\.db"),
    ):
        PersistedDict("state")
    (isolated / "elsewhere").mkdir()
    shutil.copy("one.db", "elsewhere/one.db")
    with autostate.open("sqlite:///elsewhere/one.db", key=KEY):
        assert PersistedDict("state") == {"page": 1}


def test_a_backup_is_a_state_by_itself(encrypt: bool) -> None:
    """With the same key, under its own name."""
    with autostate.open("sqlite:///one.db", key=KEY, encrypt=encrypt):
        PersistedDict("state", page=1, secret=SECRET, large=["x"] * 30_000)
        url = autostate.backup("two.db")
    assert all(SECRET.encode() not in data for data in raw(url).values()) == encrypt
    with autostate.open(url, key=KEY):
        assert PersistedDict("state")["page"] == 1


@pytest.mark.parametrize("size", [1, 50_000])
def test_keys_are_changed(encrypt: bool, size: int) -> None:
    """With both, compaction writes all of it anew; then the old key is needed no more."""
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt):
        PersistedList("state", ["x" * 100] * size)
    with autostate.open("sqlite:///s.db", key=(OTHER, KEY)) as manager:
        PersistedList("state").append(1)
        compact(manager)
    with autostate.open("sqlite:///s.db", key=OTHER):
        assert len(PersistedList("state")) == size + 1


def compact(manager: autostate.StateManager) -> None:
    """Save, and let compaction do what it would begin to do after that."""
    manager.flush()
    incarnation = manager._incarnation
    assert incarnation is not None
    with incarnation.flush_thread.exclusive():
        incarnation._journal.compact(pause=lambda: None)
        assert not incarnation._journal.needs_compaction


def test_encryption_can_be_begun_and_ended() -> None:
    """Compaction writes all of it anew."""
    for encrypt in (False, True, None, False, None):
        with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt) as manager:
            state = PersistedDict("state", page=0, secret=SECRET, large=["x"] * 30_000)
            state["page"] += 1
            compact(manager)
    with closing(keyed(open_store("sqlite:///s.db"), Settings(key=KEY))) as store:
        assert isinstance(store, KeyedStore)
        Journal(store).recover()
        assert not store.mixed


def test_there_is_a_state_to_go_back_to_until_all_was_written_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A compaction that gives up has replaced nothing."""
    for page in (1, 2):
        with autostate.open("sqlite:///s.db", key=KEY):
            PersistedDict("state")["page"] = page
    with closing(keyed(open_store("sqlite:///s.db"), Settings(key=KEY, encrypt=True))) as store:
        journal = Journal(store, inline_limit=100)
        journal.recover()
        journal.commit([b'{"id":1,"put":{"large":"%s"}}' % bytes([120] * 1000)])
        with monkeypatch.context() as patch, pytest.raises(StoreUnavailableError):
            patch.setattr(SqliteStore, "write", without_heads(SqliteStore.write))
            journal.compact(pause=lambda: None)
        journal.commit([b'{"id":1,"put":{"page":3}}'])  # it tidies up: that outcome was unknown
        assert len(heads()) > 1
        journal.compact(pause=lambda: None)
        assert len(heads()) == 1


def without_heads(write: Callable[..., None]) -> Callable[..., None]:
    """A store that is away as soon as a head is written."""

    def failing(store: Store, puts: Mapping[str, bytes], *rest: Any, **options: Any) -> None:
        if any(key.startswith(HEADS) for key in puts):
            raise StoreUnavailableError("it is away")
        write(store, puts, *rest, **options)

    return failing


def heads() -> list[str]:
    """Name the heads in the store."""
    with closing(SqliteStore("s.db")) as store:
        return [key for key in store.list(HEADS) if not key.endswith("claim")]


def test_what_was_damaged_is_passed_over_if_wanted(encrypt: bool) -> None:
    """A record with the right key whose signature does not hold is damage like any other."""
    for page in (1, 2):
        with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt):
            PersistedDict("state")["page"] = page
    with closing(SqliteStore("s.db")) as store:
        newest = max(key for key in store.list(HEADS) if not key.endswith("claim"))
        data = store.read(newest)
        assert data is not None
        store.write({newest: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]})
    told = "by a fault or by somebody without the key.*previous"
    with autostate.open("sqlite:///s.db", key=KEY), pytest.raises(CorruptStateError, match=told):
        PersistedDict("state")
    with autostate.open("sqlite:///s.db", key=KEY, on_corrupt="previous"):
        assert PersistedDict("state") == {"page": 1}


def test_a_key_that_comes_too_late_is_an_error() -> None:
    """What is stored was opened without it."""
    with autostate.open("sqlite:///s.db") as manager:
        PersistedDict("state", page=1)
        with pytest.raises(RuntimeError, match="key says how a state is opened"):
            manager.configure(key=KEY)


def test_encrypting_needs_a_key_and_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told before anything is written."""
    with pytest.raises(ValueError, match="needs a key: set key, or AUTOSTATE_KEY"):
        autostate.open("sqlite:///s.db", encrypt=True)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with (
        autostate.open("sqlite:///s.db", key=KEY, encrypt=True),
        pytest.raises(autostate.StoreError, match=r"pip install 'autostate\[crypto\]'"),
    ):
        PersistedDict("state")
    assert raw("sqlite:///s.db") == {}


def test_names_of_all_sorts(rng: random.Random) -> None:
    """Whatever a file is called, its records come back, and the header stays short."""
    for name in ('ä"\\b\n.db', "x" * 300, "日本" * 80, "", "a b.db"):
        store = store_of(name or "_")
        data = bytes(rng.randrange(256) for _ in range(100))
        sealed = store.sealed("k", data)
        assert store.opened("k", sealed) == data
        assert len(sealed) - len(data) < 512


def test_the_owner_is_expected_as_it_is_stored(encrypt: bool) -> None:
    """The store refuses a writer through another's takeover, encrypted or not."""
    store = MemoryStore()
    one, two = (
        Journal(KeyedStore(store, Settings(key=KEY, encrypt=encrypt), name="a")) for _ in range(2)
    )
    for journal in (one, two):
        journal.recover()
    one.commit([b'{"id":1,"kind":"dict","name":"s","assign":{"page":1}}'])
    with pytest.raises(autostate.FencedError):
        two.commit([b'{"id":1,"kind":"dict","name":"s","assign":{"page":2}}'])
    one.commit([b'{"id":1,"put":{"page":3}}'])
    assert store.read(OWNER) is not None


# -- the command --------------------------------------------------------------------------------


def command(*args: str, key: str | None = KEY) -> tuple[int, str]:
    """Run a command with a key; return its exit code, and all that it prints."""
    given = {} if key is None else {"AUTOSTATE_KEY": key}
    done = run_python("-m", "autostate", *args, env={**os.environ, **given})
    return done.returncode, done.stdout + done.stderr


def test_one_command_signs_what_is_there(encrypt: bool) -> None:
    """For a key that is new; then the program goes on, and what nobody has signed is refused."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("state", page=1, large=["x"] * 30_000)
        PersistedDict("other")["n"] = 1
    url = ("--url", "s.db")
    assert command("show", "state", "page", *url) == (1, ANY)
    code, told = command("sign", *url)
    assert (code, "nothing was changed" in told) == (2, True)
    assert command("sign", *url, "--yes", key=None) == (
        1,
        "autostate: there is no key to sign with: set AUTOSTATE_KEY\n",
    )
    code, told = command("sign", *url, "--yes")
    assert code == 0, told
    assert "3 records were written anew" in told
    assert command("get", "state", "page", *url) == (0, "1\n")
    assert command("verify", *url)[0] == 0
    code, told = command("verify", *url, key=OTHER)
    assert code == 1
    assert "was written with the key" in told
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt):
        PersistedDict("state")["page"] += 1
    with autostate.open("sqlite:///s.db"), pytest.raises(CorruptStateError, match="no key is set"):
        PersistedDict("state")


def test_a_renamed_store_is_signed_for_its_new_name(isolated: Path, encrypt: bool) -> None:
    """With the key alone; what another key has signed stays."""
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt):
        PersistedDict("state", page=1, secret=SECRET, large=["x"] * 30_000)
    (isolated / "s.db").rename("t.db")
    code, told = command("sign", "--url", "t.db", "--yes", key=OTHER)
    assert code == 1
    assert "was written with the key" in told
    assert command("sign", "--url", "t.db", "--yes", key=KEY + "!")[0] == 1
    assert command("sign", "--url", "t.db", "--yes")[0] == 0
    with autostate.open("sqlite:///t.db", key=KEY):
        assert PersistedDict("state")["page"] == 1
    assert all(SECRET.encode() not in data for data in raw("sqlite:///t.db").values()) == encrypt


def test_what_is_in_use_is_not_signed() -> None:
    """Its owner would be fenced by it."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("state", page=1)
        autostate.flush()
        before = raw("sqlite:///s.db")
        code, told = command("sign", "--url", "s.db", "--yes")
        assert code == EX_TEMPFAIL
        assert "belongs to process" in told
        assert raw("sqlite:///s.db") == before


@pytest.mark.parametrize("live", [True, False])
def test_a_backup_of_what_is_encrypted_is_encrypted(live: bool) -> None:
    """Also where only the program that has made the state says so."""
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=True):
        PersistedDict("state", page=1, secret=SECRET, large=["x"] * 30_000)
    if live:
        with autostate.open("sqlite:///s.db", key=KEY):
            autostate.backup("copy.db")
    else:
        assert command("backup", "copy.db", "--url", "s.db")[0] == 0
    assert all(SECRET.encode() not in data for data in raw("sqlite:///copy.db").values())


def test_the_signatures_of_a_state_can_be_removed(encrypt: bool) -> None:
    """And the encryption with them; then no key is needed any more."""
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=encrypt):
        PersistedDict("state", page=1, large=["x"] * 30_000)
    assert command("sign", "--remove", "--url", "s.db", "--yes")[0] == 0
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("state")["page"] == 1


def test_the_key_of_pickled_values_is_not_taken_away() -> None:
    """Nobody could read them without."""
    with autostate.open("sqlite:///s.db", key=KEY):
        PersistedDict("state", jobs=[autostate.pickled(Job(1))])
    code, told = command("sign", "--remove", "--url", "s.db", "--yes")
    assert code
    assert "holds pickled values" in told
    with autostate.open("sqlite:///s.db", key=KEY):
        state = PersistedDict("state")
        assert state["jobs"][0].page == 1
        del state["jobs"]
    assert command("sign", "--remove", "--url", "s.db", "--yes")[0] == 0


class Job:
    """What is pickled."""

    def __init__(self, page: int) -> None:
        self.page = page


def test_pickled_values_are_signed_anew_with_another_key() -> None:
    """The first save with both keys does it, though nothing has changed; verify tells."""
    with autostate.open("sqlite:///s.db", key=KEY):
        PersistedDict("few", job=autostate.pickled(Job(1)))
        PersistedDict("many", {str(n): n for n in range(400)} | {"job": autostate.pickled(Job(2))})
        PersistedList("list", [1, autostate.pickled(Job(3))])
    with autostate.open("sqlite:///s.db", key=(OTHER, KEY)) as manager:
        for made in (PersistedDict("few"), PersistedDict("many"), PersistedList("list")):
            assert made
        compact(manager)
    assert command("verify", "--url", "s.db", key=OTHER)[0] == 0
    with autostate.open("sqlite:///s.db", key=OTHER):
        assert PersistedDict("few")["job"].page == 1
        assert PersistedDict("many")["job"].page == 2
        assert PersistedList("list")[1].page == 3


def test_verify_tells_of_pickled_values_that_no_key_has_signed() -> None:
    """Signing what is there does not sign them: they are code."""
    with autostate.open("sqlite:///s.db", key=KEY):
        PersistedDict("state", job=autostate.pickled(Job(1)))
    assert command("sign", "--url", "s.db", "--yes", key=f"{OTHER} {KEY}")[0] == 0
    code, told = command("verify", "--url", "s.db", key=OTHER)
    assert code == 1
    assert 'state["job"]' in told
    assert command("verify", "--url", "s.db", key=f"{OTHER} {KEY}")[0] == 0


# -- what came between --------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["AUTOSTATE_KEY", "AUTOSTATE_FLUSH_TIMEOUT"])
def test_the_end_depends_on_no_variable(variable: str, isolated: Path) -> None:
    """A program may take its key out of the environment, so that no child sees it."""
    code = """
import os, sys, autostate
autostate.configure("sqlite:///s.db", encrypt=True, debounce=100, max_delay=100)
state = autostate.PersistedDict("state")
autostate.flush()
if sys.argv[1] == "AUTOSTATE_KEY":
    del os.environ[sys.argv[1]]
else:
    os.environ[sys.argv[1]] = "soon"
state["last"] = "words"
"""
    (isolated / "job.py").write_text(code)
    done = run_python("job.py", variable, env={**os.environ, "AUTOSTATE_KEY": KEY})
    assert (done.returncode, done.stderr) == (0, "")
    with autostate.open("sqlite:///s.db", key=KEY):
        assert PersistedDict("state") == {"last": "words"}


def test_nothing_is_signed_while_changes_are_not_saved(isolated: Path) -> None:
    """The file of those is sealed with the key of before, and for the name of before."""
    with autostate.open("sqlite:///s.db", key=KEY):
        PersistedDict("state", n=1)
    left = isolated / f"s.db.spill-{'0' * 20}-1.jsonl"
    left.write_text("{}")
    code, told = command("sign", "--url", "s.db", "--yes", key=f"{OTHER} {KEY}")
    assert code == 1
    assert "start the program once with the key that it had" in told


@pytest.mark.parametrize("size", [1, 3_000])
def test_nothing_of_before_stays_when_encryption_begins(size: int, isolated: Path) -> None:
    """Neither as an earlier state to go back to, nor in free pages of the file."""
    with autostate.open("sqlite:///s.db", key=KEY) as manager:
        content: dict[str, Any] = {str(n): f"{SECRET} {n}" for n in range(size)}
        state = PersistedDict("state", content)
        for number in range(3):
            state["n"] = number
            manager.flush()
    assert SECRET.encode() in (isolated / "s.db").read_bytes()
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=True) as manager:
        PersistedDict("state")["n"] = 9
        compact(manager)
    assert SECRET.encode() not in (isolated / "s.db").read_bytes()


def test_what_is_encrypted_and_damaged_is_not_deleted(isolated: Path) -> None:
    """Which other state objects are in it cannot be known: they would begin anew without a word."""
    with autostate.open("sqlite:///s.db", key=KEY, encrypt=True):
        PersistedDict("state", n=1)
        PersistedDict("important", n=1)
    with closing(SqliteStore("s.db")) as store:
        newest = max(store.list(HEADS))
        data = store.read(newest)
        assert data is not None
        store.write({newest: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]})
    whole = (isolated / "s.db").read_bytes()
    for content in (whole, whole[:-1000]):
        (isolated / "s.db").write_bytes(content)
        with (
            autostate.open("sqlite:///s.db", key=KEY),
            pytest.raises(CorruptStateError, match=r"cannot be found out.*nothing was deleted"),
        ):
            autostate.delete("state")
        assert (isolated / "s.db").read_bytes() == content


def test_names_that_look_alike_are_not_alike() -> None:
    """What cannot stand in a record, or is too long, is told by a digest."""
    for one, other in (
        ("a%b.db", "a+b.db"),
        ("A" + "z" * 200, "B" + "z" * 200),
        ("ä" * 90, "ä" * 91),
    ):
        found = store_of(other).opened("k", store_of(one).sealed("k", b"x"))
        assert isinstance(found, Unverified)
        assert store_of(one).opened("k", store_of(one).sealed("k", b"x")) == b"x"
