"""The types of the functions that translate values to JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any] | Sequence[Any] | str | int | float | None
"""A translated value: msgspec writes it without loss."""

Stored = Any
"""Decoded JSON from a store, where anybody may have written: a decoder fails at a wrong form."""

Ref = Callable[[Any], dict[str, int] | None]
"""Gives `{"$ref": id}` for a value that is a node, None for any other: see `tagged.jsonable`."""

Encode = Callable[[Any, Ref], Json]

Make = Callable[[str, Any], Any]
"""Builds a value that tracking has to know, from a kind and a content: see `decoding.decode`."""

Decode = Callable[[Stored, Make], Any]
