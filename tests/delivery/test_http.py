"""An HTTP endpoint, on a real server that loses answers, fails and delays."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

import autostate
from autostate.delivery import HttpEndpoint, OutboxItem, RetryLaterError
from autostate.delivery.http import RejectedError
from autostate.errors import DeliveryRefusedError
from tests.delivery.endpoint import Call, Endpoint, Reply, running

Make = Callable[..., HttpEndpoint]
KEY_IN_USE = '{"title": "Idempotency-Key is already used"}'
OUTSTANDING = '{"title": "A request is outstanding for this Idempotency-Key"}'


@pytest.fixture
def server() -> Iterator[Endpoint]:
    """A server of the test's own."""
    with running() as made:
        yield made


@pytest.fixture
def make(server: Endpoint) -> Iterator[Make]:
    """Make destinations that are closed after the test."""
    made: list[HttpEndpoint] = []

    def maker(*args: Any, **options: Any) -> HttpEndpoint:
        made.append(HttpEndpoint(server.url, *args, **options))
        return made[-1]

    yield maker
    for each in made:
        each.close()


def items(*values: Any) -> list[OutboxItem[Any]]:
    """Items with these values."""
    return [OutboxItem(f"box-{at}", at, value) for at, value in enumerate(values)]


def test_each_item_is_a_request_with_its_id(server: Endpoint, make: Make) -> None:
    """In quotes, as the draft wants it; over one connection."""
    endpoint = make({"Authorization": "Bearer abc"})
    for item in items({"a": "ü"}, 2):
        endpoint.deliver([item], None)
    assert [call.value for call in server.calls] == [{"a": "ü"}, 2]
    assert [call.headers["Idempotency-Key"] for call in server.calls] == ['"box-0"', '"box-1"']
    assert {call.headers["Authorization"] for call in server.calls} == {"Bearer abc"}
    assert {call.headers["Content-Type"] for call in server.calls} == {"application/json"}
    assert len({call.connection for call in server.calls}) == 1


def test_a_body_of_ones_own(server: Endpoint, make: Make) -> None:
    """And another header, for servers that have one of their own."""
    endpoint = make(body=lambda value: f'"{value}"', header="X-Request-Id")
    endpoint.deliver(items("a"), None)
    [call] = server.calls
    assert (call.value, call.headers["X-Request-Id"]) == ("a", '"box-0"')


def test_a_batch_is_one_request(server: Endpoint, make: Make) -> None:
    """A list of items with their ids; the same batch has the same key."""
    endpoint = make(batch=10)
    for _ in range(2):
        endpoint.deliver(items("a", "b"), None)
    endpoint.deliver(items("a"), None)
    first, again, other = server.calls
    assert first.value == [{"id": "box-0", "value": "a"}, {"id": "box-1", "value": "b"}]
    assert first.key == again.key != other.key


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(201), None),
        (Reply(422, KEY_IN_USE), None),
        (Reply(422, "no such field"), RejectedError),
        (Reply(400), RejectedError),
        (Reply(500, "a bug"), RejectedError),
        (Reply(409, "conflict"), RejectedError),
        (Reply(409, OUTSTANDING), ConnectionError),
        (Reply(401), DeliveryRefusedError),
        (Reply(403), DeliveryRefusedError),
        (Reply(429), ConnectionError),
        (Reply(502), ConnectionError),
        (Reply(503), ConnectionError),
        (Reply(301, headers={"location": "/other"}), ConnectionError),
        (Reply(lost=True), ConnectionError),
    ],
    ids=str,
)
def test_what_an_answer_means(
    server: Endpoint, make: Make, reply: Reply, error: type[Exception] | None
) -> None:
    """An error of the connection counts against no item, a refusal stops the outbox."""
    server.reply = lambda _: reply
    if error is None:
        make().deliver(items("a"), None)
        return
    with pytest.raises(error) as raised:
        make().deliver(items("a"), None)
    assert isinstance(raised.value, OSError) == (error is ConnectionError)
    assert "token" not in str(raised.value)
    if isinstance(raised.value, RejectedError):
        assert (raised.value.status, raised.value.answer) == (reply.status, reply.body)
        assert not reply.body or reply.body not in str(raised.value)
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [409, 429, 503])
@pytest.mark.parametrize(
    ("said", "seconds"), [("120", 120), ("999999999", 3600), ("0", 0.5), ("in two hours", 3600)]
)
def test_a_server_may_ask_for_a_pause(
    server: Endpoint, make: Make, status: int, said: str, seconds: float
) -> None:
    """In seconds, or by a date; for an hour at most."""
    if said == "in two hours":
        said = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    server.reply = lambda _: Reply(status, headers={"Retry-After": said})
    with pytest.raises(RetryLaterError) as raised:
        make().deliver(items("a"), None)
    assert raised.value.seconds == seconds


def test_a_pause_that_makes_no_sense_is_none(server: Endpoint, make: Make) -> None:
    """The usual pauses follow."""
    server.reply = lambda _: Reply(429, headers={"Retry-After": "soon"})
    with pytest.raises(ConnectionError) as raised:
        make().deliver(items("a"), None)
    assert not isinstance(raised.value, RetryLaterError)


def test_an_answer_that_does_not_come_is_given_up(server: Endpoint, make: Make) -> None:
    """After the time that was set."""
    over = threading.Event()

    def wait(call: Call) -> Reply | None:
        over.wait(10)
        return None

    server.reply = wait
    with pytest.raises(ConnectionError, match=r"did not answer POST in 0\.05 s"):
        make(timeout=0.05).deliver(items("a"), None)
    over.set()


def test_a_server_that_is_not_there_is_no_fault_of_an_item() -> None:
    """Nobody listens."""
    with running() as gone:
        url = gone.url
    with pytest.raises(ConnectionError):
        HttpEndpoint(url).deliver(items("a"), None)


def test_a_url_that_makes_no_sense_is_refused() -> None:
    """When the destination is made; the error does not show it."""
    for url in ("example.com", "ftp://example.com", "http://ann:secret@example.com"):
        with pytest.raises(ValueError, match="begins with http") as raised:
            HttpEndpoint(url)
        assert "secret" not in str(raised.value)
    assert "abc" not in repr(HttpEndpoint("https://example.com/?token=abc"))
    one = HttpEndpoint("https://example.com/a")
    assert one.is_same(HttpEndpoint("https://example.com/a"))
    assert not one.is_same(HttpEndpoint("https://example.com/b"))


def test_each_item_arrives_once_on_a_server_that_loses_answers(
    server: Endpoint, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fails before the work, and after it."""
    monkeypatch.setattr("autostate.delivery.courier.FIRST_PAUSE", 0.001)
    faults = [
        Reply(503),
        Reply(500, before=False),
        Reply(lost=True),
        Reply(lost=True, before=False),
    ]
    random_fault = threading.Lock()

    def reply(call: Call) -> Reply | None:
        with random_fault:
            return rng.choice(faults) if rng.random() < 0.4 else None

    server.reply = reply
    with autostate.open("memory:", debounce=0.01, max_delay=0.02):
        box = autostate.outbox("box", HttpEndpoint(server.url), attempts=1_000)
        box.put(*range(60))
        assert box.drain()
    assert list(server.done.values()) == [*range(60)]
    assert len(server.calls) > 60
