"""`@persisted` classes, as type checkers see them: as if they were not decorated.

See tests/test_typing.py for what `# error` means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, assert_type

import autostate
from autostate import Transient, persisted, pickled, transient


@persisted
@dataclass
class Progress:
    """A dataclass."""

    page: int = 1
    seen: set[str] = field(default_factory=set)
    browser: object | None = transient(default=None)
    errors: list[str] = transient(default_factory=list)  # noqa: RUF009 - as a user writes it
    lock: Annotated[object, Transient] = None

    def done(self, url: str) -> int:
        """Do a page."""
        self.seen.add(url)
        return self.page


progress = Progress(page=3)
assert_type(progress, Progress)
assert_type(progress.page, int)
assert_type(progress.seen, set[str])
assert_type(progress.errors, list[str])
assert_type(progress.done("x"), int)
Progress(page="three")  # error
Progress(pages=3)  # error
progress.page = "three"  # error
progress.nothing  # error


def upgrade(state: dict[str, Any], from_version: int) -> None:
    """Bring fields to the next version."""
    state["page"] = from_version


@persisted(name="shop-{shop_id}", version=2, upgrade=upgrade, transient=("browser",))
class Shop:
    """A plain class."""

    rate: float = transient(1.5)
    rule: Annotated[Callable[[int], int], pickled]

    def __init__(self, shop_id: int, currency: str = "CZK") -> None:
        self.shop_id = shop_id
        self.currency = currency
        self.browser = object()

    @classmethod
    def open(cls, shop_id: int) -> Shop:
        """Make one."""
        return cls(shop_id)

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.shop_id}"


assert_type(Shop(7), Shop)
assert_type(Shop.open(7).title, str)
assert_type(Shop(7).rate, float)
Shop()  # error
Shop("7")  # error
Shop(7).title = "x"  # error


class BigShop(Shop):
    """Based on it."""

    def __init__(self, shop_id: int) -> None:
        super().__init__(shop_id, currency="EUR")
        self.size = shop_id


assert_type(BigShop(1).size, int)
assert_type(BigShop(1).currency, str)

assert_type(autostate.info(Shop(1)), autostate.Info)
autostate.delete(Shop(1))

persisted(name=5)  # error
persisted(version="2")  # error
persisted(transient=5)  # error
persisted(upgrade=5)  # error
persisted(upgrade=[upgrade, upgrade])
persisted("shop")  # error
transient(1, 2)  # error
transient(default=1, default_factory=int)  # error
