"""Kinds of containers: what tracking knows about `dict`, `list` and the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from autostate.codec.signatures import Json, Stored


def copy_dict(container: dict[Any, Any]) -> dict[Any, Any]:
    """Make a shallow plain copy; methods of a user's class are not called."""
    if type(container).__iter__ is dict.__iter__:
        return dict(container)
    return dict(dict.items(container))


def key_step(key: Any) -> str:
    """Return a key as a part of a path, as code would write it."""
    if type(key) is str:
        return f'["{key}"]'
    try:
        return f"[{key!r}]"
    except (RecursionError, ValueError):  # nested deeply, or an int with too many digits
        return f"[a {type(key).__name__}]"


def _nothing(*_: Any) -> None:
    """Do nothing: the kind needs no description, and no release."""


def _itself(container: Any) -> Any:
    """Show a container as it is."""
    return container


class Kind(Struct, eq=False):
    """One kind of container.

    Attributes:
        name: As stored.
        shape: How its entries are addressed: "mapping" by key, "set" by member, "sequence" by
            position.
        builtin: The plain type that it replaces.
        tracked: Its persisted class, armed.
        nested: The same for nested containers: called, it makes a plain builtin, so that
            `type(obj)(...)`, which `dataclasses.asdict` does, works as on the plain type.
        copy: Makes a shallow plain copy.
        fill: The builtin's function that fills an empty one from a plain one.
        refill: Replaces the content in place, by the builtin's functions.
        raw: Mutating methods that are one step of C, so that the disarmed variant can use them.
        recording: The methods of the recording variant.
        describe: Gives the description that is needed to make an empty one, as JSON; or None.
        configure: Applies such a description to an empty one.
        swap: Replaces a container in a slot by another one, unless somebody holds the former one.
        holds: References that a container of this kind has to each of its values.
        has_fields: Whether defaults are the fields of a class. The class may lose a field, and have
            another one of that name later: so only deleted fields count as offered.
        stand_in: Gives JSON for an entry that cannot be saved, if the container has to have it.
        step: Gives a key as a part of a path.
        show: Gives the object that stands for a container where the state refers to it.
        complete: Called for a root that was rehydrated, or begun, when everything that the root
            refers to is there. It may fail; it returns the steps to do when no call has failed.
        release: Called for a container that is untracked, or whose rehydration failed.
        unclaimed: The class of a root that was rebuilt because another root refers to it. It has
            the layout of a user's subclass, so that the root can change to that class later.
    """

    name: str
    shape: str
    builtin: Any  # its functions are looked up by name
    tracked: type[Any]
    copy: Callable[[Any], Any]
    fill: Callable[[Any, Any], Any]
    refill: Callable[[Any, Any], None]
    raw: frozenset[str]
    recording: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Any], Json] | None = None
    configure: Callable[[Any, Stored], None] = _nothing
    swap: Callable[[Any, Any, Any, list[Any]], bool] | None = None
    holds: int = 1
    stand_in: Callable[[Any], Any] | None = None
    has_fields: bool = False
    step: Callable[[Any], str] = key_step
    show: Callable[[Any], Any] = _itself
    complete: Callable[[Any], Callable[[], None]] | None = None
    release: Callable[[Any], None] = _nothing
    nested: type[Any] = field(default=type(None))
    unclaimed: type[Any] = field(default=type(None))

    def __post_init__(self) -> None:
        """Make the classes of nested containers and of unclaimed roots."""
        cls, builtin = self.tracked, self.builtin
        metaclass: Any = type(cls)
        looks = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        makes_plain = {
            "__slots__": (),
            "__new__": lambda _cls, *args, **kwargs: builtin(*args, **kwargs),
        }
        self.nested = metaclass(cls.__name__, (cls,), looks | makes_plain)
        self.unclaimed = metaclass(cls.__name__, (cls,), looks)


KINDS: Final[dict[str, Kind]] = {}
"""The kinds by their stored names; see `kind_named`."""

SELDOM: Final[dict[str, str]] = {"object": "autostate.tracking.mirror"}
"""The modules of kinds that few programs have, by the names of the kinds."""


def kind_named(name: str) -> Kind:
    """Give a kind by its stored name; what few programs have is loaded with the first of it."""
    if name not in KINDS:
        import_module(SELDOM[name])
    return KINDS[name]


def is_known(name: str) -> bool:
    """Tell whether there is a kind of that name, loaded or not."""
    return name in KINDS or name in SELDOM


PLAIN: Final[dict[type, Kind]] = {}
"""The kinds by the plain types that they replace."""
