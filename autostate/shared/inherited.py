"""What the parent of a forked process had changed and not published.

The child shows it, as its parent did, and publishes none of it. It has the number of the parent's
publication that will have it; so the child leaves it out as soon as it reads that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from autostate.shared.kinds import Entries
from autostate.shared.line import Line, LineKey
from autostate.shared.shelf import Reading
from autostate.shared.writer import Pending, Writer

Published = Callable[[str, Reading], int]
"""Gives the number of the last change of a writer that a reading has."""


class Inherited:
    """Changes of a parent, by its writers.

    Args:
        published: See `Published`.
    """

    def __init__(self, published: Published) -> None:
        self._published = published
        self._pending: list[tuple[str, int, Pending]] = []

    def add(self, writer: Writer) -> None:
        """Take over what a writer of the parent has not published."""
        self._pending += [(writer.id, writer.generation, each) for each in writer.pending]

    def forget(self, name: str) -> None:
        """Show no changes of a writer any more: this process goes on with it."""
        self._pending = [each for each in self._pending if each[0] != name]

    def note(self, reading: Reading) -> None:
        """Forget what is published; also what it is too late to ask for."""
        self._pending = [
            (who, generation, pending)
            for who, generation, pending in self._pending
            if pending.number > self._published(who, reading)
            and generation >= reading.base.known_from
        ]

    def own(self, name: str) -> Iterator[Entries]:
        """Yield changes to an object."""
        for _, _, pending in self._pending:
            if name in pending.objects:
                yield pending.objects[name][1]


def with_lines(reading: Reading, writers: Iterable[Writer]) -> Reading:
    """Give a reading with what writers know to be published, which may be later than it."""
    lines = dict(reading.lines)
    for writer in writers:
        if writer.line:
            at = writer.generation, writer.id
            lines = {key: line for key, line in lines.items() if key[:2] != at}
            lines[LineKey(*at, 0, 0)] = Line(writer.acknowledged, writer.line)
    return reading._replace(lines=lines)
