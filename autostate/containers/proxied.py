"""The wrapper that `proxy` returns: it marks when the wrapped object was used.

The result of a method may use the object later: a coroutine, a generator, a context manager of
`contextlib`. Such results are wrapped as well, and mark at every step. If a method returns the
object itself, the caller gets the proxy, so that calls can be chained.
"""

from __future__ import annotations

import contextlib
import copy
import types
from collections.abc import Awaitable, Callable
from typing import Any, Final

from autostate import codec
from autostate.codec.pickled import Pickled, wrap
from autostate.codec.signatures import Ref
from autostate.codec.transparent import Proxy, Transparent, forward, shaped

USES: Final = frozenset({"__call__", "__next__", "__anext__", "__aenter__", "__aexit__"})
"""The optional special methods after which the object may have changed."""


class Plain(Proxy):
    """A wrapper whose copies and pickles are plain, and bound to no store."""

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return itself, (self.__wrapped__,)

    def __reduce__(self) -> Any:
        return itself, (self.__wrapped__,)


class Proxied(Plain, Transparent):
    """A transparent wrapper; `_self_root` is the state object that holds the object."""

    def _self_state(self) -> Any:
        return self._self_root

    def _self_used(self) -> None:
        """Mark: the object may have changed."""
        self._self_root.used()

    def _self_call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that may change the object; mark, and wrap a result that uses it."""
        try:
            result = function(*args, **kwargs)
        finally:
            self._self_used()
        return self._self_result(result)

    def _self_result(self, result: Any) -> Any:
        if result is self.__wrapped__:
            return self
        around = _GOES_ON.get(type(result))
        return result if around is None else around(result, self)

    def _self_assigned(self, result: Any) -> Any:
        if result is self.__wrapped__:
            self._self_used()
        else:
            self._self_root.replace(wrap(result) if self._self_pickled else result)
        return self

    def _self_hold(self, value: Any) -> None:
        """Wrap another object; of a `Pickled` wrapper, the object inside."""
        self._self_pickled = issubclass(type(value), Pickled)
        self.__wrapped__: Any = value.__wrapped__ if self._self_pickled else value
        # wrapt would set the class of the wrapped object
        object.__dict__["__class__"].__set__(self, shaped(Proxied, self.__wrapped__, encode))

    @staticmethod
    def _self_special(name: str) -> Callable[..., Any]:
        if name in USES:
            return _using(name)
        return _SPECIAL.get(name) or forward(name)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        if getattr(value, "__self__", None) is self.__wrapped__ and callable(value):
            return Call(value, self)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_self_") or name == "__wrapped__":
            super().__setattr__(name, value)
        else:
            self._self_call(setattr, self.__wrapped__, name, value)

    def __delattr__(self, name: str) -> None:
        self._self_call(delattr, self.__wrapped__, name)

    def __iter__(self) -> Any:
        made = iter(self.__wrapped__)
        return self if made is self.__wrapped__ else made


def make(root: Any) -> Proxied:
    """Make the proxy of a root; the proxy does not wrap anything yet."""
    made: Proxied = shaped(Proxied, None, encode)(None)
    made._self_root, made._self_pickled = root, False
    return made


def encode(value: Proxied, ref: Ref) -> Any:
    """Refer to the root; the object of a deleted proxy is saved as a plain object."""
    root = value._self_root
    if root._node_ is not None:
        return ref(root)
    return codec.jsonable(
        wrap(value.__wrapped__) if value._self_pickled else value.__wrapped__, ref
    )


def itself(value: Any) -> Any:
    """Give the object itself: a pickled proxy is unpickled as the object that it wrapped."""
    return value


def _using(name: str) -> Callable[..., Any]:
    """Make a special method that may change the object."""

    def method(self: Proxied, *args: Any, **kwargs: Any) -> Any:
        wrapped = self.__wrapped__
        return self._self_call(getattr(type(wrapped), name), wrapped, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def _await(self: Proxied) -> Any:
    try:
        result = yield from type(self.__wrapped__).__await__(self.__wrapped__)
    finally:
        self._self_used()
    return self._self_result(result)


def _aiter(self: Proxied) -> Any:
    return self._self_result(type(self.__wrapped__).__aiter__(self.__wrapped__))


_SPECIAL: Final = {"__await__": _await, "__aiter__": _aiter}

for _name in ("__setitem__", "__delitem__", "__enter__", "__exit__"):
    setattr(Proxied, _name, _using(_name))


# -- results that use the object later ---------------------------------------------------------


class Step(Plain):
    """A wrapped result of a method that uses the object: the object is saved after each call."""

    def __init__(self, wrapped: Any, proxy: Proxied) -> None:
        super().__init__(wrapped)
        self._self_proxy = proxy

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def _stepping(name: str) -> Callable[..., Any]:
    def method(self: Step, *args: Any, **kwargs: Any) -> Any:
        return self._self_proxy._self_call(getattr(self.__wrapped__, name), *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    return method


def _itself_again(self: Step) -> Step:
    return self


def _step(name: str, *names: str, **methods: Any) -> type[Step]:
    """Make the wrapper class for one type of results, with methods that mark, and others."""
    stepping = {each: _stepping(each) for each in names}
    return type(name, (Step,), {"__module__": __name__, **stepping, **methods})


Call: type[Step] = _step("Call", "__call__")
Generator: type[Step] = _step(
    "Generator", "__next__", "send", "throw", "close", __iter__=_itself_again
)
AsyncGenerator: type[Step] = _step(
    "AsyncGenerator", "__anext__", "asend", "athrow", "aclose", __aiter__=_itself_again
)
Manager: type[Step] = _step("Manager", "__enter__", "__exit__", "__call__")
AsyncManager: type[Step] = _step("AsyncManager", "__aenter__", "__aexit__", "__call__")


async def _awaited(awaitable: Awaitable[Any], proxy: Proxied) -> Any:
    """Wait for an awaitable that uses the object."""
    try:
        result = await awaitable
    finally:
        proxy._self_used()
    return proxy._self_result(result)


def _asynchronous_steps() -> tuple[type, ...]:
    """Find the types that the methods of an asynchronous generator return."""

    async def none() -> Any:
        yield

    generator: Any = none()
    steps = generator.asend(None), generator.athrow(GeneratorExit)
    for step in steps:
        step.close()  # Python 3.13 warns of a step that nobody has awaited
    return tuple(map(type, steps))


_GOES_ON: Final[dict[type, Callable[[Any, Proxied], Any]]] = {
    types.CoroutineType: _awaited,
    **dict.fromkeys(_asynchronous_steps(), _awaited),
    types.GeneratorType: Generator,
    types.AsyncGeneratorType: AsyncGenerator,
    contextlib._GeneratorContextManager: Manager,
    contextlib._AsyncGeneratorContextManager: AsyncManager,
}
