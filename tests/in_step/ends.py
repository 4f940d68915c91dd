"""The ends of the containers of one run, of every kind, at moments that a seed chooses."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import Final

from autostate.testing import Container, Run

KINDS: Final = ("killed", "killed", "migrated", "aborted", "rebooted")
REBOOT: Final = 30.0
"""Seconds after which a container that does not reboot is killed."""


class Ends:
    """Ends the containers of a run, and starts the next ones.

    Args:
        run: The run.
        rng: Chooses moments and kinds.
        pages: The number of pages.
        most: A container gets at most so many pages done before its end, but for the last one.
        notice: The shortest and the longest notice of a migration and of an abort, in seconds.

    Attributes:
        kinds: How many ends there were of each kind.
    """

    def __init__(
        self, run: Run, rng: random.Random, pages: int, most: int, notice: tuple[float, float]
    ) -> None:
        self.kinds: Counter[str] = Counter()
        self._run = run
        self._rng = rng
        self._all = pages
        self._most = most
        self._notice = notice

    def carry_out(self, count: int, timeout: float = 600.0) -> int:
        """End containers, then wait for the end of the run; give the exit code."""
        for number in range(count):
            container = self._run.container
            lives = self._lives if number < count - 1 else self._lives_long
            if not lives(container):
                break
            self._end(container, self._rng.choice(KINDS), self._rng.uniform(*self._notice))
        return self._run.wait(timeout)

    def _lives(self, container: Container) -> bool:
        """Let a container live for a random while; tell whether it has not ended by itself.

        One in five ends at any moment after its start, the others after some pages.
        """
        pages, while_ = self._rng.randint(1, self._most), self._rng.uniform(0.0, 2.0)
        if self._rng.random() < 0.2:
            return not container.ended_within(while_)
        try:
            container.wait_for_output("PAGE", count=pages)
        except TimeoutError:
            if not container.alive:
                return False
        return not container.ended_within(while_ / 10)

    def _lives_long(self, container: Container) -> bool:
        """Let a container live until most of the work has arrived, and a little longer.

        It ends while the last items, charges and marks are under way, or leaves the Actor.
        """
        share = self._rng.uniform(0.5, 1.0) * self._all
        while max(len(self._run.dataset.items), self._run.queue.handled) < share:
            if container.ended_within(0.02):
                return False
        return not container.ended_within(self._rng.uniform(0.0, 1.0))

    def _end(self, container: Container, kind: str, notice: float) -> None:
        if kind != "killed" and not (self._run.is_connected and "PAGE" in container.output):
            kind = "killed"  # it hears nothing
        try:
            getattr(self, f"_{kind}")(container, notice)
        except TimeoutError:  # it has ended meanwhile
            if container.alive:
                raise
            return
        if self._run.container is not container:
            self.kinds[kind] += 1

    def _killed(self, _: Container, __: float) -> None:
        self._run.kill()
        self._run.start_next_container()

    def _migrated(self, _: Container, notice: float) -> None:
        self._run.migrate(notice)

    def _aborted(self, _: Container, notice: float) -> None:
        """Abort gracefully, then resurrect, also if the crawl was stopped within the notice."""
        self._run.abort(gracefully=True, notice=notice)
        if self._run.status == "ABORTED":
            self._run.resurrect()

    def _rebooted(self, container: Container, _: float) -> None:
        """Let the Actor ask for it."""
        container.signal(signal.SIGUSR1)
        end = time.monotonic() + REBOOT
        while self._run.container is container and not container.ended_within(0.02):
            if time.monotonic() > end:
                self._killed(container, 0.0)
        end = time.monotonic() + REBOOT
        while container.killed and self._run.container is container and time.monotonic() < end:
            time.sleep(0.01)  # the next one is about to be started
