"""When to flush: every rule by arithmetic, with a clock that only the test moves."""

from __future__ import annotations

import itertools
import random

import pytest

from autostate.announced import KILL_OVERDUE
from autostate.deadline import Deadline
from autostate.saving.policy import POLL_INTERVAL, Action, FlushPolicy, Observation, Step
from autostate.settings import MIB, Settings

SETTINGS = Settings(
    debounce=2.0,
    max_delay=10.0,
    max_dirty_bytes=MIB,
    duty_cycle=0.05,
    flush_timeout=30.0,
    check_interval=60.0,
    migrating_debounce=0.5,
)


@pytest.fixture
def policy() -> FlushPolicy:
    """A policy that has seen nothing."""
    return FlushPolicy(SETTINGS)


def run(
    policy: FlushPolicy,
    start: float,
    end: float,
    *,
    writes_until: float = 0.0,
    estimate: int = 0,
) -> float | None:
    """Look as the flush thread would; return when it says FLUSH, None if not by end."""
    now = start
    while now <= end:
        activity = int(min(now, writes_until) * 1000)
        step = policy.step(Observation(now, dirty=True, activity=activity, estimate=estimate))
        if step.action is Action.FLUSH:
            return now
        assert step.seconds is not None
        assert step.seconds > 0
        now += step.seconds
    return None


def test_a_clean_state_sleeps_until_woken(policy: FlushPolicy) -> None:
    """An idle process does not even look."""
    assert policy.step(Observation(5.0, dirty=False)) == Step(Action.SLEEP, None)


def test_writes_that_pause_are_saved_after_the_debounce(policy: FlushPolicy) -> None:
    """Two seconds after the last write, not after the first."""
    flushed = run(policy, 100.0, 120.0, writes_until=103.0)
    assert flushed == pytest.approx(105.0, abs=2 * POLL_INTERVAL)


def test_writes_that_go_on_are_saved_after_max_delay(policy: FlushPolicy) -> None:
    """A program that never pauses is saved too."""
    flushed = run(policy, 100.0, 200.0, writes_until=1000.0)
    assert flushed == pytest.approx(110.0, abs=POLL_INTERVAL)


def test_large_changes_are_saved_at_once(policy: FlushPolicy) -> None:
    """What has to fit into the last flush before a migration is bounded."""
    assert run(policy, 100.0, 200.0, estimate=MIB) == pytest.approx(102.0)
    policy.cut(102.0)
    assert run(policy, 103.0, 200.0, estimate=MIB + 1) == 103.0


def test_large_changes_take_at_most_half_of_the_time(policy: FlushPolicy) -> None:
    """A program that outruns its store is not stopped by saving."""
    for _ in range(2):
        policy.cut(100.0)
        policy.saved(0.0, 3.0, wrote=True)
    assert run(policy, 103.0, 200.0, estimate=MIB + 1) == pytest.approx(106.0)


def test_saving_keeps_to_its_share_of_the_time(policy: FlushPolicy) -> None:
    """Flushes that cost a second come no more often than every twenty."""
    for _ in range(2):
        policy.cut(100.0)
        policy.saved(0.0, 1.0, wrote=True)
    assert run(policy, 101.0, 200.0) == pytest.approx(120.0)


def test_the_first_flush_says_nothing_about_those_that_follow(policy: FlushPolicy) -> None:
    """It has everything to write: five seconds would mean a hundred of what a kill loses."""
    policy.cut(100.0)
    policy.saved(0.0, 5.0, wrote=True)
    assert run(policy, 105.0, 200.0) == pytest.approx(107.0, abs=2 * POLL_INTERVAL)


def test_saving_is_never_put_off_for_long(policy: FlushPolicy) -> None:
    """Half a minute after the end of the last is what a kill may cost; even so it may rest."""
    for cost in (5.0, 40.0):
        for _ in range(9):
            policy.cut(100.0)
            policy.saved(0.0, cost, wrote=True)
        begins = run(policy, 100.0 + cost, 300.0)
        assert begins == pytest.approx(130.0 + cost, abs=2 * POLL_INTERVAL)


def test_one_slow_answer_does_not_put_off_saving(policy: FlushPolicy) -> None:
    """The cost is a median: an outlier of a minute would otherwise mean twenty minutes."""
    for cost in (0.01, 0.01, 60.0):
        policy.cut(100.0)
        policy.saved(0.0, cost, wrote=True)
    assert run(policy, 101.0, 200.0) == pytest.approx(103.0)


def test_saving_keeps_to_its_share_over_any_run_of_costs(
    policy: FlushPolicy, rng: random.Random
) -> None:
    """With steady costs up to 1.4 s the share over a long time is the duty cycle at most."""
    cost = rng.uniform(0.001, 1.4)
    now, spent, began = 100.0, 0.0, 100.0
    for _ in range(50):
        flush = run(policy, now, now + 10_000)
        assert flush is not None
        policy.cut(flush)
        policy.saved(0.0, cost, wrote=True)
        now = flush + cost
        spent += cost
    # the last flush has not been rested from yet
    assert (spent - cost) / (now - began) <= SETTINGS.duty_cycle * 1.05


def test_what_changes_without_a_mark_is_polled_every_max_delay(policy: FlushPolicy) -> None:
    """Aliases that the user holds are compared although nothing is marked."""
    assert policy.step(Observation(100.0, dirty=False, polling=True)) == Step(Action.SLEEP, 10.0)
    assert policy.step(Observation(109.0, dirty=False, polling=True)) == Step(Action.SLEEP, 1.0)
    assert policy.step(Observation(110.0, dirty=False, polling=True)).action is Action.LOOK
    policy.looked(110.0, 0.0)
    assert policy.step(Observation(110.0, dirty=False, polling=True)) == Step(Action.SLEEP, 10.0)
    policy.cut(111.0)
    assert policy.step(Observation(112.0, dirty=False, polling=True)) == Step(Action.SLEEP, 10.0)


def looks(policy: FlushPolicy, start: float, end: float, *, cost: float = 0.0) -> list[float]:
    """Wait as the flush thread of an idle program does; return when it looks and finds nothing."""
    now, times = start, []
    while now < end:
        step = policy.step(Observation(now, dirty=False, polling=True))
        if step.action is Action.LOOK:
            times.append(now)
            policy.looked(now + cost, cost)
        else:
            assert step.seconds is not None
            now += step.seconds
    return times


def test_an_idle_program_looks_once_a_second_at_most() -> None:
    """However short `max_delay` is: the first looks come after that, further ones are rarer."""
    policy = FlushPolicy(SETTINGS.changed(max_delay=0.25))
    times = looks(policy, 100.0, 200.0)
    assert times[0] == 100.25
    assert len(times) < 105
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert pauses[0] == 0.25
    assert set(pauses[10:]) == {1.0}


@pytest.mark.parametrize("seconds", [0.25, 10.0])
def test_looks_come_every_max_delay_again_when_something_is_saved(seconds: float) -> None:
    """A program that goes on after a pause is saved as before the pause."""
    policy = FlushPolicy(SETTINGS.changed(max_delay=seconds))
    looks(policy, 100.0, 150.0)
    policy.cut(150.0)
    policy.saved(150.0, 0.0, wrote=True)
    assert looks(policy, 150.0, 162.0)[0] == 150.0 + seconds


def test_looks_are_not_rare_while_a_kill_is_expected() -> None:
    """What is not saved by then is lost."""
    policy = FlushPolicy(SETTINGS.changed(max_delay=0.25))
    looks(policy, 100.0, 150.0)
    policy.announce_kill(150.0, 60.0)
    assert len(looks(policy, 150.0, 160.0)) >= 39


def test_looks_keep_to_the_share_of_the_time() -> None:
    """At a hundred thousand objects a look may take 50 ms."""
    policy = FlushPolicy(SETTINGS.changed(max_delay=1.0))
    assert len(looks(policy, 100.0, 200.0, cost=0.5)) <= 11


def test_failures_are_retried_at_growing_intervals(policy: FlushPolicy) -> None:
    """A store that is down is not hammered, and is asked at least once a minute."""
    now, waits = 100.0, []
    for _ in range(12):
        flush = run(policy, now, now + 1000)
        assert flush is not None
        waits.append(flush - now)
        policy.cut(flush)
        policy.failed(flush)
        now = flush
    assert waits[-1] > 20
    assert max(waits) <= 60.0 + POLL_INTERVAL


def test_a_failed_flush_leaves_its_changes_as_old_as_they_were(policy: FlushPolicy) -> None:
    """Staleness counts from the first unsaved write, through any number of failures."""
    flush = run(policy, 100.0, 200.0)
    assert flush is not None
    policy.cut(flush)
    policy.failed(flush + 5)
    assert policy.staleness(flush + 5) == pytest.approx(flush + 5 - 100.0)


def test_what_is_under_way_is_unsaved_until_it_is_durable(policy: FlushPolicy) -> None:
    """A store that does not answer shows; what is written meanwhile is younger."""
    flush = run(policy, 100.0, 200.0)
    assert flush is not None
    policy.cut(flush)
    assert policy.staleness(flush + 5) == pytest.approx(flush + 5 - 100.0)
    policy.step(Observation(flush + 6, dirty=True, activity=1))
    policy.saved(0.0, 0.0, wrote=True)
    assert policy.staleness(flush + 7) == pytest.approx(1.0)


def test_a_capture_without_an_announcement_is_unsaved_from_its_cut_on(policy: FlushPolicy) -> None:
    """What was found by comparing may be older, which nobody can know."""
    policy.cut(100.0)
    assert policy.staleness(103.0) == 0
    policy.writing(0.0, at_least=0.0)
    assert policy.staleness(103.0) == 3.0
    policy.saved(0.0, 0.0, wrote=True)
    assert policy.staleness(103.0) == 0


def test_success_ends_the_backoff(policy: FlushPolicy) -> None:
    """One good flush and the normal delays hold again."""
    for _ in range(5):
        policy.failed(100.0)
    policy.cut(101.0)
    policy.saved(0.0, 0.0, wrote=True)
    assert policy.failures == 0
    assert run(policy, 101.0, 200.0) == pytest.approx(103.0)


def test_migrating_makes_saves_urgent(policy: FlushPolicy) -> None:
    """From then on changes are saved within the migrating debounce, writes going on or not."""
    policy.announce_kill(100.0, 40.0)
    assert run(policy, 100.0, 200.0, writes_until=1000.0) == pytest.approx(100.5)
    for _ in range(2):
        policy.cut(100.5)
        policy.saved(0.0, 1.0, wrote=True)
    assert run(policy, 101.0, 200.0, writes_until=1000.0) == pytest.approx(102.5)


def test_migrating_ends_a_backoff(policy: FlushPolicy) -> None:
    """What failed a moment ago is tried again while there is time."""
    policy.noticed(90.0)
    for _ in range(8):
        policy.failed(100.0)
    policy.announce_kill(100.0, 40.0)
    assert run(policy, 100.0, 200.0) == pytest.approx(100.0)
    policy.failed(100.0)
    assert run(policy, 100.0, 200.0) == pytest.approx(101.0, abs=0.51)


def end_of_flush(policy: FlushPolicy, now: float) -> float:
    """When a flush that begins now must have ended."""
    deadline = Deadline(policy.deadline(now), lambda: now)
    deadline.sooner = policy.kill_at
    return now + deadline.left()


def test_a_flush_ends_before_the_announced_kill(policy: FlushPolicy) -> None:
    """`time_remaining` less a margin bounds it; without one, a few seconds are assumed."""
    assert end_of_flush(policy, 100.0) == 130.0
    policy.announce_kill(100.0, 5.0)
    assert end_of_flush(policy, 100.0) == 104.5
    policy.announce_kill(100.0, None)
    assert end_of_flush(policy, 100.0) < 105.0
    policy.announce_kill(100.0, 1000.0)
    assert end_of_flush(policy, 100.0) == 130.0


def test_saving_goes_on_after_an_announced_kill_that_is_late(policy: FlushPolicy) -> None:
    """Past the deadline flushes have their normal time again, and hurry goes on."""
    policy.announce_kill(100.0, 5.0)
    assert end_of_flush(policy, 106.0) == 136.0
    assert policy.kill_announced(106.0)


def test_a_recalled_kill_leaves_the_one_before(policy: FlushPolicy) -> None:
    """Without another one urgency ends."""
    policy.announce_kill(100.0, 60.0)
    policy.announce_kill(101.0, 5.0)
    policy.recall_kill()
    assert policy.kill_at == 159.0
    policy = FlushPolicy(policy.settings)
    policy.announce_kill(100.0, 5.0)
    policy.recall_kill()
    assert not policy.kill_announced(101.0)
    assert end_of_flush(policy, 101.0) == 131.0


def test_urgency_ends_when_no_kill_comes(policy: FlushPolicy) -> None:
    """On a metered store an eternal hurry would cost money every half second."""
    policy.announce_kill(100.0, 5.0)
    assert not policy.kill_announced(105.0 + KILL_OVERDUE)
    assert run(policy, 1000.0, 1100.0) == pytest.approx(1002.0)


def test_every_commit_is_checked_within_the_interval(policy: FlushPolicy) -> None:
    """Also when the program falls idle right after it."""
    policy.saved(100.0, 0.0, wrote=True, conditional=False)
    policy.saved(150.0, 0.0, wrote=True, conditional=False)
    assert policy.step(Observation(150.0, dirty=False)) == Step(Action.SLEEP, 10.0)
    assert policy.step(Observation(160.0, dirty=False)).action is Action.CHECK_OWNER
    policy.checked()
    assert policy.step(Observation(161.0, dirty=False)) == Step(Action.SLEEP, None)


def test_a_check_that_failed_is_repeated(policy: FlushPolicy) -> None:
    """But not at once."""
    policy.saved(100.0, 0.0, wrote=True, conditional=False)
    policy.check_failed(160.0)
    assert policy.step(Observation(160.0, dirty=False)) == Step(Action.SLEEP, 10.0)


def test_a_debounce_of_zero_flushes_at_the_first_observation() -> None:
    """The most eager setting there is."""
    policy = FlushPolicy(SETTINGS.changed(debounce=0))
    assert policy.step(Observation(5.0, dirty=True)).action is Action.FLUSH


def test_new_settings_hold_from_the_next_observation(policy: FlushPolicy) -> None:
    """They may be replaced while something is unsaved."""
    assert policy.step(Observation(100.0, dirty=True)).action is Action.SLEEP
    policy.settings = SETTINGS.changed(debounce=0.05)
    assert policy.step(Observation(100.1, dirty=True)).action is Action.FLUSH
