"""A counter of visits, in Standby mode: an HTTP server that blocks the event loop.

`POST /NAME` counts a visit and answers with their number, `GET /NAME` only answers. An answer is
sent after the save: what was answered is still true in the next container. A client that got no
answer sends the same `Idempotency-Key` again, and is counted once.
"""

from __future__ import annotations

import asyncio
from http.server import BaseHTTPRequestHandler, HTTPServer

from apify import Actor

import autostate
from autostate import PersistedCounter, PersistedSet


@autostate.actor
async def main(visits: PersistedCounter[str], keys: PersistedSet[str]) -> None:
    """Serve until the platform ends the run."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            key = self.headers["Idempotency-Key"]
            with autostate.atomic():
                if key not in keys:
                    visits[self.path] += 1
                    if key is not None:
                        keys.add(key)
            autostate.flush()
            self.do_GET()

        def do_GET(self) -> None:  # also the readiness probe of the platform
            answer = str(visits[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with HTTPServer(("", Actor.configuration.web_server_port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
