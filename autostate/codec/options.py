"""The options of `@persisted` classes: each class holds its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, field

from autostate import steps
from autostate.errors import UpgradeError
from autostate.process.interrupts import is_passing

OPTIONS: Final = "__autostate__"
"""The attribute of a `@persisted` class that holds its options."""

Upgrade = Callable[[dict[str, Any], int], Any]


class Options(Struct, frozen=True):
    """The options of one class, as given to `@persisted` and in the body of the class.

    Attributes:
        draft: The class as it was before it was decorated.
        template: The name of its state objects, in which "{argument}" stands for the value of that
            argument of the constructor; None: the name of the class.
        version: The version of the stored shape.
        upgrades: Functions that bring stored fields to the next version; one for all versions, or
            one for each version from the first on.
        transient: Fields that are not saved.
        pickled: Fields that are saved as pickles.
        factories: Functions that make the default of a transient field of a plain class.
    """

    draft: type
    template: str | None = None
    version: int = 1
    upgrades: Upgrade | tuple[Upgrade, ...] | None = None
    transient: frozenset[str] = frozenset()
    pickled: frozenset[str] = frozenset()
    factories: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    def check_version(self, version: int, name: str, cls: str) -> None:
        """Refuse fields that a newer version of the class has stored.

        Args:
            version: The version under which they were stored.
            name: The name of the state object, for messages.
            cls: The name of the class, for messages.

        Raises:
            UpgradeError: The version is newer than that of the class.
        """
        if version > self.version:
            raise UpgradeError(
                f"{name} was stored by version {version} of {cls}, and this program has "
                f"version {self.version}: run the newer program; or, to begin anew, "
                f"{steps.delete(name)}. Nothing was touched"
            )

    def upgraded(
        self, state: dict[str, Any], version: int, name: str, cls: str
    ) -> dict[str, Any] | None:
        """Bring stored fields to the version of the class.

        Args:
            state: The fields; may be changed.
            version: The version under which they were stored.
            name: The name of the state object, for messages.
            cls: The name of the class, for messages.

        Returns:
            The fields; None if they have the version of the class already.

        Raises:
            UpgradeError: A function on the way to that version failed.
        """
        wanted, upgrades = self.version, self.upgrades
        if version == wanted:
            return None
        for step in range(version, wanted if upgrades is not None else version):
            function: Any = upgrades[step - 1] if isinstance(upgrades, tuple) else upgrades
            try:
                state = _checked(function(state, step), state)
            except Exception as error:
                if is_passing(error):
                    raise
                raise UpgradeError(
                    f"{name} could not be upgraded from version {step} of {cls} to "
                    f"{step + 1}: {type(error).__name__} in {function.__qualname__}. It is left as "
                    f"it is stored, at version {version}"
                ) from error
        return state


def _checked(result: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Check the result of an upgrade: a new dict of fields, or None if it changed its argument."""
    fields = state if result is None else result
    if not isinstance(fields, dict) or not all(type(name) is str for name in fields):
        raise TypeError("an upgrade gives the fields, a dict by name, or None")
    return dict(fields)


def options_of(cls: type) -> Iterator[Options]:
    """Give the options of a class and of its bases, the nearest first."""
    return (vars(base)[OPTIONS] for base in cls.__mro__ if OPTIONS in vars(base))


def transient_fields(cls: type) -> frozenset[str]:
    """Give the fields of a class that are not saved; it need not be `@persisted`."""
    return frozenset().union(*(each.transient for each in options_of(cls)))


def is_persisted(cls: Any) -> bool:
    """Tell whether a class is `@persisted`, or based on one that is."""
    return isinstance(cls, type) and next(options_of(cls), None) is not None
