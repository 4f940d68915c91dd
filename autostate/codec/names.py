"""Names of classes: "module:qualname".

A class is found among those that the program has loaded: where the name says, or, if its module
was renamed or run as `__main__`, as the only one of that name. Nothing is imported, and no module's
own `__getattr__` runs.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Final


def name_of(cls: type) -> str:
    """Give the name under which a class without a tag is stored.

    A child of `multiprocessing` that was not forked has the program as `__mp_main__`.
    """
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def find(name: str, wanted: Callable[[type], bool]) -> type | None:
    """Find a wanted class by its name; None if there is none, or more than one."""
    module, _, qualname = name.partition(":")
    cls = class_at(module, qualname)
    if cls is not None and wanted(cls):
        return cls
    try:
        found = _found[name]
    except KeyError:
        cls = _by_name(module, qualname, wanted)
        found = _found[name] = None if cls is None else weakref.ref(cls)
    return None if found is None else found()


_found: Final[dict[str, weakref.ref[type] | None]] = {}
"""Classes that were not where their name says; a search of all classes takes milliseconds."""


def look_again() -> None:
    """Forget all results of searches: classes may have been made since."""
    _found.clear()


def class_at(module: str, qualname: str) -> type | None:
    """Find the class at that place, by any name of it; run no module's `__getattr__`."""
    try:
        here = object.__getattribute__(sys.modules[module], "__dict__")
        *outer, last = qualname.split(".")
        for name in outer:
            here = vars(here[name])
        found = here[last]
    except (KeyError, AttributeError, TypeError):
        return None
    return found if isinstance(found, type) else None


def _by_name(module: str, qualname: str, wanted: Callable[[type], bool]) -> type | None:
    """Find the only class of that name; of several in one module, the last one made."""
    modules: dict[str, type] = {}
    for cls in loaded_classes():
        if cls.__qualname__ == qualname and wanted(cls):
            modules[cls.__module__] = cls
    if module in modules:
        return modules[module]
    return next(iter(modules.values())) if len(modules) == 1 else None


def loaded_classes() -> Iterator[type]:
    """Give all classes that are loaded, older ones first.

    They are compared by identity: what a metaclass defines as `==` may raise or warn, as that of
    `typing._UnionGenericAlias` does from Python 3.14 on. `seen` holds them, so that
    no identity is used twice.
    """
    seen: dict[int, type] = {}
    left: list[type] = [object]
    while left:
        subs: list[type] = type.__subclasses__(left.pop())
        for sub in subs:
            if id(sub) not in seen:
                seen[id(sub)] = sub
                left.append(sub)
                yield sub
