"""A proxy between a client and a server: it takes time, and counts trips."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest

from autostate.errors import StoreUnavailableError
from autostate.stores import Store

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Passes bytes on, each after a delay, in both directions. A context manager.

    A *trip* ends with the first bytes that a client receives after it has sent something: what it
    sends at the same time over several connections is one, what nobody answers is none.

    Args:
        target: The port of the server, or its socket.
        socket: The path of a socket to listen on, in place of a port.
        tls: How to speak TLS with clients.

    Attributes:
        delay: Seconds for one direction.
        trips: The number of trips so far.
        size: The number of bytes so far, in both directions.
        silent: Whether nothing is passed on any more.
        port: The port on which it listens.
    """

    def __init__(
        self,
        target: int | Path,
        *,
        socket: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.delay: float = 0.0
        self.trips: int = 0
        self.size: int = 0
        self.silent: bool = False
        self._tls = tls
        self.port: int = 0
        self._target = target
        self._socket = socket
        self._asked = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        if self._socket is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._socket)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened: Awaitable[Streams] = (
            asyncio.open_connection("127.0.0.1", self._target)
            if isinstance(self._target, int)
            else asyncio.open_unix_connection(self._target)
        )
        back, forth = await opened
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                self._pass(reader, forth, self._sent), self._pass(back, writer, self._received)
            )
        for each in (writer, forth):
            each.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[int], None],
    ) -> None:
        """Pass on what comes, in its order, each chunk after the delay."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                at, data = await chunks.get()
                await asyncio.sleep(max(0.0, at - self._loop.time()))
                if not data:
                    writer.close()
                    return
                if not self.silent:
                    writer.write(data)

        async def read() -> None:
            data = b"x"
            while data:
                data = await reader.read(1 << 20)
                if data:
                    note(len(data))
                chunks.put_nowait((self._loop.time() + self.delay, data))

        await asyncio.gather(read(), write())

    def _sent(self, size: int) -> None:
        self._asked = True
        self.size += size

    def _received(self, size: int) -> None:
        self.size += size
        self.trips += self._asked
        self._asked = False


def check_interrupt(store: Store, proxy: Proxy) -> None:
    """Check that a call which Ctrl-C has interrupted leaves no answer for the next one."""
    store.write({"a": b"1", "b": b"2"})
    proxy.delay = 0.3
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        store.read("a", timeout=10)
    timer.join()
    proxy.delay = 0.0
    assert store.read("b", timeout=10) == b"2"


def check_timeouts(store: Store, proxy: Proxy) -> None:
    """Check that a call takes no longer than it may, and that no later one gets its answer."""
    store.write({"a": b"1", "b": b"2"})
    proxy.delay = 0.5
    with pytest.raises(StoreUnavailableError, match="did not answer"):
        store.read("a", timeout=0.1)
    proxy.delay = 0.0
    assert store.read("b", timeout=10) == b"2"
    proxy.silent = True
    for call in (store.read, store.list):
        with pytest.raises(StoreUnavailableError):
            call("a", timeout=0.1)
