from __future__ import annotations

import json
import random

import msgspec
import pytest
from hypothesis import given, strategies as st

from autostate.errors import CorruptStateError
from autostate.journal.record import (
    OVERHEAD,
    DamagedRecordError,
    open_record,
    parts,
    seal,
    segment_body,
    segment_lines,
    whole,
)

KEY = "key"
BODY = b'{"saved_at":1.5,"nodes":[{"id":1,"kind":"dict","name":"a","assign":{"page":3}}]}'
# A change has no field "piece": four letters are enough for every other.
LINES = st.lists(
    st.dictionaries(st.text(max_size=4), st.text() | st.integers(), min_size=1).map(
        msgspec.json.encode
    ),
    min_size=1,
)


def test_a_record_opens_to_what_was_sealed() -> None:
    """Kind, epoch, sequence and body come back; the digest is the one that seal gave."""
    data, digest = seal(KEY, "head", (3, 7), "ab" * 16, BODY)
    record = open_record(KEY, data, "head")
    assert record == ("head", 3, 7, digest, BODY)


def test_a_record_is_one_json_object() -> None:
    """A console shows a record as JSON, header first."""
    data, digest = seal(KEY, "head", (3, 7), "", BODY)
    fields = json.loads(data)
    assert list(fields) == [
        *("autostate", "record", "epoch", "sequence", "previous", "length", "digest", "body")
    ]
    assert fields["autostate"] == 2
    assert fields["length"] == len(BODY)
    assert fields["digest"] == digest


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x20, 0x80, 0xFF])
def test_any_changed_byte_is_found(mask: int) -> None:
    """Whichever byte of a record changes, opening it is an error that names the record."""
    data, _ = seal(KEY, "head", (3, 7), "ab" * 16, BODY)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= mask
        with pytest.raises(DamagedRecordError, match=KEY) as info:
            open_record(KEY, bytes(changed), "head")
        assert info.value.data == bytes(changed)
        assert not info.value.intact


def test_a_cut_or_grown_record_is_found() -> None:
    """Whatever is missing at the end, or too much, is found."""
    data, _ = seal(KEY, "head", (3, 7), "", BODY)
    for end in range(len(data)):
        with pytest.raises(DamagedRecordError):
            open_record(KEY, data[:end], "head")
    with pytest.raises(DamagedRecordError, match="grown"):
        open_record(KEY, data + b" ", "head")


def test_exchanged_bytes_are_found(rng: random.Random) -> None:
    """Bytes that change places are found."""
    data, _ = seal(KEY, "head", (3, 7), "", BODY)
    for _ in range(300):
        one, other = sorted(rng.sample(range(len(data)), 2))
        if data[one] == data[other]:
            continue
        changed = bytearray(data)
        changed[one], changed[other] = changed[other], changed[one]
        with pytest.raises(DamagedRecordError):
            open_record(KEY, bytes(changed), "head")


def test_a_missing_record_is_an_error_that_names_it() -> None:
    """A record that should be there and is not is damage, not emptiness."""
    with pytest.raises(CorruptStateError, match="the record key is missing"):
        open_record(KEY, None, "head")


def test_a_record_of_another_kind_is_refused() -> None:
    """A segment in the place of a head is found although it is whole."""
    data, _ = seal(KEY, "segment", (3, 7), "", BODY)
    with pytest.raises(DamagedRecordError, match="is a segment where a head belongs"):
        open_record(KEY, data, "head")


def test_a_record_under_another_key_is_found() -> None:
    """The digest covers the key: a record that was renamed or copied is not taken for its own."""
    data, _ = seal("one", "head", (3, 7), "", BODY)
    with pytest.raises(DamagedRecordError, match="two is damaged, or belongs under another key"):
        open_record("two", data, "head")


@pytest.mark.parametrize(("version", "told"), [(1, "older"), (3, "newer")])
def test_another_version_is_told_from_damage(
    monkeypatch: pytest.MonkeyPatch, version: int, told: str
) -> None:
    """A whole record of another version is no damage: going back would be wrong."""
    monkeypatch.setattr("autostate.journal.record.FORMAT", version)
    data, _ = seal(KEY, "head", (3, 7), "", BODY)
    monkeypatch.undo()
    with pytest.raises(DamagedRecordError, match=f"by an? {told} version") as info:
        open_record(KEY, data, "head")
    assert info.value.intact


@given(LINES, st.integers(OVERHEAD + 68, OVERHEAD + 400))
def test_lines_survive_being_cut_and_joined(lines: list[bytes], limit: int) -> None:
    """Lines of any size come back from records that are each small enough, and each JSON."""
    bodies = [segment_body(group) for group in parts(lines, limit)]
    records = [seal(KEY, "segment", (9, 9), "ab" * 16, body)[0] for body in bodies]
    assert all(len(record) <= limit for record in records)
    assert all(isinstance(json.loads(record)["body"], list) for record in records)
    assert list(whole(line for body in bodies for line in segment_lines(body))) == lines


def test_a_line_that_breaks_off_is_an_error() -> None:
    """Without its last piece, a line that was cut is not taken for whole."""
    *most, _ = [line for group in parts([b'"%s"' % (b"x" * 5000)], 1000) for line in group]
    with pytest.raises(CorruptStateError, match="breaks off"):
        list(whole(most))
