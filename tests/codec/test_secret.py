"""What a Secret holds is saved like any other value, and shown nowhere."""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
import pickle
import sys
import traceback
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pydantic
import pytest

import autostate
from autostate import PersistedDict, PersistedList, PersistedSet, Secret, SharedDict, codec
from autostate.codec import Unsupported, registry
from autostate.codec.secret import MASK
from autostate.errors import CorruptStateError, UnknownTypeError, UnsupportedTypeError
from tests import programs
from tests.conformance.types_kit import refused, registered, round_trip, stored, strict
from tests.conformance.values_kit import exact

WORD = "hunter2-æ"
STORE = Path(".autostate/crawl.db")


@dataclass(frozen=True)
class Login:
    """A dataclass with a secret field."""

    user: str
    password: Secret[str]


@attrs.define
class Key:
    """An attrs class with one."""

    key: Secret[bytes]


class Account(pydantic.BaseModel):
    """A model with secrets of both kinds."""

    token: Secret[str]
    pin: Secret[int] = Secret(0)
    text: pydantic.SecretStr
    data: pydantic.SecretBytes = pydantic.SecretBytes(b"")
    born: pydantic.Secret[dt.date] = pydantic.Secret(dt.date.min)


@autostate.persisted
@dataclass
class Session:
    """A state object with one."""

    password: Secret[str] | None = None
    cookies: dict[str, Secret[str]] | None = None


class Odd(pydantic.SecretStr):
    """A class that is based on a secret, and may hold more."""


def account() -> Account:
    """Make an account whose secrets all hold the word."""
    return Account(
        token=Secret(WORD), text=pydantic.SecretStr(WORD), born=pydantic.Secret(dt.date(2026, 1, 2))
    )


@pytest.mark.parametrize("value", ["", WORD, "\ud800", b"\xff", 7, 2**70, 1.5, True, None])
def test_it_comes_back(value: Any) -> None:
    """With its type, in a container, in an object, as a key."""
    assert exact(round_trip(Secret(value)).reveal()) == exact(value)
    nested = {"a": [Secret(value)], Secret(value): (frozenset({Secret(value)}), 1)}
    assert round_trip(nested) == nested


@pytest.mark.parametrize("value", [Decimal("1.10"), uuid.UUID(int=1), dt.date(2026, 1, 2), ...])
def test_it_holds_values_that_never_change(value: Any) -> None:
    """As they are saved outside of a secret."""
    assert stored(Secret(value)) == {"$secret": stored(value)}
    assert round_trip(Secret(value)).reveal() == value


@pytest.mark.parametrize("value", [[WORD], {WORD: WORD}, (WORD,), bytearray(b"x"), Secret(WORD)])
def test_it_holds_nothing_that_could_change(value: Any) -> None:
    """The error says what to do, and not what the value is."""
    with pytest.raises(TypeError, match="keep a dict of secrets") as caught:
        Secret(value)
    assert WORD not in str(caught.value)


def test_nothing_shows_it() -> None:
    """Neither text, nor JSON, nor a traceback with locals, nor its length."""
    secret = Secret(WORD)
    assert {repr(secret), repr(Secret("x"))} == {f"Secret('{MASK}')"}
    assert f"{secret}|{secret!s}|{secret:>12}|{secret!r}|%s" % secret == (
        f"{MASK}|{MASK}|  {MASK}|Secret('{MASK}')|{MASK}"
    )
    assert not hasattr(secret, "__dict__")
    assert not hasattr(secret, "__len__")
    for show in (json.dumps, codec.dumps):
        with pytest.raises(TypeError) as caught:
            show(secret)
        assert WORD not in str(caught.value)
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert WORD not in "".join(shown.format())


def test_equal_secrets_are_one_key() -> None:
    """Of the same content; no secret is equal to what it holds."""
    assert {Secret(WORD), Secret(WORD), Secret("x")} == {Secret("x"), Secret(WORD)}
    assert Secret(WORD) != WORD
    assert copy.copy(Secret(WORD)) == copy.deepcopy(Secret(WORD)) == Secret(WORD)
    assert pickle.loads(pickle.dumps(Secret(WORD))).reveal() == WORD


def test_it_cannot_be_a_base_or_be_changed() -> None:
    """A class of the program would be saved as something else."""
    assert codec.is_atom(Secret)
    with pytest.raises(AttributeError):
        Secret(WORD).other = 1  # type: ignore[attr-defined]  # ty: ignore[unresolved-attribute]
    with pytest.raises(TypeError, match="cannot be based on Secret"):
        type("Mine", (Secret,), {})


@pytest.mark.parametrize("json_", [{"a": 1}, [1], {"$tuple": [1]}, {"$secret": 1}, {"$ref": 3}])
def test_a_stored_secret_holds_nothing_else(json_: Any) -> None:
    """Anybody may have written to the store."""
    with pytest.raises(CorruptStateError):
        codec.decode({"$secret": json_}, strict)


@pytest.mark.parametrize("value", [Login("anna", Secret(WORD)), Key(Secret(b"k")), account()])
def test_fields_can_be_secrets(value: Any) -> None:
    """Of dataclasses, attrs classes and models; pydantic's own secrets, too."""
    assert WORD not in repr(value)
    assert round_trip(value) == value
    if isinstance(value, Login):
        assert asdict(value)["password"].reveal() == WORD


def test_a_model_takes_a_secret_or_what_it_holds() -> None:
    """It writes a mask as JSON, and says so in its schema."""
    made = Account.model_validate_json(json.dumps({"token": WORD, "text": WORD, "pin": "7"}))
    assert (made.token, made.pin) == (Secret(WORD), Secret(7))
    assert made == Account.model_validate({"token": Secret(WORD), "text": WORD, "pin": 7})
    assert made.model_dump()["token"] is made.token
    assert json.loads(made.model_dump_json())["token"] == MASK
    assert pydantic.TypeAdapter(Secret[str]).json_schema()["format"] == "password"
    with pytest.raises(pydantic.ValidationError, match="valid integer") as caught:
        Account.model_validate({"token": WORD, "text": WORD, "pin": Secret(WORD)})
    assert WORD not in str(caught.value.errors())
    assert caught.value.errors()[0]["loc"] == ("pin",)
    assert caught.value.errors()[0]["input"] == Secret(WORD)


@autostate.persisted(name="of-{token}")
class Owner:
    """A state object whose name is made of a secret."""

    def __init__(self, token: object) -> None:
        self.token = token


@pytest.mark.parametrize("secret", [Secret(WORD), pydantic.SecretStr(WORD)])
def test_no_name_is_made_of_a_secret(isolated: Path, secret: Any) -> None:
    """The mask is the same for all: two users would have one state."""
    with autostate.open("memory:"):
        ways: list[Callable[[], Any]] = [
            lambda: Owner(secret),
            lambda: PersistedDict(f"of-{secret}"),
            lambda: list(autostate.resume(f"of-{secret}", [1])),
            lambda: autostate.outbox(f"of-{secret}", print),
            lambda: SharedDict(f"of-{secret}"),
        ]
        for make in ways:
            with pytest.raises(ValueError, match="mask of a secret") as caught:
                make()
            assert WORD not in str(caught.value)
        assert Owner("a") is not Owner("b")


def test_pydantics_secrets_are_stored_as_secrets() -> None:
    """So what shows a state without pydantic masks them."""
    assert stored(pydantic.SecretStr(WORD)) == {
        "$object": ["pydantic.SecretStr", stored(Secret(WORD))]
    }
    assert codec.is_atom(pydantic.SecretBytes)
    assert round_trip(pydantic.SecretBytes(b"x")) == pydantic.SecretBytes(b"x")
    assert "keep a dict of secrets" in refused(pydantic.Secret([WORD])).problem
    with pytest.raises(Unsupported, match=r"save autostate\.Secret\(value\.get_secret_value"):
        stored(Odd(WORD))
    with pytest.raises(CorruptStateError):
        codec.decode({"$object": ["pydantic.SecretStr", WORD]}, strict)


def test_a_registered_secret_of_pydantic_is_the_programs_business() -> None:
    """What the program says counts, also after a first one was saved."""
    before = stored(pydantic.SecretStr(WORD))
    take = pydantic.SecretStr.get_secret_value
    with registered(pydantic.SecretStr, "mine", encode=take, decode=pydantic.SecretStr):
        assert stored(pydantic.SecretStr("x")) == {"$object": ["mine", "x"]}
        assert round_trip(pydantic.SecretStr("x")) == pydantic.SecretStr("x")
    assert stored(pydantic.SecretStr(WORD)) == before


def test_a_state_with_secrets_is_restored(isolated: Path) -> None:
    """At every place; the file holds them readably: this is no encryption."""
    url = f"sqlite:///{isolated}/s.db"
    for begins in (True, False):
        with autostate.open(url) as manager:
            d, items, members = PersistedDict("d"), PersistedList("l"), PersistedSet("s")
            session = Session()
            if begins:
                d.update(one=Secret(WORD), login=Login("anna", Secret(WORD)), model=account())
                d["deep"] = {"cookies": [{"sid": Secret(WORD)}]}
                items += [Secret(WORD)] * 300
                members.add(Secret(WORD))
                session.password, session.cookies = Secret(WORD), {"sid": Secret(WORD)}
                manager.flush()
                d["deep"]["cookies"][0]["sid"] = Secret("changed")
                continue
            assert d["one"] == items[299] == session.password == Secret(WORD)
            assert (d["login"], d["model"]) == (Login("anna", Secret(WORD)), account())
            assert d["deep"]["cookies"][0]["sid"] == Secret("changed")
            assert Secret(WORD) in members
            assert session.cookies == {"sid": Secret(WORD)}
            assert WORD not in f"{d} {items} {members} {session} {autostate.info()}"
    assert b"changed" in b"".join(each.read_bytes() for each in isolated.glob("s.db*"))


def test_errors_and_logs_do_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    """Not even as a part of the path to what cannot be saved."""
    caplog.set_level(logging.DEBUG)
    state = PersistedDict[Any, Any]("state")
    state[Secret(WORD)] = {Secret(WORD): {"lock": sys}, "more": Secret(WORD)}
    with pytest.raises(UnsupportedTypeError) as caught:
        autostate.flush()
    assert caught.value.path == f"state[Secret('{MASK}')][Secret('{MASK}')][\"lock\"]"
    assert WORD not in str(caught.value) + caplog.text
    del state[Secret(WORD)]
    state["token"] = Secret(WORD)
    with pytest.raises(
        UnsupportedTypeError, match=r'state\["token"\]: .*no form in JSON'
    ) as caught:
        autostate.export(state)
    assert WORD not in str(caught.value)
    assert autostate.export(state, default=str) == {"token": MASK}
    assert autostate.export(state, default=Secret.reveal) == {"token": WORD}


PROGRAM = """
import autostate, pydantic
from autostate import Secret
from dataclasses import dataclass

@dataclass
class Login:
    password: Secret

@autostate.persisted
@dataclass
class Session:
    password: Secret = Secret({word!r})

with autostate.open("sqlite:///.autostate/crawl.db"):
    Session()
    d = autostate.PersistedDict("d", token=Secret({word!r}), login=Login(Secret({word!r})))
    d["deep"] = [{{"sid": Secret({word!r}), "raw": Secret(b"x")}}]
    d["pydantic"] = pydantic.SecretStr({word!r})
    d[Secret({word!r})] = {{Secret({word!r})}}
"""


@pytest.mark.usefixtures("forked_programs")
def test_the_commands_show_it_only_where_it_is_asked_for(isolated: Path) -> None:
    """The program's classes, and pydantic, are not there."""
    assert programs.run_python("-c", PROGRAM.format(word=WORD)).stderr == ""
    for command in (
        *(["show", name, *form] for name in ("d", "Session") for form in ([], ["--json"])),
        *(
            ["ls"],
            ["where"],
            ["verify"],
            ["get", "d"],
            ["get", "d", "login"],
            ["get", "d", "deep.0"],
        ),
    ):
        done = programs.run_python("-m", "autostate", *command)
        assert (done.returncode, done.stderr) == (0, "")
        assert "hunter2" not in done.stdout
    done = programs.run_python("-m", "autostate", "get", "d", "token")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "autostate: a secret is kept there: add --reveal to print it\n"
    for path, value in (("token", WORD), ("deep.0", f'{{"sid": "{WORD}", "raw": "eA=="}}')):
        done = programs.run_python("-m", "autostate", "get", "d", path, "--reveal")
        assert (done.returncode, done.stdout) == (0, f"{value}\n")


def test_pydantic_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state with its secrets names the class that is missing; nothing is imported for it."""
    json_ = stored(pydantic.SecretStr(WORD))
    monkeypatch.delitem(sys.modules, "pydantic.types")
    monkeypatch.delitem(registry._automatic, pydantic.SecretStr)
    with pytest.raises(UnknownTypeError, match=r"pydantic\.SecretStr"):
        codec.decode(json_, strict)
    assert "pydantic.types" not in sys.modules
    monkeypatch.undo()
    assert codec.decode(json_, strict) == pydantic.SecretStr(WORD)
