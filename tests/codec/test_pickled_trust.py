"""Pickled values: which are loaded, and which never are; with which key."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest

import autostate
from autostate import CorruptStateError, PersistedDict, SignatureError, UnsupportedTypeError
from autostate.codec.pickled import PYTHON
from autostate.journal import Journal
from autostate.settings import Settings
from autostate.signing import Signer
from autostate.stores import open_store
from autostate.stores.keyed import keyed
from tests.programs import run

pytestmark = pytest.mark.usefixtures("forked_programs")

KEY = b"the-key-of-the-tests"
OTHER = b"another key of tests"


class Job:
    """An object of a class that nobody registered."""

    def __init__(self, done: int = 0) -> None:
        self.done = done


# -- what is never executed -------------------------------------------------------------------

WATCHED = """
import sys, pathlib
events = []
def audit(event, args):
    if event.startswith("pickle.") or event == "os.mkdir":
        events.append(event)
sys.addaudithook(audit)
import autostate
autostate.configure(**CONFIGURED)
for _ in range(2):
    try:
        autostate.PersistedDict("state")
        print("loaded")
    except autostate.CodecError as error:
        print(type(error).__name__, error)
print("ran" if events or pathlib.Path("payload").exists() else "nothing ran")
other = autostate.PersistedDict("other")
other["n"] = other.get("n", 0) + 1
autostate.flush()
print("other", other["n"], len(other["x"]))
"""


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (Path("payload"),)


def hostile(url: str, content: Any, key: bytes | None = KEY) -> None:
    """Write a state object as whoever can write to the store, and has the key, could."""
    store = keyed(open_store(url), Settings(key=key))
    journal = Journal(store)
    journal.recover()
    other = {"id": 2, "kind": "dict", "name": "other", "assign": {"x": "x" * 40_000}}
    journal.commit(
        [
            msgspec.json.encode({"id": 1, "kind": "dict", "name": "state", "assign": content}),
            msgspec.json.encode(other),
        ]
    )
    store.close()


def stored(url: str, key: bytes | None = KEY) -> Any:
    """What the store holds of the state object, as it is stored."""
    store = keyed(open_store(url), Settings(key=key))
    nodes = Journal(store).recover().nodes
    store.close()
    return next(node.content for node in nodes.values() if node.name == "state")


def flipped(text: str, at: int) -> str:
    """Another character at one place; what it was matters not."""
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def attempts() -> Iterator[tuple[str, Callable[[str, str], Any]]]:
    """What may be stored, given base64 and the signature that would hold."""
    yield "flipped data", lambda data, signature: [flipped(data, 20), signature]
    yield "flipped signature", lambda data, signature: [data, flipped(signature, 5)]
    yield "no signature", lambda data, _: [data, ""]
    yield "no pair", lambda data, _: data
    yield "no text", lambda _, signature: [None, signature]
    yield "no base64", lambda data, signature: ["*" + data[1:], signature]
    yield "short signature", lambda data, signature: [data, signature[:-1]]
    yield "other key", lambda data, _: [data, signed(data, OTHER)]


def signed(data: str, key: bytes) -> str:
    """Sign what is stored as base64."""
    return Signer("apify:", lambda: [key]).sign(base64.b64decode(data), "1/job")


PAYLOAD = base64.b64encode(f"{PYTHON}\n".encode() + pickle.dumps(Payload())).decode()
ATTEMPTS = dict(attempts())


@pytest.mark.parametrize(
    ("attempt", "deep"), [*((each, False) for each in ATTEMPTS), ("other key", True)]
)
def test_nothing_runs_of_what_is_not_signed(isolated: Path, attempt: str, deep: bool) -> None:
    """An audit hook sees no unpickling; the record stays; the rest of the state goes on."""
    value = {"$pickled": ATTEMPTS[attempt](PAYLOAD, signed(PAYLOAD, KEY))}
    content = {"job": [{"a": {"$tuple": [1, value]}}] if deep else value, "n": 1}
    hostile("sqlite:///s.db", content)
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', key={KEY!r})")
    life = run(code)
    lines = life.stdout.splitlines()
    assert len(lines) == 4, life.stderr
    for line in lines[:2]:
        assert line.startswith("SignatureError state was not restored, and is left as it is stored")
        assert 'state["job"]: the signature of a pickled value does not hold' in line
    assert lines[2:] == ["nothing ran", "other 1 40000"]
    assert stored("sqlite:///s.db") == content
    if deep:
        assert run(code).stdout.splitlines()[3] == "other 2 40000"


def test_what_is_signed_runs(isolated: Path) -> None:
    """So that the tests around this one can find something."""
    hostile("sqlite:///s.db", {"job": {"$pickled": [PAYLOAD, signed(PAYLOAD, KEY)]}})
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', key={KEY!r})")
    assert run(code).stdout.splitlines() == ["loaded", "loaded", "ran", "other 1 40000"]
    assert (isolated / "payload").is_dir()


@pytest.mark.parametrize("tag", ["$object", "$bytes", "$dict", "$set", "$unknown", "$Pickled"])
def test_only_what_was_declared_as_pickled_is_unpickled(isolated: Path, tag: str) -> None:
    """The same bytes, signed, under any other tag."""
    pair = [PAYLOAD, signed(PAYLOAD, KEY)]
    hostile("sqlite:///s.db", {"job": {tag: pair}, "bytes": {"$bytes": PAYLOAD}})
    code = WATCHED.replace("CONFIGURED", f"dict(url='sqlite:///s.db', key={KEY!r})")
    assert "nothing ran" in run(code).stdout.splitlines()


def test_the_key_of_another_store_is_another_key(isolated: Path) -> None:
    """A record that was copied from one SQLite file into another is not loaded."""
    urls = [f"sqlite:///{isolated}/{name}.db" for name in ("a", "b")]
    signatures = []
    for url in urls:
        open_store(url).close()
        signatures.append(Signer(url, tuple).sign(base64.b64decode(PAYLOAD)))
    hostile(urls[1], {"job": {"$pickled": [PAYLOAD, signatures[0]]}}, key=None)
    code = WATCHED.replace("CONFIGURED", "dict(url='sqlite:///b.db')")
    lines = run(code).stdout.splitlines()
    assert "signed with another key" in lines[0]
    assert lines[2:] == ["nothing ran", "other 1 40000"]


@pytest.mark.parametrize("problem", ["missing", "readable"])
def test_without_its_key_a_value_is_not_loaded(isolated: Path, problem: str) -> None:
    """Nothing is lost by it: with the key it is there again."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("state")["job"] = autostate.pickled(Payload)
        PersistedDict("other")["x"] = "x"
    before = stored("sqlite:///s.db", None)
    key = isolated / "s.db.key"
    key.rename("away") if problem == "missing" else key.chmod(0o644)
    lines = run(WATCHED.replace("CONFIGURED", "dict(url='sqlite:///s.db')")).stdout.splitlines()
    assert "s.db.key is not there" in lines[0] or "can be read or written by others" in lines[0]
    assert lines[2:] == ["nothing ran", "other 1 1"]
    assert not key.exists() or problem == "readable"
    assert stored("sqlite:///s.db", None) == before
    (isolated / "away").rename(key) if problem == "missing" else key.chmod(0o600)
    with autostate.open("sqlite:///s.db"):
        assert isinstance(PersistedDict("state")["job"], type)


@pytest.mark.parametrize("code", [True, False])
def test_code_of_another_version_of_python_is_not_executed(isolated: Path, code: bool) -> None:
    """Its bytecode would do anything, a crash included. Data alone is loaded."""
    value = (lambda: 3) if code else [Path("x")]
    data = b"cpython-27\n" + cloudpickle.dumps(value)
    text = base64.b64encode(data).decode()
    hostile("sqlite:///s.db", {"job": {"$pickled": [text, signed(text, KEY)]}})
    with autostate.open("sqlite:///s.db", key=KEY):
        if code:
            with pytest.raises(CorruptStateError, match=f'"job".*pickled by cpython-27.*{PYTHON}'):
                PersistedDict("state")
        else:
            assert PersistedDict("state")["job"] == value


def test_what_cannot_be_loaded_can_be_deleted() -> None:
    """When its key is lost for good, the name is free again."""
    pair = [PAYLOAD, signed(PAYLOAD, OTHER)]
    hostile("sqlite:///s.db", {"job": {"$pickled": pair}}, key=None)
    with autostate.open("sqlite:///s.db"):
        with pytest.raises(SignatureError):
            PersistedDict("state")
        autostate.delete("state")
        assert PersistedDict("state", n=1) == {"n": 1}
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("state") == {"n": 1}


# -- keys -------------------------------------------------------------------------------------


def test_without_a_key_on_a_store_of_others_an_error_says_how_to_set_one() -> None:
    """With the path of the value; all the rest is saved."""
    with autostate.open("apify:jobs"):
        state = PersistedDict("state", n=1)
        state["job"] = autostate.pickled(Job())
        with pytest.raises(UnsupportedTypeError, match=r'state\["job"\]: .*set key, or AUT'):
            autostate.flush()
        del state["job"]
        autostate.flush()
    with autostate.open("apify:jobs"):
        assert PersistedDict("state") == {"n": 1}


def test_a_key_of_the_environment_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform where secrets are variables."""
    monkeypatch.setenv("AUTOSTATE_KEY", KEY.decode())
    with autostate.open("apify:jobs"):
        PersistedDict("state")["job"] = autostate.pickled(Job(3))
    monkeypatch.delenv("AUTOSTATE_KEY")
    with autostate.open("apify:jobs"), pytest.raises(CorruptStateError, match="no key is set"):
        PersistedDict("state")
    with autostate.open("apify:jobs", key=KEY):
        assert PersistedDict("state")["job"].done == 3


def test_keys_can_be_changed() -> None:
    """With both set, old values are read; as soon as they change, the new key signs them."""
    with autostate.open("sqlite:///s.db", key=KEY):
        PersistedDict("state").update(a=autostate.pickled(Job()), b=autostate.pickled(Job()))
    with autostate.open("sqlite:///s.db", key=(OTHER, KEY)):
        for job in PersistedDict("state").values():
            job.done += 1
    with autostate.open("sqlite:///s.db", key=OTHER):
        assert [job.done for job in PersistedDict("state").values()] == [1, 1]
    with autostate.open("sqlite:///s.db", key=KEY), pytest.raises(CorruptStateError):
        PersistedDict("state")


def test_a_database_that_is_deleted_while_it_is_used_is_written_again_with_its_key(
    isolated: Path,
) -> None:
    """The folder too: what the program still has is saved, and can be loaded."""
    with autostate.open("sqlite:///folder/s.db"):
        state = PersistedDict("state", job=autostate.pickled(Job(3)))
        autostate.flush()
        for file in (isolated / "folder").iterdir():
            file.unlink()
        (isolated / "folder").rmdir()
        state["n"] = 1
        autostate.flush()
    with autostate.open("sqlite:///folder/s.db"):
        assert PersistedDict("state")["job"].done == 3
        assert PersistedDict("state")["n"] == 1


def test_a_signed_value_belongs_to_its_place(isolated: Path) -> None:
    """One in the place of another is not loaded: its code would run where it was not meant to."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("state", a=autostate.pickled(Job(1)), b=autostate.pickled(Job(2)))
        PersistedDict("other", a=autostate.pickled(Job(3)))
    content = stored("sqlite:///s.db", None)
    with closing(open_store("sqlite:///s.db")) as store:
        other = next(
            node for node in Journal(store).recover().nodes.values() if node.name == "other"
        )
    swapped = {"a": content["b"], "b": content["a"]}
    for lies in ({"a": content["a"], "b": content["a"]}, swapped, {"a": other.content["a"]}):
        put = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in lies.items()}
        with closing(open_store("sqlite:///s.db")) as store:
            journal = Journal(store)
            journal.recover()
            journal.commit([msgspec.json.encode({"id": 1, "assign": put})])
        with (
            autostate.open("sqlite:///s.db"),
            pytest.raises(SignatureError, match="for another place"),
        ):
            PersistedDict("state")
    with closing(open_store("sqlite:///s.db")) as store:
        journal = Journal(store)
        journal.recover()
        journal.commit([msgspec.json.encode({"id": 1, "assign": content})])
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("state")["b"].done == 2
