"""A key-value store on Apify's platform, over HTTP."""

from __future__ import annotations

import builtins
import contextlib
import queue
import random
import re
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from autostate.errors import DamagedStoreError, StoreError, StoreUnavailableError
from autostate.ownership.owner import Owner, this_run
from autostate.stores.apify_http import Answer, AnswerTooLargeError, HttpConnection, Request
from autostate.stores.base import OneByOne
from autostate.stores.calls import Calls

MAX_RECORD = 9_000_000
"""The most bytes of one record. The platform documents no maximum, but refuses 9,437,184."""

_MAX_KEYS = 100_000
"""The most records of one state; usually there are some hundreds."""

_TIMEOUT = 30.0
_ASKING = 10.0
_ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})
_COMPRESS_FROM = 1024
_REPEATS = 2  # of a request that only reads: a start needs many, and begins anew if one fails
_PAUSE = 0.1
_PAGE = 1000
AT_ONCE: Final = 4
"""So many records are read at the same time. The platform answers 200 requests a second for a
store, and one connection asks for some 25."""
_MANY: Final = 8
"""Records from which number on more connections are worth it."""
_SPARE: Final = 5.0
"""Seconds after the deadline of a request: it ends by itself."""
_REASON: Final = re.compile(r"[a-z]{1,20}(-[a-z]{1,20}){0,5}")
_REFUSED = 0.5
"""Seconds, at most, before a request that was refused because there are too many is sent again."""
_RETRYABLE = frozenset({408, 425, 429})
_WHAT_TO_DO = {
    401: "check the environment variable APIFY_TOKEN",
    402: "the account's limits are exhausted: raise them, or save to another store",
    403: "the Actor may not use this store: give it access, or use the run's default (apify:)",
    404: "it was deleted, or belongs to another account: check the store's name or id",
    413: "save less in one state object, or report this as a bug of autostate",
}


T = TypeVar("T")


class _Data(msgspec.Struct, Generic[T]):
    """The envelope of an answer of the API."""

    data: T


class _Key(msgspec.Struct):
    key: str


class _Keys(msgspec.Struct, rename="camel"):
    items: list[_Key]
    is_truncated: bool
    next_exclusive_start_key: str | None = None


class _Made(msgspec.Struct):
    id: str
    name: str | None = None


class _Stores(msgspec.Struct):
    items: list[_Made]
    total: int


class _Run(msgspec.Struct):
    status: str


class _Type(msgspec.Struct):
    type: str


class _Error(msgspec.Struct):
    error: _Type


class _RefusedError(StoreUnavailableError):
    """The platform has not carried out a request, as all together ask too often: send it again."""


class ApifyStore(OneByOne):
    """A key-value store on the platform, used synchronously with timeouts of its own.

    It does not use `apify-client`: importing that takes 0.4 s, the client by itself repeats a
    request whose outcome is unknown, and its HTTP library hangs in a forked process. Here a
    request that writes is sent once, a request that reads at most three times. One that was refused
    because there are too many (429) was not carried out: it is sent again, later and later. Bodies
    are compressed, as by the SDK; the platform keeps them compressed.

    Args:
        api: The base URL of the API.
        token: The API token.
        url: The store's own URL: `apify:` or `apify:NAME`.
        store_id: The id of the store, if known.
        name: Else the name of the store, which is found or made at the first use.
        make: Make a missing store; else it counts as empty.
        within: What the keys in the store begin with, before those that callers use.
    """

    atomic = False
    conditional = False
    metered = True
    max_record = MAX_RECORD

    def __init__(
        self,
        api: str,
        token: str,
        url: str,
        *,
        store_id: str | None,
        name: str | None,
        make: bool = True,
        within: str = "",
    ) -> None:
        self.url = url
        self._within = within
        self._http = HttpConnection(api, token)
        self._more: queue.SimpleQueue[HttpConnection] = queue.SimpleQueue()
        self._api = api, token
        self._id = store_id
        self._name = name
        self._make = make
        self.outlives_run: bool = name is not None
        self.state_name: str = name or str(store_id)
        self._closed = False
        place = sha256(f"{api} {store_id} {name}{within}".encode()).hexdigest()[:16]
        # For processes in one container; the platform is asked about other containers.
        self.owner_file: Path | None = Path(gettempdir(), f"autostate-{place}-owner")

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self.read_up_to(self.max_record, f"{self._within}{key}", timeout=timeout)

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another, a few at the same time; see `Store.read_many`."""
        first = len(keys) if len(keys) < _MANY else 1  # the first one may have to find the store
        for key in keys[:first]:
            yield self.read(key, timeout=timeout)
        calls = Calls(self._told, AT_ONCE)
        begun: deque[Future[bytes | None]] = deque()
        longest = _SPARE + (_TIMEOUT if timeout is None else timeout)
        try:
            for key in keys[first:]:
                if len(begun) == AT_ONCE:
                    yield calls.result(begun.popleft(), longest)
                begun.append(calls.begin(partial(self._read_beside, key, timeout)))
            while begun:
                yield calls.result(begun.popleft(), longest)
        finally:
            calls.close()

    def _read_beside(self, key: str, timeout: float | None) -> bytes | None:
        """Read a record on another connection, in another thread."""
        try:
            http = self._more.get_nowait()
        except queue.Empty:
            http = HttpConnection(*self._api)
        try:
            return self.read_up_to(
                self.max_record, f"{self._within}{key}", timeout=timeout, http=http
            )
        finally:
            self._more.put(http)
            if self._closed:
                self._close_more()

    def _told(self, error: BaseException) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"the store {self.url} did not answer in time ({type(error).__name__})"
        )

    def read_up_to(
        self,
        limit: int,
        key: str,
        *,
        timeout: float | None = None,
        http: HttpConnection | None = None,
    ) -> bytes | None:
        """Return a record of at most `limit` bytes, None if there is none: any of the store's."""
        request = Request("GET", _path_of(key), _deadline(timeout), limit=limit)
        try:
            answer = self._send(request, or_404=True, http=http)
        except AnswerTooLargeError:
            raise DamagedStoreError(
                f"the record {key} of {self.url} has more than {limit:,} bytes, as none has: "
                "somebody else has changed the store. Put it back from a copy, or delete it"
            ) from None
        return None if answer.status == 404 else answer.body

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write records one after another, then delete; see `Store.write`."""
        for key, value in puts.items():
            headers = {"content-type": _content_type(value)}
            body = value
            if len(value) >= _COMPRESS_FROM:
                import gzip

                body = gzip.compress(value, 1, mtime=0)
                headers["content-encoding"] = "gzip"
            self._send(Request("PUT", self._path_of(key), _deadline(timeout), body, headers))
        for key in deletes:
            self._send(Request("DELETE", self._path_of(key), _deadline(timeout)), or_404=True)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted: all pages within the timeout."""
        keys: set[str] = set()
        within = f"{self._within}{prefix}"
        query = {"limit": str(_PAGE), "prefix": within}
        deadline = _deadline(timeout)
        while True:
            answer = self._send(Request("GET", f"keys?{urlencode(query)}", deadline))
            if answer.status == 404:  # the store was never made
                return []
            page = self._data(answer, _Data[_Keys])
            keys.update(item.key for item in page.items if item.key.startswith(within))
            if not page.is_truncated:
                return sorted(key.removeprefix(self._within) for key in keys)
            following = page.next_exclusive_start_key
            if not following or following == query.get("exclusiveStartKey"):
                raise self._strange()
            if len(keys) > _MAX_KEYS:
                raise StoreError(
                    f"{self.url} has more than {_MAX_KEYS:,} records whose keys begin with "
                    f"{within}, as no state has: somebody else has changed the store. Delete those "
                    "that are not of autostate, or configure another store"
                )
            query["exclusiveStartKey"] = following

    def _path_of(self, key: str) -> str:
        return _path_of(f"{self._within}{key}")

    def owner_lives(self, owner: Owner) -> bool | None:
        """Tell whether the run of an owner is still running; None if the platform does not tell.

        For the default store of a run, only owners of other runs are looked up.
        """
        if not owner.run:
            return False
        if self._name is None and owner.run == this_run():
            return True
        path = f"/v2/actor-runs/{quote(owner.run, safe='')}"
        try:
            answer = self._answer(Request("GET", path, _deadline(_ASKING)))
            return self._data(answer, _Data[_Run]).status not in _ENDED
        except StoreError:
            return None

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._http.close()
        self._close_more()

    def _close_more(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._more.get_nowait().close()

    def _send(
        self, request: Request, *, or_404: bool = False, http: HttpConnection | None = None
    ) -> Answer:
        """Send a request to the store, whose path is below that of the store."""
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")
        deadline = request.deadline
        if self._id is None:
            self._id = self._get_or_create(deadline) if self._make else self._find(deadline)
        if self._id is None:
            return Answer(404, b"")
        path = f"/v2/key-value-stores/{quote(self._id, safe='')}/{request.path}"
        request = request._replace(path=path)
        repeats = _REPEATS if request.method == "GET" else 0
        wait = _REFUSED
        while True:
            try:
                return self._answer(request, or_404=or_404, http=http)
            except _RefusedError:
                pause, wait = wait * random.uniform(0.5, 1.0), 2 * wait
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                continue
            except StoreUnavailableError:
                if not repeats or time.monotonic() + _PAUSE > deadline:
                    raise
            repeats -= 1
            time.sleep(_PAUSE)

    def _get_or_create(self, deadline: float) -> str:
        path = f"/v2/key-value-stores?{urlencode({'name': self._name or ''})}"
        answer = self._answer(Request("POST", path, deadline, b""))
        return self._data(answer, _Data[_Made]).id

    def _find(self, deadline: float) -> str | None:
        """Find the id of the named store, if there is one."""
        offset = 0
        while True:
            path = f"/v2/key-value-stores?{urlencode({'limit': _PAGE, 'offset': offset})}"
            answer = self._answer(Request("GET", path, deadline))
            page = self._data(answer, _Data[_Stores])
            for item in page.items:
                if item.name == self._name:
                    return item.id
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return None

    def _answer(
        self, request: Request, *, or_404: bool = False, http: HttpConnection | None = None
    ) -> Answer:
        """Send one request, and check its answer."""
        answer = (http or self._http).request(request)
        if 200 <= answer.status < 300 or (or_404 and answer.status == 404):
            return answer
        said = (
            f"The store {self.url} answered {request.method} with {answer.status}{_reason(answer)}"
        )
        if answer.status == 429:
            raise _RefusedError(f"{said}; it is tried again")
        if answer.status in _RETRYABLE or answer.status >= 500:
            raise StoreUnavailableError(f"{said}; it is tried again")
        raise StoreError(f"{said}: {_WHAT_TO_DO.get(answer.status, 'report this as a bug')}")

    def _data(self, answer: Answer, envelope: type[_Data[T]]) -> T:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(answer.body, type=envelope).data
        raise self._strange()

    def _strange(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"The store {self.url} gave an answer that is not the API's")


def _path_of(key: str) -> str:
    return f"records/{quote(key, safe='')}"


def _content_type(value: bytes) -> str:
    """Give the content type: the Console shows JSON; a part of a larger record is not JSON."""
    whole = value.startswith(b"{") and value.endswith(b"}")
    return "application/json" if whole else "application/octet-stream"


def _reason(answer: Answer) -> str:
    """Give the API's type of an error, such as `record-not-found`; nothing else of the answer."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reason = msgspec.json.decode(answer.body, type=_Error).error.type
        if _REASON.fullmatch(reason):
            return f" ({reason})"
    return ""


def _deadline(timeout: float | None) -> float:
    """Give the deadline of one request: each of many requests has its own."""
    return time.monotonic() + (_TIMEOUT if timeout is None else timeout)
