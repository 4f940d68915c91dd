"""Records: JSON objects that prove that they are whole.

    {"autostate":2,"record":"head","epoch":3,"sequence":7,"previous":"9f…","length":42,
     "digest":"c4…","body":{…}}

(in one line). The digest is blake2b-128 over the record's key and every other byte of the record.
It finds any changed byte, and a record that lies under another key; SQLite alone misses a third of
the changed bytes. A record is readable in a console. The fields up to the digest keep their form in
all future versions, so that "newer than this program" can be told from "damaged".

The body of a segment is an array with one change per line. A line is decoded on its own: one C
call over a megabyte would hold the GIL, and with it every thread, for that long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from autostate import memory, steps
from autostate.digest import blake2b
from autostate.errors import CorruptStateError
from autostate.stores.base import FORMAT
from autostate.stores.envelope import Unverified, without_key

OVERHEAD = 256  # bytes that a header and the brackets of a body take, at most

_HEADER = (
    rb'\{"autostate":([0-9]{1,18}),"record":"([a-z]+)","epoch":([0-9]{1,18}),"sequence":([0-9]{1,18}),'
    rb'"previous":"([0-9a-f]*)","length":([0-9]{1,18}),"digest":"([0-9a-f]{32})","body":'
)
_COMMA = ord(",")
PIECE = b'{"piece":'
"""The beginning of a line that is a piece of a longer one."""


class DamagedRecordError(CorruptStateError):
    """A record that cannot be read, with the data that is needed to keep a copy.

    Args:
        key: The record's key.
        problem: The reason why it cannot be read.
        data: Its bytes; None: it is missing.
        intact: Whether the record is not damaged: another version of autostate, another process, or
            a program with the key can read it.
        advice: The steps that the user can take.
        previous: Whether there is an earlier state to go back to.
        store: The URL of the store, if the message names it.
    """

    def __init__(
        self,
        key: str,
        problem: str,
        data: bytes | None,
        *,
        intact: bool = False,
        advice: str = "Nothing was touched",
        previous: bool = False,
        store: str = "",
    ) -> None:
        where = f"{store}: " if store else ""
        super().__init__(f"{where}the record {key} {problem}. {advice}")
        self.key = key
        self.problem = problem
        self.data = data
        self.intact = intact
        self.advice = advice
        self.previous = previous


class Record(NamedTuple):
    """An opened record."""

    kind: str
    epoch: int
    sequence: int
    digest: str
    body: bytes


def seal(
    key: str, kind: str, place: tuple[int, int], previous: str, body: bytes
) -> tuple[bytes, str]:
    """Make a record.

    Args:
        key: The key under which it will lie.
        kind: "head" or "segment", for example.
        place: Its epoch and its sequence number.
        previous: The digest of its predecessor.
        body: JSON.

    Returns:
        The record, and its digest.
    """
    epoch, sequence = place
    start = (
        f'{{"autostate":{FORMAT},"record":"{kind}","epoch":{epoch},"sequence":{sequence},'
        f'"previous":"{previous}","length":{len(body)},"digest":"'
    ).encode()
    rest = b"".join((b'","body":', body, b"}"))
    digest = _digest(key, start, rest)
    return b"".join((start, digest.encode(), rest)), digest


def open_record(key: str, data: bytes | None, kind: str) -> Record:
    """Check a record and take it apart.

    Raises:
        DamagedRecordError: The record is missing, damaged, or of a newer version.
    """
    if data is None:
        raise DamagedRecordError(key, "is missing", None)
    header = None if isinstance(data, Unverified) else re.match(_HEADER, data)
    if header is None:
        raise _unopened(key, data)
    version, found, epoch, sequence, _, length, digest = header.groups()
    if len(data) != header.end() + int(length) + 1:
        raise DamagedRecordError(key, "is cut short or has grown", data)
    view = memoryview(data)
    if _digest(key, view[: header.start(7)], view[header.end(7) :]) != digest.decode():
        raise DamagedRecordError(
            key, "is damaged, or belongs under another key: its digest does not fit", data
        )
    if int(version) != FORMAT:
        raise _of_another_version(key, data, is_older=int(version) < FORMAT)
    if found.decode() != kind:
        raise DamagedRecordError(key, f"is a {found.decode()} where a {kind} belongs", data)
    return Record(kind, int(epoch), int(sequence), digest.decode(), data[header.end() : -1])


def _unopened(key: str, data: bytes) -> DamagedRecordError:
    """Make the error for data that do not begin like a record, or that cannot be trusted."""
    marked = data if isinstance(data, Unverified) else without_key(data)
    if marked is None:
        return DamagedRecordError(key, "does not begin like a record of autostate", data)
    advice = f"{marked.advice}. Nothing was touched" if marked.advice else "Nothing was touched"
    return DamagedRecordError(key, marked.problem, data, intact=marked.intact, advice=advice)


def _of_another_version(key: str, data: bytes, *, is_older: bool) -> DamagedRecordError:
    return DamagedRecordError(
        key,
        f"was written by {'an older' if is_older else 'a newer'} version of autostate",
        data,
        intact=True,
        advice="Nothing was touched: use that version"
        + (f"; or, to begin anew, {steps.delete()}" if is_older else ""),
    )


def segment_body(lines: Iterable[bytes]) -> bytes:
    """Make the body of a segment: an array, one line for each change."""
    return b"[\n" + b",\n".join(lines) + b"\n]"


def views(segment: bytes, lines: list[bytes]) -> list[bytes]:
    """Return the lines of a segment as views of its record: they are equal to the lines."""
    view, at = memoryview(segment), segment.index(b'"body":[') + len(b'"body":[') + 1
    found: list[Any] = []  # a view does what is done with a change
    for line in lines:
        found.append(view[at : at + len(line)])
        at += len(line) + 2
    return found


def segment_lines(body: bytes) -> Iterator[bytes]:
    """Take the body of a segment apart; JSON has no raw newlines but those between lines."""
    # One copy of each line. Searching for one byte takes a fifth of the time of searching for two.
    at, stop = 2, len(body) - 2
    while at < stop:
        end = body.find(b"\n", at, stop)
        end = stop if end < 0 else end
        yield body[at : end - 1 if body[end - 1] == _COMMA else end]
        at = end + 1


def parts(lines: Iterable[bytes], limit: int) -> Iterator[list[bytes]]:
    """Group lines into records of at most `limit` bytes; a longer line is cut into pieces."""
    space = limit - OVERHEAD
    group: list[bytes] = []
    size = 0
    for line in lines:
        for piece in (line,) if len(line) < space else _pieces(line, space):
            size += len(piece) + 2
            if size > space and group:
                yield group
                group, size = [], len(piece) + 2
            group.append(piece)
    if group:
        yield group


class _Piece(msgspec.Struct):
    piece: str
    end: bool


def whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join the pieces of lines that were cut, and yield other lines unchanged."""
    held = bytearray()
    cut = False
    for line in lines:
        if not line.startswith(PIECE):
            yield line
            continue
        memory.ask_for(len(line))
        piece = msgspec.json.decode(line, type=_Piece)
        held += piece.piece.encode()
        cut = not piece.end
        if piece.end:
            joined = bytes(held)
            held = bytearray()
            yield joined
    if cut:
        raise CorruptStateError("a change breaks off in the middle")


def _pieces(line: bytes, size: int) -> Iterator[bytes]:
    """Cut one line into JSON strings; a byte of the line takes at most two bytes there.

    The line is valid JSON without newlines, so that only quotes and backslashes have to be escaped.
    """
    step = max((size - 64) // 2, 4)
    at = 0
    while at < len(line):
        end = min(at + step, len(line))
        while end < len(line) and line[end] & 0xC0 == 0x80:
            end -= 1  # not in the midst of a character
        yield memory.encode({"piece": line[at:end].decode(), "end": end == len(line)})
        at = end


def _digest(key: str, *parts: bytes | memoryview) -> str:
    state = blake2b(key.encode() + b"\0", digest_size=16)
    for part in parts:
        state.update(part)
    return state.hexdigest()
