"""Ends that are announced before there is anything to save, and the timeout of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import autostate
from autostate import PersistedDict, announced, hub
from autostate.saving.policy import TIMEOUT_LEAD, Action, FlushPolicy, Observation
from autostate.settings import Settings

pytestmark = pytest.mark.usefixtures("forked_actors")

SETTINGS = Settings(debounce=10.0, max_delay=30.0, migrating_debounce=0.5)


@pytest.fixture(autouse=True)
def nothing_announced() -> Iterator[None]:
    """Every test begins and ends without."""
    announced.forget()
    yield
    announced.forget()


@pytest.mark.parametrize("signal", [hub.migrating, hub.aborting], ids=lambda one: one.name)
def test_what_comes_before_the_first_state_object_holds_for_it(signal: hub.HubSignal) -> None:
    """It is saved as if it had been there when the signal came."""
    signal.send(None, time_remaining=60.0)
    with autostate.open("memory:", debounce=3600, migrating_debounce=0) as manager:
        PersistedDict("late", n=0)["n"] = 1
        while not manager.statistics().flushes:  # by itself: nobody asks for it
            time.sleep(0.01)


def test_a_kill_that_did_not_come_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a rehearsal, or a mistake."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert announced.seconds_to_kill() is None
    announced.note_kill(50.0)
    now = 1020.0
    assert announced.seconds_to_kill() == 30.0
    now = 1060.0
    assert announced.seconds_to_kill() == 0.0
    now = 1051.0 + announced.KILL_OVERDUE
    assert announced.seconds_to_kill() is None


def test_a_kill_that_is_recalled_leaves_the_one_before() -> None:
    """It was asked for, and refused; the platform may have announced another one before."""
    announced.recall_kill()
    assert announced.seconds_to_kill() is None
    announced.note_kill(50.0)
    announced.note_kill(5.0)
    announced.recall_kill()
    assert (announced.seconds_to_kill() or 0.0) > 5.0


TIMES = {
    "2026-03-01T12:00:00.000Z": 1772366400.0,
    "2026-03-01T13:00:00+01:00": 1772366400.0,
    "2026-03-01T12:00:00": 1772366400.0,
    "": None,
    "  ": None,
    "soon": None,
    "99999-01-01": None,
    "12": None,
}


@pytest.mark.parametrize("text", TIMES)
def test_the_environment_says_when_the_run_times_out(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What makes no sense is ignored, with a line for whoever looks for it."""
    with caplog.at_level(logging.DEBUG, logger="autostate"):
        assert announced.timeout_of({"ACTOR_TIMEOUT_AT": text}) == TIMES[text]
    assert bool(caplog.records) == bool(text.strip() and TIMES[text] is None)
    assert announced.timeout_of({"apify_timeout_at": text}) == TIMES[text]


def test_the_sdk_knows_it_better_and_the_past_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resurrected run may still have the time at which it timed out before."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(time, "time", now.timestamp)
    monkeypatch.setenv("ACTOR_TIMEOUT_AT", "2026-03-01T12:05:00Z")
    assert announced.seconds_to_timeout() == 300
    announced.note_timeout(now + timedelta(seconds=20))
    assert announced.seconds_to_timeout() == 20
    announced.note_timeout(None)
    monkeypatch.setenv("ACTOR_TIMEOUT_AT", "2026-03-01T11:00:00Z")
    assert announced.seconds_to_timeout() is None


def test_all_is_saved_before_the_timeout_then_each_change() -> None:
    """An idle process is woken for it; what could not be seen is compared."""
    policy = FlushPolicy(SETTINGS)
    policy.expect_timeout(100.0, 100.0)
    before = 200.0 - TIMEOUT_LEAD
    assert policy.step(Observation(100.0, dirty=False)) == (Action.SLEEP, before - 100.0)
    assert policy.step(Observation(before, dirty=False)).action is Action.FLUSH_ALL
    policy.cut(before)
    policy.saved(0.0, 0.1, wrote=True)
    assert policy.step(Observation(before, dirty=False)) == (Action.SLEEP, None)
    policy.step(Observation(before + 1, dirty=True, activity=1))
    assert policy.step(Observation(before + 1.5, dirty=True, activity=1)).action is Action.FLUSH
    assert policy.kill_at < 200.0, "a flush ends before the kill"


def test_a_slow_store_is_given_more_time_before_the_timeout() -> None:
    """Three times what a save takes."""
    policy = FlushPolicy(SETTINGS)
    policy.cut(100.0)
    policy.saved(0.0, 15.0, wrote=True)
    policy.expect_timeout(115.0, 100.0)
    assert policy.step(Observation(169.0, dirty=False)).action is Action.SLEEP
    assert policy.step(Observation(170.0, dirty=False)).action is Action.FLUSH_ALL


def test_a_run_that_is_short_is_urgent_from_its_beginning() -> None:
    """Its timeout is nearer than the time before it at which all is saved."""
    policy = FlushPolicy(SETTINGS)
    policy.expect_timeout(100.0, TIMEOUT_LEAD / 2)
    assert policy.step(Observation(100.0, dirty=True)).action is Action.FLUSH_ALL
    assert policy.kill_announced(100.0)


def test_state_is_saved_before_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the flush thread, although writing has not paused; of a process without the SDK."""
    at = datetime.now(UTC) + timedelta(seconds=TIMEOUT_LEAD + 0.5)
    monkeypatch.setenv("ACTOR_TIMEOUT_AT", at.isoformat())
    with autostate.open("memory:", debounce=3600) as manager:
        PersistedDict("a")["x"] = 1
        while not manager.statistics().flushes:
            time.sleep(0.01)
