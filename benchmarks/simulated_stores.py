"""Stores with a latency, limits and prices, in virtual time.

The library's own code for Apify and S3 runs on them: what stands in for the service is the HTTP
connection of the one, and the bucket of the other. A call to a database is one trip, as
docs/stores.md measures it, and occupies the server for a while.

The latencies, and the time for which a call occupies a database, are assumptions. The limits and
prices are those that the services publish.
"""

from __future__ import annotations

import builtins
import gzip
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from autostate.stores.apart import ApartStore
from autostate.stores.apify_http import Answer, Request
from autostate.stores.apify_platform import AT_ONCE, ApifyStore
from autostate.stores.base import Store
from autostate.stores.indexed import ChangedError, Found, IndexedStore
from autostate.stores.memory import MemoryStore
from autostate.stores.s3 import _AT_ONCE, _PAGE, _REWRITTEN, S3Store
from benchmarks.virtual_time import World

T = TypeVar("T")
_REFUSED: Final = b'{"error":{"type":"rate-limit-exceeded"}}'


class Terms(NamedTuple):
    """What a service takes.

    Attributes:
        title: Its name.
        url: A URL of the library, for the settings.
        latency: Seconds from a request to its answer.
        bandwidth: Bytes a second of one connection.
        prices: Dollars for 1,000 requests, by kind.
        limits: Requests a second, by kind; of a database the seconds for which a call occupies it.
        refresh: Seconds from refresh to refresh of a run that refreshes.
    """

    title: str
    url: str
    latency: float
    bandwidth: float
    prices: Mapping[str, float]
    limits: Mapping[str, float]
    refresh: float = 20.0


class Service(Protocol):
    """What runs on the other side of a network, for all runs.

    Attributes:
        terms: What it takes.
        requests: How many requests it has served, by kind.
        refused: How many it has refused.
        sent: Bytes that it has received or sent.
        is_free: Whether it takes no time and has no limits, while runs begin.
    """

    terms: Terms
    requests: Counter[str]
    refused: int
    sent: int
    is_free: bool

    def store(self) -> Store:
        """Make the store of a run."""
        ...

    def stored(self) -> tuple[int, int]:
        """Return how many records there are, and their bytes."""
        ...


class _Counted:
    """What all services count."""

    def __init__(self, world: World, terms: Terms) -> None:
        self.world = world
        self.terms = terms
        self.requests: Counter[str] = Counter()
        self.refused: int = 0
        self.sent: int = 0
        self.is_free: bool = False

    def _trip(self, size: int) -> float:
        """Count the bytes of a request and its answer; return the seconds that it takes."""
        self.sent += size
        if self.is_free:
            return 0.0
        latency = self.terms.latency * self.world.rng.uniform(0.7, 1.3)
        return latency + size / self.terms.bandwidth


class Apify(_Counted):
    """A named key-value store on Apify's platform, which refuses what exceeds its rates."""

    def __init__(self, world: World, terms: Terms) -> None:
        super().__init__(world, terms)
        self.records: dict[str, bytes] = {}
        self.is_beside = False  # whether a request is on its way at the same time as a later one
        self._second: Counter[tuple[str, int]] = Counter()

    def store(self) -> Store:
        """Make the store of a run."""
        made = _ReadsAtOnce("http://api", "token", self.terms.url, store_id="id", name="shared")
        made.service = self
        stand_in: Any = _Connection(self)
        made._http.close()
        made._http = stand_in
        return made

    def stored(self) -> tuple[int, int]:
        """Return how many records there are, and their bytes."""
        return len(self.records), sum(map(len, self.records.values()))

    def answer(self, request: Request) -> Answer:
        """Serve a request, or refuse it."""
        parts = urlsplit(request.path)
        key = unquote(parts.path.rpartition("/")[2])
        kind = "list" if key == "keys" else request.method
        limit = "list" if kind == "list" else "records"
        trip = self._trip(len(request.body or b"") + len(self.records.get(key, b"")))
        trip = 0.0 if self.is_beside else trip
        self.world.sleep(trip / 2)
        second = limit, int(self.world.now)
        if self._second[second] >= self.terms.limits[limit] and not self.is_free:
            self.refused += 1
            self.world.sleep(trip / 2)
            return Answer(429, _REFUSED)
        self._second[second] += 1
        self.requests[kind] += 1
        answer = self._serve(kind, key, request, parts.query)
        self.world.sleep(trip / 2)
        return answer

    def _serve(self, kind: str, key: str, request: Request, query: str) -> Answer:
        if kind == "list":
            return self._listing(**{name: value for name, [value] in parse_qs(query).items()})
        if kind == "PUT":
            self.records[key] = request.body or b""
        elif kind == "DELETE":
            self.records.pop(key, None)
        elif key not in self.records:
            return Answer(404, b"")
        body = self.records.get(key, b"")
        return Answer(200, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)

    def _listing(self, prefix: str, limit: str, exclusiveStartKey: str = "") -> Answer:  # noqa: N803
        keys = [
            key
            for key in sorted(self.records)
            if key.startswith(prefix) and key > exclusiveStartKey
        ]
        page = keys[: int(limit)]
        more = len(page) < len(keys)
        data = {"items": [{"key": key} for key in page], "isTruncated": more}
        if more:
            data["nextExclusiveStartKey"] = page[-1]
        return Answer(200, msgspec.json.encode({"data": data}))


class _ReadsAtOnce(ApifyStore):
    """A store that reads a few records at the same time, without threads."""

    service: Apify

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records; of those that are on their way together the last one takes time."""
        for first in range(0, len(keys), AT_ONCE):
            *others, last = keys[first : first + AT_ONCE]
            found = [self._beside(key, timeout) for key in others]
            yield from [*found, self.read(last, timeout=timeout)]

    def _beside(self, key: str, timeout: float | None) -> bytes | None:
        self.service.is_beside = True
        try:
            return self.read(key, timeout=timeout)
        finally:
            self.service.is_beside = False


class _Connection:
    """Stands in for `HttpConnection`."""

    def __init__(self, service: Apify) -> None:
        self._service = service

    def request(self, request: Request) -> Answer:
        """Send a request."""
        return self._service.answer(request)

    def close(self) -> None:
        """Do nothing."""


class Bucket(_Counted):
    """A bucket of S3: the index is replaced only if it is the one that was read."""

    def __init__(self, world: World, terms: Terms) -> None:
        super().__init__(world, terms)
        self.objects: dict[str, Found] = {}
        self._version = 0

    def store(self) -> Store:
        """Make the store of a run."""
        made = ApartStore(IndexedStore(self, self.terms.url, rewritten=_REWRITTEN), self)
        made.metered = S3Store.metered
        return made

    def stored(self) -> tuple[int, int]:
        """Return how many objects there are, and their bytes."""
        return len(self.objects), sum(len(found.data) for found in self.objects.values())

    def get(self, name: str, timeout: float | None) -> Found | None:
        """Return an object with its version."""
        found = self.objects.get(name)
        trip = self._request("GET", 0 if found is None else len(found.data))
        self.world.sleep(trip / 2)
        found = self.objects.get(name)
        self.world.sleep(trip / 2)
        return found

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Return objects; many are on their way at the same time."""
        for first in range(0, len(names), _AT_ONCE):
            some = [self.objects.get(name) for name in names[first : first + _AT_ONCE]]
            sizes = [0 if found is None else len(found.data) for found in some]
            self.world.sleep(max(self._request("GET", size) for size in sizes))
            yield from some

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Write objects, many at the same time."""
        self.world.sleep(max(self._request("PUT", len(data)) for data in contents.values()))
        for name, data in contents.items():
            self._put(name, data)

    def replace(self, name: str, data: bytes, version: Any, timeout: float | None) -> Any:
        """Replace an object if it still has this version."""
        trip = self._request("PUT", len(data))
        self.world.sleep(trip / 2)
        found = self.objects.get(name)
        is_same = (None if found is None else found.version) == version
        if is_same:
            version = self._put(name, data)
        else:
            self.refused += 1
        self.world.sleep(trip / 2)
        if not is_same:
            raise ChangedError
        return version

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects."""
        self.world.sleep(self._request("DELETE", 0))
        for name in names:
            self.objects.pop(name, None)

    def listed(self, folder: str, timeout: float | None) -> dict[str, Any]:
        """List the objects of a folder, page after page."""
        pages = 1 + sum(name.startswith(f"{folder}/") for name in self.objects) // _PAGE
        self.world.sleep(sum(self._request("LIST", 0) for _ in range(pages)))
        named = (each for each in self.objects.items() if each[0].startswith(f"{folder}/"))
        return {name: found.version for name, found in named}

    def old(self, prefix: str, seconds: float, timeout: float | None) -> list[str]:
        """List objects; none is left over."""
        self.world.sleep(self._request("LIST", 0))
        return []

    def close(self) -> None:
        """Do nothing."""

    def _request(self, kind: str, size: int) -> float:
        self.requests[kind] += 1
        return self._trip(size)

    def _put(self, name: str, data: bytes) -> int:
        self._version += 1
        self.objects[name] = Found(data, self._version)
        return self._version


class Database(_Counted):
    """A server that does one thing at a time; or a file that one process at a time may write."""

    def __init__(self, world: World, terms: Terms) -> None:
        super().__init__(world, terms)
        self.memory = MemoryStore()
        self.busy = 0.0
        self._free_at = 0.0

    def store(self) -> Store:
        """Make the store of a run."""
        return _Client(self)

    def stored(self) -> tuple[int, int]:
        """Return how many records there are, and their bytes."""
        records = self.memory._records
        return len(records), sum(map(len, records.values()))

    def occupy(self, kind: str, size: int, times: int = 1) -> float:
        """Wait for the turn of a call; return when its answer arrives."""
        self.requests[kind] += 1
        trip = self._trip(size)
        limits = self.terms.limits
        service = 0.0 if self.is_free else limits[kind] * times + size * limits["byte"]
        self._free_at = max(self.world.now + trip / 2, self._free_at) + service
        self.busy += service
        self.world.wait_until(self._free_at)
        return trip / 2


class _Client(MemoryStore):
    """The store of one run on a database."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._records = database.memory._records
        self.url = database.terms.url

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return a record."""
        rest = self._database.occupy("read", 0)
        found = super().read(key)
        self._database.world.sleep(rest)
        return found

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write records."""
        rest = self._database.occupy("write", sum(map(len, puts.values())))
        try:
            super().write(puts, deletes, expect=expect)
        finally:
            self._database.world.sleep(rest)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return keys."""
        rest = self._database.occupy("read", 0)
        found = super().list(prefix)
        self._database.world.sleep(rest)
        return found

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return records: one trip, which takes the longer the more there are."""
        found = super().scan(prefixes)
        rest = self._database.occupy("read", sum(map(len, found.values())), 1 + len(found))
        found = super().scan(prefixes)
        self._database.world.sleep(rest)
        return found

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Return records in one trip."""
        found = [self._records.get(key) for key in keys]
        size = sum(len(data or b"") for data in found)
        self._database.world.sleep(self._database.occupy("read", size, max(1, len(keys))))
        return iter(found)


TERMS: Final = {
    "apify": Terms(
        "Apify",
        "apify:shared",
        latency=0.04,
        bandwidth=20e6,
        prices={"PUT": 0.05, "DELETE": 0.05, "GET": 0.005, "list": 0.05},
        limits={"records": 200, "list": 60},
    ),
    "s3": Terms(
        "S3",
        "s3://bucket?state=shared",
        latency=0.03,
        bandwidth=80e6,
        prices={"PUT": 0.005, "LIST": 0.005, "GET": 0.0004, "DELETE": 0.0},
        limits={"PUT": 3500, "GET": 5500},
    ),
    "redis": Terms(
        "Redis",
        "redis://host?state=shared",
        latency=0.001,
        bandwidth=100e6,
        prices={},
        limits={"write": 20e-6, "read": 2e-6, "byte": 1e-9},
        refresh=2.0,
    ),
    "postgresql": Terms(
        "PostgreSQL",
        "postgresql://host/db?state=shared",
        latency=0.001,
        bandwidth=100e6,
        prices={},
        limits={"write": 200e-6, "read": 5e-6, "byte": 2e-9},
        refresh=2.0,
    ),
    "sqlite": Terms(
        "SQLite",
        "sqlite:///shared.db",
        latency=0.0001,
        bandwidth=500e6,
        prices={},
        limits={"write": 800e-6, "read": 10e-6, "byte": 1e-9},
        refresh=2.0,
    ),
}
SERVICES: Final[dict[str, Any]] = {
    "apify": Apify,
    "s3": Bucket,
    "redis": Database,
    "postgresql": Database,
    "sqlite": Database,
}


def service(kind: str, world: World) -> Service:
    """Make a service."""
    made: Service = SERVICES[kind](world, TERMS[kind])
    return made
