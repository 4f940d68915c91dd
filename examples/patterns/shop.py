"""The shop that the examples read: it needs no network, and is the same each time.

Tests make it stop at a page, as a shop that hangs: `SHOP_STOPS_AT` says at which one, and it goes
on when somebody writes to the pipe `SHOP_GATE`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

PAGES = 6
PER_PAGE = 5

Product = dict[str, Any]
"""Its id, name and price."""


async def products(page: int) -> list[Product]:
    """Load a page of the catalogue: each product is on one page; behind the last one is nothing."""
    await _load("products", page)
    first = (page - 1) * PER_PAGE
    return [_product(id_) for id_ in range(first, first + PER_PAGE) if page <= PAGES]


async def offers(page: int) -> list[Product]:
    """Load a page of what is on offer: some products are on several pages."""
    await _load("offers", page)
    return [_product(id_) for id_ in range(page, page + PER_PAGE) if page <= PAGES]


def _product(id_: int) -> Product:
    return {"id": id_, "name": f"Product {id_}", "price": 1.5 * id_}


async def _load(what: str, page: int) -> None:
    print(f"loading {what}, page {page}", flush=True)
    if os.environ.get("SHOP_STOPS_AT") == str(page):
        gate = Path(os.environ["SHOP_GATE"])
        await asyncio.to_thread(gate.read_text)
