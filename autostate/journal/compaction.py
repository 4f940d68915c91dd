"""Compaction: which records to write again so that the journal stays short.

A *full* compaction replaces snapshot and commits by a new snapshot when the commits are larger than
the snapshot: each byte is then rewritten about once. This rule alone would rewrite a large state
with many small commits far too often. So if only the number of commits is too large, the newest
commits are *folded*: written one after another into fewer records, without being decoded. Like the
merges of an LSM tree, folding writes each byte a logarithmic number of times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from autostate.journal.commit import RawReplay, references
from autostate.journal.head import Head, Ref

FLOOR = 65_536  # bytes of commits below which a full compaction is not worth its cost
COMMITS = 32  # references in the head to commits, at most: each commit writes them again
COMMITS_METERED = 64  # the same where records are paid for
_CHEAP = 2  # full, not folded, while the snapshot is at most this many times the commits
_FOLDED = 8  # the smallest number of commits to fold


def _size(refs: tuple[Ref, ...]) -> int:
    return sum(ref.size for ref in refs)


def due(head: Head, *, metered: bool) -> bool:
    """Tell whether the commits since the snapshot are larger than it, or too many."""
    commits = _size(head.commits)
    limit = COMMITS_METERED if metered else COMMITS
    return len(head.commits) >= limit or commits > max(FLOOR, _size(head.snapshot))


def fold_from(head: Head) -> int | None:
    """Return the index of the first commit to fold with all later ones; None: compact in full."""
    commits, snapshot = _size(head.commits), _size(head.snapshot)
    if snapshot <= max(FLOOR, _CHEAP * commits):
        return None
    first, total = len(head.commits), 0
    while first and (len(head.commits) - first < _FOLDED or head.commits[first - 1].size <= total):
        first -= 1
        total += head.commits[first].size
    return first


class Reachable:
    """The changes, as lines, of all nodes that roots reach.

    Args:
        replay: The state.
        late: References from changes that the replay does not hold. More may be added while the
            lines are made, because commits continue during a compaction.
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
    """Yield lines until they exceed `limit` bytes; the others stay in the iterator."""
    size = 0
    while size <= limit and (line := next(lines, None)) is not None:
        size += len(line)
        yield line
