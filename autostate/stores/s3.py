"""A store in a bucket of S3, or of a service that speaks its protocol; see `apart.py`.

The index is replaced by a conditional PUT (`If-Match`, `If-None-Match: *`), which S3 offers since
2024. The client repeats nothing by itself, and its calls run in threads of this module, since it
has no timeout for a single call. Its own threads do not exist in a forked process, where a call
would never return: there each call is an error at once.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import obstore
from obstore import exceptions as errors
from obstore.store import S3Store as Bucket

from autostate.errors import StoreError, StoreUnavailableError
from autostate.ownership.owner import Owner
from autostate.stores.apart import ApartStore
from autostate.stores.calls import TIMEOUT, Calls
from autostate.stores.indexed import ChangedError, Found, IndexedStore, check_size, size_of
from autostate.stores.server_urls import ServerUrl, parsed

T = TypeVar("T")

_PAGE: Final = 1000
"""So many objects S3 lists in one answer."""
_AT_ONCE: Final = 64
"""So many objects are read or written at the same time."""
_ROOM: Final = 64 << 20
"""So many bytes they have, or it is one: more at the same time would only need more memory."""
_REFUSED: Final = (
    errors.PermissionDeniedError,
    errors.UnauthenticatedError,
    errors.NotSupportedError,
    errors.InvalidPathError,
    errors.UnknownConfigurationKeyError,
)
_CHANGED: Final = (errors.AlreadyExistsError, errors.PreconditionError)
_REWRITTEN: Final = ("autostate-owner", "autostate-head-")
"""Each commit replaces these records, of which a head may have more than 16 KiB."""
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_NO_BUCKET: Final = "<Code>NoSuchBucket</Code>"
_METADATA: Final = re.compile(r"://(169\.254\.|\[fd00:ec2|\S+/latest/(api|meta-data)/)")
"""Where the client asks for the credentials of the machine's role if it was given none."""
_ANSWER: Final = tuple(re.compile(f"<{tag}>([^<]{{1,300}})") for tag in ("Code", "Message"))
_TOOK: Final = re.compile(r" in [\d.]+(ns|µs|ms|s)\b")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_used_by: set[int] = set()
"""The processes in which the client has begun its threads."""


class S3Store(ApartStore):
    """The records of one state in a bucket.

    Args:
        url: A normalized URL, see `server_urls`: `s3://BUCKET/PREFIX?state=NAME`, with the client's
            own parameters, such as `endpoint` and `region`. The client takes others, credentials
            too, from the environment, as `AWS_ACCESS_KEY_ID`.
    """

    metered: bool = True
    outlives_run = True

    def __init__(self, url: str) -> None:
        parts = parsed(url)
        bucket = _Bucket(parts, url)
        super().__init__(IndexedStore(bucket, url, rewritten=_REWRITTEN), bucket)
        self.metered = type(self).metered
        self.state_name: str = parts.state

    def owner_lives(self, owner: Owner) -> bool | None:
        """Give None: the bucket does not know it. An owner has a lease."""
        return None


class _Bucket:
    """The objects of one state."""

    def __init__(self, url: ServerUrl, shown: str) -> None:
        self._shown = shown
        self._check_fork()
        prefix = "/".join(part for part in (url.path, url.state) if part)
        config: Any = {"bucket": url.hosts, **url.parameters}
        options: Any = {"timeout": f"{round(TIMEOUT)}s"}
        if _endpoint(url).startswith("http:"):
            options["allow_http"] = True
        try:
            self._store: Any = Bucket(
                prefix=prefix,
                config=config,
                client_options=options,
                retry_config={"max_retries": 0},
            )
        except (errors.BaseError, ValueError, TypeError) as error:
            raise StoreError(f"{shown}: {_reason(error)}") from None
        _used_by.add(os.getpid())
        self._calls = Calls(self._told, _AT_ONCE)

    def get(self, name: str, timeout: float | None) -> Found | None:
        """Return an object with its ETag."""
        return self._calls.result(self._begin(name), timeout)

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Read objects, some at a time."""
        calls = ((size_of(name), partial(self._begin, name)) for name in names)
        return self._results(calls, timeout)

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Write objects, some at a time."""
        self._check_fork()
        calls = (
            (len(data), partial(self._calls.begin, partial(self._put, name, data, "overwrite")))
            for name, data in contents.items()
        )
        for _ in self._results(calls, timeout):
            pass

    def replace(self, name: str, data: bytes, version: Any, timeout: float | None) -> Any:
        """Replace an object if it still has this ETag."""
        self._check_fork()
        mode: Any = "create" if version is None else {"e_tag": version}
        try:
            return self._calls.run(partial(self._put, name, data, mode), timeout)
        except StoreError as error:
            cause = error.__context__
            gone = version is not None and isinstance(cause, FileNotFoundError)
            if isinstance(cause, _CHANGED) or (gone and _NO_BUCKET not in str(cause)):
                raise ChangedError from error
            raise

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects, a thousand in one request."""
        self._check_fork()
        self._calls.run(partial(obstore.delete, self._store, [*names]), timeout)

    def old(self, prefix: str, seconds: float, timeout: float | None) -> list[str]:
        """List the objects that are old enough."""
        self._check_fork()

        def names() -> list[str]:
            # With a prefix it would list a folder; what lies in folders is not asked for.
            there = obstore.list_with_delimiter(self._store)["objects"]
            found = [each for each in there if each["path"].startswith(prefix)]
            newest = max((each["last_modified"] for each in found), default=_NEVER)
            before = newest - timedelta(seconds=seconds)
            return [each["path"] for each in found if each["last_modified"] < before]

        return self._calls.run(names, timeout)

    def listed(self, folder: str, timeout: float | None) -> dict[str, Any]:
        """List the objects of a folder with their ETags."""
        self._check_fork()

        def found() -> dict[str, Any]:
            pages = obstore.list(self._store, folder, chunk_size=_PAGE)
            return {each["path"]: each["e_tag"] for page in pages for each in page}

        return self._calls.run(found, timeout)

    def close(self) -> None:
        """End the threads, and leave the client, which has connections; what hangs is left."""
        self._calls.close()
        self._store = None

    def _results(
        self, calls: Iterable[tuple[int, Callable[[], Future[T]]]], timeout: float | None
    ) -> Iterator[T]:
        """Begin calls, each with the size of its object, some at a time; give what they return."""
        begun: deque[tuple[int, Future[T]]] = deque()
        room = _ROOM
        for size, begin in calls:
            while begun and (room < size or len(begun) == _AT_ONCE):
                done, call = begun.popleft()
                yield self._calls.result(call, timeout)
                room += done
            begun.append((size, begin()))
            room -= size
        for _, call in begun:
            yield self._calls.result(call, timeout)

    def _begin(self, name: str) -> Future[Found | None]:
        """Begin to read an object."""
        self._check_fork()

        def read() -> Found | None:
            try:
                found = obstore.get(self._store, name)
                check_size(self._shown, name, found.meta["size"])
                return Found(bytes(found.bytes()), found.meta["e_tag"])
            except FileNotFoundError as error:
                if _NO_BUCKET in str(error):
                    raise
                return None

        return self._calls.begin(read)

    def _put(self, name: str, data: bytes, mode: Any) -> Any:
        done = obstore.put(self._store, name, data, mode=mode, use_multipart=False)
        return done["e_tag"]

    def _told(self, error: BaseException) -> StoreError:
        if isinstance(error, TimeoutError):
            return StoreUnavailableError(f"{self._shown} did not answer in time")
        if isinstance(error, FileNotFoundError) or _NO_BUCKET in str(error):
            return StoreUnavailableError(
                f"{self._shown}: there is no such bucket. Make it, or correct its name in the URL",
                lasting=True,
            )
        if isinstance(error, _REFUSED):
            return StoreError(
                f"{self._shown} refuses this client: {_reason(error)}. Check the credentials; "
                "they need the rights s3:ListBucket of the bucket, and s3:GetObject, s3:PutObject "
                "and s3:DeleteObject of what is in it"
            )
        if _METADATA.search(str(error)):
            return StoreUnavailableError(
                f"{self._shown}: neither the URL nor the environment has credentials, and the "
                "machine did not give those of a role: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or for a public bucket skip_signature=true in the URL"
            )
        told = f"was not reached, or did not answer: {_reason(error)}"
        return StoreUnavailableError(f"{self._shown} {told}")

    def _check_fork(self) -> None:
        """Refuse a call that would never return."""
        if _used_by and os.getpid() not in _used_by:
            raise StoreError(
                f"{self._shown} cannot be used in a process that was forked from one that has used "
                "S3: the client's threads do not exist here. Start it in another way: "
                'multiprocessing.set_start_method("spawn")'
            )


def _endpoint(url: ServerUrl) -> str:
    """Give the endpoint as the client finds it; it refuses one without TLS if not allowed."""
    names = ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url")
    given = (url.parameters.get(name) for name in names)
    return next(filter(None, [*given, *map(os.environ.get, _ENDPOINTS)]), "")


def _reason(error: BaseException) -> str:
    """Shorten a message: the client adds the whole answer, and how long the request took.

    An answer may quote the request, which has the key, a token and a signature in it.
    """
    text = str(error)
    told = _TOOK.sub("", text.partition("\n")[0].partition("<")[0].rstrip(": "))
    answer = (found[1] for each in _ANSWER if (found := each.search(text)))
    return ": ".join((told, *answer))
