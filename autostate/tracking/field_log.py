"""What open `atomic()` blocks have written to the fields of one object.

The records are those of a mapping (`entry_log.py`), by the names of fields. They are undone in the
object alone: the next scan finds that, as it finds every other write.
"""

from __future__ import annotations

from typing import Any

from autostate.codec import introspection
from autostate.tracking.differences import MISSING
from autostate.tracking.entry_log import EntryLog
from autostate.tracking.former import Former


class FieldLog(EntryLog):
    """The records of one object, whose root is the container. The lock is held."""

    def _value(self, content: Any, key: Any) -> Any:
        value = content.field(key)
        return MISSING if value is introspection.MISSING else value

    def _held(self, content: Any, key: Any) -> Any:
        return key

    def _keys(self) -> list[Any]:
        return []  # the order of fields is not kept

    def _put(self, key: Any, former: Former) -> None:
        value = former.value
        if self._value(self.container, key) is not value:
            self.container.set_field(key, introspection.MISSING if value is MISSING else value)
