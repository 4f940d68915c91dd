"""Outboxes: what has to be done outside, done after the save that covers it.

`autostate.outbox()` makes one. The names here are ready-made destinations, and what own ones need;
each is loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostate.delivery.destination import Destination, OutboxItem, RetryLaterError
    from autostate.delivery.http import HttpEndpoint
    from autostate.delivery.jsonl import JsonlFile
    from autostate.delivery.sql import SqlTable

__all__ = [
    "Destination",
    "HttpEndpoint",
    "JsonlFile",
    "OutboxItem",
    "RetryLaterError",
    "SqlTable",
]

_LATE = {
    "Destination": "autostate.delivery.destination",
    "HttpEndpoint": "autostate.delivery.http",
    "JsonlFile": "autostate.delivery.jsonl",
    "OutboxItem": "autostate.delivery.destination",
    "RetryLaterError": "autostate.delivery.destination",
    "SqlTable": "autostate.delivery.sql",
}


if not TYPE_CHECKING:  # or checkers would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module 'autostate.delivery' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
