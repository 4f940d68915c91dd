"""One synchronous HTTP connection with deadlines, on the standard library alone.

It works where this library must: in a thread while the event loop is blocked, in `atexit`, in a
forked child. A request is sent once and never again behind the caller's back: a first copy that
arrives late would overwrite what was written since. To make that bearable a connection that was
idle for long, or that the other side has closed, is replaced before it is used.
"""

from __future__ import annotations

import http.client
import select
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from autostate.errors import StoreError, StoreUnavailableError

_MAX_IDLE = 20.0
"""Seconds after which servers may have dropped a connection without having told us."""

_MAX_ANSWER = 256 * 1024 * 1024
_CHUNK = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, its body decompressed."""

    status: int
    body: bytes


class HttpConnection:
    """A kept-alive connection to one server. Used by one thread at a time.

    Args:
        base_url: Scheme, host, and a path that goes before every path.
        token: Sent as a bearer token.
    """

    def __init__(self, base_url: str, token: str) -> None:
        parts = urlsplit(base_url.rstrip("/").removesuffix("/v2"))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise StoreError(f"{base_url!r} is not the URL of an API: check APIFY_API_BASE_URL")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept-encoding": "gzip, identity",
            "user-agent": "autostate",
        }
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Answer:
        """Send one request and read the answer.

        Args:
            method: The HTTP method.
            path: The path and query.
            body: The body.
            headers: Headers besides those of the connection.
            deadline: When to give up, on the monotonic clock.

        Raises:
            StoreUnavailableError: No answer, or not in time: the outcome is unknown.
            StoreError: The server cannot be trusted (its certificate is not valid).
        """
        url = f"{self._origin}{self._path}{path}"
        try:
            return self._exchange(method, url, body, {**self._headers, **headers}, deadline)
        except (OSError, http.client.HTTPException, zlib.error) as error:
            self.close()
            raise _translated(error, self._origin, method) from error
        except BaseException:  # in the middle of an exchange: not to be used again
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Answer:
        connection = self._ready(deadline)
        target = url.removeprefix(self._origin)
        with suppress(BrokenPipeError):  # it may have answered before it had read all
            connection.request(method, target, body, dict(headers))
        _limit(connection, deadline)
        response = connection.getresponse()
        data = _drain(connection, response, deadline)
        self._used = time.monotonic()
        if response.will_close:
            self.close()
        location = response.getheader("location")
        if method == "GET" and response.status in _REDIRECTS and location:
            return _follow(urljoin(url, location), self._origin, headers, deadline)
        return Answer(response.status, _inflated(data, response.getheader("content-encoding")))

    def _ready(self, deadline: float) -> http.client.HTTPConnection:
        """A connection that is open as far as anybody can know."""
        connection = self._connection
        if connection is not None and self._stale(connection):
            self.close()
            connection = None
        if connection is None:
            connection = self._connection = _connected(self._origin, deadline)
        _limit(connection, deadline)
        return connection

    def _stale(self, connection: http.client.HTTPConnection) -> bool:
        if connection.sock is None or time.monotonic() - self._used > _MAX_IDLE:
            return True
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))  # nothing was asked: what can be read is the end


def _connected(origin: str, deadline: float) -> http.client.HTTPConnection:
    parts = urlsplit(origin)
    assert parts.hostname is not None
    remaining = _remaining(deadline)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=remaining)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=remaining)
    connection.connect()
    return connection


def _follow(url: str, origin: str, headers: Mapping[str, str], deadline: float) -> Answer:
    """Read a record from where the API sends us, without telling a stranger the token."""
    parts = urlsplit(url)
    elsewhere = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise http.client.HTTPException("redirected to something that is not HTTP")
    kept = {k: v for k, v in headers.items() if elsewhere == origin or k != "authorization"}
    connection = _connected(elsewhere, deadline)
    try:
        connection.request("GET", url.removeprefix(elsewhere), None, kept)
        _limit(connection, deadline)
        response = connection.getresponse()
        data = _drain(connection, response, deadline)
        return Answer(response.status, _inflated(data, response.getheader("content-encoding")))
    finally:
        connection.close()


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no time left")
    return remaining


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(_remaining(deadline))


def _drain(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float
) -> bytes:
    """The body, in pieces, so that a server that drips is given up in time."""
    pieces = []
    size = 0
    while piece := response.read1(_CHUNK):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_ANSWER:
            raise http.client.HTTPException("the answer is too large")
        _limit(connection, deadline)
    missing = response.length
    if missing:
        raise http.client.IncompleteRead(b"", missing)
    response.close()  # read1 leaves it open, and the connection would not be ready for the next
    return b"".join(pieces)


def _inflated(body: bytes, encoding: str | None) -> bytes:
    if (encoding or "identity").lower() == "identity" or not body:
        return body
    if encoding not in {"gzip", "deflate"}:
        raise http.client.HTTPException(f"content encoding {encoding} was not asked for")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    plain = inflate.decompress(body, _MAX_ANSWER)
    if not inflate.eof:
        raise http.client.HTTPException("the compressed answer is incomplete, or too large")
    return plain


def _translated(error: Exception, origin: str, method: str) -> StoreError:
    """What an error of the network means to the library."""
    if type(error).__name__ == "SSLCertVerificationError":
        return StoreError(f"{origin}: its certificate is not valid. Check APIFY_API_BASE_URL")
    if isinstance(error, TimeoutError):
        return StoreUnavailableError(
            f"{origin} did not answer {method} in the time that the "
            "setting flush_timeout left for it"
        )
    what = type(error).__name__
    return StoreUnavailableError(f"{origin} was lost during {method}: {what}: {error}")
