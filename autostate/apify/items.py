"""The items of datasets as texts: encoded as the SDK does, and compared with what was stored."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from autostate.delivery.destination import OutboxItem

LARGEST: Final = 9_436_241
"""The most bytes of one push: 9 MiB less a hundredth of a percent, as in the SDK."""


def encode_item(item: Any, *, allow_nan: bool = True) -> str:
    """Return the JSON text of an item, exactly as the SDK would send it.

    What no dataset takes is refused here, where the program can hear it, and not when it is pushed.

    Args:
        item: The item.
        allow_nan: Whether NaN and infinity, which JSON does not have, are written all the same.

    Raises:
        ValueError: It is no object, cannot be written as JSON, or is too large for any push.
    """
    try:
        text = json.dumps(
            item, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=allow_nan
        )
        size = len(text.encode())  # half a surrogate pair is no text
    except Exception as error:
        raise ValueError("an item cannot be written as JSON") from error
    if not text.startswith("{"):
        raise ValueError(f"an item of a dataset is a dict, not {type(item).__name__}")
    if size > LARGEST:
        raise ValueError(f"an item is too large: {size:,} bytes, and a dataset takes {LARGEST:,}")
    return text


def pushes(texts: Iterable[str]) -> Iterator[tuple[int, bytes]]:
    """Divide the texts of items into pushes, as their numbers of items and bodies."""
    parts: list[bytes] = []
    size = 1
    for text in texts:
        part = text.encode()
        if parts and size + len(part) + 1 > LARGEST:
            yield len(parts), b"[" + b",".join(parts) + b"]"
            parts, size = [], 1
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield len(parts), b"[" + b",".join(parts) + b"]"


def canonical(value: Any) -> Any:
    """Return a value that is equal for items which a dataset cannot tell apart.

    The platform reads and writes JSON as JavaScript does: the order of keys may change, 1.0
    becomes 1, and large integers lose their last digits. `True` and 1 stay different.
    """
    if isinstance(value, dict):
        return ("object", frozenset((key, canonical(each)) for key, each in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(canonical, value)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ("number", _double(value))
    return (type(value).__name__, value)


def _double(number: float) -> float | None:
    """Return a number as JavaScript keeps it: -0 as 0, what is too large, and NaN, as null."""
    try:
        return None if number != number else float(number) + 0.0  # noqa: PLR0124 - only NaN
    except OverflowError:
        return None


class Wanted:
    """The items that may have been stored, which are looked for among those of a dataset.

    Equal items are counted: of three that were sent, and two that are there, two have arrived.

    Args:
        items: The items of an outbox; their values are JSON texts.
    """

    def __init__(self, items: Sequence[OutboxItem[str]]) -> None:
        self.found: list[int] = []
        self._left = len(items)
        self._wanted: dict[Any, deque[int]] = defaultdict(deque)
        for item in items:
            self._wanted[canonical(json.loads(item.value))].append(item.position)

    def __bool__(self) -> bool:
        """Tell whether any item is still wanted."""
        return self._left > 0

    def look_at(self, stored: Iterable[Any]) -> None:
        """Note which of the wanted items are among some that are stored."""
        for value in stored:
            positions = self._wanted.get(canonical(value))
            if positions:
                self.found.append(positions.popleft())
                self._left -= 1
