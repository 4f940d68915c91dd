"""URLs of servers: what is secret in them is told nobody."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest

from autostate.stores.server_urls import normalized, parsed


@pytest.mark.parametrize(
    "written",
    [
        "redis://user:sec#ret@host/0?state=s",
        "redis://user:sec/ret@host/0?state=s",
        "redis://user:sec[ret@host/0?state=s",
        "redis://user:sec\uff0fret@host/0?state=s",
        "s3://key:sec/ret@bucket/prefix?state=s",
        "redis:///sec@ret?state=s",
        "redis://:sec?ret@host/0?state=s",
        "redis://user:sec?ret=1@host/0",
        "redis://user:sec%00ret@host/0",
        "redis://host:secret/0",
        "redis://host/0?db=1;password=secret",
    ],
)
def test_a_password_that_is_not_quoted_is_refused(written: str) -> None:
    """A part of it would count as a host or a path, and be shown."""
    with pytest.raises(ValueError, match="write / as %2F") as caught:
        normalized(written)
    assert "sec" not in str(caught.value)
    assert "ret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("redis://u:p%23@h:1/2?state=s", "redis://h:1/2?state=s"),
        ("file:///a%25b/c%20d?state=s", "file:///a%25b/c%20d?state=s"),
        ("file:///a%2541?state=s", "file:///a%2541?state=s"),
        ("s3://b/p?secret_access_key=x&state=s&region=r", "s3://b/p?region=r&state=s"),
        ("s3://b?aws_sse_customer_key_base64=x&state=s", "s3://b?state=s"),
        ("redis://h/0?pwd=x&auth=y&state=a%2Bb", "redis://h/0?state=a%2Bb"),
        ("redis://h/0?state=a+b", "redis://h/0?state=a%2Bb"),
        ("postgresql://h/d?user=me@tenant&state=s", "postgresql://h/d?user=me%40tenant&state=s"),
    ],
)
def test_what_is_shown_is_a_url_of_the_same_state(written: str, shown: str) -> None:
    """Without what is secret, and with all quotes."""
    assert normalized(written) == shown
    assert normalized(shown) == shown
    assert parsed(shown).path == parsed(written).path


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\0b", "x" * 101, "%2E%2E"])
def test_a_state_has_a_name_and_no_path(name: str) -> None:
    """In a folder, two points are another folder."""
    with pytest.raises(ValueError, match="cannot be named"):
        normalized(f"file:///folder?state={name}")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("redis://h/shop?state=s", "is a number"),
        ("redis://h/0?sate=s", r"write \?state=NAME"),
        ("file:///folder?foo=1", "a folder has no parameter 'foo'"),
        ("s3:///prefix?state=s", "names no bucket"),
        ("s3://b?endpoint=http://me:secret%40h&state=s", "'endpoint' of this s3: has a name or"),
    ],
)
def test_what_would_be_another_state_is_refused(written: str, told: str) -> None:
    """Each of these would begin a state that nobody meant."""
    with pytest.raises(ValueError, match=told):
        normalized(written)


@pytest.mark.parametrize("password", ["50%", "a b", "%zz", "100%25", "a+b"])
def test_a_client_gets_a_login_that_it_understands(password: str) -> None:
    """Its message would quote a password that it cannot decode."""
    url = normalized(f"postgresql://user:{password}@h/d?state=s")
    login = urlsplit(parsed(url).client).netloc.rpartition("@")[0]
    assert unquote(login) == f"user:{unquote(password)}"
    assert re.fullmatch(r"user:(%[0-9A-F]{2}|\w)*", login)
