"""Compaction: what to write again so that the journal stays short.

A *full* compaction replaces snapshot and commits by a new snapshot, when the commits outweigh
it: each byte is then rewritten about once. A large state with many small commits would be
rewritten far too often by that, so when it is only their number that is too large, the newest
of them are *folded*: put one after another into fewer records, unread. Like the merges of an
LSM tree this writes each byte a logarithmic number of times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from autostate.journal.commit import RawReplay, references
from autostate.journal.head import Head, Ref

FLOOR = 65_536  # bytes of commits that are never worth a full compaction
COMMITS = 32  # references in the head to commits, at most: each commit writes them again
COMMITS_METERED = 64  # the same where records are paid for
_CHEAP = 2  # full instead of folded while the snapshot is at most so many times the commits
_FOLDED = 8  # so many commits are folded at the least


def _size(refs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in refs)


def due(head: Head, *, metered: bool) -> bool:
    """Whether the commits since the snapshot outweigh it, or are too many."""
    commits = _size(head.commits)
    limit = COMMITS_METERED if metered else COMMITS
    return len(head.commits) >= limit or commits > max(FLOOR, _size(head.snapshot))


def fold_from(head: Head) -> int | None:
    """Which commit is the first to be folded with those after it; None: compact in full."""
    commits, snapshot = _size(head.commits), _size(head.snapshot)
    if snapshot <= max(FLOOR, _CHEAP * commits):
        return None
    first, total = len(head.commits), 0
    while first and (len(head.commits) - first < _FOLDED or head.commits[first - 1].size <= total):
        first -= 1
        total += head.commits[first].size
    return first


class Reachable:
    """The lines of all nodes that the named roots reach.

    Args:
        replay: The state.
        late: References from changes that the replay does not hold. More may be added while the
            lines are made: commits go on during a compaction.
    """

    def __init__(self, replayed: RawReplay, late: set[int]) -> None:
        self._replayed = replayed
        self._late = late
        self._seen: set[int] = set()

    def lines(self, pause: Callable[[], None]) -> Iterator[bytes]:
        """Yield the lines, roots first; `pause` is called after each."""
        nodes = self._replayed.nodes
        todo = deque(key for key, node in nodes.items() if node.name is not None)
        while todo or self._late:
            if not todo:
                todo.extend(self._late)
                self._late.clear()
            node_id = todo.popleft()
            if node_id in self._seen or node_id not in nodes:
                continue
            self._seen.add(node_id)
            for line in self._replayed.lines(node_id):
                todo.extend(references(line) - self._seen)
                yield line
                pause()

    def walk(self) -> set[int]:
        """Go through all lines at once; return the nodes that were reached."""
        for _ in self.lines(pause=lambda: None):
            pass
        return self._seen

    @property
    def left_out(self) -> frozenset[int]:
        """The nodes that nothing reached."""
        return frozenset(self._replayed.nodes.keys() - self._seen)


def paused(lines: Iterable[bytes], pause: Callable[[], None]) -> Iterator[bytes]:
    """Pause after each line."""
    for line in lines:
        yield line
        pause()


def up_to(limit: int, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines until they are more than `limit` bytes; the rest stays in the iterator."""
    size = 0
    while size <= limit and (line := next(lines, None)) is not None:
        size += len(line)
        yield line
