"""The client of a dataset whose items go through an outbox.

Reading waits until everything is delivered, so that a program finds what it has pushed; but for
what requests in work have pushed, if one of them reads: that is delivered only when they are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from apify._charging import charging_manager_ctx
from apify.storage_clients._apify._dataset_client import ApifyDatasetClient
from crawlee import service_locator
from crawlee.configuration import Configuration
from crawlee.storage_clients._base import DatasetClient
from crawlee.storage_clients.models import DatasetItemsListPage, DatasetMetadata

from autostate.apify import api
from autostate.apify.dataset import PlatformDataset
from autostate.apify.in_step import DATASETS, is_asked, open_outbox
from autostate.apify.local_dataset import LocalDataset
from autostate.delivery.destination import Destination
from autostate.delivery.outbox import Outbox
from autostate.errors import AutostateError, UnsupportedTypeError
from autostate.runtime.api import current_manager
from autostate.tracking.savepoint import innermost

logger: logging.Logger = logging.getLogger("autostate")

Items = Sequence[Mapping[str, Any]] | Mapping[str, Any]
LOCAL = "local "
PAUSES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between attempts to ask for the count while nothing arrives."""


class InStepDatasetClient(DatasetClient):
    """A client that puts items into an outbox where that is asked for.

    Args:
        inner: The client of the same dataset that pushes at once.
        destination: Where the items go in the end.
        key: Names the dataset among all of them, in every process.
    """

    def __init__(
        self,
        inner: Any,
        destination: Destination[Any],
        key: str,
    ) -> None:
        self.inner = inner
        self._destination = destination
        self._name = f"{DATASETS}{key}"
        self._is_used = False
        self._told_of_work = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def outbox(self) -> Outbox[Any]:
        """Give the outbox, in the state of the caller."""
        self._is_used = True
        return open_outbox(self._name, self._destination)

    async def push_data(self, data: Items) -> None:
        """Put items into the outbox, as many as the limit of the run allows."""
        if not is_asked():
            await self.inner.push_data(data)
            return
        items = data if isinstance(data, Sequence) else [data]
        if not items:
            return
        # A loop over pushes lets others work, as where each push is a request. Not after the put:
        # an item and its charge must not be saved apart, and none be cancelled between the two.
        await asyncio.sleep(0)
        async with _charge_lock():
            cut = getattr(self.inner, "_compute_limit_for_push", None)
            limit = len(items) if cut is None else cut(len(items))
            await self.outbox().put_async(*items[:limit])
            if charge := getattr(self.inner, "_charge_for_items", None):
                await charge(limit)

    async def get_metadata(self) -> DatasetMetadata:
        """Give what is known of the dataset; items in the outbox count as items.

        If it does not get known for seconds what has arrived, an item may count twice.
        """
        pauses = iter(PAUSES)
        while True:
            outbox = self.outbox() if self._is_used else None
            standing = 0 if outbox is None else outbox._courier.standing
            metadata: DatasetMetadata = await self.inner.get_metadata()
            if outbox is None:
                return metadata
            pending = len(outbox)
            is_sure = standing is not None and standing == outbox._courier.standing
            if is_sure or (pause := next(pauses, None)) is None:
                return metadata.model_copy(update={"item_count": metadata.item_count + pending})
            await asyncio.sleep(pause)  # what the platform counts already may be pending

    async def get_data(self, **options: Any) -> DatasetItemsListPage:
        """Read items, those in the outbox included: they are delivered first."""
        await self._settle()
        page: DatasetItemsListPage = await self.inner.get_data(**options)
        return page

    async def iterate_items(self, **options: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Iterate over items, those in the outbox included: they are delivered first."""
        await self._settle()
        async for item in self.inner.iterate_items(**options):
            yield item

    async def drop(self) -> None:
        """Delete the dataset; what is in the outbox goes there first, and with it."""
        await self._settle()
        await self.inner.drop()

    async def purge(self) -> None:
        """Empty the dataset; what is in the outbox goes there first, and with it."""
        await self._settle()
        await self.inner.purge()

    async def _settle(self) -> None:
        """Deliver what is in the outbox; tell if that is not possible now."""
        manager = current_manager()
        if not self._is_used or manager.inside_atomic():
            return
        outbox = self.outbox()
        try:
            with contextlib.suppress(UnsupportedTypeError):  # logged; everything else is durable
                await outbox.drain_async()
            if not len(outbox):
                return
            problem: object = "it takes too long"
            if innermost(manager._tracker()) is not None:
                if self._told_of_work:
                    return
                self._told_of_work = True
                problem = "what a request in work has pushed arrives when its handler has ended"
        except AutostateError as error:
            problem = error
        logger.warning("items of a dataset are not delivered before it is used: %s", problem)


def _charge_lock() -> AbstractAsyncContextManager[Any]:
    """Give the lock between the look at the limit and the charge, if anything is charged.

    The SDK has a function for this only from 4.1 on.
    """
    manager = charging_manager_ctx.get()
    return contextlib.nullcontext() if manager is None else manager.charge_lock()


def wrap_dataset_client(
    inner: DatasetClient,
    configuration: Configuration | None,
    *,
    id: str | None = None,  # noqa: A002 - as in Crawlee
    name: str | None = None,
    alias: str | None = None,
) -> InStepDatasetClient:
    """Give a client of the same dataset that puts items into an outbox.

    Args:
        inner: The client of the SDK or of Crawlee.
        configuration: What it was opened with; None: the global one.
        id: The id with which it was opened, if any.
        name: The name with which it was opened, if any.
        alias: The alias with which it was opened, if any.
    """
    configuration = configuration or service_locator.get_configuration()
    if isinstance(inner, ApifyDatasetClient):
        dataset_id = str(inner._api_client.resource_id)
        destination = PlatformDataset(dataset_id, api.Credentials.of(configuration))
        return InStepDatasetClient(inner, destination, dataset_id)
    key = f"id {id}" if id else f"name {name}" if name else f"alias {alias}" if alias else "default"
    return InStepDatasetClient(inner, LocalDataset(inner), f"{LOCAL}{key}")


async def open_left(key: str, actor: Any) -> None:
    """Open a local dataset whose outbox a former process has made, so that it is delivered.

    Args:
        key: The key of the dataset.
        actor: The open Actor.
    """
    kind, _, value = key.removeprefix(LOCAL).partition(" ")
    try:
        dataset = await actor.open_dataset(**({} if kind == "default" else {kind: value}))
        client = dataset._client
        if not isinstance(client, InStepDatasetClient):
            client = wrap_dataset_client(client, actor.configuration, **{kind: value})
        client.outbox()
    except Exception as error:
        logger.warning("a local dataset cannot be opened, and items for it are kept: %s", error)
