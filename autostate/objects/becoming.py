"""A live object becomes one of the class that was called: of a class that was defined again.

A cell of a notebook that is changed and run again makes another class of the same name. What a
restart would do is done to the live object: it is upgraded, and gets the fields that are new.
"""

from __future__ import annotations

from typing import Any

from autostate.codec.options import transient_fields
from autostate.codec.unsupported import shown
from autostate.errors import StateTypeError
from autostate.tracking.kind import copy_dict
from autostate.tracking.layout import Layout
from autostate.tracking.mirror import InstanceRoot, describe, offer
from autostate.tracking.scan import Scan


def become(root: InstanceRoot, layout: Layout, name: str, newer: Any) -> None:
    """Change a live object to the class that was called, or refuse the call.

    A class that was defined again, in a notebook, is the same class. And if an object was rebuilt
    only because another state object refers to it, this call may be the first to name its class.

    Args:
        root: The object that is live.
        layout: The layout of the class.
        name: The name of the state object.
        newer: An object of a class that was defined again, which its constructor has made; None:
            the constructor has not run for the live object either.
    """
    cls, instance = layout.cls, root.instance
    tracker = root.bound_to().tracker
    with tracker.lock:
        old, former = type(instance), root.known_layout()
        again = layout.name == former.name
        if again or (issubclass(cls, old) and not root.claimed):
            again = again and not root.busy  # else the constructor will have the last word
            fields = _upgraded(root, former, layout, name) if again else None
            try:
                object.__setattr__(instance, "__class__", cls)
            except TypeError:  # it has other slots
                pass
            else:
                root.layout = layout
                tracker.part(Scan).forget()
                tracker.settled.discard(root.bound_to())  # its class is to be saved
                if again:
                    _adopt(root, fields, newer)
                return
    if again:
        raise StateTypeError(
            f"{name!r} is live, and its class {shown(cls)} was defined again with other slots, "
            "which a live object cannot get: end the process, or restart the kernel, and it is "
            "restored with them"
        )
    raise StateTypeError(
        f"{name!r} is live as a {shown(old)} already, which is no {shown(cls)}: give one of them "
        "another name, @persisted(name=…)"
    )


def _upgraded(
    root: InstanceRoot, former: Layout, layout: Layout, name: str
) -> dict[str, Any] | None:
    """Bring the fields to the version of a class that was defined again, as a restart would.

    Raises:
        UpgradeError: The live object has a newer version, or an upgrade failed.
    """
    version = former.options.version
    layout.options.check_version(version, name, layout.name)
    root.take(root.read())
    root.metadata = describe(root)
    return layout.options.upgraded(dict(copy_dict(root)), version, name, layout.name)


def _adopt(root: InstanceRoot, upgraded: dict[str, Any] | None, newer: Any) -> None:
    """Give an object of a class that was defined again what a restart would give it.

    These are the fields that were upgraded, and of those that it never had, transient ones too,
    what the constructor makes. A field that the class has lost is kept as an unknown one. Others,
    and what the program has deleted, stay as they are.
    """
    layout, instance = root.known_layout(), root.instance
    deleted = root.bound_to().entries.defaults - root.keys()
    if upgraded is not None:
        root.replace(upgraded)
    known = frozenset((root.metadata or {}).get("fields", ()))
    made = {} if newer is None else layout.read(newer)
    for name in layout.read(instance).keys() - made.keys():
        if name not in root or not layout.holds(name, known):
            layout.drop(instance, name)
    root.push()
    if newer is None:
        return
    there = {*layout.read_all(instance), *deleted}
    there |= layout.skipped - transient_fields(layout.cls)
    for name, value in layout.read_all(newer).items():
        if name not in there:
            layout.put(instance, name, value)
    offer(root)
