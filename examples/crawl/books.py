"""What a crawl has left, compared with what was to be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import astuple, dataclass
from typing import TypeVar

from autostate.testing import Run

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Books:
    """How often something is there more than once, or not at all.

    Attributes:
        counted_twice: Counts above one, summed over the pages.
        items_twice: Items above one, summed over the pages.
        charged_twice: Charges above one for each page.
        lost: Pages that are not counted, or have no item; and charges below one for each page.
        left: Requests that are not handled.
        others: Counts and items of pages that were not to be there.
    """

    counted_twice: int
    items_twice: int
    charged_twice: int
    lost: int
    left: int
    others: int

    @property
    def is_exact(self) -> bool:
        """Whether everything is there once."""
        return not any(astuple(self))


def look(pages: Collection[T], counted: Counter[T], items: Counter[T], run: Run) -> Books:
    """Compare what a run has left with what was to be there.

    Args:
        pages: The pages.
        counted: How often each page counts in the state.
        items: How many items of each page are in the dataset.
        run: The run, which has ended.
    """
    left = sum(not request.get("handledAt") for request in run.queue.requests)
    return compare(pages, counted, items, charges=run.charging.counts.get("page", 0), left=left)


def compare(
    pages: Collection[T], counted: Counter[T], items: Counter[T], *, charges: int, left: int
) -> Books:
    """Compare numbers with what was to be there.

    Args:
        pages: The pages.
        counted: How often each page counts in the state.
        items: How many items of each page are in the dataset.
        charges: How often a page was charged.
        left: How many requests are not handled.
    """
    return Books(
        counted_twice=sum(max(0, counted[page] - 1) for page in pages),
        items_twice=sum(max(0, items[page] - 1) for page in pages),
        charged_twice=max(0, charges - len(pages)),
        lost=sum(not (counted[page] and items[page]) for page in pages)
        + max(0, len(pages) - charges),
        left=left,
        others=sum(page not in pages for page in [*+counted, *items]),
    )
