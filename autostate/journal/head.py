"""The head: the one record that names the current state; and the keys of records."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from autostate.depth import reads_deep
from autostate.journal.record import DamagedRecordError, Record, open_record

PREFIX = "autostate-"
HEADS = "autostate-head-"
SEGMENTS = "autostate-seg-"
CORRUPT = "autostate-corrupt-"
OWNER = "autostate-owner"
BELL = "autostate-bell"

_FIXED = {OWNER: "owner", BELL: "bell"}
_CLAIM = -1
_TAKEN = -2
_SUFFIXES = {_CLAIM: "-claim", _TAKEN: "-taken", 0: ""}
_ATTEMPTS = {"claim": _CLAIM, "taken": _TAKEN}
_NAME = (
    r"autostate-(?:head|seg)-([0-9]{8,18})-([0-9a-z]{1,64})"
    r"(?:-([0-9]{1,18}|claim|taken))?(?:-[0-9]{1,18})?"
)
LAST_EPOCH: Final = 10**15
"""No process reaches it: keys with a later epoch would not sort behind all others."""


class HeadKey(NamedTuple):
    """The name of a head. The greatest name in a store is that of the current head.

    Attributes:
        epoch: A number larger than all epochs that the incarnation saw when it began.
        token: A random name that decides between incarnations of the same epoch.
        attempt: The number of keys that the incarnation used before. -1 names its claim, and -2 the
            record of its takeover: these hold no state, and tell earlier incarnations about it.
    """

    epoch: int
    token: str
    attempt: int = 0

    @property
    def rank(self) -> tuple[int, str]:
        """The rank of the incarnation: the same for all its heads."""
        return self.epoch, self.token

    @property
    def text(self) -> str:
        """The key in the store."""
        suffix = _SUFFIXES.get(self.attempt, f"-{self.attempt}")
        return f"{HEADS}{self.epoch:08d}-{self.token}{suffix}"

    @property
    def claim(self) -> HeadKey:
        """The key under which the incarnation claims the state before its first head."""
        return self._replace(attempt=_CLAIM)

    @property
    def taken(self) -> HeadKey:
        """The key of the record that says, before the first head, that the claim has succeeded."""
        return self._replace(attempt=_TAKEN)

    @property
    def is_claim(self) -> bool:
        """Whether the record under this name holds no state."""
        return self.attempt < 0

    @property
    def is_proof(self) -> bool:
        """Whether the record proves that its writer had seen its claim in the store."""
        return self.attempt != _CLAIM


def parse_key(key: str) -> HeadKey | None:
    """Read the name of a head or (for its rank) of a segment; None for any other."""
    name = re.fullmatch(_NAME, key)
    if name is None:
        return None
    attempt = name[3] or "0"
    return HeadKey(int(name[1]), name[2], _ATTEMPTS.get(attempt) or int(attempt))


def kind_of(key: str) -> str:
    """Tell the kind of the record that lies under a key."""
    if key.startswith(SEGMENTS):
        return "segment"
    if key in _FIXED:
        return _FIXED[key]
    name = parse_key(key)
    return "claim" if name is not None and name.is_claim else "head"


class HeadPin(NamedTuple):
    """The current head, as the record of the owner names it.

    Attributes:
        key: Its key; None: there is no head yet.
        digest: Its digest.
    """

    key: str | None
    digest: str


class Ref(msgspec.Struct, frozen=True, array_like=True):
    """A reference to a segment, with the digest of the record."""

    name: str
    size: int
    digest: str

    @property
    def key(self) -> str:
        """The key in the store."""
        return SEGMENTS + self.name


Keep = tuple[float, int]
"""The history to keep: commits up to this age in seconds, and this many; (0, 0): none."""


class Log(msgspec.Struct, frozen=True, array_like=True):
    """What a head knows of the history of the state: see `history.py`.

    Attributes:
        seconds: The age up to which commits are kept; 0: age does not matter.
        commits: The number of commits that are kept; 0: the number does not matter.
        first: The number of the oldest commit that is kept.
        begun: The number of the first commit since the last compaction.
        number: The number of the last commit.
        past: The record of the newest chapter.
    """

    seconds: float
    commits: int
    first: int
    begun: int
    number: int
    past: tuple[Ref, ...] = ()


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a head: the state itself while it is small, then the segments that hold it.

    The state results from applying `nodes` or, if there are none, `snapshot`, `commits` and
    `changes`, one after another.

    Attributes:
        saved_at: When the last commit was made, in seconds since 1970.
        nodes: The small state: one change for each node.
        snapshot: Segments that hold the state as of the last compaction; none: it is in `nodes`.
        commits: Segments with the commits since, the oldest first.
        changes: The last changes, which are too few for a segment of their own.
        log: What is known of the history; None: none is kept.
    """

    saved_at: float | None = None
    nodes: tuple[msgspec.Raw, ...] = ()
    snapshot: tuple[Ref, ...] = ()
    commits: tuple[Ref, ...] = ()
    changes: tuple[msgspec.Raw, ...] = ()
    log: Log | None = None

    @property
    def refs(self) -> tuple[Ref, ...]:
        """All segments, in the order in which they are applied."""
        return self.snapshot + self.commits


_decode: Final = reads_deep(msgspec.json.Decoder(Head).decode)


def open_head(key: str, data: bytes | None, pin: HeadPin | None = None) -> tuple[Head, Record]:
    """Check and decode a head; return it and its record.

    Args:
        key: Its key.
        data: The bytes under that key.
        pin: The newest head according to the record of the owner, if that is known.

    Raises:
        DamagedRecordError: The record is missing, damaged, of a newer version, or another one than
            `pin` names.
    """
    record = open_record(key, data, "head")
    if pin is not None and pin.key == key and pin.digest != record.digest:
        raise DamagedRecordError(
            key, "is not the one that was written last: an older one was put back", data
        )
    try:
        return _decode(record.body), record
    except msgspec.MsgspecError as error:
        raise DamagedRecordError(key, f"does not read as a head ({error})", data) from error
