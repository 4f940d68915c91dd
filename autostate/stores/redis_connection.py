"""A connection to a Redis or Valkey server, a cluster, or what a Sentinel names.

It sends each command once: the client's own repetitions are switched off, because a command whose
answer was lost may take effect later, after others.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from autostate.errors import StoreError, StoreUnavailableError
from autostate.stores.server_urls import ServerUrl

Command = Sequence[Any]

TIMEOUT: Final = 10.0
"""Seconds to wait for an answer if the caller does not say."""

_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
    "driver_info": None,  # its name and version would be two trips for each connection
    "protocol": 2,
}
_UNLIMITED: Final = 1 << 31
_ADDRESS: Final = re.compile(r"\bhost=([^,]*),port=(\d+)")
"""A Sentinel that did not answer, in a message that shows the client's object."""
_REFUSED: Final = (
    errors.AuthenticationError,
    errors.AuthorizationError,
    errors.NoPermissionError,
)
_PASSING: Final = (
    errors.BusyLoadingError,
    errors.ReadOnlyError,
    errors.TryAgainError,
    errors.ClusterDownError,
    errors.MasterDownError,
    errors.AskError,
    errors.MovedError,
)
"""Refusals of a server that is starting, or was replaced by another one: try again."""
_LASTING: Final = {
    "OOM": "its memory is full: raise maxmemory, or delete what is not needed",
    "MISCONF": "it cannot write its snapshots to the disk: see its log",
    "NOREPLICAS": "too few replicas are connected: see min-replicas-to-write",
}
"""Refusals that waiting alone does not mend, by the first word of the server's message."""
_OTHER_SCHEMES: Final = {"valkey": "redis", "valkeys": "rediss"}
_WITHOUT_TLS: Final = {"rediss": "redis", "valkeys": "valkey"}
_HANDSHAKE: Final = 2.0
"""Seconds of a first handshake until the server is asked whether it answers without TLS."""
_ANSWER: Final = 1.0
"""Seconds for that."""


class RedisConnection:
    """Sends commands about one key, one call at a time.

    Args:
        url: Where the server is.
        key: The key, which decides about the node of a cluster.
    """

    def __init__(self, url: ServerUrl, key: str) -> None:
        self.place: str = f"{url.scheme}://{url.hosts}"
        self._url = url
        self._key = key
        self._pool: Any = None
        self._guides: list[Any] = []  # clients that have found the server
        self._connection: Any = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        self._begins_plainly = url.scheme.partition("+")[0] not in _WITHOUT_TLS
        self._has_connected = False

    def call(self, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        """Send commands in one trip; return their answers. A refusal is an answer, too.

        Raises:
            StoreUnavailableError: The server was not reached, or the outcome is unknown.
            StoreError: The server accepts no connection of this client.
        """
        connection = self._ready(timeout)
        return [*self._answers(connection, commands)]

    def stream(self, commands: Sequence[Command], timeout: float | None) -> Iterator[Any]:
        """Send commands in one trip, on a connection of their own; yield the answers as they come.

        Raises:
            StoreError: As `call`.
        """
        self._leave_to_parent()
        connection = self._connect(timeout)
        try:
            yield from self._answers(connection, commands)
        finally:
            connection.disconnect()

    def close(self) -> None:
        """Close the connection."""
        self._leave_to_parent()
        self._drop()

    def refused(self, error: Exception) -> StoreError:
        """Make the library's error of a refusal, or of a connection that broke."""
        told = f"{self.place} ({self._key})"
        if isinstance(error, _REFUSED) or "ACL failure in script" in str(error):
            return StoreError(
                f"{told} refuses this client: {str(error).rstrip('. ')}. Check the name and the "
                "password in the URL; the client needs +@hash +@scripting for the keys ~autostate:*"
            )
        if isinstance(error, errors.MovedError) and not self._url.scheme.endswith("+cluster"):
            return StoreError(
                f"{told} is a node of a cluster: write {self._url.scheme}+cluster:// in the URL"
            )
        if isinstance(error, _PASSING):
            self._drop()  # perhaps another node has the key now
            return StoreUnavailableError(f"{told} is not ready: {error}")
        if isinstance(error, errors.ResponseError):
            word = str(error).partition(" ")[0]
            word = "OOM" if isinstance(error, errors.OutOfMemoryError) else word
            if word == "WRONGTYPE":
                return StoreError(
                    f"{told} holds something else under this key: delete it, or give the state "
                    "another name (?state=NAME)"
                )
            if word == "BUSY":  # somebody else's script; nothing was carried out
                return StoreUnavailableError(f"{told} is not ready: it runs a long script")
            if word in _LASTING:
                return StoreUnavailableError(
                    f"{told} refuses to write: {_LASTING[word]}", lasting=True
                )
            return StoreError(f"{told} refused: {error}")
        return StoreUnavailableError(
            f"{told} was not reached, or did not answer: {self._reason(error)}. Check the host and "
            "the port in the URL, and that the server runs"
        )

    def _reason(self, error: Exception) -> str:
        """Give the client's message, without what it shows of itself."""
        client: Any = redis  # its types are incomplete
        reason = str(error).rstrip(". ")
        if isinstance(error, client.sentinel.MasterNotFoundError):
            service = self._url.path.partition("/")[0]
            silent = ", ".join(map(":".join, _ADDRESS.findall(reason)))
            told = f" ({silent} did not answer)" if silent else ""
            return f"no Sentinel names a master of the service {service!r}{told}"
        if self._begins_plainly and "closed by server" in reason:
            scheme = self._url.scheme.replace("redis", "rediss").replace("valkey", "valkeys")
            return f"{reason}, as by one that expects TLS, for which one writes {scheme}:// here"
        return reason

    def _answers(self, connection: Any, commands: Sequence[Command]) -> Iterator[Any]:
        """Send commands, and read an answer to each."""
        complete = False
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    yield connection.read_response(disable_decoding=True)
                except errors.ResponseError as refusal:
                    yield refusal
            complete = True
        except (errors.RedisError, OSError) as error:
            raise self.refused(error) from None
        finally:
            if not complete:  # an answer may be under way that belongs to no later command
                connection.disconnect()
                if connection is self._connection:
                    self._drop()  # perhaps another node has the key now

    def _ready(self, timeout: float | None) -> Any:
        """Return the connection, which waits this long for each answer."""
        self._leave_to_parent()
        if self._connection is None:
            self._connection = self._connect(timeout)
        else:
            # Its own method for that means "no limit at all" if it is given none.
            self._connection._sock.settimeout(_seconds(timeout))
        return self._connection

    def _connect(self, timeout: float | None) -> Any:
        """Make a connection to the server, or to the node of the cluster that has the key."""
        seconds = _seconds(timeout)
        try:
            if self._begins_plainly or self._has_connected:
                return self._connected(seconds)
            return self._connected_by_tls(seconds)
        except (errors.RedisError, errors.RedisClusterException, OSError) as error:
            self._drop()
            raise self.refused(error) from None
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{self.place}: what its URL says is not understood: {error}"
            ) from None

    def _connected(self, seconds: float) -> Any:
        """Make a connection; raise the client's errors."""
        if self._pool is None:
            self._pool = self._make_pool(seconds)
            # It counts what it makes, and never down: nothing is given back to it.
            self._pool.max_connections = _UNLIMITED
        connection = self._pool.make_connection()
        connection.socket_timeout = connection.socket_connect_timeout = seconds
        connection.connect()
        return connection

    def _connected_by_tls(self, seconds: float) -> Any:
        """Make the first connection by TLS.

        A server without TLS takes the handshake for the beginning of a command, and waits for its
        end.
        """
        try:
            connection = self._connected(min(seconds, _HANDSHAKE))
        except (errors.RedisError, errors.RedisClusterException) as error:
            if "Timeout" not in str(error):
                raise
            if any(_answers_plainly(*each) for each in _addresses(self._url, 6379)):
                scheme, plus, kind = self._url.scheme.partition("+")
                raise StoreError(
                    f"{self.place} ({self._key}) answers without TLS, and not with it: write "
                    f"{_WITHOUT_TLS[scheme]}{plus}{kind}:// in the URL"
                ) from None
            self._drop()
            connection = self._connected(seconds)
        self._has_connected = True
        connection._sock.settimeout(seconds)
        return connection

    def _make_pool(self, seconds: float) -> Any:
        """Make the pool that knows how to connect; none of its connections is shared."""
        url = self._url
        scheme, _, kind = url.scheme.partition("+")
        plain = url._replace(scheme=_OTHER_SCHEMES.get(scheme, scheme))
        if kind == "cluster":
            return self._in_cluster(plain, seconds)
        if kind == "sentinel":
            return self._named_by_sentinel(plain, seconds)
        if kind:
            raise ValueError(f"+{kind} is neither +cluster nor +sentinel")
        return redis.ConnectionPool.from_url(plain.client, **_OPTIONS)

    def _in_cluster(self, url: ServerUrl, seconds: float) -> Any:
        """Make a pool of connections to the node of a cluster that has the key."""
        client: Any = redis  # its types are incomplete
        nodes = [client.cluster.ClusterNode(*address) for address in _addresses(url, 6379)]
        options = _options(url, url.path, seconds)
        options.pop("db", None)  # a cluster has one
        cluster = client.RedisCluster(
            startup_nodes=nodes,
            ssl=url.scheme == "rediss",
            **options,
        )
        self._guides.append(cluster)
        return cluster.get_node_from_key(self._key).redis_connection.connection_pool

    def _named_by_sentinel(self, url: ServerUrl, seconds: float) -> Any:
        """Make a pool of connections to the present master of a service."""
        service, _, database = url.path.partition("/")
        if not service:
            raise ValueError("after the sentinels it has to name a service: …/SERVICE/DATABASE")
        client: Any = redis  # its types are incomplete
        sentinel = client.Sentinel(
            _addresses(url, 26_379),
            sentinel_kwargs={**_OPTIONS, "socket_timeout": seconds},
            ssl=url.scheme == "rediss",
            **_options(url, database, seconds),
        )
        self._guides += sentinel.sentinels
        return sentinel.master_for(service).connection_pool

    def _drop(self) -> None:
        """Connect anew at the next call, and ask again where the key is."""
        connection, self._connection, self._pool = self._connection, None, None
        guides, self._guides = self._guides, []
        if connection is not None:
            connection.disconnect()
        for each in guides:
            each.close()

    def _leave_to_parent(self) -> None:
        """In the child of a fork, connect anew, and do not touch what the parent has."""
        if self._pid != os.getpid():
            self._inherited += [self._connection, self._pool, self._guides]
            self._connection = self._pool = None
            self._guides, self._pid = [], os.getpid()


def _seconds(timeout: float | None) -> float:
    return TIMEOUT if timeout is None else max(timeout, 0.001)


def _addresses(url: ServerUrl, port: int) -> list[tuple[str, int]]:
    """Give hosts and ports."""
    parts = (urlsplit(f"//{host}") for host in url.hosts.split(","))
    return [(each.hostname or "", each.port or port) for each in parts]


def _answers_plainly(host: str, port: int) -> bool:
    """Tell whether a server answers a command without TLS."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _ANSWER) as asked:
        asked.sendall(b"PING\r\n")
        return asked.recv(1) in (b"+", b"-")
    return False


def _options(url: ServerUrl, database: str, seconds: float) -> dict[str, Any]:
    """Give the options in a URL that names several hosts, which the client cannot read."""
    client: Any = redis
    one = url._replace(hosts="localhost", path=database)
    options: dict[str, Any] = client.connection.parse_url(one.client) | _OPTIONS
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    return {**options, "socket_timeout": seconds, "socket_connect_timeout": seconds}
