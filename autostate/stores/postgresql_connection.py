"""A connection to a PostgreSQL server on which no query takes longer than it may.

The client waits for a query for ever, and after Ctrl-C until the server has cancelled it. Both
would hang with a server that does not answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting

T = TypeVar("T")

TIMEOUT: Final = 30.0
"""Seconds to wait if the caller does not say."""
_LEAST: Final = 2
"""The client waits at least so many seconds for a connection."""
_LOOK: Final = 0.05


class Connection(psycopg.Connection[Any]):
    """A connection whose queries have a time limit.

    Attributes:
        seconds: The most seconds that a query may take. A query that takes longer raises
            TimeoutError, and closes the connection.
    """

    seconds: float = TIMEOUT

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Carry out a part of a query."""
        try:
            limited = _limited(gen, time.monotonic() + self.seconds)
            return waiting.wait(limited, self.pgconn.socket, interval=_LOOK)
        except BaseException as error:
            # What the server refuses leaves the connection as it was.
            if not isinstance(error, psycopg.Error):
                self.close()
            raise


def connected(url: str, timeout: float | None) -> Connection:
    """Connect to a server."""
    seconds = TIMEOUT if timeout is None else timeout
    made = Connection.connect(
        url,
        autocommit=True,
        prepare_threshold=None,  # a pool may give the next transaction another connection
        application_name="autostate",
        connect_timeout=max(_LEAST, math.ceil(seconds)),
    )
    made.seconds = seconds
    return made


def _limited(steps: Generator[T, int, Any], until: float) -> Generator[T, int, Any]:
    """Take the steps of a query until its time is over."""
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until:
                raise TimeoutError
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value
