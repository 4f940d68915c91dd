"""Outboxes, as type checkers see them.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, assert_type

import autostate
from autostate import Outbox, OutboxItem
from autostate.delivery import Destination, HttpEndpoint, JsonlFile, RetryLaterError, SqlTable


def send(items: Sequence[OutboxItem[int]]) -> None:
    """Send."""
    for item in items:
        assert_type(item.id, str)
        assert_type(item.position, int)
        assert_type(item.value, int)


async def send_async(items: Sequence[OutboxItem[str]]) -> None:
    """Send."""
    texts = autostate.outbox("texts", send_async)
    assert_type(texts, Outbox[str])
    await texts.put_async("a", timeout=1)
    assert_type(await texts.drain_async(), bool)
    await texts.put_async(5)  # error


numbers = autostate.outbox("numbers", send, batch=1, capacity=5, capacity_bytes=500, attempts=2)
assert_type(numbers, Outbox[int])
numbers.put(1, 2, timeout=0.5)
numbers.put("a")  # error
assert_type(numbers.drain(timeout=1), bool)
assert_type(len(numbers), int)
assert_type(numbers.pending_bytes, int)
for kept in numbers.aside():
    assert_type(kept.item.value, int)
    assert_type(kept.error, str)
try:
    numbers.put(3)
except (autostate.OutboxFullError, autostate.DeliveryRefusedError) as full:
    assert_type(full, autostate.OutboxFullError | autostate.DeliveryRefusedError)
except autostate.LateWriteError as late:
    assert_type(late, autostate.LateWriteError)
numbers.retry_aside()
numbers.forget_aside()


class Folder(Destination[bytes]):
    """A destination of one's own."""

    def begin(self) -> int:
        """Begin."""
        return 0

    def deliver(self, items: Sequence[OutboxItem[bytes]], place: int) -> int:
        """Deliver."""
        raise RetryLaterError("busy", seconds=len(items))

    def find(self, items: Sequence[OutboxItem[bytes]], place: int) -> tuple[Collection[int], int]:
        """Find."""
        return [item.position for item in items], place


assert_type(autostate.outbox("folder", Folder()), Outbox[bytes])
assert_type(autostate.outbox("lines", JsonlFile("a.jsonl", id_key="id")), Outbox[Any])
SqlTable("a.db", "pages", {"url": "TEXT"}, create=True)
SqlTable("a.db", "pages", ["url"], row=lambda page: [page])
SqlTable("a.db", "pages", row=lambda page: {"url": page})
SqlTable("a.db", "pages", row=lambda _: 5)  # error
HttpEndpoint("https://example.com", {"A": "b"}, body=lambda _: b"", batch=5, timeout=1)
HttpEndpoint("https://example.com", body=lambda _: 5)  # error
JsonlFile()  # error
