"""Requests as texts, by Scrapy's own test_request_dict.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from scrapy import Field, FormRequest, Item, Request, Spider
from scrapy.http import JsonRequest

from autostate.errors import CorruptStateError
from autostate.scrapy.serialization import dump, load
from tests.scrapy.crawls import Pages, no_method


class Product(Item):
    """An item of Scrapy's kind."""

    name = Field()
    parts = Field()


@dataclass
class Price:
    """An item of another kind."""

    cents: int


class CustomRequest(Request):
    """A request of a program's own class."""


@pytest.fixture
def spider() -> Spider:
    """The spider whose methods are named."""
    return Pages()


def same(request: Request, spider: Spider) -> Request:
    """Load a request again, and compare it as Scrapy's test does."""
    found = load(dump(request, spider), spider)
    assert type(found) is type(request)
    for name in request.attributes:
        if name not in ("callback", "errback"):
            assert getattr(found, name) == getattr(request, name), name
    assert found.callback == request.callback
    assert found.errback == request.errback
    return found


def test_basic(spider: Spider) -> None:
    """A URL alone."""
    same(Request("http://www.example.com"), spider)


def test_all_attributes(spider: Spider) -> None:
    """Everything that a request has."""
    assert isinstance(spider, Pages)
    request = Request(
        url="http://www.example.com",
        callback=spider.parse,
        errback=spider.failed,
        method="POST",
        body=b"some \xff body",
        headers={"content-encoding": "text/html; charset=latin-1", "x": b"\xe9"},
        cookies={"currency": "ø¥"},
        encoding="latin-1",
        priority=20,
        meta={"a": "b", "depth": 3, "when": datetime.now(tz=UTC), "t": {(1, 2)}},
        cb_kwargs={"k": "v", "price": Price(5)},
        flags=["a"],
        dont_filter=True,
    )
    same(request, spider)


@pytest.mark.parametrize(
    "request_",
    [
        CustomRequest("http://www.example.com"),
        FormRequest("http://www.example.com", formdata={"a": "1"}),
        JsonRequest("http://www.example.com", data={"a": 1}),
    ],
    ids=lambda each: type(each).__name__,
)
def test_request_classes(request_: Request, spider: Spider) -> None:
    """They come back as what they were."""
    same(request_, spider)


def test_items_and_requests_inside(spider: Spider) -> None:
    """Half-filled items travel in `meta` and `cb_kwargs`, and so may requests."""
    item = Product(name="a", parts=[Product(name="b"), (Product(name="c"),)])
    inner = Request("http://www.example.com/inner", callback=spider._parse, meta={"item": item})
    found = same(Request("http://www.example.com", meta={"item": item}, cb_kwargs={"n": 1}), spider)
    assert type(found.meta["item"]["parts"][1][0]) is Product
    text = dump(Request("http://www.example.com", meta={"next": [inner]}), spider)
    again = load(text, spider).meta["next"][0]
    assert (again.url, again.callback, again.meta) == (inner.url, inner.callback, inner.meta)


def of_a_function() -> Request:
    """A request of a class that no other process can find."""

    class Hidden(Request):
        pass

    return Hidden("http://www.example.com")


def recursive() -> Request:
    """A request that holds itself."""
    request = Request("http://www.example.com")
    request.meta["request"] = request
    return request


@pytest.mark.parametrize(
    "request_",
    [
        Request("http://www.example.com", callback=no_method),
        Request("http://www.example.com", errback=no_method),
        Request("http://www.example.com", callback=vars(dict)["items"]),
        Request("http://www.example.com", meta={"x": object()}),
        Request("http://www.example.com", cb_kwargs={"item": Product(name=object())}),
        recursive(),
        of_a_function(),
    ],
    ids=["lambda", "errback", "other class", "object", "item", "recursive", "hidden class"],
)
def test_what_cannot_be_stored(request_: Request, spider: Spider) -> None:
    """It is a ValueError, by which Scrapy tells such requests."""
    with pytest.raises(ValueError, match=r"."):
        dump(request_, spider)


@pytest.mark.parametrize("path", ["subprocess.Popen", "no.such.module", "nothing", 5])
def test_a_text_makes_nothing_but_requests(path: Any, spider: Spider) -> None:
    """Somebody else may have written it."""
    text = dump(CustomRequest("http://www.example.com"), spider)
    name = f"{CustomRequest.__module__}.{CustomRequest.__qualname__}"
    assert name in text
    forged = text.replace(f'"{name}"', str(path) if isinstance(path, int) else f'"{path}"')
    with pytest.raises(CorruptStateError):
        load(forged, spider)


def test_a_callback_that_is_gone(spider: Spider) -> None:
    """It is a ValueError that names it."""
    assert isinstance(spider, Pages)
    text = dump(Request("http://www.example.com", callback=spider.parse), spider)
    with pytest.raises(ValueError, match="gone"):
        load(text.replace('"parse"', '"gone"'), spider)
