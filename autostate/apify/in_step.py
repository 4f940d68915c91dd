"""What an Actor pushes and charges, done after the save that covers it.

All rules of the SDK stay in the SDK: `Actor.push_data` and `Actor.charge` work out limits, prices
and results. Only what they do last is replaced: the client of a dataset puts items into an outbox
(`in_step_dataset.py`), and the API client of the charging manager puts charges into one, here.

After a restart the SDK counts from the platform's numbers, in which charges that an outbox still
holds may be missing, or not: it may have been killed after they had arrived. The place of
the outbox and what it holds add up to what the number will be in either case.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from autostate import announced
from autostate.apify import api, events, reservations, versions
from autostate.apify.charges import Charge, PlatformCharges, sums
from autostate.apify.dataset import PlatformDataset
from autostate.apify.records import RECORDS, Records
from autostate.delivery.destination import Destination
from autostate.delivery.outbox import Outbox
from autostate.delivery.reason import reason
from autostate.errors import AutostateError, UnsupportedTypeError
from autostate.ownership.state_names import OWN
from autostate.runtime.api import StateManager, current_manager, live

if TYPE_CHECKING:
    from apify._charging import ChargeResult

logger: logging.Logger = logging.getLogger("autostate")

DATASETS: Final = f"{OWN}apify-dataset "
CHARGES: Final = f"{OWN}apify-charges "
DATASET_ITEM: Final = "apify-default-dataset-item"

DRAINING: Final = 120.0
"""Seconds for which the end of an Actor waits for what has not arrived."""

_outboxes: WeakSet[Outbox[Any]] = WeakSet()
_prepared: WeakSet[Any] = WeakSet()
"""The charging managers of the Actors in which a program has called one of the functions here."""
_resumed: WeakKeyDictionary[StateManager, set[str]] = WeakKeyDictionary()
"""The names of the outboxes that were opened again, of each manager."""

_asked: ContextVar[bool] = ContextVar("autostate_in_step", default=False)


def is_asked() -> bool:
    """Tell whether a push or a charge of the caller goes through an outbox."""
    return _asked.get() or current_manager().settings.in_step


@contextlib.contextmanager
def _asking() -> Generator[None]:
    """Let pushes and charges of the body go through outboxes."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)


async def push_data(
    data: dict[str, Any] | list[dict[str, Any]], *, charged_event_name: str | None = None
) -> ChargeResult:
    """Push items to the default dataset of the run, like `Actor.push_data`, each exactly once.

    The items are part of the state as of now, and are pushed after the save that has them. After
    a kill at any moment each one is in the dataset once.

    Args:
        data: An item, or a list of items. They are encoded now.
        charged_event_name: The event that is charged for each item, in a pay-per-event Actor.

    Returns:
        The SDK's result; what was charged is reserved.

    Raises:
        RuntimeError: No Actor is open.
        ValueError: An item cannot be written as JSON, or is larger than a dataset takes.
    """
    actor = open_actor()
    await _prepare(actor)
    with _asking():
        result: ChargeResult = await actor.push_data(data, charged_event_name=charged_event_name)
        return result


async def charge(
    event_name: str, *, count: int = 1, idempotency_key: str | None = None
) -> ChargeResult:
    """Charge for events, like `Actor.charge`, each exactly once.

    The charge is part of the state as of now, and is sent after the save that has it.

    Args:
        event_name: The name of the event.
        count: How often.
        idempotency_key: A key under which the platform takes one charge in three minutes; by
            default each call has its own.

    Returns:
        The SDK's result; what was charged is reserved, and counts towards the limit of the run.

    Raises:
        RuntimeError: No Actor is open; or the key needs a later version of the SDK.
    """
    actor = open_actor()
    await _prepare(actor)
    if idempotency_key is None:
        options: dict[str, Any] = {}
    elif hasattr(actor.get_charging_manager(), "_idempotent_charges"):
        options = {"idempotency_key": idempotency_key}
    else:
        raise RuntimeError(
            "charge() with an idempotency_key needs apify 4.1; each call is charged once without it"
        )
    with _asking():
        result: ChargeResult = await actor.charge(event_name, count=count, **options)
        return result


async def default_outbox() -> Outbox[Any]:
    """Give the outbox of the default dataset; deliver what a former process has left in it.

    Raises:
        RuntimeError: No Actor is open.
    """
    actor = open_actor()
    await _prepare(actor)
    dataset = await actor.open_dataset()
    opened: Outbox[Any] = dataset._client.outbox()
    return opened


def open_actor() -> Any:
    """Give the SDK's Actor.

    Raises:
        RuntimeError: None is open.
    """
    from apify import Actor

    if not events.is_open(Actor):
        raise RuntimeError("no Actor is open: push and charge inside `async with Actor:`")
    return Actor


async def _prepare(actor: Any) -> None:
    """Do at the first own call what entering an Actor does with the setting."""
    charging = actor.get_charging_manager()
    if charging not in _prepared:
        current_manager()._tracker()  # opens the state
        await resume(actor)
        _prepared.add(charging)
    await attach(actor)


async def attach(actor: Any) -> None:
    """Let an open Actor push and charge through outboxes where that is asked for."""
    versions.check()
    from autostate.apify.in_step_dataset import InStepDatasetClient, wrap_dataset_client

    charging = actor.get_charging_manager()
    if not isinstance(charging._client, _InStepClient):
        charging._client = _InStepClient(charging._client, actor.configuration)
    reservations.follow(charging, is_asked)
    dataset = await actor.open_dataset()
    if not isinstance(dataset._client, InStepDatasetClient):
        dataset._client = wrap_dataset_client(dataset._client, actor.configuration)


async def resume(actor: Any, *, leaving: bool = False) -> None:
    """Deliver what former processes have left, and reserve what it will charge.

    Args:
        actor: The open Actor.
        leaving: It ends: only what was not found when it began, as the state was not open then.
    """
    from autostate.apify.in_step_dataset import LOCAL, open_left

    manager = current_manager()
    if manager.settings.in_step:
        await attach(actor)
    elif manager not in live():
        return
    if manager.settings.readonly:  # the owner delivers
        return
    configuration = actor.configuration
    _resumed.setdefault(manager, set())
    names = [
        name
        for name in manager._tracker().names
        if name.startswith((DATASETS, CHARGES, RECORDS))
        and not (leaving and name in _resumed[manager])
    ]
    _resumed[manager].update(names)
    if not names:
        return
    await attach(actor)
    final: Counter[str] = Counter()
    for name in names:
        if name.startswith(CHARGES):
            run_id = name.removeprefix(CHARGES)
            outbox: Outbox[Any] = charges_outbox(run_id, configuration)
            if run_id == configuration.actor_run_id:
                final.update(_final_counts(outbox))
                _remember_keys(actor.get_charging_manager(), outbox)
        elif name.startswith(RECORDS):
            store = await actor.open_key_value_store(id=name.removeprefix(RECORDS))
            open_outbox(name, Records(store))
        elif (key := name.removeprefix(DATASETS)).startswith(LOCAL):
            await open_left(key, actor)
        else:
            destination = PlatformDataset(key, api.Credentials.of(configuration))
            outbox = open_outbox(name, destination)
            if key == configuration.default_dataset_id:
                place, pending = outbox.snapshot()
                final[DATASET_ITEM] = int(str(place or 0)) + len(pending)
    _reserve(actor.get_charging_manager(), final)


async def finish() -> None:
    """Deliver everything at the end of an Actor: no later process may do it.

    Unless the end is a migration: the next container goes on with what is left. What was put for
    requests that are in work never arrives: they are undone, and the caller may be one of them.
    """
    if events.wants_in_step():
        from autostate.apify.in_step_queue import abandon

        abandon()
    if announced.seconds_to_kill() is not None:
        return
    end = time.monotonic() + min(DRAINING, (announced.seconds_to_timeout() or math.inf) / 2)
    for outbox in list(_outboxes):
        why = "no time is left"
        try:
            await outbox.drain_async(max(0.0, end - time.monotonic()))
        except UnsupportedTypeError:  # logged; everything else is durable
            pass
        except AutostateError as error:
            why = reason(error)
        if left := len(outbox):
            logger.error(
                "the Actor ends, and %d of its pushes or charges have not arrived (%s): they are "
                "kept in its state; resurrect the run to deliver them",
                *(left, why if outbox.error is None else reason(outbox.error)),
            )


def _opened(outbox: Outbox[Any]) -> Outbox[Any]:
    _outboxes.add(outbox)
    return outbox


def open_outbox(name: str, destination: Destination[Any]) -> Outbox[Any]:
    """Give an outbox of the library's own, in the state of the caller."""
    manager = current_manager()
    return manager.companion(name, lambda: _opened(Outbox(manager, name, destination, own=True)))


def _final_counts(outbox: Outbox[Charge]) -> Counter[str]:
    """Return how often each event will have been charged for when all is delivered."""
    place, pending = outbox.snapshot()
    counts: Counter[str] = Counter(place if isinstance(place, Mapping) else {})
    counts.update(sums(pending))
    return counts


def _remember_keys(charging: Any, outbox: Outbox[Charge]) -> None:
    """Let the charging manager know the pending keys of the program, as before the kill."""
    try:
        from apify._charging import IdempotentChargeItem
    except ImportError:  # apify 4.0 has no keys
        return
    for item in outbox.snapshot()[1]:
        if (key := item.value["key"]) is not None:
            charging._idempotent_charges[key] = IdempotentChargeItem(
                event_name=item.value["event"], charged_count=item.value["count"]
            )


def _reserve(charging: Any, final: Mapping[str, int]) -> None:
    """Let the charging manager count what will be charged, so that limits are kept."""
    from apify._charging import ChargingStateItem

    if not charging.get_pricing_info().is_pay_per_event:
        return
    state = charging._charging_state
    for event, count in final.items():
        item = state.setdefault(event, ChargingStateItem(0, Decimal()))
        more = count - item.charge_count
        if more > 0:
            item.charge_count += more
            item.total_charged_amount += more * charging._get_event_price(event)


def charges_outbox(run_id: str, configuration: Any) -> Outbox[Charge]:
    """Give the outbox of the charges of a run."""
    destination = PlatformCharges(run_id, api.Credentials.of(configuration))
    return open_outbox(f"{CHARGES}{run_id}", destination)


class _InStepClient:
    """The API client of a charging manager that puts charges into an outbox.

    Args:
        inner: The client.
        configuration: The configuration of the Actor.
    """

    def __init__(self, inner: Any, configuration: Any) -> None:
        self._inner = inner
        self._configuration = configuration

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, run_id: str) -> Any:
        """Give the client of a run."""
        run = self._inner.run(run_id)
        return _InStepRun(run, run_id, self._configuration) if is_asked() else run


class _InStepRun:
    """The API client of a run that puts charges into an outbox."""

    def __init__(self, inner: Any, run_id: str, configuration: Any) -> None:
        self._inner = inner
        self._run_id = run_id
        self._configuration = configuration

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def charge(
        self, event_name: str, *, count: int = 1, idempotency_key: str | None = None
    ) -> None:
        """Put a charge into the outbox."""
        outbox = charges_outbox(self._run_id, self._configuration)
        await outbox.put_async(
            Charge(event=event_name, count=count, key=idempotency_key, at=time.time())
        )
