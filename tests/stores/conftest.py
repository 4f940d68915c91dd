"""Fixtures of the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autostate.stores import Store, open_store
from autostate.stores.apify_platform import ApifyStore
from autostate.testing import LocalPlatform


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """A platform on which this process believes to run."""
    with LocalPlatform() as platform:
        for name, value in platform.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ACTOR_DEFAULT_KEY_VALUE_STORE_ID", platform.stores.create().id)
        yield platform


@pytest.fixture
def store(platform: LocalPlatform) -> Iterator[Store]:
    """The default store as the library sees it."""
    store = open_store("apify:")
    assert isinstance(store, ApifyStore)
    yield store
    store.close()
