"""One container of a run: a real process, its output, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired

from autostate import under_test

_FOREIGN = ("ACTOR_", "APIFY_", "CRAWLEE_")


def actor_environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without anything of Apify, and these layers above it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    if under_test.is_exported(env.get("AUTOSTATE_URL", "")):
        del env["AUTOSTATE_URL"]  # an Actor's store is that of its run
    for layer in layers:
        env.update(layer)
    return env


class Container:
    """A process that runs an Actor, in a session of its own.

    Attributes:
        process: The process.
        killed: Whether the platform (and not the Actor) ended it.
    """

    def __init__(self, cmd: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> None:
        self.killed: bool = False
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._read_all = False
        self.process: Popen[str] = Popen(  # noqa: S603
            list(cmd),
            env=dict(env),
            cwd=cwd,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="local-apify-output", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """What it has printed so far, on both streams."""
        with self._changed:
            return "".join(self._lines)

    def wait_for_output(self, text: str, *, count: int = 1, timeout: float = 60.0) -> str:
        """Wait until so many printed lines hold this text, and give the last of them."""

        def found() -> list[str]:
            return [line for line in self._lines if text in line]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._read_all, timeout)
            lines = found()
        if len(lines) < count:
            message = f"{text!r} was not printed {count} times. Output:\n{self.output}"
            raise TimeoutError(message)
        return lines[count - 1]

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end, and give the exit code."""
        try:
            code = self.process.wait(timeout)
        except TimeoutExpired:
            message = f"the Actor did not end in {timeout} s. Output:\n{self.output}"
            raise TimeoutError(message) from None
        self._reader.join()
        return code

    def ended_within(self, seconds: float) -> bool:
        """Give it some time to end by itself."""
        try:
            self.process.wait(seconds)
        except TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to all its processes, and wait until they are gone."""
        if self.alive:
            self.killed = True
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP and SIGCONT make a container that was only paused."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._read_all = True
            self._changed.notify_all()
