"""One crawl under supervision: its containers, their ends, and what was seen of it all."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autostate.testing import LocalPlatform, Run
from examples.crawl.progress import Progress, Written

ROOT = Path(__file__).parent.parent.parent
CRAWLED = re.compile(r"\bcrawled (\S+)$")
POLL = 0.02
"""Seconds between two looks at a container."""


@dataclass(frozen=True)
class Moment:
    """When a container ends.

    Attributes:
        pages: So many pages after its start,
        delay: and so many seconds after that,
        most: but after so many pages at the latest, however fast the crawl is.
        notice: Seconds between a `migrating` event and the kill; None: no notice.
    """

    pages: int
    delay: float
    most: int
    notice: float | None = None


class Job:
    """A crawl on the local platform that is ended and started again.

    Args:
        title: What it is called.
        module: What to run.
        platform: Where to run it.
        start: The first page.
        env: Environment variables for the containers.
        show: Called many times a second while something may have changed.
        note: Called with a line about what happened.
    """

    def __init__(
        self,
        title: str,
        module: str,
        platform: LocalPlatform,
        *,
        start: str,
        env: Mapping[str, str],
        show: Callable[[Progress], None],
        note: Callable[[str], None],
    ) -> None:
        self.progress = Progress(title)
        self._platform, self._show, self._note = platform, show, note
        self._began = time.monotonic()
        command = [sys.executable, "-m", module]
        self.run: Run = platform.start_run(command, cwd=ROOT, env=env, input={"start": start})
        self._begin_container()

    def go(self, moments: Sequence[Moment]) -> Progress:
        """Let the crawl end as often as asked for, and then run to its end.

        Args:
            moments: When the containers end, one after another.

        Raises:
            RuntimeError: The Actor failed by itself.
        """
        for moment in moments:
            if not self._lives_through(moment):
                break
            self._kill(moment)
        self._lives_until(lambda: False)
        self._finish()
        return self.progress

    def _lives_through(self, moment: Moment) -> bool:
        """Wait for the moment of the kill; False if the Actor ended before."""
        alive = self._lives_until(lambda: self._pages >= moment.pages)
        alive = alive and self._lives_for(moment.delay, moment.most)
        if not alive or moment.notice is None:
            return alive
        self.progress.state = "migrating"
        self._note(f"{self._where()}: told to migrate within {moment.notice:.1f} s")
        self.run.send("migrating", {"timeRemainingSecs": moment.notice})
        return self._lives_for(moment.notice, moment.most)

    def _kill(self, moment: Moment) -> None:
        self.run.kill()
        self._observe()
        how = "killed" if moment.notice is None else "migrated"
        stale = self.progress.staleness(time.monotonic())
        self._note(f"{self._where()}: {how} after {self._pages} pages, {stale:.2f} s unsaved")
        self.progress.killed()
        self.run.start_next_container()
        self._begin_container()

    def _begin_container(self) -> None:
        self._read = 0
        self._pages = 0
        self.progress.containers += 1
        self.progress.state = "starting"

    def _finish(self) -> None:
        code = self.run.wait()
        self._observe()
        self.progress.seconds = time.monotonic() - self._began
        self.progress.state = "done" if code == 0 else "failed"
        self._show(self.progress)
        if code != 0:
            raise RuntimeError(f"{self._where()} ended with {code}:\n{self.run.output[-3000:]}")
        self._note(f"{self._where()}: done after {self.progress.seconds:.1f} s in all")

    def _lives_for(self, seconds: float, pages: int) -> bool:
        end = time.monotonic() + seconds
        return self._lives_until(lambda: time.monotonic() >= end or self._pages >= pages)

    def _lives_until(self, reached: Callable[[], bool]) -> bool:
        """Watch until something is reached; False if the container ended before."""
        while self.run.container.alive:
            self._observe()
            if reached():
                return True
            self._show(self.progress)
            time.sleep(POLL)
        return False

    def _observe(self) -> None:
        """Read what the container has printed since the last look, and what was uploaded."""
        text = self.run.container.output
        lines = text[self._read : text.rfind("\n") + 1]
        self._read += len(lines)
        for line in lines.splitlines():
            if line.startswith("@"):
                flushed = json.loads(line[1:])
                self.progress.flushed(flushed["writes"], flushed["bytes"])
            elif found := CRAWLED.search(line):
                self.progress.state = self.progress.state.replace("starting", "crawling")
                self._pages += 1
                self.progress.page(found[1], time.monotonic())
        path = f"*/key-value-stores/{self.run.store.id}/records/*"
        uploads = [call for call in self._platform.traffic.calls_to("PUT", path) if call.applied]
        self.progress.uploaded(Written(len(uploads), sum(call.bytes for call in uploads)))

    def _where(self) -> str:
        return f"{self.progress.title}, container {self.progress.containers}"
