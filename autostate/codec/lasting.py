"""Classes that a later process would not find again by their names: their objects are refused.

Two classes of a function's body, made by two calls, have one name. While both are alive, nothing
tells which of them a stored object belongs to.
"""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Final

from autostate.codec.classes import is_known
from autostate.codec.names import class_at, loaded_classes, look_again, name_of
from autostate.codec.options import OPTIONS
from autostate.codec.registry import forget, has_tag
from autostate.codec.unsupported import Unsupported, shown


def check_name(cls: type) -> None:
    """Refuse a class without a tag that a later process would not find by its name.

    Raises:
        Unsupported: It would not find the class, or would find another one.
    """
    if has_tag(cls) or not is_known(cls):
        return
    look_again()  # this class may be the newest one of its name
    if not _is_lasting(cls):
        why = "is made while the program runs, so that it is not there when the state is restored"
    elif _is_local(cls) and _has_twin(cls):
        why = "has the same name as another class"
    else:
        return
    raise Unsupported(
        f"a value of type {shown(cls)} cannot be saved: its class {why}; give it a name of its own "
        "with autostate.register(cls, tag)"
    )


def _is_local(cls: type) -> bool:
    """Tell whether a class is not where its name says: it is of a function's body, for example."""
    return class_at(cls.__module__, cls.__qualname__) is None


_ANNOTATED: Final = frozenset({"__annotations__", "__annotate_func__", "__orig_bases__"})


def _is_lasting(cls: type) -> bool:
    """Tell whether a later process can be expected to have the class, by that name or another.

    A class that `namedtuple` has made for the columns of a table does not exist yet when the state
    is restored; a class that a module has made, and holds under any name, does.
    """
    made = "_fields" in vars(cls) and not _ANNOTATED.intersection(vars(cls))
    if not made or not _is_local(cls):
        return True
    try:
        here = object.__getattribute__(sys.modules[cls.__module__], "__dict__")
    except (KeyError, AttributeError):
        return False
    return any(value is cls for value in list(here.values()))


def _has_twin(cls: type) -> bool:
    """Tell whether another class of the same name is alive, so that both may have objects."""
    if cls in _refused:
        return True
    if _forget_twins(cls):
        gc.collect()  # classes are in cycles: without it, unused classes are still alive
        if _forget_twins(cls):
            _refused.add(cls)
            return True
    return False


_refused: Final[weakref.WeakSet[type]] = weakref.WeakSet()
"""Classes that had a twin; the search for a twin takes milliseconds."""


def _forget_twins(cls: type) -> bool:
    """Tell whether there are other classes of its name; they will be searched again when needed."""
    name = name_of(cls)
    found = [
        other
        for other in loaded_classes()
        if other.__qualname__ == cls.__qualname__
        and other is not cls
        and name_of(other) == name
        and not _is_draft(other, cls)
        and is_known(other)
    ]
    for other in found:
        forget(other)
    return bool(found)


def _is_draft(one: type, other: type) -> bool:
    """Tell whether two classes are the argument and the result of a decorator."""
    options = vars(one).get(OPTIONS, vars(other).get(OPTIONS))
    if options is not None:
        return options.draft in (one, other)
    fields = vars(one).get("__dataclass_fields__")
    return fields is not None and fields is vars(other).get("__dataclass_fields__")
