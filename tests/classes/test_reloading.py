"""`%autoreload` of IPython defines a class again, and puts all of it into the former class, too."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from IPython.extensions import autoreload

import autostate
from autostate import PersistedDict

MODULE = "reloaded_shops"
FIRST = """
import autostate
from dataclasses import dataclass, field
@autostate.persisted
@dataclass
class Shop:
    page: int = 1
    def say(self): return "first"
"""
SECOND = FIRST.replace("first", "second").replace(
    "def", "seen: set = field(default_factory=set)\n    def"
)
THIRD = SECOND.replace("second", "third").replace("    def", "    errors: int = 7\n    def")


@pytest.fixture
def write(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Writes the module, and imports it, or loads it again as the extension does."""
    monkeypatch.syspath_prepend(str(isolated))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    old: dict[Any, Any] = {}

    def made(text: str) -> ModuleType:
        Path(f"{MODULE}.py").write_text(text)
        importlib.invalidate_caches()
        if MODULE not in sys.modules:
            return importlib.import_module(MODULE)
        reload: Any = autoreload.superreload
        module: ModuleType = reload(sys.modules[MODULE], old_objects=old)
        return module

    yield made
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("by_old_name", [True, False])
def test_a_reloaded_class_gives_the_live_object(
    write: Callable[[str], ModuleType], by_old_name: bool
) -> None:
    """By the name that was imported before, too, with its new fields, as often as it changes."""
    module = write(FIRST)
    old: Any = module.Shop
    with autostate.open("sqlite:///s.db"):
        shop = old()
        shop.page = 5
        for text, said, fields in (
            (SECOND, "second", {"page": 5, "seen": set()}),
            (THIRD, "third", {"page": 5, "seen": set(), "errors": 7}),
        ):
            module = write(text)
            assert module.Shop is not old
            cls = old if by_old_name else module.Shop
            assert cls() is shop
            assert (shop.say(), vars(shop)) == (said, fields)
        assert old() is module.Shop() is shop
        shop.seen.add("a")
        autostate.flush()
    with autostate.open("sqlite:///s.db"):
        assert vars(module.Shop()) == {"page": 5, "seen": {"a"}, "errors": 7}


def test_a_reloaded_class_makes_new_objects(write: Callable[[str], ModuleType]) -> None:
    """Of the newer class, also by the former name; and others may hold them."""
    old: Any = write(FIRST).Shop
    newer = write(SECOND).Shop
    with autostate.open("sqlite:///s.db"):
        shop = old(page=3)
        assert (type(shop), vars(shop)) == (newer, {"page": 3, "seen": set()})
        PersistedDict("d")["shop"] = shop
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("d")["shop"] is old()
