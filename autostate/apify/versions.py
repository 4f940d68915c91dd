"""What a version of the Apify SDK and of Crawlee must have, so that an Actor can be in step.

Most of what is replaced in these libraries is public, and the rest is listed here. A version
without one of these names is refused when an Actor is entered: with half of them pages would be
counted twice, and nobody would see that.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any, Final

TESTED: Final = {"apify": ("4.0.0", "4.1.0"), "crawlee": ("1.8.0", "1.11.0")}
"""The oldest and the newest version of each library with which the tests pass."""

NEEDED: Final = (
    "crawlee.crawlers:BasicCrawler._BasicCrawler__run_task_function",
    "crawlee.crawlers:BasicCrawler._commit_request_handler_result",
    "crawlee.crawlers:BasicCrawler._run_request_handler",
    "crawlee.storages:RequestQueue.add_request",
    "crawlee.storages:RequestQueue.add_requests",
    "crawlee.storages:RequestQueue._process_batch",
    "crawlee.storage_clients:StorageClient",
    "crawlee.storage_clients._base:DatasetClient",
    "crawlee.storage_clients._base:RequestQueueClient",
    "crawlee.storage_clients._file_system:FileSystemDatasetClient",
    "apify.storage_clients._apify._dataset_client:ApifyDatasetClient",
    "apify._charging:ChargingStateItem",
    "apify._charging:charging_manager_ctx",
    "apify._charging:ChargingManagerImplementation._charging_state",
    "apify._charging:ChargingManagerImplementation._client",
    "apify._charging:ChargingManagerImplementation._get_event_price",
    "apify.storage_clients:SmartApifyStorageClient._cloud_storage_client",
    "apify.storage_clients:SmartApifyStorageClient._local_storage_client",
    "crawlee.storages:Dataset._client",
)
"""Names that are looked up, as `module:attributes`; also attributes that `__init__` assigns."""

OF_CLASSES: Final = {"AdaptivePlaywrightCrawler": "_crawl_one"}
"""Methods of classes that are looked up when such a crawler runs: to import them takes seconds."""


def missing() -> list[str]:
    """List the needed names that the installed versions do not have."""
    return [name for name in NEEDED if not _is_there(name)]


@functools.cache
def check() -> None:
    """Refuse versions that lack what is needed.

    Raises:
        RuntimeError: A needed name is missing.
    """
    _refuse(missing())


def check_class(cls: type) -> None:
    """Refuse versions in which a class of crawlers lacks what is needed of it.

    Args:
        cls: The class of a crawler that runs.

    Raises:
        RuntimeError: A needed name is missing.
    """
    names = [(each.__name__, OF_CLASSES.get(each.__name__, "__init__")) for each in cls.__mro__]
    _refuse([f"{name}.{method}" for name, method in names if not hasattr(cls, method)])


def _refuse(names: list[str]) -> None:
    if not names:
        return
    here = " and ".join(f"{name} {_installed(name)}" for name in TESTED)
    good = " with ".join(f"{name} {old} to {new}" for name, (old, new) in TESTED.items())
    raise RuntimeError(
        f"in_step=True does not work with {here}: {', '.join(names)} is missing. "
        f"It works with {good}; without in_step any version will do"
    )


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"


def _is_there(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        thing: Any = importlib.import_module(module)
        for part in path.split("."):
            owner, thing = thing, getattr(thing, part, None)
            if thing is None and part not in owner.__init__.__code__.co_names:
                return False
    except (ImportError, AttributeError):
        return False
    return True
