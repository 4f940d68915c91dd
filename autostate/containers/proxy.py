"""proxy: any object as a state object, saved when it is used.

The store keeps a root of the kind "proxy": a dict with one entry, `value`, that holds the object.
The object is watched, as every value without a barrier is. A use of the object only tells the flush
thread to compare it now, instead of at its next regular comparison.

The kind is known to every program; the wrapper (`proxied.py`) is loaded only by programs that use
it.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Final, TypeVar

from autostate import codec
from autostate.containers.dict import DictBarrier, refill, register_mapping
from autostate.containers.root import blank
from autostate.errors import UnsupportedTypeError
from autostate.tracking.barrier import Barrier, before, changed
from autostate.tracking.defaults import offer
from autostate.tracking.kind import PLAIN

T = TypeVar("T")

VALUE: Final = "value"


def proxy(name: str, obj: T) -> T:
    """Make a state object of any object: the object is saved when it is used.

    It is saved after attribute and item writes, in-place operators, calls and method calls; also
    if the method was looked up earlier, or is asynchronous, or a generator. Changes that bypass
    the proxy are found by the next regular comparison or by `flush()`.

    The object itself does not take part in `atomic()`: a change inside it is not undone when the
    block raises. An in-place operator that makes a new object (`number += 1`) is undone.

    Args:
        name: The name of the state object. The same name gives the same live proxy.
        obj: The object to begin with if nothing is stored under that name. It must be of a class
            that can be saved, see `register`; pass `pickled(obj)` for any other object.

    Returns:
        A transparent wrapper around the stored object, or around `obj` if nothing is stored.

    Raises:
        UnsupportedTypeError: The object cannot be saved.
        TypeError: The object is a container, for which there is a class such as `PersistedDict`.
        ValueError: The name is empty or cannot be used, or begins with `autostate.`.
        StateTypeError: The name belongs to a state object of another kind.
        CorruptStateError: The stored state cannot be read. Nothing is overwritten.
        SignatureError: The stored object was pickled, and its signature does not hold.
        StoreUnavailableError: The store cannot be reached, so the state to resume is not known.

    Example:
        >>> import autostate
        >>> import random
        >>> dice = autostate.proxy("dice", random.Random(7))
        >>> dice.randrange(6)  # the next process goes on from here
        2
    """
    from autostate.runtime.api import current_manager

    _check(name, obj)
    root = current_manager().create(name, "proxy", functools.partial(blank, ProxyRoot))
    with root._node_.tracker.lock:
        offer(root, {VALUE: obj})
        made: T = show(root)
    return made


def _check(name: str, obj: Any) -> None:
    """Refuse an object that could never be saved, before a state object is made."""
    cls = type(obj)
    plain = PLAIN.get(cls)
    if plain is not None:
        better = plain.tracked.__name__
        raise TypeError(f"a {cls.__name__} needs no proxy: use {better}({name!r}, …)")
    if issubclass(cls, Barrier) or hasattr(cls, "_self_used"):  # a proxy
        raise TypeError(f"proxy() was given a {cls.__name__}, which saves itself")
    try:
        codec.jsonable(obj, _Trial())
    except codec.Unsupported as problem:
        steps = "".join(reversed(problem.steps))
        raise UnsupportedTypeError(
            f"proxy({name!r}){steps}", problem.problem
        ) from problem.__cause__


class _Trial:
    """A stand-in for an entry of the state, to try whether a value can be saved."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def __call__(self, value: Any) -> dict[str, int] | None:
        if id(value) in self._seen:
            return {"$ref": 0}
        self._seen[id(value)] = value
        return None

    def sign(self, _data: bytes) -> str:
        return ""

    def name_of(self, container: Any) -> str | None:
        from autostate.codec.pickled import name_of

        return name_of(container)


class Content(dict[str, Any]):
    """The plain form of the root of a proxy."""


class ProxyRoot(DictBarrier, Content):
    """The state object behind a proxy."""

    __slots__ = ("_key_", "_node_", "_proxy")

    def used(self) -> None:
        """Mark: the object may have changed."""
        node = self._node_
        if node is not None:
            with node.tracker.lock:
                if node.tracker.savepoints:
                    from autostate.tracking.blocks import Blocks

                    node.tracker.part(Blocks).note_use()
                changed(self)

    def replace(self, value: Any) -> None:
        """Hold another object."""
        node = self._node_
        with contextlib.nullcontext() if node is None else node.tracker.lock:
            before(self)
            dict.__setitem__(self, VALUE, value)
            _renew(self)
            changed(self)


def show(root: Any) -> Any:
    """Give the proxy of a root."""
    made = getattr(root, "_proxy", None)
    if made is None:
        from autostate.containers.proxied import make

        made = root._proxy = make(root)
        _renew(root)
    return made


def _renew(root: ProxyRoot) -> None:
    """Let the proxy wrap the object in the root; a root that is being rehydrated has none yet."""
    made = getattr(root, "_proxy", None)
    if made is not None and VALUE in root:
        made._self_hold(root[VALUE])


def _fill(root: ProxyRoot, content: dict[str, Any]) -> None:
    dict.update(root, content)
    _renew(root)


def _refill(root: ProxyRoot, content: dict[str, Any]) -> None:
    refill(root, content)
    _renew(root)


register_mapping("proxy", Content, ProxyRoot, fill=_fill, refill=_refill, show=show)
