"""NumPy's arrays and scalars, in NumPy's own file format: `{"$ndarray": base64}`.

Only a program that has imported NumPy has arrays. NumPy is never imported here: neither to save a
value, nor because a store contains an array. If the program has not imported NumPy, a stored array
is of an unknown type.

A stored array is not read by `numpy.lib.format.read_array`. That function makes an array of the
size in the header before it checks how much data there is, and refuses headers of more than 10,000
characters, though NumPy writes them.
"""

from __future__ import annotations

import ast
import binascii
import contextlib
import io
import math
import re
import sys
from typing import Any, Final

from autostate.codec.signatures import Encode, Json, Ref, Stored
from autostate.codec.unsupported import Unsupported

NAME: Final = "numpy.ndarray"
"""The name of the unknown type where the program has no NumPy."""

_MAGIC: Final = b"\x93NUMPY"
_HEADER: Final = (
    r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|[0-9]{1,18}|True|False|None|[()\[\]{},:\s])*+"""
)
"""Texts, numbers and containers of them: nothing that could overload the parser of Python.

The repetitions are possessive, so that the matcher remembers none of their steps.
"""


class NoNumPyError(Exception):
    """The program has not imported NumPy."""


def _numpy() -> Any:
    """Give NumPy if the program has imported it; None also while it is being imported."""
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "ndarray") else None


def is_scalar(cls: type) -> bool:
    """Tell whether a class is one of NumPy's scalar types whose values never change."""
    numpy = _numpy()
    return numpy is not None and issubclass(cls, numpy.generic) and not issubclass(cls, numpy.void)


def encoder_of(cls: type) -> Encode | None:
    """Give the function that translates values of a class; None if it is not NumPy's."""
    numpy = _numpy()
    if numpy is None:
        return None
    if cls is numpy.ndarray:
        return _encode_array
    return _encode_scalar if issubclass(cls, numpy.generic) else None


def _encode_array(value: Any, _ref: Ref) -> Json:
    data = _npy(value)
    return {"$ndarray": data if value.flags.writeable else [data, "readonly"]}


def _encode_scalar(value: Any, _ref: Ref) -> Json:
    """Translate a scalar as an array without a dimension; refuse a value that this would change."""
    numpy = _numpy()
    array = numpy.array(value)
    cut = array.dtype.kind in "SU" and len(array[()]) != len(value)  # it ends with null characters
    if _stored(array.dtype).type is not type(value) or cut:
        raise Unsupported(
            f"this {type(value).__name__} would come back as another value: convert it to a type "
            "of Python, or to one of NumPy's types with a fixed number of bits"
        )
    return {"$npscalar": _npy(array)}


def _npy(array: Any) -> str:
    """Write an array in NumPy's file format."""
    numpy = _numpy()
    from numpy.lib import format as npy

    _stored(array.dtype)
    file = io.BytesIO()
    npy.write_array(file, numpy.asarray(array), allow_pickle=False)
    return binascii.b2a_base64(file.getbuffer(), newline=False).decode("ascii")


def _stored(dtype: Any) -> Any:
    """Give the dtype that is restored; refuse a dtype that would be restored differently."""
    from numpy.lib import format as npy

    if not dtype.hasobject and dtype.metadata is None:
        with contextlib.suppress(TypeError, ValueError):
            stored = npy.descr_to_dtype(npy.dtype_to_descr(dtype))
            if stored == dtype and repr(stored) == repr(dtype):
                return stored
    raise Unsupported(
        f"an array of dtype {dtype.name} cannot be saved: convert it to a list, or to a plain "
        "dtype of numbers, texts or times"
    )


def decode_array(json: Stored) -> Any:
    """Rebuild an array.

    Raises:
        NoNumPyError: The program has not imported NumPy.
    """
    data, *rest = [json] if isinstance(json, str) else json
    array = _read(data)
    if rest:
        [how] = rest
        array.flags.writeable = {"readonly": False}[how]
    return array


def decode_scalar(json: Stored) -> Any:
    """Rebuild a scalar; raise the errors of `decode_array`."""
    array = _read(json)
    if array.shape != ():
        raise ValueError
    return array[()]


def _read(text: str) -> Any:
    numpy = _numpy()
    if numpy is None:
        raise NoNumPyError
    from numpy.lib import format as npy

    data = binascii.a2b_base64(text, strict_mode=True)
    header, start = _header_of(data)
    dtype, shape = npy.descr_to_dtype(header["descr"]), header["shape"]
    count = math.prod(shape)
    if dtype.hasobject or count * dtype.itemsize != len(data) - start:
        raise ValueError  # objects are pickled; and nothing is made that is larger than the data
    order = "F" if header["fortran_order"] else "C"
    array = numpy.empty(shape, dtype, order)
    if dtype.itemsize:
        array.reshape(-1, order=order)[:] = numpy.frombuffer(data, dtype, count, start)
    return array


def _header_of(data: bytes) -> tuple[dict[str, Any], int]:
    """Read the header of a file, and tell where the content begins."""
    if data[:6] != _MAGIC or data[6] not in (1, 2, 3):
        raise ValueError
    start = 10 if data[6] == 1 else 12
    stop = start + int.from_bytes(data[8:start], "little")
    text = data[start:stop].decode("utf-8" if data[6] == 3 else "latin-1")
    if stop > len(data) or not re.fullmatch(_HEADER, text):
        raise ValueError
    header = ast.literal_eval(text.strip())
    shape = header["shape"]
    if type(shape) is not tuple or not all(type(length) is int for length in shape):
        raise TypeError
    return header, stop
