"""What logs tell of errors."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

import autostate
from autostate.delivery import RetryLaterError, SqlTable
from autostate.delivery.http import RejectedError
from autostate.delivery.outbox import Outbox
from autostate.delivery.reason import reason
from autostate.errors import OutboxFullError

SECRET = "ann@example.com"


def caught(function: Callable[[], object]) -> BaseException:
    """Give the error that a function raises."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: int(SECRET), "ValueError in caught (test_reason.py, line "),
        (lambda: json.loads(SECRET), "JSONDecodeError in caught (test_reason.py, line "),
        (lambda: Path(SECRET).stat(), "FileNotFoundError: No such file or directory"),
    ],
)
def test_errors_of_strangers_are_told_without_their_messages(
    function: Callable[[], object], told: str
) -> None:
    """By class, code and line."""
    assert reason(caught(function)).startswith(told)
    assert SECRET not in reason(caught(function))


def test_errors_of_the_library_are_told_in_full() -> None:
    """They hold no values."""
    assert reason(RetryLaterError("x answered 503", 1.0)) == "x answered 503"
    assert reason(OutboxFullError("no room")) == "OutboxFullError: no room"
    assert reason(RejectedError("x answered 400", 400, SECRET)) == "RejectedError: x answered 400"
    assert reason(OSError(errno.ENOSPC, "full", SECRET)) == "OSError: full"
    assert reason(ConnectionError(SECRET)) == "ConnectionError"


def test_no_row_comes_into_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of a table, nor of a function; the program gets the error itself."""
    monkeypatch.setattr("autostate.delivery.courier.FIRST_PAUSE", 0.001)
    caplog.set_level(logging.DEBUG)

    def send(items: object) -> None:
        raise ValueError(f"{SECRET} is no customer")

    with autostate.open("memory:"):
        columns = {"email": "TEXT CHECK (json(email) > '')"}
        rows = autostate.outbox(
            "rows", SqlTable("out.db", "rows", columns, create=True), attempts=1
        )
        mails: Outbox[str] = autostate.outbox("mails", send, attempts=1, capacity=1)
        rows.put({"email": SECRET})
        mails.put(SECRET)
        assert rows.drain()
        assert mails.drain()
        with pytest.raises(OutboxFullError) as full:
            mails.put(SECRET, timeout=0)
        assert [kept.error for kept in mails.aside()] == [f"ValueError: {SECRET} is no customer"]
        assert str(mails.error) == f"{SECRET} is no customer"
    assert "'rows' could not deliver: OperationalError (SQLITE_ERROR)" in caplog.text
    assert "'mails' could not deliver: ValueError in send (test_reason.py" in caplog.text
    assert SECRET not in caplog.text + str(full.value)
