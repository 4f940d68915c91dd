"""A warning that the program has turned into an error fails neither reading nor saving."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.warned import shows_warnings
from tests.conformance.classes_kit import life

pytestmark = pytest.mark.filterwarnings("error")


class Money:
    """A value whose own code is out of date."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __reduce__(self) -> Any:
        warn("pickled")
        return rebuilt, (self.cents,)

    def __hash__(self) -> int:
        warn("hashed")
        return self.cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents


def rebuilt(cents: int) -> Money:
    """Unpickle."""
    warn("unpickled")
    return Money(cents)


def warn(what: str) -> None:
    """Warn, as a library does that changes."""
    warnings.warn(f"{what} in the old way", DeprecationWarning, stacklevel=2)


shown = shows_warnings(warn)
"""Warn inside of the library's own calls."""


def encode(money: Money) -> int:
    """For `register`."""
    warn("encoded")
    return money.cents


def decode(cents: int) -> Money:
    """For `register`."""
    warn("decoded")
    return Money(cents)


def upgrade(fields: dict[str, Any], _version: int) -> dict[str, Any]:
    """Turn version 1 into version 2."""
    warn("upgraded")
    return {**fields, "n": fields["n"] + 1}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings that are shown; `pytest.warns` would let none be an error."""
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    return shown


def test_reading_and_saving_show_warnings_instead_of_failing(told: list[str]) -> None:
    """Of a registered class, and of what is pickled."""
    autostate.register(Money, "money", encode=encode, decode=decode)
    with life():
        state = autostate.PersistedDict("state", value=Money(1), inside=[Money(2)])
        state["pickled"] = autostate.pickled(Money(3))
        autostate.flush()
    assert {"encoded in the old way", "pickled in the old way"} <= set(told)
    with life():
        again: Any = autostate.PersistedDict("state")
        assert [again["value"], *again["inside"]] == [Money(1), Money(2)]
        assert again["pickled"] == Money(3)
    assert {"decoded in the old way", "unpickled in the old way"} <= set(told)


def test_keys_that_warn_when_they_are_hashed_come_back(told: list[str]) -> None:
    """A journal reads keys before anybody asks for the state."""
    autostate.register(Money, "money", encode=encode, decode=decode)
    with life():
        state = autostate.PersistedDict[Any, Any]("state")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state[Money(1)] = "a"
        autostate.flush()
    with life():
        assert list(autostate.PersistedDict("state").values()) == ["a"]
    assert "hashed in the old way" in told


def test_an_upgrade_may_warn(told: list[str]) -> None:
    """It is the program's own code, and fails only by itself."""
    with life():

        @autostate.persisted(name="shop")
        @dataclass
        class Shop:
            n: int = 0

        Shop(n=5)
        autostate.flush()
    with life():

        @autostate.persisted(name="shop", version=2, upgrade=upgrade)
        @dataclass
        class NewShop:
            n: int = 0

        assert NewShop().n == 6
    assert told == ["upgraded in the old way"]


def test_an_export_may_warn(told: list[str]) -> None:
    """In the code of a value's class, or of the program."""
    autostate.register(Money, "money", encode=encode, decode=decode)

    def stand_in(money: Any) -> int:
        warn("replaced")
        return encode(money)

    with life():
        state = autostate.PersistedDict("state", value=[Money(1)])
        assert autostate.export(state, default=stand_in) == {"value": [1]}
    assert "replaced in the old way" in told


def test_what_is_adopted_may_be_converted_with_a_warning(told: list[str]) -> None:
    """And the constructor of what it goes into may warn; neither counts as a damaged record."""
    folder = Path("storage/key_value_stores/default")
    folder.mkdir(parents=True)
    (folder / "OLD.json").write_text('{"n": 5}')
    (folder / "OLD.json.__metadata__.json").write_text(
        json.dumps({"key": "OLD", "contentType": "application/json", "size": 8})
    )

    def convert(content: Any) -> Any:
        warn("converted")
        return content

    with life():

        @autostate.persisted(name="shop")
        class Shop:
            def __init__(self) -> None:
                warn("constructed")
                self.n = 0

        assert autostate.adopt("OLD", into=Shop, convert=convert).n == 5
    assert {"converted in the old way", "constructed in the old way"} <= set(told)


PROGRAM: Final = """
import warnings
import autostate
from dataclasses import dataclass
from typing import Generic, TypeVar
T = TypeVar("T")

class Money:
    def __init__(self, cents): self.cents = cents

def encode(money):
    warnings.warn("old", FutureWarning)
    return money.cents

def decode(cents):
    warnings.warn("old", FutureWarning)
    return Money(cents)

autostate.register(Money, "money", encode=encode, decode=decode)
def local():
    @dataclass
    class Page(Generic[T]):
        n: int
    return Page
Page = local()
state = autostate.PersistedDict("state")
if not state:
    state["money"] = Money(5)
    state["page"] = Page(5)
else:
    print(state["money"].cents, state["page"].n)
"""


@pytest.mark.parametrize("options", [["-W", "error"], ["-bb", "-W", "error"], ["-X", "dev"]])
def test_an_interpreter_that_raises_all_warnings_loses_nothing(options: list[str]) -> None:
    """The saving thread and the end of the process too; and what is wrong is shown."""
    for expected in ("", "5 5"):
        done = subprocess.run(
            [sys.executable, *options, "-c", PROGRAM], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
        assert "FutureWarning: old" in done.stderr


class TestShowsWarnings:
    """What is raised outside is shown inside, and nothing else is changed."""

    def test_outside_a_warning_is_raised_as_before(self, told: list[str]) -> None:
        shown("seen")
        assert told == ["seen in the old way"]
        with pytest.raises(DeprecationWarning):
            warn("raised")

    def test_what_is_ignored_stays_so(self, told: list[str]) -> None:
        warnings.simplefilter("ignore", DeprecationWarning)
        shown("ignored")
        shows_warnings(warnings.warn)("shown", FutureWarning, stacklevel=1)
        assert told == ["shown"]

    @pytest.mark.parametrize("what", [{"message": ".*old way"}, {"module": __name__}])
    def test_only_some_texts_or_modules_may_be_errors(
        self, what: dict[str, str], told: list[str]
    ) -> None:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", **what)  # type: ignore[arg-type]
        shown("shown")
        assert told == ["shown in the old way"]

    def test_other_threads_go_on_raising(self) -> None:
        raised = []

        def work() -> None:
            try:
                warn("raised")
            except DeprecationWarning:
                raised.append(True)

        @shows_warnings
        def wait_for_another_thread() -> None:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        wait_for_another_thread()
        assert raised == [True]

    def test_filters_that_are_set_later_do_not_matter(self, told: list[str]) -> None:
        for _ in range(3):
            warnings.simplefilter("error", DeprecationWarning)
            shown("seen")
        assert told == ["seen in the old way"] * 3
