"""Deadlines, and repeated attempts that share the time until one."""

from __future__ import annotations

import pytest

from autostate.deadline import LEAST_SHARE, Deadline, backoff, retried
from autostate.errors import StoreUnavailableError


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        self.now += seconds


class Store:
    """A store that answers after some attempts in vain, each of which takes all of its time."""

    def __init__(self, clock: Clock, failures: int) -> None:
        self.clock, self.failures = clock, failures
        self.timeouts: list[float] = []

    def __call__(self, *, timeout: float) -> str:
        self.timeouts.append(timeout)
        if len(self.timeouts) <= self.failures:
            self.clock.sleep(timeout)
            raise StoreUnavailableError(f"no answer to attempt {len(self.timeouts)}")
        return "answer"


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


def test_a_deadline_tells_what_is_left(clock: Clock) -> None:
    """Never less than nothing."""
    deadline = Deadline.after(3.0, clock)
    assert deadline.left() == 3.0
    clock.now += 2.0
    assert deadline.left() == 1.0
    clock.now += 2.0
    assert deadline.left() == 0.0


def test_a_sooner_moment_counts_until_it_has_passed(clock: Clock) -> None:
    """A kill that did not come does not end what it did not end in time."""
    deadline = Deadline.after(30.0, clock)
    deadline.sooner = clock.now + 4.0
    assert deadline.left() == 4.0
    assert deadline.share() == 2.0
    clock.now += 5.0
    assert deadline.left() == 25.0


def test_an_attempt_takes_half_of_what_is_left(clock: Clock) -> None:
    """All of it if that is little, and a moment if nothing is left."""
    assert Deadline.after(20.0, clock).share() == 10.0
    assert Deadline.after(1.5, clock).share() == 1.5
    assert Deadline.after(-1.0, clock).share() == LEAST_SHARE


def test_a_call_is_repeated_until_the_store_answers(clock: Clock) -> None:
    """The first attempt may be shorter; each error but the last is reported."""
    store, told = Store(clock, failures=2), list[str]()
    answer = retried(
        store,
        Deadline.after(30.0, clock),
        gives_up=lambda *_: False,
        report=lambda error: told.append(str(error)),
        pause=clock.sleep,
        first=1.0,
    )
    assert answer == "answer"
    assert told == ["no answer to attempt 1", "no answer to attempt 2"]
    assert store.timeouts[0] == 1.0
    assert store.timeouts[1] > 10.0


@pytest.mark.parametrize("why", ["the deadline", "the caller"])
def test_attempts_end_at_the_deadline_or_when_the_caller_gives_up(clock: Clock, why: str) -> None:
    """With the error of the last attempt; a pause never lasts longer than the deadline."""
    store = Store(clock, failures=10**6)
    deadline = Deadline.after(30.0, clock)
    with pytest.raises(StoreUnavailableError) as raised:
        retried(
            store,
            deadline,
            gives_up=lambda _, attempt: why == "the caller" and attempt == 2,
            report=lambda _: None,
            pause=clock.sleep,
        )
    assert str(raised.value) == f"no answer to attempt {len(store.timeouts)}"
    if why == "the caller":
        assert len(store.timeouts) == 2
    else:
        assert len(store.timeouts) > 2
        assert clock.now <= deadline.at + LEAST_SHARE


def test_backoff_doubles_up_to_its_limit() -> None:
    """With jitter between half and all, whatever the number of attempts."""
    for attempt in (1, 2, 3, 10, 5000):
        nominal = min(60.0, 2.0 ** min(attempt - 1, 40))
        assert nominal / 2 <= backoff(attempt, first=1.0, longest=60.0) <= nominal
