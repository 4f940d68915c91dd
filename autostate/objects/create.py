"""Objects of `@persisted` classes: given if they are live, else made, and then rehydrated.

The class's own constructor runs first, without any lock, since it may do anything; what it made is
then given what is stored, in the same step that makes it a live state object. If another thread
was first, its object is the one that is given.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from autostate import codec
from autostate.codec.unsupported import shown
from autostate.errors import StateTypeError, UnsupportedTypeError
from autostate.runtime.api import current_manager
from autostate.tracking.layout import Layout
from autostate.tracking.mirror import InstanceRoot, offer

logger: logging.Logger = logging.getLogger("autostate")

Call = Callable[..., Any]


def give(
    layout: Layout, name: str, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Give the live object of a name, or make it.

    Args:
        layout: That of the class that was called.
        name: The name of the state object.
        call: What calling the class does without us: it makes an object, bound to no store.
        args: The arguments of the constructor.
        kwargs: Those by name.
    """
    manager = current_manager()
    live = manager.live(name)
    made = None
    if live is None:
        made = _construct(layout, call, args, kwargs)
        live = manager.create(name, "object", lambda: InstanceRoot.of(made, layout))
    elif not isinstance(live, InstanceRoot):
        manager.create(name, "object", InstanceRoot)  # says what is wrong
    if live.instance is made:
        return made
    _become(live, layout, name)
    manager.create(name, "object", InstanceRoot)  # takes note that it was asked for
    if not (live.claimed or live.busy):
        _claim(live, args, kwargs)
    elif layout.options.template is None and (args or kwargs):
        _warn_of_another(layout, name, live.instance, args, kwargs)
    return live.instance


_warned: set[type] = set()


def _warn_of_another(
    layout: Layout, name: str, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Say once that a class has one object, to a program that seems to want several.

    That is one which gives an argument that has no default, and another than it gave before.
    """
    cls = layout.cls
    if cls in _warned:
        return
    signature, fields = inspect.signature(cls), layout.read(instance)
    with contextlib.suppress(Exception):  # of wrong arguments, or of an `__eq__`
        given = signature.bind(*args, **kwargs).arguments
        for key, value in given.items():
            needed = signature.parameters[key].default is inspect.Parameter.empty
            if needed and key in fields and fields[key] != value:
                _warned.add(cls)
                logger.warning(
                    "%s was called with another %s, and gave the object of the name %r that there "
                    'is: for one object for each %s, write @persisted(name="%s-{%s}")',
                    shown(cls),
                    key,
                    name,
                    key,
                    name,
                    key,
                )
                return


def _construct(layout: Layout, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Make an object, by the class's own constructor, and see that it can be saved."""
    if layout.factories:
        cls: Any = layout.cls
        own = cls.__new__ is not object.__new__
        made: Any = cls.__new__(cls, *args, **kwargs) if own else object.__new__(cls)
        _make_transient(layout, made)
        made.__init__(*args, **kwargs)
    else:
        made = call(*args, **kwargs)
    if not isinstance(made, layout.cls):
        raise TypeError(
            f"{shown(layout.cls)}.__new__ gave a {type(made).__name__}: the objects of a "
            "@persisted class are of that class"
        )
    _check_fields(layout, made)
    return made


def _make_transient(layout: Layout, instance: Any) -> None:
    for name, factory in layout.factories.items():
        layout.put(instance, name, factory())


def _check_fields(layout: Layout, instance: Any) -> None:
    """Refuse at once what could never be saved."""
    for name, value in layout.read(instance).items():
        if name in layout.pickled:
            continue
        problem = codec.problem_of(value)
        if problem is not None:
            raise UnsupportedTypeError(
                f"{shown(layout.cls)}.{name}",
                f'if it need not be saved, say so, by @persisted(transient=("{name}",)) or '
                f"Annotated[…, autostate.Transient]; if it must be: {problem}",
            )


def _become(root: InstanceRoot, layout: Layout, name: str) -> None:
    """See that a live object is of the class that was called.

    A class that was defined anew, in a notebook, is the same class; and of an object that came
    along with another state object the program may say only now of which class it is.
    """
    cls, instance = layout.cls, root.instance
    if isinstance(instance, cls):
        return
    with root.bound_to().tracker.lock:
        old = type(instance)
        if layout.name == root.known_layout().name or (issubclass(cls, old) and not root.claimed):
            try:
                object.__setattr__(instance, "__class__", cls)
            except TypeError:  # it has other slots
                pass
            else:
                root.layout = layout
                root.bound_to().tracker.scan.forget()
                return
    raise StateTypeError(
        f"{name!r} is live as a {shown(old)} already, which is no {shown(cls)}: give one of them "
        "another name, @persisted(name=…)"
    )


def _claim(root: InstanceRoot, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Let the constructor run for an object that came along with what refers to it."""
    node = root.bound_to()
    layout, instance = root.known_layout(), root.instance
    try:
        with node.tracker.lock:
            root.take(root.read())
            root.busy = True
        _make_transient(layout, instance)
        type(instance).__init__(instance, *args, **kwargs)
        root.claimed = True
    finally:
        with node.tracker.lock:
            root.push()
            root.busy = False
    with node.tracker.lock:
        offer(root)
