"""What a run charges for: prices, idempotency keys, and counts, as on the platform."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autostate.testing.storages import now
from autostate.testing.wire import ApiError, Request, Response, data_response

KEYS_LIVE = 180.0
"""Seconds for which the platform remembers an idempotency key."""

DATASET_ITEM = "apify-default-dataset-item"
"""The event that the platform charges by itself for each item of the default dataset."""


@dataclass(frozen=True)
class ChargedEvent:
    """One charge that the platform has accepted.

    Attributes:
        event: The name of the event.
        count: How often.
        key: The idempotency key; None for what the platform charges by itself.
    """

    event: str
    count: int
    key: str | None


class Charging:
    """The charges of one run.

    Args:
        prices: The price of each event in dollars; None: the Actor is not paid per event.
        limit: The most dollars that the run may charge, as its user has set it.
        clock: Seconds that never jump.

    Attributes:
        charges: What was charged, in order.
        ignored: What was sent again under a key that is known.
    """

    def __init__(
        self,
        prices: Mapping[str, float] | None,
        limit: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.charges: list[ChargedEvent] = []
        self.ignored: list[ChargedEvent] = []
        self.prices: Mapping[str, float] | None = prices
        self.limit: float | None = limit
        self._clock = clock
        self._keys: dict[str, float] = {}
        self._since = now()

    @property
    def counts(self) -> dict[str, int]:
        """How often each event was charged for."""
        counts: Counter[str] = Counter()
        for charge in self.charges:
            counts[charge.event] += charge.count
        return dict(counts)

    def answer(self, request: Request) -> Response:
        """Answer a request to charge."""
        asked = request.json() or {}
        event, count = asked.get("eventName"), asked.get("count", 1)
        known_events = () if self.prices is None else self.prices
        if not isinstance(event, str) or event not in known_events or event == DATASET_ITEM:
            raise ApiError(400, "unknown-event", "There is no such event to charge for.")
        if not isinstance(count, int) or count < 1:
            raise ApiError(400, "invalid-count", "The count must be a positive number.")
        key = request.headers.get("idempotency-key")
        charge = ChargedEvent(event, count, key)
        if key is not None:
            known = self._keys.get(key)
            if known is not None and self._clock() - known < KEYS_LIVE:
                self.ignored.append(charge)
                return data_response({}, 201)
            self._keys[key] = self._clock()
        self.charges.append(charge)
        return data_response({}, 201)

    def pushed(self, count: int) -> None:
        """Charge for items of the default dataset, if they have a price."""
        if self.prices is not None and DATASET_ITEM in self.prices and count:
            self.charges.append(ChargedEvent(DATASET_ITEM, count, None))

    def describe(self) -> dict[str, Any]:
        """What the run object of the API tells about it."""
        if self.prices is None:
            return {}
        return {"pricingInfo": self._pricing_info(), "chargedEventCounts": self.counts}

    def options(self) -> dict[str, Any]:
        """What the options of the run tell about it."""
        return {} if self.limit is None else {"maxTotalChargeUsd": self.limit}

    def environment(self) -> dict[str, str]:
        """What a container that starts now is told."""
        if self.prices is None:
            return {}
        import json

        told = {
            "APIFY_ACTOR_PRICING_INFO": json.dumps(self._pricing_info()),
            "APIFY_CHARGED_ACTOR_EVENT_COUNTS": json.dumps(self.counts),
        }
        return (
            told if self.limit is None else {**told, "ACTOR_MAX_TOTAL_CHARGE_USD": str(self.limit)}
        )

    def _pricing_info(self) -> dict[str, Any]:
        return {
            "pricingModel": "PAY_PER_EVENT",
            "apifyMarginPercentage": 0.2,
            "createdAt": self._since,
            "startedAt": self._since,
            "pricingPerEvent": {
                "actorChargeEvents": {
                    event: {
                        "eventTitle": event,
                        "eventDescription": event,
                        "eventPriceUsd": price,
                    }
                    for event, price in (self.prices or {}).items()
                }
            },
        }
