"""The URL of a store is what was meant, or an error that says what to write instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate.errors import StoreError
from autostate.stores import open_store
from autostate.stores.urls import file_of, normalized
from tests.conformance.store_kit import opened


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (":memory:", "'memory:'"),
        ("sqlite::memory:", "'memory:'"),
        ("sqlite://:memory:", "'memory:'"),
        ("sqlite:///:memory:", "'memory:'"),
        ("file::memory:?cache=shared", "'memory:'"),
        ("memory", "'memory:'"),
        ("memory://", "'memory:'"),
        ("memory://shared", "'memory:shared'"),
        ("sqlite://", "'memory:'"),
        ("sqlite:state.db", "'sqlite:///state.db'"),
        ("sqlite://state.db", "'sqlite:///state.db'"),
        ("sqlite:/var/state.db", "'sqlite:////var/state.db'"),
        ("sqlite:///", "'sqlite:///state.db'"),
        ("sqlite:///data/", "'sqlite:///data/state.db'"),
        ("sqlite:///state.db?mode=ro", "'sqlite:///state.db'"),
        ("sqlite:////var/state.db?timeout=5&mode=rw", "'sqlite:////var/state.db'"),
        ("memory:shared?ttl=5", "'memory:shared'"),
        ("apify:my-store?token=x", "'apify:my-store'"),
        ("apify://my-store", "'apify:my-store'"),
        ("state.db", "'sqlite:///state.db'"),
        (".autostate/prices.db", "Path('.autostate/prices.db')"),
        ("./data/state", "'sqlite:///./data/state'"),
        ("/var/state.db", "'sqlite:////var/state.db'"),
        ("~/state.db", "'sqlite:///~/state.db'"),
        ("sqlite:///{progam}.db", "'sqlite:///{program}.db'"),
        ("sqlite:///~nobody-of-that-name/state.db", "sqlite:////absolute/path"),
    ],
)
def test_a_mistaken_url_says_what_to_write(written: str, instead: str, tmp_path: Path) -> None:
    """At once, wherever it is given, and nothing is made."""
    uses: list[Any] = [open_store, autostate.configure, autostate.open]
    for use in uses:
        with pytest.raises(ValueError, match="is not the URL of a store") as caught:
            use(written)
        assert instead in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://:secret@host", "postgresql:user:secret@host/db", "redis:user:secret@host"),
        *("user:secret@host", "secret@host:80", "memory://user:secret@host", "apify:u:secret@h"),
        *("sqlite://user:secret@host/x.db", "sqlite:user:secret@host", "redis:/u:secret@h/x.db"),
        *("memory:a?password=secret", "sqlite:///x.db?key=secret", "ftp://u@h?password=secret"),
    ],
)
def test_no_message_tells_a_password(url: str) -> None:
    """The URL of a store that is not known may hold one."""
    with pytest.raises(ValueError, match=r"URL of a (key-value )?store") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In URLs and in paths: a folder that is called `~` is what nobody meant."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given in ("sqlite:///~/deep/state.db", Path("~/deep/state.db")):
        with autostate.open(given):
            autostate.PersistedCounter("runs")["n"] += 1
    with autostate.open(tmp_path / "home/deep/state.db"):
        assert autostate.PersistedCounter("runs")["n"] == 2
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


def test_paths_are_taken(tmp_path: Path) -> None:
    """By open(), configure() and open_store(), relative or absolute."""
    with autostate.open(Path("state.db")):
        autostate.PersistedDict("pages", n=1)
    with opened(lambda: open_store(tmp_path / "state.db")) as store:
        assert store.list("")
        assert store.url == f"sqlite:///{tmp_path}/state.db"
    assert autostate.configure(tmp_path / "state.db").url == f"sqlite:///{tmp_path}/state.db"
    assert autostate.PersistedDict("pages") == {"n": 1}


@pytest.mark.parametrize("name", ["what?.db", "100%.db", "a b.db", "ü#1.db", "C=3.db"])
def test_names_of_files_mean_nothing_else(name: str, tmp_path: Path) -> None:
    """Characters with a meaning in URLs have none in a path; the store's own URL finds it."""
    with opened(lambda: open_store(Path(name))) as store:
        store.write({"key": b"1"})
    with opened(lambda: open_store(store.url)) as again:
        assert again.read("key") == b"1"
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert file_of(normalized(Path(name))) == tmp_path / name


@pytest.mark.parametrize("wrong", [b"state.db", 5, object()])
def test_what_is_neither_text_nor_path_is_refused(wrong: Any) -> None:
    """The message says what is taken."""
    with pytest.raises(TypeError, match="by its URL or by the path"):
        open_store(wrong)


def test_places_where_nothing_can_be_saved_are_refused_at_once(tmp_path: Path) -> None:
    """When the store is named, not at the first save."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    uses: list[Any] = [open_store, autostate.configure, autostate.open]
    for path, message in (
        ("folder", r"it is a folder\. Name a file in it: sqlite:///.*/folder/state\.db"),
        ("file/deep/state.db", "is a file, not a folder. Configure another path"),
        ("pipe", "it is no file. Configure another path"),
    ):
        for use in uses:
            with pytest.raises(StoreError, match=message):
                use(f"sqlite:///{path}")
