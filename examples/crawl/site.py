"""The site that is crawled: numbered pages that link to each other, served on loopback."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Site:
    """A server of pages that link to each other. A context manager.

    Page n links to 2n+1, 2n+2 and n+1. Every seventh one is reached by a redirect, every eleventh
    one is unavailable at the first visit, and every ninth one then lacks its title.

    Args:
        pages: The number of pages.
        delay: Seconds that a page takes.

    Attributes:
        url: Its address.
    """

    def __init__(self, pages: int, delay: float = 0.0) -> None:
        self.pages = pages
        self._visits: Counter[str] = Counter()
        self._delay = delay
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # killed clients
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = site.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a page."""
        time.sleep(self._delay)
        with self._lock:
            self._visits[path] += 1
            is_first = self._visits[path] == 1
        if path.startswith("/go/"):
            return 302, {"Location": path[3:]}, b""
        page = int(path[1:])
        if page % 11 == 10 and is_first:
            return 503, {}, b""
        links = (at for at in (2 * page + 1, 2 * page + 2, page + 1) if at < self.pages)
        body = "".join(f'<a href="{self.path(at)}">{at}</a>' for at in links)
        title = "" if page % 9 == 8 and is_first else f"<title>Page {page}</title>"
        return 200, {"Content-Type": "text/html"}, (title + body).encode()

    def path(self, page: int) -> str:
        """Return the path of a page, as links give it."""
        return f"{'/go' if page % 7 == 6 else ''}/{page}"
