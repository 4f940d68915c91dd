"""What the SDK has counted as charged in a block of `atomic()`, taken back with the block.

The charging manager counts each charge in memory, and refuses charges beyond the limit of the run.
A block that raises takes its charges out of their outbox, so they are never made. The manager would
count them all the same, refuse charges too early, and know their idempotency keys.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from autostate.runtime.api import current_manager
from autostate.tracking.savepoint import innermost

if TYPE_CHECKING:
    from apify._charging import ChargeResult


class Charging:
    """The method `charge` of a charging manager, which also notes what a block has charged.

    Args:
        manager: The charging manager.
        is_noted: Tells whether a charge of the caller goes through an outbox.
    """

    def __init__(self, manager: Any, is_noted: Callable[[], bool]) -> None:
        self._manager = manager
        self._charge = manager.charge
        self._is_noted = is_noted

    async def __call__(self, event_name: str, *, count: int = 1, **options: Any) -> ChargeResult:
        """Charge as the manager does. The option `idempotency_key` exists from apify 4.1 on."""
        point = innermost(current_manager()._tracker()) if self._is_noted() else None
        if point is None:
            result: ChargeResult = await self._charge(event_name, count=count, **options)
            return result
        async with self._manager.charge_lock():  # which the manager takes again
            before = self._counted(event_name)
            result = await self._charge(event_name, count=count, **options)
            after = self._counted(event_name)
        more, amount = after[0] - before[0], after[1] - before[1]
        if more:

            def take_back() -> None:
                item = self._manager._charging_state[event_name]
                item.charge_count -= more
                item.total_charged_amount -= amount
                if options.get("idempotency_key") is not None:
                    self._manager._idempotent_charges.pop(options["idempotency_key"], None)

            point.when_undone.append(take_back)
        return result

    def _counted(self, event: str) -> tuple[int, Decimal]:
        item = self._manager._charging_state.get(event)
        return (0, Decimal()) if item is None else (item.charge_count, item.total_charged_amount)


def follow(manager: Any, is_noted: Callable[[], bool]) -> None:
    """Let a charging manager take back what blocks have charged that raise."""
    if not isinstance(manager.charge, Charging):
        manager.charge = Charging(manager, is_noted)
