"""Kills at random moments, the same ones for the same seed."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from autostate.testing.run import Run

_STEP: Final = 0.01


class RandomKills:
    """Kills the containers of a run, and starts the next ones, until the Actor ends by itself.

    The seed chooses how long each container lives. How far the Actor gets in that time depends on
    the machine.

    Args:
        run: The run.
        seed: Chooses the moments.
        kills: The most kills.
        between: The shortest and the longest life of a container, in seconds, from the moment when
            it has printed something.
        migrations: The share of the kills that a `migrating` event announces.
        notice: The shortest and the longest notice, in seconds.
    """

    def __init__(
        self,
        run: Run,
        *,
        seed: int,
        kills: int,
        between: tuple[float, float],
        migrations: float,
        notice: tuple[float, float],
    ) -> None:
        self._run = run
        self._random = random.Random(seed)
        self._kills = kills
        self._between = between
        self._migrations = migrations
        self._notice = notice
        self.done: int = 0

    def carry_out(self, timeout: float) -> int:
        """Kill, then wait for the end; give the exit code.

        Raises:
            TimeoutError: The Actor did not end in time.
        """
        end = time.monotonic() + timeout
        while self.done < self._kills:
            life = self._random.uniform(*self._between)
            announced = self._random.random() < self._migrations
            notice = self._random.uniform(*self._notice)
            if self._lives_on(life):
                break
            self._end_container(notice if announced else None)
            self.done += 1
        return self._run.wait(max(0.0, end - time.monotonic()))

    def _lives_on(self, life: float) -> bool:
        """Let the container live; tell whether it ended by itself before its time."""
        container = self._run.container
        while container.alive and not container.output:
            time.sleep(_STEP)
        return container.ended_within(life) and not container.killed

    def _end_container(self, notice: float | None) -> None:
        if notice is None or not self._run.is_connected:
            self._run.kill()
            self._run.start_next_container()
        else:
            self._run.migrate(notice)
