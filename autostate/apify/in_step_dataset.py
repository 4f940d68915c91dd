"""The client of a dataset whose items go through an outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawlee.configuration import Configuration
    from crawlee.storage_clients._base import DatasetClient


def wrap_dataset_client(inner: DatasetClient, configuration: Configuration | None) -> DatasetClient:  # noqa: ARG001 - soon
    """Give a client of the same dataset that puts items into an outbox.

    Args:
        inner: The client of the SDK or of Crawlee.
        configuration: What it was opened with; None: the global one.
    """
    return inner
