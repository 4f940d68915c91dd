"""The stand-in for a value whose type is not known, or that could not be saved."""

from __future__ import annotations

from typing import Any

from autostate.codec.raw import dump
from autostate.errors import UnknownTypeError


class Unknown:
    """A stored value of a type that this program does not know; it is written back untouched.

    It also stands for a value that could not be saved, inside a value that could.

    Attributes:
        name: The name of its type in the store; for a value that could not be saved,
            "module.Class".
    """

    __slots__ = ("_nodes", "json", "name")

    def __init__(self, name: str, json: Any) -> None:
        self.name: str = name
        self.json: Any = json
        self._nodes: dict[int, Any] = {}

    def __repr__(self) -> str:
        return f"<autostate.Unknown {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return dump(self.json) == dump(other.json) if type(other) is Unknown else NotImplemented

    def __hash__(self) -> int:
        return hash(dump(self.json))

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse a call as the default_factory for which this object stands."""
        raise UnknownTypeError(self.name)
