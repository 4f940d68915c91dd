"""What is saved: URL → four small fields."""

from __future__ import annotations

from typing import Any

CHANGED = 0.01
"""The share of the entries that change between two saves."""


def entries(count: int) -> dict[str, dict[str, Any]]:
    """Make what a crawl of so many pages knows."""
    return {
        f"https://example.com/catalogue/item-{number}": {
            "status": 200,
            "depth": number % 7,
            "title": f"Item {number}",
            "price": number / 100,
        }
        for number in range(count)
    }
