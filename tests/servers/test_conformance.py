"""The stores on servers do what every store does."""

from __future__ import annotations

import pytest

from autostate.stores import Store, open_store
from tests.conformance import store_kit


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_conforms(check: store_kit.Check, url: str) -> None:
    """With nothing skipped."""

    def open_() -> Store:
        return open_store(url)

    check(open_)
