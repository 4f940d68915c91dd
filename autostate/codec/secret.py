"""`Secret`: a value that is saved like any other, and never shown.

It is a class of its own, and not an option of a field, since a value goes where no field is: into a
list, a message, the locals of a traceback. Whatever shows it calls `repr`, `str` or `format`, and
those know the mask alone.

The secrets of pydantic are kept as an object that holds a `Secret`, so that what shows a state
without pydantic masks them, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from autostate.codec.types import FIXED
from autostate.codec.unsupported import Unsupported

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

MASK: Final = "**********"
"""What is shown in place of a secret: of the same length for all."""

_CONTENT: Final = frozenset({str, bytes, int, float, bool, type(None), *FIXED})


@final
class Secret(Generic[T]):
    """A value that no repr, log, error, command or export shows: a token, a password, a cookie.

    It is saved like any other value, and not encrypted by that: whoever reads the store reads it.
    Two secrets are equal if their contents are, so that a secret can be a key and a member of a
    set. It cannot change.

    Args:
        content: Text, bytes, a number, or another value that never changes and holds no others,
            such as a UUID. Of several values keep a dict of secrets, or the text of one JSON.

    Raises:
        TypeError: The content is of another type.

    Example:
        >>> import autostate
        >>> login = autostate.PersistedDict("login", token=autostate.Secret("s3cr3t"))
        >>> login
        {'token': Secret('**********')}
        >>> login["token"].reveal()
        's3cr3t'
    """

    __slots__ = ("_content",)

    def __init__(self, content: T) -> None:
        if type(content) not in _CONTENT:
            raise TypeError(
                "a Secret holds text, bytes, a number, or another value that never changes, not a "
                f"{type(content).__qualname__}: keep a dict of secrets, or json.dumps(…) of it"
            )
        self._content: Final[T] = content

    def __init_subclass__(cls) -> None:
        raise TypeError("a class cannot be based on Secret: keep a Secret in a field of it")

    def reveal(self) -> T:
        """Give the content."""
        return self._content

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return self._content == other._content if type(other) is Secret else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._content))

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self._content,)

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, _memo: Any) -> Secret[T]:
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how a field is validated: it takes a secret, or the content of one."""
        from pydantic_core import core_schema

        content = next(iter(getattr(source, "__args__", ())), str)
        inner = handler.generate_schema(content)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, inner),
            python_schema=core_schema.no_info_wrap_validator_function(_validated, inner),
            serialization=core_schema.to_string_ser_schema(when_used="json"),
            metadata={"pydantic_js_updates": {"format": "password", "writeOnly": True}},
        )


def _validated(value: Any, validate: Callable[[Any], Any]) -> Secret[Any]:
    """Validate the content of a secret.

    An error of pydantic quotes its input. For a secret this is the mask, and not what it holds.
    """
    if type(value) is not Secret:
        return Secret(validate(value))
    from pydantic_core import PydanticCustomError, ValidationError

    try:
        return Secret(validate(value.reveal()))
    except ValidationError as error:
        found: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
    raise PydanticCustomError(found["type"], "{reason}", {"reason": found["msg"]})


PYDANTIC: Final = "pydantic."
"""What the tags of pydantic's secrets begin with."""
SECRETS: Final = 3
"""How many classes of secrets pydantic has."""


def of_pydantic() -> Iterator[type]:
    """Give the classes of pydantic's secrets, as far as the program has loaded them."""
    types = vars(sys.modules.get("pydantic.types", object))
    found = (types.get(name) for name in ("SecretStr", "SecretBytes", "Secret"))
    return (cls for cls in found if isinstance(cls, type))


def taken_out(value: Any) -> Secret[Any]:
    """Give the content of one of pydantic's secrets.

    Raises:
        Unsupported: It holds something that a Secret cannot hold.
    """
    try:
        return Secret(value.get_secret_value())
    except TypeError as error:
        raise Unsupported(f"{type(value).__name__}: {error}") from None


def put_into(cls: type) -> Callable[[Any], Any]:
    """Give the function that makes one of pydantic's secrets of a `Secret`."""

    def make(secret: Any) -> Any:
        if type(secret) is not Secret:
            raise TypeError
        return cls(secret.reveal())

    return make
