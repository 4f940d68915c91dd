"""URLs of stores: their normal form, or an error that says what to write instead."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

from autostate.ownership import program

KNOWN = (
    "sqlite:///relative/path, sqlite:////absolute/path, memory:, memory:NAME, apify:, apify:NAME, "
    "redis://HOST:PORT/NUMBER?state=NAME (also rediss:, valkey:, valkeys:), "
    "postgresql://HOST:PORT/DATABASE?state=NAME, s3://BUCKET/PREFIX?state=NAME, "
    "file:///path/of/folder?state=NAME"
)
SERVERS = frozenset(
    {"redis", "rediss", "valkey", "valkeys", "postgresql", "postgres", "s3", "file"}
)
_PLACEHOLDER = r"\{\w*\}"
_CREDENTIALS = r"^([A-Za-z][A-Za-z0-9+.-]*:/*)?.*@"
_FILES = (".db", ".sqlite", ".sqlite3", ".db3")


def normalized(source: str | os.PathLike[str]) -> str:
    """Give the URL of a store: a path becomes one, and `~` the home directory.

    In a URL, `{program}` stands for the name of the program.

    Args:
        source: A URL, or the path of a SQLite file.

    Raises:
        ValueError: `source` is not the URL of a store; the message says what to write instead.
        TypeError: `source` is neither a text nor a path.

    Example:
        >>> normalized("memory:")
        'memory:'
    """
    if isinstance(source, os.PathLike):
        path = os.fsdecode(source)
        return _sqlite(path, path)
    if not isinstance(source, str):
        raise TypeError(
            f"a store is given by its URL or by the path of its file, not by a "
            f"{type(source).__name__}"
        )
    scheme, colon, rest = source.partition(":")
    scheme = scheme.lower()
    if scheme.partition("+")[0] in SERVERS and colon and ":memory:" not in source:
        from autostate.stores import server_urls

        return server_urls.normalized(source)
    if ":memory:" in source or source in ("memory", "sqlite:", "sqlite://"):
        _refuse(source, "a store in memory is written", "memory:")
    if not colon or scheme not in ("sqlite", "memory", "apify"):
        _refuse_unknown(source, scheme if colon else "")
    if "?" in rest and "=" in rest.partition("?")[2]:
        plain = source.partition("?")[0]
        _refuse(source, "a store's URL has no parameters: without them it is", plain)
    if scheme == "sqlite":
        return _file(source, rest)
    if rest.startswith("//"):
        _refuse(source, "its name follows the colon:", f"{scheme}:{rest.strip('/')}")
    return f"{scheme}:{rest}"


def file_of(url: str) -> Path | None:
    """Give the file that a normalized URL names; None if it names none."""
    scheme, _, rest = url.partition(":///")
    return Path(rest).absolute() if scheme == "sqlite" else None


def _file(source: str, rest: str) -> str:
    path = rest[3:]
    if not rest.startswith("///"):
        path = rest.removeprefix("//") or "state.db"
        _refuse(source, "three slashes go before a path:", f"sqlite:///{path}")
    if not path.strip("/"):
        _refuse(source, "it names no file. One in the working directory is", "sqlite:///state.db")
    if path.endswith("/"):
        _refuse(source, "it is a folder. A file in it is", f"{source}state.db")
    path = program.named(path)
    if other := re.search(_PLACEHOLDER, path):
        meant = source.replace(other[0], "{program}")
        _refuse(source, f"nothing is put in the place of {other[0]}; perhaps it should be", meant)
    return _sqlite(source, path)


def _sqlite(source: str, path: str) -> str:
    """Give the URL of a file."""
    if "\0" in path:
        raise ValueError("the path of a store cannot hold a null character: write another one")
    if not path.startswith("~"):
        return f"sqlite:///{path}"
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path raises, and does not say which
    if expanded == path:
        raise ValueError(
            f"{shown(source)!r} is not the URL of a store: there is no such home directory. Write "
            "the whole path: sqlite:////absolute/path"
        )
    return f"sqlite:///{expanded}"


def shown(url: str) -> str:
    """Give a URL for a message: without a name and a password, and without parameters.

    A user who means another store may have written these anywhere in the URL.

    Example:
        >>> shown("redis:user:password@host?token=secret")
        'redis:…@host?…'
    """
    plain, query, _ = url.partition("?")
    return re.sub(_CREDENTIALS, r"\1…@", plain) + ("?…" if query else "")


def public(url: str) -> str:
    """Give a URL without credentials, under which `open_store` finds the store all the same."""
    if url.partition(":")[0].partition("+")[0].lower() not in SERVERS:
        return url
    try:
        return normalized(url)
    except ValueError:  # told when the store is opened
        return shown(url)


def _refuse(source: str, why: str, instead: str) -> NoReturn:
    raise ValueError(
        f"{shown(source)!r} is not the URL of a store: {why} {shown(instead)!r}. Known are: {KNOWN}"
    )


def _refuse_unknown(source: str, scheme: str) -> NoReturn:
    """Refuse an unknown URL. A password in it goes into no message."""
    if "://" in source:
        raise ValueError(f"{scheme}: begins no URL of a store. Known are: {KNOWN}")
    if source.endswith(_FILES) or (source and "/" in source):
        why = (
            f"a text is a URL, and a path is given as Path({shown(source)!r}). The URL of a file is"
        )
        _refuse(source, why, f"sqlite:///{source}")
    raise ValueError(f"{shown(source)!r} is not the URL of a store. Known are: {KNOWN}")
