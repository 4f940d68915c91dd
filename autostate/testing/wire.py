"""What goes over the wire: requests, answers, and the HTTP server that carries them.

The server knows nothing of Apify. It reads a request, lets `Traffic` decide about faults, has
the request answered, and sends the answer (or cuts the connection, when a fault says so).
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it arrived. `path` is percent-encoded, `body` as uploaded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def segments(self) -> list[str]:
        """The decoded parts of the path."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set to true."""
        return self.query.get(name, "").lower() in {"1", "true"}

    def number(self, name: str, default: int) -> int:
        """A query parameter as a whole number."""
        return int(self.query.get(name) or default)

    def json(self) -> Any:
        """The body as JSON, whatever compression it came in."""
        body = decompress(self.body, self.headers.get("content-encoding", ""))
        return json.loads(body) if body else None


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """An answer that the Apify API gives as an error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    @classmethod
    def no_such_path(cls) -> Self:
        """The error for a path at which there is nothing."""
        return cls(404, "page-not-found", "There is nothing at this path.")

    def response(self) -> Response:
        """The error in the API's own format."""
        body = {"error": {"type": self.kind, "message": str(self)}}
        return json_response(body, self.status)


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON."""
    body = json.dumps(content).encode()
    return Response(status, body, {"content-type": "application/json", **(headers or {})})


def data_response(data: Any, status: int = 200) -> Response:
    """Answer with JSON in the envelope that the Apify API uses."""
    return json_response({"data": data}, status)


def decompress(body: bytes, encoding: str) -> bytes:
    """Undo a content encoding: identity, gzip, deflate or br."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            import gzip

            return gzip.decompress(body)
        case "deflate":
            import zlib

            return zlib.decompress(body)
        case "br":
            import brotli  # type: ignore[import-untyped,unused-ignore]

            return cast("bytes", brotli.decompress(body))
    raise ApiError(415, "unsupported-content-encoding", f"Unknown content encoding {encoding!r}.")


class HttpServer:
    """An HTTP/1.1 server on a free loopback port, one thread a connection.

    Args:
        answer: Answers a request; None: the connection is cut.
    """

    def __init__(self, answer: Callable[[Request], Response | None]) -> None:
        self._server = _Server(answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="local-apify-http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop accepting connections and hang up those that are open."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Request], Response | None]) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet about clients that were killed; report everything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Reader(io.BufferedReader):
    """Reads from a connection, and notes when a line was asked for after its end."""

    ended = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(-1 if size is None else size)
        self.ended = self.ended or not line
        return line


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server  # ty: ignore[incompatible-mutable-override]  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = self._reader = _Reader(self.connection.makefile("rb", 0))

    def _serve(self) -> None:
        url = urlsplit(self.path)
        try:
            body = self._read_body()
        except (EOFError, ValueError):  # nobody waits for an answer
            self._cut()
            return
        request = Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        response = self.server.answer(request)
        if response is None:
            self._cut()
        else:
            self._send(response)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _read_body(self) -> bytes:
        """Read the body of the request.

        Raises:
            EOFError: The client hung up before the end: it was killed, or gave up. What has
                arrived is no record, although a part of it may look like one.
            ValueError: The length of the body or of a chunk is no number.
        """
        if self._reader.ended:  # within the headers
            raise EOFError
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self._read_exactly(int(self.headers.get("content-length") or 0))

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self._read_exactly(size)
        self._read_exactly(2)  # the end of its line
        return chunk

    def _read_exactly(self, size: int) -> bytes:
        data = self.rfile.read(max(size, 0))
        if len(data) != size:
            raise EOFError
        return data

    def _send(self, response: Response) -> None:
        try:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if response.status != 204:
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)
            self.wfile.flush()
        except OSError:  # the client has given up, or was killed
            self.close_connection = True

    def _cut(self) -> None:
        """Hang up without an answer, so that the client cannot know what happened."""
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client was faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: `Traffic` keeps the log."""
