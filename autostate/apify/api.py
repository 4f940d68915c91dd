"""Requests to Apify's API that are sent once, and errors that say what may have become of them.

The client of the SDK repeats a request by itself when the answer is lost. A push of items has no
key by which the platform could recognise the copy, so each repetition would store them again. Here
nothing that writes is repeated before somebody has looked. Requests work in any thread, while the
event loop is blocked, and after its end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from autostate.delivery.destination import UnreachedError
from autostate.errors import (
    AutostateError,
    DeliveryRefusedError,
    StoreError,
    StoreUnavailableError,
)
from autostate.stores.apify_http import AnswerTooLargeError, HttpConnection, Request

LATE = 10.0
"""Seconds after which a request without an answer has been carried out, or never will be.

An assumption: the platform tells no limit. A gateway passes a request on at once, and the API
stores items in far less than a second. A client that was killed sends nothing more.
"""

LATE_VARIABLE: Final = "LOCAL_PLATFORM_LATE"
"""Where a platform for tests, which knows its own limit, tells it to its Actors, in seconds."""

LONGEST_ANSWER: Final = 64_000_000
_SENDING: Final = 30.0
_READING: Final = 30.0
_REPEATS: Final = 4
_PAUSE: Final = 0.1
_COMPRESS_FROM: Final = 1024
_RETRYABLE: Final = frozenset({408, 425, 429})
_REFUSED: Final[Mapping[int, str]] = {
    401: "check the environment variable APIFY_TOKEN",
    402: "the limits of the account are exhausted: raise them",
    403: "the Actor may not write there: give it access",
    404: "it was deleted, or belongs to another account",
}


def lateness(usual: float) -> float:
    """Return for how many seconds a request without an answer may still be carried out.

    Args:
        usual: The seconds that are assumed of the platform.
    """
    return min(usual, float(os.environ.get(LATE_VARIABLE, "inf")))


class UnansweredError(ConnectionError):
    """A request got no answer that says whether it was carried out; it may still be under way."""


class BadRequestError(AutostateError):
    """The platform cannot take what was sent: another attempt would fail alike."""


class Credentials(NamedTuple):
    """Where the API is, and the token for it."""

    base_url: str
    token: str

    @classmethod
    def of(cls, configuration: Any) -> Credentials:
        """Take them from the configuration of an Actor."""
        return cls(str(configuration.api_base_url), str(configuration.token))


class Api:
    """A connection to the API, used by one thread at a time.

    Args:
        credentials: Where it is.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._http = HttpConnection(*credentials)
        self._process = os.getpid()

    def read(self, path: str) -> Any:
        """Return what a path holds, from JSON. Reading is repeated if the answer is lost.

        Raises:
            UnreachedError: There is no answer.
            AnswerTooLargeError: It is larger than the content of any path can be.
            DeliveryRefusedError: The path will never answer.
        """
        repeats = _REPEATS
        while True:
            try:
                request = Request("GET", path, time.monotonic() + _READING, limit=LONGEST_ANSWER)
                return json.loads(self._answer(request))
            except ConnectionError as error:
                if not repeats:
                    raise UnreachedError(*error.args) from None
                time.sleep(_PAUSE * 2.0 ** (_REPEATS - repeats))
            repeats -= 1

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send a request that writes, once.

        Raises:
            UnansweredError: It is not known whether it was carried out.
            UnreachedError: It was not carried out; another one may be.
            BadRequestError: It never will be.
            DeliveryRefusedError: No request of this kind will be.
        """
        headers = {"content-type": "application/json; charset=utf-8", **(headers or {})}
        if len(body) >= _COMPRESS_FROM:
            import gzip

            body = gzip.compress(body, 1, mtime=0)
            headers["content-encoding"] = "gzip"
        return self._answer(Request(method, path, time.monotonic() + _SENDING, body, headers))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _answer(self, request: Request) -> bytes:
        if self._process != os.getpid():  # the parent of this fork uses the connection
            self._process, self._http = os.getpid(), HttpConnection(*self._credentials)
        try:
            answer = self._http.request(request)
        except StoreUnavailableError as error:
            raise UnansweredError(str(error)) from None
        except AnswerTooLargeError:
            raise
        except StoreError as error:
            raise DeliveryRefusedError(str(error)) from None
        status = answer.status
        if 200 <= status < 300:
            return answer.body
        said = f"the platform answered {request.method} {request.path} with {status}"
        if status >= 500:
            raise UnansweredError(said)
        if status in _RETRYABLE:
            raise UnreachedError(said)
        if status in _REFUSED:
            raise DeliveryRefusedError(f"{said}: {_REFUSED[status]}")
        raise BadRequestError(said)
