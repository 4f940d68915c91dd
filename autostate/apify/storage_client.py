"""The storage client of an Actor in step: storages whose clients ask autostate first.

Crawlee and the SDK open every storage through one storage client, a public interface. Here the two
clients between which the SDK chooses (the platform, local files) are each replaced by one that
wraps the storages that it opens. What was tried and does not work:

- Wrapping the SDK's choice, `SmartApifyStorageClient`, as a whole: `Actor.open_dataset` and
  its like ask it for the chosen client and would get an unwrapped one.
- Another cache key than that of the wrapped client: whoever opens a storage through a bare
  `ApifyStorageClient` would get a second client with a cache of its own over the same storage.

This module imports the SDK, and is imported only inside an Actor.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from apify.storage_clients import (
    ApifyStorageClient,
    FileSystemStorageClient,
    SmartApifyStorageClient,
)
from crawlee import service_locator
from crawlee.errors import ServiceConflictError
from crawlee.storage_clients import StorageClient

from autostate.apify import crawlers
from autostate.apify.in_step_dataset import wrap_dataset_client
from autostate.apify.in_step_queue import wrap_request_queue_client

if TYPE_CHECKING:
    from crawlee.configuration import Configuration
    from crawlee.storage_clients._base import (
        DatasetClient,
        KeyValueStoreClient,
        RequestQueueClient,
    )


class InStepStorageClient(StorageClient):
    """A storage client that wraps the datasets and the request queues that another one opens.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: StorageClient) -> None:
        self.inner = inner

    def get_storage_client_cache_key(self, configuration: Configuration) -> Hashable:
        """Return the key of the wrapped client: one storage has one client."""
        return self.inner.get_storage_client_cache_key(configuration)

    def get_rate_limit_errors(self) -> dict[int, int]:
        """Return how often the platform has refused a request because there were too many."""
        return self.inner.get_rate_limit_errors()

    async def create_dataset_client(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the name in Crawlee's interface
        name: str | None = None,
        alias: str | None = None,
        configuration: Configuration | None = None,
    ) -> DatasetClient:
        """Open a dataset, whose items go through an outbox."""
        client = await self.inner.create_dataset_client(
            id=id, name=name, alias=alias, configuration=configuration
        )
        return wrap_dataset_client(client, configuration, id=id, name=name, alias=alias)

    async def create_kvs_client(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the name in Crawlee's interface
        name: str | None = None,
        alias: str | None = None,
        configuration: Configuration | None = None,
    ) -> KeyValueStoreClient:
        """Open a key-value store, as it is."""
        return await self.inner.create_kvs_client(
            id=id, name=name, alias=alias, configuration=configuration
        )

    async def create_rq_client(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the name in Crawlee's interface
        name: str | None = None,
        alias: str | None = None,
        configuration: Configuration | None = None,
    ) -> RequestQueueClient:
        """Open a request queue, whose requests are marked as handled after the save."""
        client = await self.inner.create_rq_client(
            id=id, name=name, alias=alias, configuration=configuration
        )
        return await wrap_request_queue_client(client)


def install() -> None:
    """Let the storages that are opened from now on be in step. Called before an Actor is entered.

    A storage client that the program has set itself is kept: its two halves are wrapped in place.
    """
    crawlers.install()
    smart = SmartApifyStorageClient(
        cloud_storage_client=InStepStorageClient(ApifyStorageClient()),
        local_storage_client=InStepStorageClient(FileSystemStorageClient()),
    )
    try:
        service_locator.set_storage_client(smart)
    except ServiceConflictError:
        _wrap_halves(service_locator.get_storage_client())


def _wrap_halves(smart: Any) -> None:
    """Wrap the two clients of a `SmartApifyStorageClient`; the locator takes no other one."""
    if not isinstance(smart, SmartApifyStorageClient):
        return  # entering the Actor raises
    for half in ("_cloud_storage_client", "_local_storage_client"):
        inner = getattr(smart, half)
        if not isinstance(inner, InStepStorageClient):
            setattr(smart, half, InStepStorageClient(inner))
