"""PersistedCounter."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from autostate.containers import root
from autostate.containers.dict import RAW, DictBarrier, keyed, recording, refill
from autostate.tracking.barrier import is_keyed, register_kind, span
from autostate.tracking.defaults import offer
from autostate.tracking.kind import Kind, copy_dict

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=str)  # counts that are given by keyword have str keys
else:
    T = TypeVar("T")


class PersistedCounter(DictBarrier, Counter[T]):
    """A `collections.Counter` that saves itself.

    The arguments after the name are defaults, in any form that `Counter` accepts. `PersistedDict`
    says what defaults do, and which errors are raised.

    Example:
        >>> words = PersistedCounter("words")
        >>> words.update("banana")
        >>> words.most_common(1)
        [('a', 3)]
    """

    __slots__ = ("_key_", "_node_")

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __delitem__ = keyed(Counter, "__delitem__")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an empty Counter, or give the live Counter of that name."""
        made: Self = root.create(cls, Counter, "counter", args, kwargs)
        return made

    @overload
    def __init__(self, name: str, iterable: None = None, /, **kwargs: int) -> None: ...
    @overload
    def __init__(
        self, name: str, mapping: SupportsKeysAndGetItem[T, int], /, **kwargs: int
    ) -> None: ...
    @overload
    def __init__(self, name: str, iterable: Iterable[T], /, **kwargs: int) -> None: ...
    def __init__(self, name: str, iterable: Any = None, /, **kwargs: int) -> None:
        """Offer the defaults."""
        defaults = Counter(iterable, **kwargs)
        root.bind(self, name, "counter")
        if self._node_ is not None:
            offer(self, defaults)

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        @functools.wraps(Counter.update)
        def update(self, iterable: Any = None, /, **kwargs: int) -> None:  # type: ignore[override]
            """Add counts, as `Counter.update` does."""
            if is_keyed(self):  # counts by item assignment, which is recorded
                Counter.update(self, iterable, **kwargs)
            else:
                span(self, Counter.update, iterable, **kwargs)

        @functools.wraps(Counter.subtract)
        def subtract(self, iterable: Any = None, /, **kwargs: int) -> None:  # type: ignore[override]
            """Subtract counts, as `Counter.subtract` does."""
            if is_keyed(self):
                Counter.subtract(self, iterable, **kwargs)
            else:
                span(self, Counter.subtract, iterable, **kwargs)

    def __repr__(self) -> str:
        if type(self).__name__ == "PersistedCounter":  # invisible, as in a dict that holds it
            return repr(_copy(self))
        return Counter.__repr__(self)

    def copy(self) -> Counter[T]:  # type: ignore[override]  # ty: ignore[incompatible-method-override]
        """Make a plain, shallow copy."""
        return _copy(self)

    @classmethod
    def fromkeys(  # type: ignore[override]
        cls, iterable: Iterable[Any], v: int | None = None
    ) -> Any:
        """Raise NotImplementedError, as `Counter.fromkeys` does."""
        return Counter.fromkeys(iterable, v)


def _copy(container: Counter[Any]) -> Counter[Any]:
    made: Counter[Any] = Counter()
    dict.update(made, copy_dict(container))
    return made


register_kind(
    Kind(
        name="counter",
        shape="mapping",
        builtin=Counter,
        tracked=PersistedCounter,
        copy=_copy,
        fill=dict.update,
        refill=refill,
        raw=RAW,
        recording=recording(dict),
    )
)
