"""Kills at random moments, the same ones for the same seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from autostate.testing.container import Container
    from autostate.testing.run import Run

_STEP: Final = 0.01


class RandomKills:
    """Kills the containers of a run, and starts the next ones, until the Actor or the run ends.

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
        progress: Tells how far the Actor is: the life of a container is counted from the moment
            when this has changed.
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
        progress: Callable[[], object] | None = None,
    ) -> None:
        self._run = run
        self._random = random.Random(seed)
        # With a chance for each kill, a test of a few kills would often see no migration.
        announced = int(kills * migrations + self._random.random())
        self._announced = [at < announced for at in range(kills)]
        self._random.shuffle(self._announced)
        self._between = between
        self._notice = notice
        self._progress = progress

    def carry_out(self, timeout: float) -> int:
        """Kill, then wait for the end; give the exit code.

        Raises:
            TimeoutError: The Actor did not end in time.
            RuntimeError: The Actor has ended, without an error, before any kill.
        """
        end = time.monotonic() + timeout
        far = self._far()
        ends = 0
        for announced in self._announced:
            life = self._random.uniform(*self._between)
            notice = self._random.uniform(*self._notice)
            if self._ends_before(life, far, end) or not self._end_container(notice, announced):
                break
            far = self._far()  # of what the killed container has done, all has been counted
            ends += 1
        code = self._run.wait(max(0.0, end - time.monotonic()))
        if self._announced and not ends and self._run.status == "SUCCEEDED":
            raise RuntimeError(
                "no container was killed, so the test would show nothing: the Actor ended by "
                f"itself before the first kill, which came {self._between[0]:g} to "
                f"{self._between[1]:g} s after its first output or progress. Give it more work, or "
                "pass a shorter life, such as between=(0.05, 0.3)"
            )
        return code

    def _far(self) -> object:
        """Return how far the Actor is."""
        return None if self._progress is None else self._progress()

    def _ends_before(self, life: float, far: object, end: float) -> bool:
        """Let the container live; tell whether it has ended before its time."""
        run = self._run
        while True:
            container = run.container
            while (
                container.alive and not self._has_begun(container, far) and time.monotonic() < end
            ):
                time.sleep(_STEP)
            if not container.ended_within(life):
                return False
            while run.container is container and run.status == "RUNNING":  # it is being replaced
                time.sleep(_STEP)
                if time.monotonic() > end:
                    break
            if run.container is container:
                return True

    def _has_begun(self, container: Container, far: object) -> bool:
        """Tell whether the life of a container is counted."""
        return self._far() != far if self._progress is not None else bool(container.output)

    def _end_container(self, notice: float, announced: bool) -> bool:
        """End the container; tell whether the next one was started."""
        old = self._run.container
        if announced and self._run.is_connected:
            return self._run.migrate(notice) is not old
        return self._run.replace(old) is not old
