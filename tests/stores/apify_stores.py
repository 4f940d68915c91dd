"""What the tests of the stores on Apify share."""

from __future__ import annotations

from collections.abc import Callable

from autostate.stores import Store

USES: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read("key"),
    "write": lambda store: store.write({"key": b"{}"}),
    "delete": lambda store: store.write({}, ["key"]),
    "list": lambda store: store.list("autostate-"),
}
