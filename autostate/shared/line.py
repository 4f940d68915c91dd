"""A lineage: what a writer has contributed in one generation, as one record.

    {"autostate":2,"record":"line",…,"body":{"number":17,"objects":{"hits":["counter",{"page":3}]}}}

Its key is `0-GENERATION-WRITER-EPOCH-TRY`. Lineages sort before the records of the base, so that a
listing in several pages has them first.

A PUT whose outcome is unknown may arrive late, and would overwrite a later one under the same key.
So after it the writer takes another key, with the next TRY. Of the keys of a writer in a generation
the largest (EPOCH, TRY) counts; the others hold less. The first TRY tells when the writer has
begun, so that a listing tells which writers may be past. The EPOCH is that of the state from which
the writer publishes, so that a process that was replaced counts no longer.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from autostate.errors import CorruptStateError
from autostate.journal.record import open_record, seal
from autostate.shared.kinds import Entries

LINES: Final = "0-"
_FIRST: Final = 1_577_836_800
"""The beginning of 2020, in seconds since 1970."""
_TRIES: Final = 1_000
_KEY: Final = re.compile(r"0-([0-9]{8,})-([0-9a-z]{1,32})-([0-9]{8,})-([0-9]{4,})")


class LineKey(NamedTuple):
    """The key of a lineage.

    Attributes:
        generation: The generation; the first is 1.
        writer: The name of the writer.
        epoch: Which incarnation of the writer wrote it.
        attempt: Raised after an unknown outcome, from `first_attempt` on.
    """

    generation: int
    writer: str
    epoch: int
    attempt: int

    @property
    def began(self) -> int:
        """The time of day at which the writer has begun, by its own clock."""
        return _FIRST + self.attempt // _TRIES

    @property
    def text(self) -> str:
        """The key of the record."""
        return f"{LINES}{self.generation:08}-{self.writer}-{self.epoch:08}-{self.attempt:04}"


def first_attempt(now: float) -> int:
    """Give the first attempt of a writer that begins at a time of day."""
    return max(int(now) - _FIRST, 0) * _TRIES


class Line(Struct):
    """The content of a lineage.

    Attributes:
        number: The number of the latest change in it.
        objects: Kind and entries of each object, by its name.
        lasts: Whether the name of the writer outlasts its process.
    """

    number: int = 0
    objects: dict[str, tuple[str, Entries]] = msgspec.field(default_factory=dict)
    lasts: bool = False


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def parse_key(text: str) -> LineKey | None:
    """Read the key of a lineage; None: it is none."""
    found = _KEY.fullmatch(text)
    return found and LineKey(int(found[1]), found[2], int(found[3]), int(found[4]))


def newest(keys: Any) -> dict[tuple[int, str], LineKey]:
    """Find the keys that count: of each writer in each generation the last."""
    found: dict[tuple[int, str], LineKey] = {}
    for key in filter(None, map(parse_key, keys)):
        known = found.get((key.generation, key.writer))
        if known is None or (key.epoch, key.attempt) > (known.epoch, known.attempt):
            found[key.generation, key.writer] = key
    return found


def sealed(key: LineKey, line: Line) -> bytes:
    """Make the record of a lineage."""
    return seal(key.text, "line", (key.epoch, line.number), "", _encode(line))[0]


def opened(key: LineKey, data: bytes) -> Line:
    """Read the record of a lineage.

    Raises:
        CorruptStateError: The record is damaged.
    """
    record = open_record(key.text, data, "line")
    try:
        return _decode(record.body)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"the record {key.text} does not read: {error}") from None
