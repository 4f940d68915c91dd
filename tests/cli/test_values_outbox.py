"""Commands show the items of an outbox as values, with a mask for each secret in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import DeliveryRefusedError, Secret, outbox
from autostate.cli.differences import Difference
from autostate.cli.plain import as_text
from autostate.cli.values import Values
from autostate.cli.watching import changes
from autostate.runtime.stored_state import StoredState, read_state
from tests.cli.test_commands import told

pytestmark = pytest.mark.usefixtures("forked_programs")

WORD = "hunter2"
URL = "sqlite:///s.db"


def _refuse(_items: Any) -> None:
    raise DeliveryRefusedError


def _read() -> StoredState:
    state = read_state(URL, autostate.settings.Settings(readonly=True))
    assert state is not None
    return state


def _changes(before: StoredState) -> dict[str, Difference]:
    return {each.path: each for _, each in changes(before, _read())}


def test_items_are_shown_as_values(isolated: Path) -> None:
    """By all commands, also those that were set aside; `get --reveal` gives what a secret holds."""
    with autostate.open(URL, debounce=1000, max_delay=1000):
        box = outbox("mails", _refuse)
        box.put({"to": "anna", "token": Secret(WORD)})
        autostate.flush()
        before = _read()
        box.put([Secret(WORD)])
        autostate.flush()
        found = _changes(before)
        assert repr(found["mails[1]"].new) == "[Secret('**********')]"
        with box._ledger._tracker.lock:
            text = box._ledger.state.pop(0)
            box._ledger.state["aside"] = {0: (text, "no")}
        autostate.flush()
        found = _changes(before)
        assert WORD not in repr(found)
        assert repr(found["mails[0]"].old) == "{'to': 'anna', 'token': Secret('**********')}"
        before = _read()
        with box._ledger._tracker.lock:
            box._ledger.state["aside"][1] = (text, "no")
        autostate.flush()
        assert WORD not in repr(_changes(before))
    shown = Values(_read()).of("mails")
    assert shown["aside"][0] == ({"to": "anna", "token": Secret(WORD)}, "no")
    assert WORD not in as_text(shown)
    assert WORD in as_text(shown, reveal=True)
    assert told("get", "mails", "1", "--url", URL) == '["**********"]\n'
    assert WORD not in told("show", "mails", "--url", URL)


def test_other_entries_and_items_of_other_forms_stay_as_they_are() -> None:
    """A destination may write items in its own way; a number may be a JSON text by chance."""
    values = Values.of_none()
    assert values.item("id", "1234567812345678") == "1234567812345678"
    assert values.item("place", '{"a": 1}') == '{"a": 1}'
    assert values.item(3, "no JSON") == "no JSON"
    assert values.item(3, {"$bytes": "YQ=="}) == b"a"
    assert values.item(3, '{"$nothing": 1}') is not None
    assert values.item(3, '{"a": {"$secret": "x"}}') == {"a": Secret("x")}
    assert values.item("aside", 5) == 5
