"""Replacing a container in a field of an object, which nobody locks.

A container in a field is referenced twice, by the object and by its mirror, and has to be replaced
in both. The field may be assigned at any time. So the comparison and the writes are one step of C,
in which no other thread runs, as in `refcount.put`. The counted container is in a list (the *box*),
in tuples and in iterators, but in no variable: so the measurement adds the same number of
references each time.
"""

from __future__ import annotations

import sys
from itertools import chain, compress, repeat, starmap
from operator import call, is_
from typing import Any

from autostate.tracking import refcount
from autostate.tracking.scan import Scan


def compare_and_swap(root: Any, name: str, new: Any, box: list[Any], *, alone: int) -> int:
    """Replace the container in a field by another one, if the object still has the former one.

    Args:
        root: The mirror.
        name: The field.
        new: The container to be put there.
        box: A list of the container that is there. The caller has that in no variable.
        alone: The number of references to the old container, as counted here, if nobody else
            holds it.

    Returns:
        The number of references to the old container. If it is above `alone`, or if the object has
        another value by now, nothing was changed.
    """
    if name in root.unknown_fields:  # the object has not got it
        return sys.maxsize
    if root._node_ is not None:
        root._node_.tracker.part(Scan).again(root)
    get, put = root.access(name)
    setting = (dict.__setitem__, root, name)
    # Nothing runs yet: these are iterators of C. `now` reads the field each time that it is asked.
    # The first step, which writes the field, is taken if the field holds the old container; the
    # second one, which writes the mirror, if the first was taken. `back` is the same in reverse.
    now = starmap(call, repeat(get))
    steps = compress(((*put, new), (*setting, new)), map(is_, now, (box[0], new)))
    back = compress(((*put, box[0]), (*setting, box[0])), map(is_, now, (new, box[0])))
    try:
        # all of it in one step of C: compare, write twice, count
        *done, count = chain(starmap(call, steps), map(refcount.count, box))
    except AttributeError:  # the slot is unset by now
        return sys.maxsize
    if count > alone:  # the field may have been assigned since: `back` compares as well
        _ = [*starmap(call, back)]
        return int(count)
    return int(count) if done else sys.maxsize
