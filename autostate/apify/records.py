"""Records of key-value stores as the destination of an outbox: in order, the newest value last.

Writing a record twice changes nothing, so nothing has to be looked for. A request without an
answer may be carried out late, and put an older value over a newer one: so long the next attempt
waits. It goes through the SDK's client, which knows how values are encoded, at home and locally.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from autostate.apify import api
from autostate.delivery.destination import Destination, OutboxItem, decode, encode
from autostate.ownership.state_names import OWN

if TYPE_CHECKING:
    from crawlee.storages import KeyValueStore

RECORDS: Final = f"{OWN}apify-records "


class Record(NamedTuple):
    """A record that has to be written.

    Attributes:
        key: Its key.
        value: Its value, as for `Actor.set_value`; None deletes the record.
        content_type: The type of its content; None: by the value.
    """

    key: str
    value: Any
    content_type: str | None = None


class Records(Destination[Record]):
    """The records of a key-value store.

    Args:
        store: The open store.
    """

    settle = api.LATE

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def settle_after(self, error: BaseException | None) -> float:
        """Return how many seconds a request may still be carried out."""
        return api.lateness(self.settle)

    def encode(self, value: Record) -> str:
        """Return a record as the state keeps it."""
        return encode(tuple(value))

    def decode(self, text: str) -> Record:
        """Return a record that `encode` has encoded."""
        return Record(*decode(text))

    def find(self, items: Sequence[OutboxItem[Record]], place: Any) -> tuple[tuple[()], Any]:
        """Find nothing: all are written again, when no older request is on its way."""
        return (), place

    async def deliver(self, items: Sequence[OutboxItem[Record]], place: Any) -> None:
        """Write the records, only the newest of each key."""
        newest = {item.value.key: item.value for item in items}
        for record in newest.values():
            await self._store.set_value(record.key, record.value, record.content_type)


async def set_value(key: str, value: Any, *, content_type: str | None = None) -> None:
    """Write a record of the run's default key-value store after the save that has it.

    Like `Actor.set_value`, but the record agrees with the state also after a kill.

    Args:
        key: The key of the record.
        value: Its value; None deletes the record.
        content_type: The type of its content.

    Raises:
        RuntimeError: No Actor is open.
        UnsupportedTypeError: The value cannot be kept in the state.
    """
    from autostate.apify import in_step

    store = await in_step.open_actor().open_key_value_store()
    outbox = in_step.open_outbox(f"{RECORDS}{store.id}", Records(store))
    await outbox.put_async(Record(key, value, content_type))
