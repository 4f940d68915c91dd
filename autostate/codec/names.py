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

from autostate.codec.options import OPTIONS


def name_of(cls: type) -> str:
    """Give the name under which a class without a tag is stored.

    A child of `multiprocessing` that was not forked has the program as `__mp_main__`.
    """
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def find(name: str, wanted: Callable[[type], bool]) -> type | None:
    """Find a wanted class by its name; None if there is none, or more than one."""
    module, _, qualname = name.partition(":")
    cls = _at(module, qualname)
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


def is_local(cls: type) -> bool:
    """Tell whether a class is not where its name says: it is of a function's body, for example."""
    return _at(cls.__module__, cls.__qualname__) is None


_ANNOTATED: Final = frozenset({"__annotations__", "__annotate_func__", "__orig_bases__"})


def is_lasting(cls: type) -> bool:
    """Tell whether a later process can be expected to have the class, by that name or another.

    A class that `namedtuple` has made for the columns of a table does not exist yet when the state
    is restored; a class that a module has made, and holds under any name, does.
    """
    made = "_fields" in vars(cls) and not _ANNOTATED.intersection(vars(cls))
    if not made or not is_local(cls):
        return True
    try:
        here = object.__getattribute__(sys.modules[cls.__module__], "__dict__")
    except (KeyError, AttributeError):
        return False
    return any(value is cls for value in list(here.values()))


def twins(cls: type, wanted: Callable[[type], bool]) -> list[type]:
    """Find other live classes with the name of a class that is not where its name says."""
    name = name_of(cls)
    return [
        other
        for other in _subclasses(object)
        if other.__qualname__ == cls.__qualname__
        and other is not cls
        and name_of(other) == name
        and not _is_draft(other, cls)
        and wanted(other)
    ]


def _is_draft(one: type, other: type) -> bool:
    """Tell whether two classes are the argument and the result of a decorator."""
    options = vars(one).get(OPTIONS, vars(other).get(OPTIONS))
    if options is not None:
        return options.draft in (one, other)
    fields = vars(one).get("__dataclass_fields__")
    return fields is not None and fields is vars(other).get("__dataclass_fields__")


def _at(module: str, qualname: str) -> type | None:
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
    for cls in _subclasses(object):
        if cls.__qualname__ == qualname and wanted(cls):
            modules[cls.__module__] = cls
    if module in modules:
        return modules[module]
    return next(iter(modules.values())) if len(modules) == 1 else None


def _subclasses(cls: type) -> Iterator[type]:
    """Give all classes that are loaded, older ones first.

    They are compared by identity: what a metaclass defines as `==` may raise or warn, as that of
    `typing._UnionGenericAlias` does from Python 3.14 on. `seen` holds them, so that
    no identity is used twice.
    """
    seen: dict[int, type] = {}
    left = [cls]
    while left:
        subs: list[type] = type.__subclasses__(left.pop())
        for sub in subs:
            if id(sub) not in seen:
                seen[id(sub)] = sub
                left.append(sub)
                yield sub
