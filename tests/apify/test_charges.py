"""The charges of a run as the destination of an outbox."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from autostate.apify.api import Credentials
from autostate.apify.charges import TRUST, Charge, PlatformCharges, UnsureError, subset
from autostate.delivery.destination import OutboxItem
from autostate.testing import LocalPlatform, Run


class Clock:
    """Seconds that are moved by hand, for the platform and for the destination."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def paid(clock: Clock) -> Iterator[LocalPlatform]:
    """A platform that forgets keys by the clock."""
    with LocalPlatform(clock=clock) as opened:
        yield opened


@pytest.fixture
def run(paid: LocalPlatform) -> Run:
    """A run that is paid for pages."""
    return paid.start_run([sys.executable, "-c", ""], prices={"page": 0.1, "pdf": 0.5})


@pytest.fixture
def charges(paid: LocalPlatform, run: Run, clock: Clock) -> Iterator[PlatformCharges]:
    """Its charges as a destination."""
    made = PlatformCharges(run.id, Credentials(paid.url, paid.token), now=clock)
    yield made
    made.close()


def items(
    clock: Clock, *counts: int, event: str = "page", first: int = 0
) -> list[OutboxItem[Charge]]:
    """Items that are put into the outbox now."""
    return [
        OutboxItem(f"x-{at}", at, Charge(event=event, count=count, key=None, at=clock.now))
        for at, count in enumerate(counts, first)
    ]


def test_charges_are_sent_with_their_ids(run: Run, charges: PlatformCharges, clock: Clock) -> None:
    """The place is the counts of the run."""
    assert charges.begin() == {}
    assert charges.deliver(items(clock, 1, 2, 1), {}) == {"page": 4}
    assert sorted((each.count, each.key) for each in run.charges) == [
        (1, "x-0"),
        (1, "x-2"),
        (2, "x-1"),
    ]
    assert charges.begin() == {"page": 4}


def test_a_young_charge_is_sent_again(
    run: Run, charges: PlatformCharges, clock: Clock, paid: LocalPlatform
) -> None:
    """The platform ignores a key that it knows, so the counts need not be asked."""
    sent = items(clock, 1, 1)
    charges.deliver(sent[:1], {})  # and killed before that was recorded
    clock.now += TRUST - 1
    reads = len(paid.traffic.calls_to("GET"))
    assert charges.find(sent, {}) == ([], {})
    assert charges.deliver(sent, {}) == {"page": 2}
    assert len(paid.traffic.calls_to("GET")) == reads
    assert run.charging.counts == {"page": 2}
    assert [each.key for each in run.charging.ignored] == ["x-0"]


def test_an_old_charge_is_looked_for_in_the_counts(
    run: Run, charges: PlatformCharges, clock: Clock
) -> None:
    """When the platform has forgotten its key."""
    sent = items(clock, 1, 1, 1)
    charges.deliver(sent[:2], {})  # and killed before that was recorded
    clock.now += 1_000
    arrived, place = charges.find(sent, {})
    assert (sorted(arrived), place) == ([0, 1], {"page": 2})
    assert charges.deliver(sent[2:], place) == {"page": 3}
    assert run.charging.counts == {"page": 3}


def test_a_charge_that_became_old_meanwhile_is_not_sent(
    run: Run, charges: PlatformCharges, clock: Clock
) -> None:
    """It was in doubt and young when it was asked for; the counts are asked in its place."""
    sent = items(clock, 1, 1)
    charges.deliver(sent, {})
    clock.now += TRUST - 1
    charges.find(sent, {})
    clock.now += 1_000
    with pytest.raises(UnsureError):
        charges.deliver(sent[:1], {})
    with pytest.raises(UnsureError):  # the other one is still in doubt, too
        charges.deliver(sent[1:], {})
    assert sorted(charges.find(sent, {})[0]) == [0, 1]
    assert run.charging.counts == {"page": 2}


def test_old_and_young_charges_wait_until_all_are_old(
    run: Run, charges: PlatformCharges, clock: Clock
) -> None:
    """The counts do not tell which of them have arrived."""
    old = items(clock, 1)
    clock.now += TRUST
    young = items(clock, 1, first=1)
    charges.deliver(old, {})
    clock.now += 1
    renewed = PlatformCharges(run.id, charges._connections[0]._credentials, now=clock)
    with pytest.raises(UnsureError):
        renewed.find([*old, *young], {})
    clock.now += TRUST
    assert renewed.find([*old, *young], {}) == ([0], {"page": 1})
    renewed.close()


def test_events_are_counted_apart(run: Run, charges: PlatformCharges, clock: Clock) -> None:
    """And what the run was charged before the outbox began is in the place."""
    charges.deliver(items(clock, 5), {})
    place = charges.begin()
    sent = [*items(clock, 2, first=10), *items(clock, 1, event="pdf", first=11)]
    charges.deliver(sent[1:], place)
    clock.now += 1_000
    assert charges.find(sent, place) == ([11], {"page": 5, "pdf": 1})


@pytest.mark.parametrize(
    ("counts", "total", "chosen"),
    [
        ([1, 1, 1], 2, [0, 1]),
        ([2, 3], 3, [1]),
        ([2, 3], 4, [1]),
        ([5], 4, []),
        ([1, 2], 100, [0, 1]),
        ([1, 2], -3, []),
        ([4, 4, 7], 11, [1, 2]),
    ],
)
def test_charges_are_chosen_by_their_sum(counts: list[int], total: int, chosen: list[int]) -> None:
    """As near to the total as possible, and never above it."""
    found = subset(counts, total)
    assert sum(counts[at] for at in found) == sum(counts[at] for at in chosen)
