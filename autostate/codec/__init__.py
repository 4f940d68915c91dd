"""Values as JSON, losslessly: plain JSON where it is JSON, tagged where it is not."""

from __future__ import annotations

from autostate.codec.tagged import (
    NATIVE,
    Unsupported,
    content_of,
    decode,
    decode_key,
    dumps,
    escape,
    is_flat,
    is_json_dict,
    is_tagged,
    jsonable,
    register_container,
)

__all__ = [
    "NATIVE",
    "Unsupported",
    "content_of",
    "decode",
    "decode_key",
    "dumps",
    "escape",
    "is_flat",
    "is_json_dict",
    "is_tagged",
    "jsonable",
    "register_container",
]
