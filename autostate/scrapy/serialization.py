"""Requests as texts, which the state keeps.

A request is stored as Scrapy's disk queues store it: `Request.to_dict` names its callback and
errback by the names of methods of the spider. What the state can hold (see docs/types.md) may be in
`meta` and `cb_kwargs`, and beside it Scrapy's own items and requests. Nothing is ever unpickled.

The names of classes in a text are resolved only if they name subclasses of `Request` or `Item`: a
text that somebody else has written can make nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from scrapy import Item, Request, Spider
from scrapy.utils.misc import load_object
from scrapy.utils.request import request_from_dict

from autostate.delivery.destination import decode, encode
from autostate.errors import CorruptStateError, UnsupportedTypeError

T = TypeVar("T")

_FREE = ("meta", "cb_kwargs", "flags", "cookies")
"""The attributes of a request that may hold any value."""


@dataclass(frozen=True)
class StoredItem:
    """An `Item` inside of a request.

    Attributes:
        path: The module and the name of the class.
        values: The fields.
    """

    path: str
    values: dict[str, Any]


@dataclass(frozen=True)
class StoredRequest:
    """A request inside of a request.

    Attributes:
        content: What `Request.to_dict` gives.
    """

    content: dict[str, Any]


_MARKS = ("StoredItem", "StoredRequest")


def dump(request: Request, spider: Spider) -> str:
    """Return a request as text.

    Raises:
        ValueError: It cannot be stored: a callback is no method of the spider, or it holds a value
            that the state cannot keep.
    """
    content = _content(request, spider)
    try:
        return encode(content)
    except UnsupportedTypeError as error:
        first = error
    try:  # Scrapy's own objects in it are rare: only then each value is looked at
        for name in _FREE:
            if name in content:
                content[name] = _stored(content[name], spider, (request,))
        return encode(content)
    except (UnsupportedTypeError, RecursionError):
        raise ValueError(str(first)) from first


def load(text: str, spider: Spider) -> Request:
    """Return the request of a text.

    Raises:
        ValueError: The spider has no method of the name of its callback.
        CorruptStateError: The text names a class that is no request or item.
    """
    content = decode(text)
    if any(mark in text for mark in _MARKS):
        for name in _FREE:
            if name in content:
                content[name] = _loaded(content[name], spider)
    return _made(content, spider)


def _content(request: Request, spider: Spider) -> dict[str, Any]:
    content = request.to_dict(spider=spider)
    if "_class" in content:
        _check_found(content["_class"], type(request))
    return content


def _check_found(path: str, kind: type) -> None:
    """Refuse a class that cannot be found by its name: it could not be loaded."""
    try:
        found = load_object(path)
    except (ImportError, NameError, TypeError, ValueError):
        found = None
    if found is not kind:
        raise ValueError(f"the class {path} cannot be found by its name")


def _stored(value: Any, spider: Spider, around: tuple[Request, ...]) -> Any:
    """Replace Scrapy's objects in a value by what the state can hold."""
    if isinstance(value, Item):
        path = f"{type(value).__module__}.{type(value).__qualname__}"
        _check_found(path, type(value))
        fields = {name: _stored(each, spider, around) for name, each in value.items()}
        return StoredItem(path, fields)
    if isinstance(value, Request):
        if any(each is value for each in around):
            raise UnsupportedTypeError("the request", "it holds itself")
        content = _content(value, spider)
        for name in _FREE:
            if name in content:
                content[name] = _stored(content[name], spider, (*around, value))
        return StoredRequest(content)
    return _inside(value, lambda each: _stored(each, spider, around))


def _loaded(value: Any, spider: Spider) -> Any:
    if isinstance(value, StoredItem):
        fields = {name: _loaded(each, spider) for name, each in value.values.items()}
        return _known(value.path, Item)(fields)
    if isinstance(value, StoredRequest):
        content = {name: _loaded(each, spider) for name, each in value.content.items()}
        return _made(content, spider)
    return _inside(value, lambda each: _loaded(each, spider))


def _inside(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change the values in a plain container; return any other value as it is."""
    if type(value) is dict:
        return {key: change(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(change, value))
    return value


def _made(content: dict[str, Any], spider: Spider) -> Request:
    if "_class" in content:
        _known(content["_class"], Request)
    return request_from_dict(content, spider=spider)


def _known(path: Any, base: type[T]) -> type[T]:
    """Return the class of that name, a subclass of `base`."""
    try:
        found = load_object(path)
    except (ImportError, NameError, TypeError, ValueError) as error:
        raise CorruptStateError(f"a stored request needs {path!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise CorruptStateError(f"a stored request names {path!r}, which is no {base.__name__}")
    return found
