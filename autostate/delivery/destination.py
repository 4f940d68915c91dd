"""Where the items of an outbox go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from autostate import codec
from autostate.codec.advice import without_state
from autostate.errors import CorruptStateError, UnknownTypeError, UnsupportedTypeError

T = TypeVar("T")

Found = tuple[Collection[int], Any]
"""The positions of the items that have arrived, and the place where the next one will."""


class OutboxItem(NamedTuple, Generic[T]):
    """One item of an outbox.

    Attributes:
        id: Names the item for good: the same after a kill, and never used for another item, not
            even by an outbox that is deleted and made again.
        position: The number of the item; later items have higher numbers, and some may be missing.
        value: What was put into the outbox.
    """

    id: str
    position: int
    value: T


class UnreachedError(ConnectionError):
    """A destination does not answer, or asks to come again; the message holds no values."""


class RetryLaterError(ConnectionError):
    """A destination asks for a pause. The items are tried again after it, not before.

    Args:
        message: Why.
        seconds: The pause.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds: float = seconds


class Destination(Generic[T]):
    """Where the items of an outbox go. Subclasses say how.

    A destination that can tell what has arrived makes each item arrive exactly once: it defines
    `find`. Any other one gets each item at least once, with the same id.

    The methods are called one at a time, by the thread of the outbox; coroutine functions run in
    the event loop in which the outbox was made.

    Attributes:
        batch: The most items of one call of `deliver`.
        batch_bytes: The most bytes of their encoded values, unless one alone has more.
        settle: See `settle_after`.
    """

    batch: int = 1_000
    batch_bytes: int = 4_000_000
    settle: float = 0.0

    def encode(self, value: T) -> str:
        """Return the text as which a value is stored.

        Raises:
            UnsupportedTypeError: The value cannot be stored.
        """
        return encode(value)

    def decode(self, text: str) -> T:
        """Return the value of a stored text."""
        value: T = decode(text)
        return value

    def begin(self) -> Any:
        """Return the place where the first item will arrive, such as the length of a file.

        It is called once in the life of an outbox, before anything is delivered, and its result is
        durable before the first delivery.

        Returns:
            A value that can be saved; None if `find` needs no place.
        """
        return None

    def deliver(self, items: Sequence[OutboxItem[T]], place: Any) -> Any:
        """Deliver some items.

        Args:
            items: The items, in order.
            place: What the last call of `deliver`, `find` or `begin` has returned.

        Returns:
            The place where the next item will arrive.

        Raises:
            DeliveryRefusedError: The destination will not take items any more; the outbox stops.
            RetryLaterError: The destination asks for a pause.
            OSError: The destination was not reached. That counts against no item.
            Exception: It is not known whether the items have arrived; tried again after `find`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define deliver()")

    def find(self, items: Sequence[OutboxItem[T]], place: Any) -> Found | Awaitable[Found]:
        """Tell which of some items have arrived, after a kill or an error.

        Args:
            items: The items that may have been sent.
            place: What the last recorded call has returned: whatever was sent lies behind it.

        Returns:
            The positions of those that have arrived, and the place where the next will arrive.
        """
        return (), place

    def settle_after(self, error: BaseException | None) -> float:
        """Return how many seconds to wait before `find` is called.

        A request that nobody waits for any more may still be on its way: one of a former process,
        or one that timed out. It must have arrived, or never arrive, when `find` looks.

        Args:
            error: The error of `deliver`; None: a former process may have sent the items.
        """
        return self.settle

    def close(self) -> None:
        """Close what is open, in the thread of the outbox; `deliver` may be called again."""

    def is_same(self, other: Destination[Any]) -> bool:
        """Tell whether another destination is this one, in a second call of `outbox()`."""
        return self is other


class FunctionDestination(Destination[T]):
    """A function, or any object with a method `deliver`, as a destination.

    Args:
        function: Is called with the items of a batch.
        batch: The most items of a batch.
    """

    def __init__(
        self,
        function: Callable[[Sequence[OutboxItem[T]]], Awaitable[object] | object],
        batch: int = Destination.batch,
    ) -> None:
        self.batch = batch
        self.function = function

    def deliver(self, items: Sequence[OutboxItem[T]], place: Any) -> Any:
        """Call the function."""
        return _without_result(self.function(items))

    def is_same(self, other: Destination[Any]) -> bool:
        """Tell whether the other one calls the same function.

        A function of a module that was defined again, as in a notebook, replaces the former one.
        """
        if not isinstance(other, FunctionDestination):
            return False
        if self.function == other.function:
            return True
        names = [_name_of(each.function) for each in (self, other)]
        if names[0] is None or names[0] != names[1]:
            return False
        self.function = other.function
        return True


def _name_of(function: Any) -> tuple[str, str] | None:
    """Return the name of a function of a module; None for lambdas, closures and methods."""
    name = getattr(function, "__qualname__", "<")
    return None if "<" in name or "." in name else (function.__module__, name)


async def _awaited(result: Awaitable[object]) -> None:
    await result


def _without_result(result: Awaitable[object] | object) -> Any:
    """Pass on what has to be awaited; a function knows no places, so its result means nothing."""
    return _awaited(result) if isinstance(result, Awaitable) else None


def encode(value: Any, place: str = "the item", keeper: str = "an outbox") -> str:
    """Encode a value as the state does, as of now.

    Args:
        value: The value.
        place: Where it is, for messages.
        keeper: What keeps it, for messages.

    Raises:
        UnsupportedTypeError: It cannot be kept.
    """
    try:
        return codec.dump(codec.jsonable(value, _no_node)).decode()
    except codec.Unsupported as error:
        problem = without_state(error.problem, keeper)
        raise UnsupportedTypeError(f"{place}{error.path}", problem) from None


def decode(text: str) -> Any:
    """Decode a value that `encode` has encoded.

    Raises:
        UnknownTypeError: It is of a class that this program has not registered.
        CorruptStateError: It is none that `encode` has written.
    """
    return codec.decode(msgspec.json.decode(text), _make)


def _no_node(_value: Any) -> None:
    """Tell that no container is a node, so that all are written inline."""


vars(_no_node)["no_pickles"] = (
    "pickled values are kept in states only: put what is needed of it, or register its class"
)


def _make(kind: str, content: Any) -> Any:
    """Build a plain value."""
    if kind == "unknown":
        raise UnknownTypeError(content[0], "an item of an outbox")
    if kind in ("ref", "pickled"):
        raise CorruptStateError(f"an item of an outbox holds a {kind}")
    return Counter(content) if kind == "counter" else content
