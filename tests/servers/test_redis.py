"""What only a server of Redis or Valkey does."""

from __future__ import annotations

import pytest

import autostate
from autostate.errors import StoreError
from autostate.stores import open_store


@pytest.mark.parametrize(
    "written",
    [
        "redis://user:secret@127.0.0.1:1",
        "rediss://:secret@127.0.0.1:1",
        "redis://127.0.0.1:1?password=secret",
    ],
)
def test_no_message_tells_a_password(written: str) -> None:
    """The place and the state are named."""
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1.*shop") as caught:
        open_store(f"{written}{'&' if '?' in written else '?'}state=shop")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(autostate.open(f"{written}"))
