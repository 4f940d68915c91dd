"""A file with one JSON value in each line."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.delivery import JsonlFile, OutboxItem

PATH = Path("out.jsonl")


@pytest.fixture
def file() -> Iterator[JsonlFile]:
    """A destination that is closed after the test."""
    made = JsonlFile(PATH)
    yield made
    made.close()


def items(*values: Any, first: int = 0) -> list[OutboxItem[Any]]:
    """Items with these values."""
    return [OutboxItem(f"box-{at}", at, value) for at, value in enumerate(values, first)]


def lines() -> list[str]:
    """Those of the file."""
    return PATH.read_text().splitlines()


def found(file: JsonlFile, sent: Sequence[OutboxItem[Any]], place: str) -> list[int]:
    """The positions of the items that have arrived, by a file that was opened anew."""
    file.close()
    return file.find(sent, place)[0]


def test_items_become_lines(file: JsonlFile) -> None:
    """Behind what is there; the folder is made."""
    other = JsonlFile("new/folder/out.jsonl")
    place = other.begin()
    place = other.deliver(items({"a": 1}, "ü\n"), place)
    other.deliver(items([2]), place)
    other.close()
    text = Path("new/folder/out.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == [{"a": 1}, "ü\n", [2]]


def test_a_batch_is_synced_before_it_counts(
    file: JsonlFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is what a former process has written, before it is said to have arrived."""
    synced: list[int] = []
    monkeypatch.setattr(
        "autostate.delivery.jsonl.sync", lambda handle: synced.append(os.fstat(handle).st_size)
    )
    place = file.begin()
    file.deliver(items("a"), place)
    assert synced == [0, 4]
    file.find(items("a"), place)
    assert synced == [0, 4, 4]


def test_what_has_arrived_is_found_behind_the_place(file: JsonlFile) -> None:
    """Equal lines before the place are others, and each line counts for one item."""
    PATH.write_text('"a"\n"b"\n')
    place = file.begin()
    file.deliver(items("a", "c", "a"), place)
    sent = items("a", "b", "c", "a", "a")
    assert found(file, sent, place) == [0, 2, 3]


@pytest.mark.parametrize("length", range(len('"a"\n"bcd"\n"efg"\n') + 1))
def test_a_torn_batch_is_mended_wherever_it_ends(file: JsonlFile, length: int) -> None:
    """A line that lacks its end is truncated, and the item comes again."""
    PATH.write_text('"x"\n')
    place = file.begin()
    sent = items("a", "bcd", "efg")
    file.deliver(sent, place)
    os.truncate(PATH, 4 + length)
    file.close()
    arrived, end = file.find(sent, place)
    file.deliver([item for item in sent if item.position not in arrived], end)
    assert lines() == ['"x"', '"a"', '"bcd"', '"efg"']


def test_a_foreign_line_without_an_end_gets_one(file: JsonlFile) -> None:
    """Before anything was sent, and after."""
    PATH.write_text("one of somebody else")
    place = file.begin()
    place = file.deliver(items("a"), place)
    with PATH.open("a") as other:
        other.write("another")
    sent = items("b", first=1)
    assert found(file, sent, place) == []
    file.deliver(sent, place)
    assert lines() == ["one of somebody else", '"a"', "another", '"b"']


def test_others_may_append_meanwhile(file: JsonlFile) -> None:
    """Lines of other programs between ours disturb nobody."""
    place = file.begin()
    with PATH.open("a") as other:
        other.write('"other"\n')
    file.deliver(items("a"), place)
    with PATH.open("a") as other:
        other.write('"other"\n')
    assert found(file, items("a", "b"), place) == [0]


def test_a_file_that_was_renamed_is_read_to_its_end(file: JsonlFile) -> None:
    """As logrotate does it; a new file is begun."""
    place = file.begin()
    place = file.deliver(items("old"), place)
    file.deliver(items("a", first=1), place)
    PATH.rename("out.jsonl.1")
    file.deliver(items("b", first=2), place)
    assert found(file, items("a", "b", "c", first=1), place) == [1, 2]
    assert lines() == ['"b"']


@pytest.mark.parametrize("how", ["deleted", "truncated", "replaced"])
def test_a_file_that_is_gone_gets_its_doubtful_items_again(
    file: JsonlFile, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And a warning says so."""
    place = file.begin()
    place = file.deliver(items("long enough to be noticed"), place)
    file.deliver(items("a", first=1), place)
    if how == "truncated":
        os.truncate(PATH, 0)
    else:
        PATH.unlink()
    if how == "replaced":
        PATH.write_text('"this is a longer line of another file"\n')
    assert found(file, items("a", first=1), place) == []
    assert "is not the file" in caplog.text


def test_a_copied_file_is_the_same_file(file: JsonlFile) -> None:
    """As after a migration to another machine."""
    place = file.begin()
    place = file.deliver(items("old"), place)
    file.deliver(items("a", first=1), place)
    content = PATH.read_bytes()
    PATH.unlink()
    Path("other").write_bytes(content)
    PATH.write_bytes(content)
    assert found(file, items("a", first=1), place) == [1]


def test_a_key_for_the_id_tells_equal_items_apart() -> None:
    """Then others may write equal lines, too."""
    file = JsonlFile(PATH, id_key="id")
    place = file.begin()
    sent = items({"n": 1}, {"n": 1})
    file.deliver(sent[1:], place)
    assert found(file, sent, place) == [1]
    assert lines() == ['{"n":1,"id":"box-1"}']
    with pytest.raises(autostate.UnsupportedTypeError, match="dicts"):
        file.encode("a")
    file.close()


def test_what_is_no_json_is_refused_when_it_is_put(file: JsonlFile) -> None:
    """Dates are written as msgspec writes them."""
    assert file.encode({"at": datetime.date(2026, 1, 2)}) == '{"at":"2026-01-02"}'
    for value in (float("nan"), {"a": object()}, "\ud800", {(1, 2): 3}):
        with pytest.raises(autostate.UnsupportedTypeError, match="the item"):
            file.encode(value)


def test_a_full_disk_is_no_fault_of_an_item() -> None:
    """What did not fit comes again."""
    file = JsonlFile("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        file.deliver(items("a"), "0 ")
    file.close()


def test_an_outbox_writes_a_file() -> None:
    """With states and files of several lives."""
    for life in range(3):
        with autostate.open("sqlite:///state.db"):
            box = autostate.outbox("box", JsonlFile(PATH))
            assert autostate.outbox("box", JsonlFile(PATH)) is box
            with pytest.raises(ValueError, match="something else"):
                autostate.outbox("box", JsonlFile("other.jsonl"))
            box.put(*range(life * 10, life * 10 + 10))
    assert lines() == [str(number) for number in range(30)]
