"""A real HTTP server for tests, which fails as it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A request that has come.

    Attributes:
        key: The `Idempotency-Key`, without its quotes.
        value: The body.
        headers: The headers.
        connection: A number for the connection.
    """

    key: str
    value: Any
    headers: dict[str, str]
    connection: int


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: Its status.
        body: Its body.
        headers: Its headers.
        before: Whether it is given in place of the work, and not after it.
        lost: Whether the connection is closed instead.
    """

    status: int = 200
    body: str = ""
    headers: dict[str, str] = {}
    before: bool = True
    lost: bool = False


class Endpoint:
    """A server that does the work of each key once.

    Attributes:
        url: Its URL.
        calls: All requests.
        done: The bodies of those whose work was done, by their keys.
        reply: Says what is answered; None: the usual.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.done: dict[str, Any] = {}
        self.reply: Callable[[Call], Reply | None] = lambda _: None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer._connections.add(self.connection)

            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, *args: object) -> None:
                """Tell nobody."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/items?token=abc"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["content-length"])
        value = json.loads(handler.rfile.read(length))
        key = handler.headers.get("idempotency-key", "").strip('"')
        call = Call(key, value, dict(handler.headers), handler.client_address[1])
        with self._lock:
            self.calls.append(call)
        reply = self.reply(call) or Reply(before=False)
        if not reply.before:
            with self._lock:
                self.done.setdefault(key, value)
        if reply.lost:
            handler.close_connection = True
            return
        with contextlib.suppress(OSError):  # the client waits no longer
            handler.send_response(reply.status)
            for name, content in reply.headers.items():
                handler.send_header(name, content)
            handler.send_header("content-length", str(len(reply.body.encode())))
            handler.end_headers()
            handler.wfile.write(reply.body.encode())

    def close(self) -> None:
        """End it, and all of its connections."""
        self._server.shutdown()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def running() -> Iterator[Endpoint]:
    """Run a server."""
    made = Endpoint()
    try:
        yield made
    finally:
        made.close()
