"""What is known of a job while it runs, and after."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Written(NamedTuple):
    """So many records, of so many bytes in all."""

    records: int
    bytes: int


class Progress:
    """The counts of one job, kept by its supervisor alone: the Actor reports no totals.

    Args:
        title: What the job is called.

    Attributes:
        crawled: How often each page was crawled to its end.
        containers: How many containers there have been.
        kills: How many of them were killed, with or without notice.
        forgotten: Pages crawled again although their result had been acknowledged as durable.
        seconds: How long it took in all.
        state: What the current container does.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.crawled: Counter[str] = Counter()
        self.containers = 0
        self.kills = 0
        self.forgotten: set[str] = set()
        self.seconds = 0.0
        self.state = "starting"
        self._flushes = 0
        self._flushed = Written(0, 0)
        self._uploaded = Written(0, 0)
        self._durable: set[str] = set()
        self._captured: set[str] = set()
        self._here: set[str] = set()
        self._unsaved_since: float | None = None

    @property
    def saves(self) -> int:
        """How often the state was saved: `Actor.use_state` writes one record at a time."""
        return self._flushes or self._uploaded.records

    @property
    def written(self) -> Written:
        """What was written; a platform knows better than the job itself."""
        return self._uploaded if self._uploaded.records else self._flushed

    @property
    def twice(self) -> int:
        """How often a page was crawled that had been crawled before."""
        return self.crawled.total() - len(self.crawled)

    def staleness(self, now: float) -> float:
        """Seconds since the oldest page that may not be saved yet."""
        return 0.0 if self._unsaved_since is None else now - self._unsaved_since

    def page(self, url: str, now: float) -> None:
        """Note that a page was crawled, and its facts are in the state."""
        if url in self._durable:
            self.forgotten.add(url)
        self.crawled[url] += 1
        self._here.add(url)
        self._unsaved_since = self._unsaved_since or now

    def flushed(self, records: int, size: int) -> None:
        """Note that autostate has acknowledged a save.

        Captures follow one another, so it holds at least what was there at the save before.
        """
        self._durable |= self._captured
        self._captured |= self._here
        self._unsaved_since = None
        self._flushes += 1
        self._flushed = Written(self._flushed.records + records, self._flushed.bytes + size)

    def uploaded(self, uploaded: Written) -> None:
        """Note what the platform has received so far."""
        if uploaded != self._uploaded and not self._flushes:
            self._unsaved_since = None  # use_state tells nobody when it saves
        self._uploaded = uploaded

    def killed(self) -> None:
        """Note a kill: what was not acknowledged may be gone, and is no longer waited for."""
        self.kills += 1
        self._captured.clear()
        self._here.clear()
        self._unsaved_since = None
