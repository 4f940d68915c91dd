"""The site that is crawled: Python's documentation of itself, as pydoc serves it on loopback.

Run as a program it prints its address and serves until its standard input is closed. An argument
says how many of the standard library's modules are documented; all by default.
pydoc is made to give the same page however often and in whatever order it is asked: what is
documented is imported beforehand (a page lists the subclasses that exist at that moment), and a
request does not reload its module. Everything else answers with pydoc's own error page.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import pydoc
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler

# Importing these opens a browser or a window, prints a poem, or starts a program.
LEFT_OUT = {"antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo"}
COOKIE = f"python={sys.version_info.major}.{sys.version_info.minor}; Path=/"


def main() -> None:
    """Serve until standard input ends."""
    os.chdir(tempfile.mkdtemp())  # pydoc lists the modules of the working directory too
    warnings.simplefilter("ignore")  # some modules are deprecated, which is no concern of ours
    names = sorted(sys.stdlib_module_names)
    modules = set(documented(names[: int(sys.argv[1])] if sys.argv[1:] else names))
    setattr(pydoc, "locate", functools.partial(_locate, modules))  # noqa: B010
    setattr(BaseHTTPRequestHandler, "end_headers", _end_headers_with_cookie)  # noqa: B010
    start_server = vars(pydoc)["_start_server"]
    server = start_server(functools.cache(vars(pydoc)["_url_handler"]), "127.0.0.1", 0)
    server.docserver.handle_error = _ignore  # a crawler that is killed hangs up
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()


def _ignore(*details: object) -> None:
    """Do nothing."""


def documented(names: Iterable[str]) -> Iterator[str]:
    """Import modules as far as this platform has them, and name what was imported."""
    for name in names:
        if name.rpartition(".")[2] not in LEFT_OUT | {"__main__", "tests"} and _importable(name):
            yield name
            path = getattr(sys.modules[name], "__path__", ())
            yield from documented(f"{name}.{module.name}" for module in pkgutil.iter_modules(path))


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, AttributeError, OSError):  # a module of another operating system
        return False
    return name in sys.modules


def _locate(modules: set[str], path: str, forceload: bool = False) -> object:
    """Find what pydoc documents under that name, without loading it anew."""
    return sys.modules[path] if path in modules else None


def _end_headers_with_cookie(
    self: BaseHTTPRequestHandler,
    end_headers: Callable[[BaseHTTPRequestHandler], None] = BaseHTTPRequestHandler.end_headers,
) -> None:
    """Set a cookie, as sites do and pydoc does not."""
    self.send_header("Set-Cookie", COOKIE)
    end_headers(self)


if __name__ == "__main__":
    main()
