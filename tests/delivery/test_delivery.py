"""What the package offers."""

from __future__ import annotations

import pytest

from autostate import delivery
from tests import programs


def test_every_name_can_be_imported() -> None:
    """Each is a class of its own module; another name is an error."""
    found = {getattr(delivery, name) for name in delivery.__all__}
    assert {cls.__name__ for cls in found} == set(delivery.__all__) <= set(dir(delivery))
    with pytest.raises(AttributeError, match="Nowhere"):
        delivery.Nowhere  # type: ignore[attr-defined] # ty: ignore[unresolved-attribute] # noqa: B018


def test_a_destination_is_loaded_when_it_is_used() -> None:
    """An outbox with a function loads no database and no HTTP client."""
    done = programs.run(
        """
import sys
import autostate.delivery
autostate.configure("memory:")
autostate.outbox("box", print)
modules = ("autostate.delivery.sql", "autostate.delivery.jsonl", "http.client")
assert not {*modules} & sys.modules.keys()
"""
    )
    assert done.returncode == 0, done.stderr
