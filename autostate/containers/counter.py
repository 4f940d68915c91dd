"""PersistedCounter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from autostate.containers import root
from autostate.containers.dict import DictBarrier, by_items, keyed, register_mapping
from autostate.tracking.kind import copy_dict

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
        update = by_items(Counter, "update")
        subtract = by_items(Counter, "subtract")
        __repr__ = root.shown_plain("PersistedCounter", Counter)

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
        root.bind(self, name, Counter(iterable, **kwargs))

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


register_mapping("counter", Counter, PersistedCounter, copy=_copy)
