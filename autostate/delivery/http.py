"""An HTTP endpoint, which gets the id of each item as its `Idempotency-Key`.

A server that honours the header [1] does the work of a request once, and gives the former answer
when the request comes again: so each item arrives exactly once, as long as the server remembers the
key. Any other server gets each item at least once.

What the answers mean:

- 2xx: the item has arrived.
- 422 that is about the key: the server knows the key from another request. Keys are used for one
  item each, so the item has arrived; a newer program may write it in another way.
- 409 that is about the key: the first request is still being worked on; asked again later.
- 401 and 403: nobody will let these items in; the outbox stops.
- 408, 425, 429, 502 to 504 and redirects, and no answer: tried again, after `Retry-After` if the
  answer has it. It counts against no item. A redirect is not followed: the request might be sent to
  somebody for whom it is not meant, or as a GET.
- anything else: the server cannot take this item.

[1] https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from autostate.delivery.destination import Destination, OutboxItem, RetryLaterError, UnreachedError
from autostate.errors import DeliveryRefusedError, StoreError, forget_locals
from autostate.stores.apify_http import Answer, HttpConnection, Request, Terms

Body = Callable[[Any], bytes | str]

LONGEST_ASKED: Final = 3_600.0
"""The most seconds that a `Retry-After` counts."""
SHORTEST_ASKED: Final = 0.5
_READ: Final = 4_096
"""Bytes of an answer that are looked at."""

_LATER: Final = frozenset({408, 425, 429, 502, 503, 504})
_REFUSED: Final = frozenset({401, 403})

_of_parents: list[HttpConnection] = []
"""Connections of the processes from which this one was forked."""


class RejectedError(Exception):
    """A server does not take an item.

    Attributes:
        status: The status of its answer.
        answer: The beginning of the answer. It is not in the message, as it may quote the item.
    """

    def __init__(self, said: str, status: int, answer: str) -> None:
        super().__init__(said)
        self.status = status
        self.answer = answer


class HttpEndpoint(Destination[Any]):
    """An HTTP endpoint to which each item is sent by POST.

    The connection is kept open. Redirects are not followed.

    Args:
        url: The URL.
        headers: More headers, such as `{"Authorization": "Bearer …"}`.
        body: Makes the body of a request of an item's value; JSON by default.
        content_type: The type of the body.
        batch: With more than 1, so many items at most are sent in one request, as a JSON list of
            `{"id": …, "value": …}`. The key is then that of the whole list, and after a kill the
            lists may be others: the server has to know items by their ids to take none twice.
        timeout: Seconds for one request.
        header: The name of the header.

    Example:
        >>> import autostate
        >>> from autostate.delivery import HttpEndpoint
        >>> endpoint = HttpEndpoint("https://example.com/pages", {"Authorization": "Bearer abc"})
        >>> pages = autostate.outbox("pages", endpoint)
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Body | None = None,
        content_type: str = "application/json",
        batch: int = 1,
        timeout: float = 30.0,
        header: str = "Idempotency-Key",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError(
                "the URL of an endpoint begins with http:// or https://, and a host; a password "
                "belongs into the header Authorization"
            )
        self.batch = batch
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {**(headers or {}), "Content-Type": content_type}
        self._body = body
        self._timeout = timeout
        self._header = header
        self._connection: HttpConnection | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"HttpEndpoint of {self._origin}"  # a path or query may hold a token

    def is_same(self, other: Destination[Any]) -> bool:
        """Tell whether the other one sends to the same place in the same way."""
        return isinstance(other, HttpEndpoint) and self._identity() == other._identity()

    def _identity(self) -> tuple[Any, ...]:
        return self._origin, self._target, self._headers, self._body, self.batch, self._header

    def deliver(self, items: Sequence[OutboxItem[Any]], place: Any) -> None:
        """Send the items in one request."""
        if len(items) == 1 and self.batch == 1:
            [item] = items
            key, body = item.id, self._made(item.value)
        else:
            ids = [item.id for item in items]
            key = blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
            body = _dumped([{"id": item.id, "value": item.value} for item in items])
        # The draft wants a string of structured fields, in quotes; to other servers a key is a key.
        headers = {**self._headers, self._header: f'"{key}"'}
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._opened().request(Request("POST", self._target, deadline, body, headers))
        except StoreError as error:
            forget_locals(error)  # the headers hold a token
            raise UnreachedError(str(error)) from error
        self._check(answer)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- inside -------------------------------------------------------------------------------

    def _made(self, value: Any) -> bytes:
        made = _dumped(value) if self._body is None else self._body(value)
        return made.encode() if isinstance(made, str) else made

    def _opened(self) -> HttpConnection:
        if self._connection is not None and self._process != os.getpid():
            _of_parents.append(self._connection)  # to close it would end it there
            self._connection = None
        if self._connection is None:
            self._process = os.getpid()
            terms = Terms("the URL of the HttpEndpoint", f"{self._timeout:g} s")
            self._connection = HttpConnection(self._origin, None, terms)
        return self._connection

    def _check(self, answer: Answer) -> None:
        """Raise the error that an answer means."""
        status = answer.status
        if 200 <= status < 300:
            return
        text = answer.body[:_READ].decode(errors="replace")
        about_key = "idempoten" in text.lower()
        if status == 422 and about_key:
            return
        said = f"{self._origin} answered {status}"
        if status in _REFUSED:
            raise DeliveryRefusedError(f"{said}: check the headers of the HttpEndpoint")
        if status in _LATER or (status == 409 and (about_key or answer.retry_after)):
            seconds = _seconds(answer.retry_after)
            if seconds is not None:
                raise RetryLaterError(said, seconds)
            raise UnreachedError(said)
        if 300 <= status < 400:
            raise UnreachedError(f"{said}, a redirect, which is not followed: give its target")
        raise RejectedError(said, status, text)


def _dumped(value: Any) -> bytes:
    """Encode a value as JSON."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, default=msgspec.to_builtins
    ).encode()


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After`, which may be a date; None if it says nothing."""
    if retry_after is None:
        return None
    seconds: float | None = None
    if retry_after.strip().isdigit():
        seconds = float(retry_after)
    else:
        with contextlib.suppress(ValueError):
            at = parsedate_to_datetime(retry_after)
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            seconds = (at - datetime.now(UTC)).total_seconds()
    return None if seconds is None else min(max(seconds, SHORTEST_ASKED), LONGEST_ASKED)
