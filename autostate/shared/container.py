"""What the shared containers have in common."""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar, Final, Never, NoReturn, Self

from autostate.runtime.info import SharedInfo
from autostate.shared import handle as seam
from autostate.shared.handle import Handle, Options

_newobj: Final = vars(copyreg)["__newobj__"]


def reduced(plain: Any) -> Any:
    """Give what `__reduce_ex__` of a subclass returns so that a plain container is pickled."""
    function, arguments, *content = plain.__reduce_ex__(2)
    if function is _newobj:  # `pickle` accepts it for objects of the class only
        function, *arguments = arguments
    return function, tuple(arguments), *content


def on_copy(builtin: Any, name: str) -> Any:
    """Make a reading method that is the builtin's, called on a plain copy.

    It is needed for methods in Python: a refresh in another thread could change what they iterate.
    """
    function = getattr(builtin, name)

    @functools.wraps(function)
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(self.copy(), *map(_plain, args), **kwargs)

    return method


def _plain(argument: Any) -> Any:
    """Give a plain copy in place of a shared container."""
    return argument.copy() if isinstance(argument, SharedContainer) else argument  # type: ignore[attr-defined]


def refused(builtin: Any, name: str, advice: str) -> Callable[..., NoReturn]:
    """Make a method that raises TypeError.

    Args:
        builtin: The type that has the method.
        name: The name of the method.
        advice: Why the method is refused, and what to do instead.
    """

    @functools.wraps(getattr(builtin, name))
    def method(self: Any, /, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError(f"{type(self).__name__}.{name}: {advice}")

    return method


def refuse_defaults(
    cls: type, name: str, defaults: Collection[Any], named: Collection[str]
) -> None:
    """Refuse the defaults that a persisted container would take."""
    if defaults or named:
        raise TypeError(
            f"{cls.__name__}({name!r}): shared objects have no defaults, which each process "
            "would write again: use update()"
        )


class SharedContainer:
    """The base of the shared containers.

    Attributes:
        _builtin_: The plain type.
    """

    __slots__ = ()
    _builtin_: ClassVar[Any]
    if TYPE_CHECKING:
        _handle_: Handle

    def __new__(cls, name: str, /, *defaults: Never, **named: Never) -> Self:
        """Give the live object of that name; the first call for a name makes it."""
        refuse_defaults(cls, name, defaults, named)
        return cls._attached_(name, {})

    @classmethod
    def _attached_(cls, name: str, options: Options) -> Self:
        if type(name) is not str:
            raise TypeError(
                f"the first argument of {cls.__name__} is its name, a str, not "
                f"{type(name).__name__}: {cls.__name__}('progress')"
            )
        made: Self = seam.attach(cls, name, options)
        return made

    @classmethod
    def _made_(cls, handle: Handle, options: Options) -> Self:  # noqa: ARG003 - of a dict
        """Make an empty object that is bound to a handle."""
        made: Any = cls._builtin_.__new__(cls)
        made._handle_ = handle
        return made  # type: ignore[no-any-return]

    def refresh(self, timeout: float | None = None) -> None:
        """Read what other processes have published by now, and show it in all shared objects.

        Nothing else changes a shared object but the program's own writes, unless the setting
        `shared_refresh` is made: then a thread refreshes, too, in a program with an event loop
        between two of its callbacks. So a loop over a shared object breaks only if the program
        writes to it or refreshes meanwhile, in another thread or task for example: then let it run
        over `copy()`. Calls such as `dict(hits)`, `sorted(seen)` and `json.dumps(best)` never do.

        Args:
            timeout: How long to wait for the store, in seconds.
        """
        self._handle_.refresh(timeout)

    def _info_(self) -> SharedInfo:
        """Tell what is known about this object; see `autostate.info`."""
        return self._handle_.info()

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        def copy(self) -> Any:
            """Make a plain, shallow copy."""
            with self._handle_.lock:
                return self._builtin_.copy(self)

        def __copy__(self) -> Any:
            return self.copy()

        def __reduce_ex__(self, _protocol: Any, /) -> Any:
            """Pickle as the builtin does."""
            return reduced(self.copy())

        def __reduce__(self) -> Any:
            """Pickle as the builtin does."""
            return reduced(self.copy())

        def __repr__(self) -> str:
            plain = self.copy()
            return f"{type(self).__name__}({plain!r})" if plain else f"{type(self).__name__}()"
