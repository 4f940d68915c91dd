"""URLs of servers, and the credentials in them, which are kept apart.

A store's URL is in messages, logs and the state of other processes. So what is secret in it is
taken out as soon as the URL is read, and kept in this process under the URL without it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlencode, urlsplit

from autostate.ownership import program

_SECRET: Final = re.compile(
    r"pass|pwd|auth|secret|token|credential|access_key|customer_", re.IGNORECASE
)
_WITH_LOGIN: Final = re.compile(r"://[^/]*@")
_NAME: Final = re.compile(r"[\w.@+-]{1,100}")
_WITH_AT: Final = ("state", "user", "username")
"""The parameters whose values may hold an `@` that is not quoted."""
_REDIS: Final = frozenset({"redis", "rediss", "valkey", "valkeys"})

_secrets: dict[str, tuple[str, dict[str, str]]] = {}
"""What was before the host, and secret parameters, by the URL without them."""


class ServerUrl(NamedTuple):
    """The parts of the URL of a state on a server.

    Attributes:
        scheme: Which kind of server.
        login: The name and password as they stand in the URL, percent-encoded; mostly empty.
        hosts: What follows: one host and port, or several with commas between them.
        path: The rest of the path, without a slash before it.
        state: The name of the state on the server.
        parameters: All other parameters, the secret ones included.
    """

    scheme: str
    login: str
    hosts: str
    path: str
    state: str
    parameters: Mapping[str, str]

    @property
    def public(self) -> str:
        """The URL as it is shown, and known elsewhere: without credentials."""
        shown = {name: value for name, value in self.parameters.items() if not _is_secret(name)}
        query = urlencode({**shown, "state": self.state}, quote_via=quote)
        return f"{self.scheme}://{self.hosts}{self._quoted_path}?{query}"

    @property
    def client(self) -> str:
        """The URL for the server's own client: with credentials, without the name of the state."""
        query = urlencode(self.parameters, quote_via=quote)
        # Quoted anew: clients refuse a bare `%`, and their messages quote the whole password.
        parts = self.login.split(":", 1)
        login = ":".join(quote(unquote_to_bytes(part), safe="") for part in parts)
        login = f"{login}@" if login else ""
        ask = "?" if query else ""
        return f"{self.scheme}://{login}{self.hosts}{self._quoted_path}{ask}{query}"

    @property
    def _quoted_path(self) -> str:
        return f"/{quote(self.path)}" if self.path else ""


def normalized(source: str) -> str:
    """Give the URL of a state on a server without credentials, and keep those for `parsed`.

    Raises:
        ValueError: It names no host, or no state that can be named so.
    """
    url = _split(source)
    if url.scheme == "file":
        if url.hosts or not url.path:
            raise ValueError(
                "this file: is not the URL of a store: write file:///path/of/folder?state=NAME"
            )
        if url.parameters:
            raise ValueError(
                f"a folder has no parameter {next(iter(url.parameters))!r}: write "
                "file:///path/of/folder?state=NAME"
            )
    elif not (url.hosts or url.parameters.get("host")):
        what, form = ("bucket", "BUCKET/PREFIX") if url.scheme == "s3" else ("host", "HOST:PORT/")
        raise ValueError(
            f"this {url.scheme}: is not the URL of a store, since it names no {what}. Write "
            f"{url.scheme}://{form}?state=NAME"
        )
    if url.scheme in _REDIS and url.path and not url.path.isdecimal():
        raise ValueError(
            f"the database in the URL of a Redis server is a number: write {url.scheme}://HOST:PORT"
            "/0?state=NAME; the name of the state comes last"
        )
    for name, value in url.parameters.items():
        if _WITH_LOGIN.search(value) and not _is_secret(name):
            raise ValueError(
                f"the parameter {name!r} of this {url.scheme}: has a name or a password in it: "
                "leave these out there, and give credentials by their own parameters, or in the "
                "environment"
            )
    if not _NAME.fullmatch(url.state) or url.state in (".", ".."):
        raise ValueError(
            f"a state on a server cannot be named {url.state!r}: take at most 100 letters, digits "
            "and any of . _ - + @"
        )
    secret = {name: value for name, value in url.parameters.items() if _is_secret(name)}
    if url.login or secret:
        _secrets[url.public] = url.login, secret
    return url.public


def parsed(public: str) -> ServerUrl:
    """Take a normalized URL apart, with the credentials that this process was given for it."""
    url = _split(public)
    login, secret = _secrets.get(public, ("", {}))
    return url._replace(login=login, parameters={**url.parameters, **secret})


def _split(source: str) -> ServerUrl:
    try:
        parts = urlsplit(source)
    except ValueError:
        raise _unclear(source) from None  # its message quotes the URL
    if parts.fragment or ("@" in parts.path and parts.scheme.lower() != "file"):
        raise _unclear(source)  # else a part of a password would count as a host or a path
    login, _, hosts = parts.netloc.rpartition("@")
    if "\0" in unquote(login) or not _has_ports(hosts) or ";" in parts.query:
        raise _unclear(source)
    # A plus stands for itself: keys and passwords have it more often than blanks.
    pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    quoted = parse_qsl(parts.query.replace("%", "%25"), keep_blank_values=True)
    if any("@" in name + value and name not in _WITH_AT for name, value in quoted):
        raise _unclear(source)  # a `?` in a password has begun the query
    parameters = dict(pairs)
    for name in parameters:
        if name != "state" and difflib.get_close_matches(name, ["state"], cutoff=0.8):
            raise ValueError(f"there is no parameter {name!r} of a store: write ?state=NAME")
    state = program.named(parameters.pop("state", "") or "{program}")
    path = unquote(parts.path).strip("/")
    return ServerUrl(parts.scheme.lower(), login, hosts, path, state, parameters)


def _has_ports(hosts: str) -> bool:
    """Tell whether what stands where ports do are numbers, and no part of a password."""
    try:
        for host in hosts.split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return False
    return True


def _unclear(source: str) -> ValueError:
    """Make the error for a URL of which nothing may be shown: a password may be anywhere."""
    scheme = source.partition(":")[0]
    return ValueError(
        f"this {scheme}: is not the URL of a store. In a name, a password and a path, write / as "
        "%2F, ? as %3F, # as %23, @ as %40, and [ as %5B"
    )


def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None
