"""Objects of `@persisted` classes: a call returns the live object, or makes and rehydrates one.

The class's own constructor runs first, without any lock, since it may do anything. In one step the
new object then gets the stored fields and becomes a live state object. If another thread was first,
that thread's object is returned.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from autostate import codec
from autostate.codec.unsupported import shown
from autostate.errors import UnsupportedTypeError
from autostate.objects.becoming import become
from autostate.objects.options import template_fields
from autostate.runtime.api import current_manager
from autostate.tracking.layout import Layout, layout_of
from autostate.tracking.mirror import InstanceRoot, offer

logger: logging.Logger = logging.getLogger("autostate")

Call = Callable[..., Any]


def give(cls: type, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Give the live object that a call of a class means, or make one.

    Args:
        cls: The class.
        call: The call of the undecorated class: makes an object that is bound to no store.
        args: The positional arguments of the constructor.
        kwargs: The keyword arguments of the constructor.
    """
    layout = layout_of(cls)
    if layout.cls is not cls:  # `%autoreload` has put all of its successor into this class
        return layout.cls(*args, **kwargs)
    template = layout.options.template
    name = cls.__name__ if template is None else _named(cls, template, args, kwargs)
    manager = current_manager()
    live = manager.live(name)
    made = None
    if live is None:  # the constructor runs without a lock, since it may do anything
        made = _construct(layout, call, args, kwargs)
        live = manager.create(name, "object", functools.partial(InstanceRoot.of, made, layout))
    elif not isinstance(live, InstanceRoot):
        manager.create(name, "object", InstanceRoot)  # raises the error that says what is wrong
    if live.instance is made:
        _convert_new(live)
        return made
    # The object was there before, or another thread was faster. What was made here is dropped.
    if not isinstance(live.instance, cls) or _was_reloaded(live, cls):
        defined_again = layout.name == live.known_layout().name
        newer = _construct(layout, call, args, kwargs) if defined_again and live.claimed else None
        become(live, layout, name, newer)
    manager.create(name, "object", InstanceRoot)  # notes that the program has asked for it
    if not (live.claimed or live.busy):
        _claim(live, args, kwargs)
    elif template is None and (args or kwargs):
        _warn_of_another(layout, name, live.instance, args, kwargs)
    return live.instance


def _was_reloaded(live: InstanceRoot, cls: type) -> bool:
    """Tell whether `%autoreload` has made a live object one of the class, a newer one."""
    return type(live.instance) is cls and live.known_layout().cls is not cls


_ADDRESS: Final = " object at 0x"


def _named(cls: type, template: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Give the name of the state object that a call means: the template holds its arguments."""
    if not template_fields(template):
        return template.format()
    given = _constructor(cls).given(args, kwargs)
    try:
        name = template.format(**given)
        if _ADDRESS in name:
            raise ValueError("an argument has no text of its own but its address")
        return name
    except (LookupError, AttributeError, ValueError, TypeError) as error:
        raise TypeError(
            f"the name {template!r} of {shown(cls)} cannot be made of the arguments of the "
            f"constructor ({type(error).__name__}: {error})"
        ) from None


class _Constructor:
    """The constructor of a class: which argument has which name.

    Args:
        cls: The class.
    """

    def __init__(self, cls: Any) -> None:
        self.functions = cls.__init__, cls.__new__
        self._signature = inspect.signature(cls)
        parameters = self._signature.parameters.values()
        # `Signature.bind` takes several microseconds: too long for each of very many objects.
        self._is_simple = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        self._names = tuple(p.name for p in parameters)
        self._all = frozenset(self._names)
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Name the arguments of a call, with the defaults of those that are left out.

        Raises:
            TypeError: The constructor cannot be called like this.
        """
        if self._is_simple and len(args) <= len(self._names):
            named = dict(zip(self._names, args, strict=False))
            found = {**self._defaults, **named, **kwargs}
            fits = not kwargs or (kwargs.keys().isdisjoint(named) and kwargs.keys() <= self._all)
            if fits and len(found) == len(self._names):
                return found
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = {**bound.arguments}
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                found |= found.pop(parameter.name)
        return found


def _constructor(cls: Any) -> _Constructor:
    """Return the constructor of a class: examined anew only if it was replaced."""
    known = _constructors.get(cls)
    if known is None or known.functions != (cls.__init__, cls.__new__):
        known = _constructors[cls] = _Constructor(cls)
    return known


_constructors: WeakKeyDictionary[type, _Constructor] = WeakKeyDictionary()

_warned: set[type] = set()


def _warn_of_another(
    layout: Layout, name: str, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Warn once that a class has one object, if the program seems to want several.

    It does if it passes, for a parameter without a default, another argument than before.
    """
    cls = layout.cls
    if cls in _warned:
        return
    signature, fields = inspect.signature(cls), layout.read(instance)
    with contextlib.suppress(Exception):  # wrong arguments, or an `__eq__` that raises
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
    """Make an object by the class's own constructor, and check that it can be saved."""
    if layout.factories:  # before `__init__`, which may use the transient fields
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
    """Refuse at once a field that could never be saved."""
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


def _claim(root: InstanceRoot, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Let the constructor run for an object that was rebuilt because another one refers to it."""
    node = root.bound_to()
    layout, instance = root.known_layout(), root.instance
    try:
        with node.tracker.lock:
            # What the program has written to the object by now must not be lost. While the
            # constructor sets its defaults no cut may take these for changes.
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
    _convert_new(root)


def _convert_new(root: InstanceRoot) -> None:
    """Convert what a constructor has made, or note what cannot be converted for open blocks."""
    root.convert_new()
    node = root._node_
    if node is not None and node.tracker.savepoints:
        from autostate.tracking.blocks import Blocks

        with node.tracker.lock:
            node.tracker.part(Blocks).note_new(node, [*root.keys()])
