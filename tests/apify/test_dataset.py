"""A dataset on the platform as the destination of an outbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.apify import api
from autostate.apify.api import Credentials
from autostate.apify.charges import PlatformCharges
from autostate.apify.dataset import PlatformDataset
from autostate.apify.items import LARGEST, canonical, encode_item, pushes
from autostate.apify.records import Records
from autostate.delivery.destination import OutboxItem
from autostate.testing import LocalPlatform
from autostate.testing.dataset import Dataset


@pytest.fixture
def stored(platform: LocalPlatform) -> Dataset:
    """A dataset."""
    return platform.datasets.create()


@pytest.fixture
def destination(platform: LocalPlatform, stored: Dataset) -> Iterator[PlatformDataset]:
    """The same one as a destination, for which requests are late by half a second."""

    class Quick(PlatformDataset):
        settle = 0.5

    made = Quick(stored.id, Credentials(platform.url, platform.token))
    yield made
    made.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[autostate.StateManager]:
    """A state beside that of the process, which saves at once."""
    with autostate.open(tmp_path / "state.db", debounce=0, max_delay=0.1) as opened:
        yield opened


def outbox_items(*values: Any) -> list[OutboxItem[str]]:
    """Items of an outbox, from position 0 on."""
    return [OutboxItem(f"x-{at}", at, encode_item(each)) for at, each in enumerate(values)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 1000, 4097])
def test_the_end_is_found_whatever_counters_say(
    platform: LocalPlatform, stored: Dataset, destination: PlatformDataset, count: int
) -> None:
    """With few requests, also for a large dataset; from a known place on with one."""
    stored.lag = 1000.0
    stored.items = [{}] * count
    stored._counted = [(1e12, count)]
    assert stored.describe()["itemCount"] == 0
    assert destination.begin() == count
    assert len(platform.traffic.calls) <= 3 + 2 * count.bit_length()
    before = len(platform.traffic.calls)
    assert destination.deliver(outbox_items({"a": 1}), count) == count + 1
    assert len(platform.traffic.calls) == before + 2


def test_items_are_encoded_as_the_sdk_does_when_they_are_put() -> None:
    """Objects that JSON does not know become texts; an item above 9 MB is refused."""
    from apify.storage_clients._apify._dataset_client import ApifyDatasetClient

    given: Any = {"š": {1}, "path": Path("/x"), "n": [1.0, None, True]}
    if hasattr(ApifyDatasetClient, "_serialize_chunk"):  # from apify 4.1 on
        chunk, _ = ApifyDatasetClient._serialize_chunk([given], 0)
        assert f"[{encode_item(given)}]" == chunk
    assert ApifyDatasetClient._EFFECTIVE_LIMIT_SIZE.bytes == LARGEST
    encode_item({"x": "x" * (LARGEST - 8)})
    for unfit in ({"x": "x" * (LARGEST - 7)}, {("a",): 1}, "text", {"x": "\ud800"}):
        with pytest.raises(ValueError, match="an item"):
            encode_item(unfit)


def test_pushes_are_as_large_as_the_platform_takes() -> None:
    """Bytes count, not characters; the items keep their order."""
    texts = ['"{}"'.format("é" * 1_000_000), *map(str, range(3))] * 5
    bodies = list(pushes(texts))
    assert [count for count, _ in bodies] == [16, 4]
    assert all(len(body) <= LARGEST for _, body in bodies)
    sent = [each for _, body in bodies for each in json.loads(body)]
    assert [json.dumps(each, ensure_ascii=False) for each in sent] == texts


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (0, -0.0, True),
        (float("nan"), float("nan"), True),
        ("1", 1, False),
        (None, "null", False),
        (2**60 + 1, 2**60, True),
        (10**400, 1, False),
        ({}, [], False),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}, True),
        ([["a", 1]], {"a": 1}, False),
    ],
)
def test_what_a_dataset_cannot_tell_apart_is_equal(one: Any, other: Any, equal: bool) -> None:
    """And nothing else is."""
    assert (canonical(one) == canonical(other)) is equal


def test_equal_items_are_counted(stored: Dataset, destination: PlatformDataset) -> None:
    """Of three that were sent, the two that are there have arrived; the one before is not one."""
    stored.items = [{"n": 1}, {"n": 1}, {"m": 0, "n": 2.0}, {"n": 1}, {"other": 1}]
    sent = outbox_items({"n": 1}, {"n": 1}, {"n": 1}, {"n": 2, "m": 0})
    arrived, place = destination.find(sent, 1)
    assert sorted(arrived) == [0, 1, 3]
    assert place == 5


def test_with_an_id_no_item_of_another_run_is_taken_for_ones_own(
    platform: LocalPlatform, stored: Dataset
) -> None:
    """It is in the item, under a key that the program does not use."""
    credentials = Credentials(platform.url, platform.token)
    destination = PlatformDataset(stored.id, credentials, id_key="#id")
    sent = outbox_items({"n": 1}, {}, {"n": 2})
    destination.deliver(sent[:2], 0)
    stored.items += [{"n": 2}]  # of somebody else
    assert stored.items == [{"#id": "x-0", "n": 1}, {"#id": "x-1"}, {"n": 2}]
    assert destination.find(sent, 0) == ([0, 1], 3)
    with pytest.raises(ValueError, match="which is for its id"):
        destination.encode({"#id": 1})
    destination.close()


def test_a_dataset_that_was_emptied_is_looked_at_from_its_begin(
    stored: Dataset, destination: PlatformDataset
) -> None:
    """What lies there now has come later than the recorded place."""
    stored.items = [{"n": 1}]
    assert destination.find(outbox_items({"n": 0}, {"n": 1}), 100) == ([1], 1)


def test_a_lost_answer_does_not_store_items_twice(
    platform: LocalPlatform,
    stored: Dataset,
    destination: PlatformDataset,
    manager: autostate.StateManager,
) -> None:
    """It is looked at before anything is repeated."""
    platform.traffic.fault("POST", "*/items", nth=1, lose_answer=True)
    platform.traffic.fault("POST", "*/items", nth=2, status=502, lose_answer=True)
    items = autostate.outbox("items", destination)
    items.put({"n": 1}, {"n": 2})
    assert items.drain(30)
    items.put({"n": 3}, {"n": 1})
    assert items.drain(30)
    assert stored.items == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 1}]


def test_a_push_that_lands_late_is_waited_for(
    platform: LocalPlatform,
    stored: Dataset,
    destination: PlatformDataset,
    manager: autostate.StateManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client has given up, and the platform carries the request out after that."""
    monkeypatch.setattr(api, "_SENDING", 0.2)
    type(destination).settle = 3.0
    fault = platform.traffic.fault("POST", "*/items", nth=1, hold=True)
    failed: list[Exception] = []
    landed = threading.Event()

    def pushed(_count: int) -> None:
        if fault.gate.is_set():
            landed.set()

    stored.on_push = pushed
    late = threading.Timer(1.5, fault.release)  # by then it would have been pushed again

    def release(_sender: object, *, error: Exception, **_: Any) -> None:
        failed.append(error)
        late.start()

    autostate.hub.delivery_failed.connect(release)
    items = autostate.outbox("items", destination)
    items.put({"n": 1})
    assert items.drain(30)
    autostate.hub.delivery_failed.disconnect(release)  # its cycle may live on into other tests
    late.join()
    assert landed.wait(30)
    assert [type(each) for each in failed] == [api.UnansweredError]
    assert stored.items == [{"n": 1}]


def test_an_answer_that_says_no_is_not_waited_for(destination: PlatformDataset) -> None:
    """Only a request without an answer may be late."""
    assert destination.settle_after(api.UnansweredError()) == destination.settle
    assert destination.settle_after(ConnectionError()) == 0.0
    assert destination.settle_after(api.BadRequestError()) == 0.0


def test_a_platform_that_knows_its_limit_is_believed(
    destination: PlatformDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No destination waits for longer than requests can be late there."""
    credentials = Credentials("http://127.0.0.1:1", "token")
    store: Any = None
    destinations = [destination, PlatformCharges("any", credentials), Records(store)]
    usual = [each.settle_after(None) for each in destinations]
    assert usual == [each.settle for each in destinations]
    monkeypatch.setenv(api.LATE_VARIABLE, "0.25")
    assert [each.settle_after(None) for each in destinations] == [0.25] * 3
    monkeypatch.setenv(api.LATE_VARIABLE, "60")
    assert [each.settle_after(None) for each in destinations] == usual


def test_a_dataset_that_is_gone_stops_its_outbox(
    platform: LocalPlatform, stored: Dataset, manager: autostate.StateManager
) -> None:
    """Loudly; the items are kept."""
    items = autostate.outbox(
        "items", PlatformDataset("no-such", Credentials(platform.url, platform.token))
    )
    items.put({"n": 1})
    with pytest.raises(autostate.DeliveryRefusedError, match="deleted, or belongs to another"):
        items.drain(30)
    assert len(items) == 1


def test_an_item_of_nearly_nine_megabytes_arrives(
    stored: Dataset, destination: PlatformDataset, manager: autostate.StateManager
) -> None:
    """It goes through the state, and is read back in an answer of its size."""
    items = autostate.outbox("items", destination)
    items.put({"n": "é" * 4_400_000})
    assert items.drain(60)
    assert [len(each["n"]) for each in stored.items] == [4_400_000]
