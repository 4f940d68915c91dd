"""Checks of all that decides where a state is, and whether it is found and saved there."""

from __future__ import annotations

import contextlib
import difflib
import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from autostate import __version__
from autostate.cli import shared, tables
from autostate.cli.choosing import FOLDER, VARIABLE, Choice, actors_storage, stores_here
from autostate.cli.disk import check_file, check_file_system, mount_of
from autostate.cli.findings import Finding
from autostate.errors import AutostateError
from autostate.journal.verifying import holds_pickled
from autostate.ownership.state_names import OWN
from autostate.runtime.place import path_of
from autostate.runtime.stored_state import StoredState, read_state
from autostate.saving import spill
from autostate.settings import KEY_VARIABLE, VARIABLES, Settings, scheme
from autostate.signing import KeyFile, NoKeyError
from autostate.stores import file_of
from autostate.stores.apify import is_at_home, purges_on_start
from autostate.stores.urls import shown

_FUTURE: Final = 5.0
"""Seconds by which clocks may differ."""
_OLDEST: Final = 1_700_000_000
"""A time before this version was made, in seconds since 1970."""
_MOST: Final = 200
"""The most folders that are searched for other stores."""
_OF_TESTS: Final = frozenset({"AUTOSTATE_SEED", "AUTOSTATE_EXAMPLES", "AUTOSTATE_STEPS"})


def check_resolution(chosen: Choice) -> Iterator[Finding]:
    """Tell how the URL was found, and what else would have been."""
    yield Finding("ok", "store", f"{chosen.url}, because {chosen.why}")
    named = os.environ.get(VARIABLE, "").strip()
    path = file_of(chosen.url)
    if named and path is not None and not named.partition(":///")[2].startswith(("/", "~")):
        yield Finding(
            "warning",
            "store",
            f"{VARIABLE} names a relative path: a program that is started in another folder has "
            f"another state. Write the whole path: sqlite:///{path}",
        )
    if named and stores_here():
        there = ", ".join(each.stem for each in stores_here())
        yield Finding(
            "note", "store", f"{FOLDER} holds stores that {VARIABLE} leaves unused: {there}"
        )
    if scheme(chosen.url) == "sqlite" and actors_storage() is not None:
        yield Finding(
            "note", "store", f"an Actor that ran here has a state in {actors_storage()}: apify:"
        )


def check_surroundings() -> Iterator[Finding]:
    """Find stores in the folders above and below, in which the program may have been started."""
    here = Path.cwd()
    found = [each for folder in here.parents for each in _stores_in(folder)]
    below = [each for each in _folders_below(here) if each.name != FOLDER.name]
    found += [each for folder in below for each in _stores_in(folder)]
    if found:
        listed = ", ".join(map(str, found[:10]))
        yield Finding(
            "note",
            "store",
            f"programs that were started in other folders near have stores there: {listed}. The "
            f"default store lies below the working directory; {VARIABLE} names one for good",
        )


def _stores_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in (folder / FOLDER).glob("*.db") if each.is_file())
    except OSError:
        return []


def _folders_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for _ in range(2):
        level = [folder] if not found else list(found)
        for each in level:
            with contextlib.suppress(OSError), os.scandir(each) as entries:
                names = sorted(one.path for one in entries if one.is_dir(follow_symlinks=False))
                found += [Path(name) for name in names if Path(name) not in found]
            if len(found) >= _MOST:
                return found[:_MOST]
    return found


def check_environment() -> Iterator[Finding]:
    """Check the variables that set something, and those that look as if they did."""
    known = {VARIABLE, *VARIABLES.values()}
    for name in sorted(os.environ):
        if not name.upper().startswith("AUTOSTATE_") or name in _OF_TESTS:
            continue
        value = os.environ[name].strip()
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
            meant = f": did you mean {near[0]}?" if near else ": remove it"
            yield Finding("warning", "environment", f"{name} sets nothing{meant}")
        elif value:
            told = "a secret" if name == KEY_VARIABLE else shown(value)
            yield Finding("note", "environment", f"{name} is {told}")
    if os.environ.get("PYTEST_VERSION"):
        yield Finding("note", "environment", "pytest runs: its plugin chooses stores for tests")


def check_settings(url: str) -> Iterator[Finding]:
    """Check what the environment sets for the store."""
    try:
        settings = Settings.for_store(url)
    except ValueError as error:
        yield Finding("problem", "settings", str(error))
        return
    if settings.readonly:
        yield Finding(
            "warning", "settings", "AUTOSTATE_READONLY is set: programs save nothing. Unset it"
        )
    if settings.takeover:
        yield Finding(
            "warning",
            "settings",
            "AUTOSTATE_TAKEOVER is set: each process takes the state from a living one, which "
            "saves nothing any more. Unset it",
        )
    if settings.keys:
        encrypted = ", and encrypted" if settings.encrypt else ""
        told = f"{len(settings.keys)} set; records are signed with the first one{encrypted}"
        yield Finding("ok", "keys", told)


def check_versions() -> Iterator[Finding]:
    """Tell the versions that matter."""
    yield Finding(
        "ok",
        "versions",
        f"autostate {__version__}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.release()}",
    )


def check_place(url: str) -> Iterator[Finding]:
    """Check the file or the folder of a store, and Apify's part in it."""
    path = file_of(url)
    if path is not None:
        yield from check_file(path)
        yield check_file_system(path, mount_of(path))
        if is_at_home():
            yield Finding(
                "warning",
                "apify",
                "the disk of an Actor's container is gone after a migration: let it use apify:, by "
                f"leaving {VARIABLE} unset",
            )
    elif scheme(url) == "memory":
        yield Finding(
            "warning", "store", "what is in memory ends with the process: name another store"
        )
    elif scheme(url) == "apify":
        yield from _check_apify(url)
    elif scheme(url) == "file" and (folder := path_of(url)) is not None:
        yield check_file_system(folder, mount_of(folder))


def _check_apify(url: str) -> Iterator[Finding]:
    named = bool(url.partition(":")[2])
    if is_at_home():
        told = (
            "a named store outlives the run" if named else "each run has a default store of its own"
        )
        yield Finding("ok", "apify", f"{told}: a resurrected or migrated run goes on with it")
    elif purges_on_start() and not named:
        yield Finding(
            "warning",
            "apify",
            "the Apify SDK empties the local default store whenever an Actor starts, so each run "
            "begins afresh: set APIFY_PURGE_ON_START=0, or use a named store: apify:NAME",
        )
    folder = path_of(url)
    if folder is not None:
        yield Finding("ok", "apify", f"the local store is {folder}")
        yield check_file_system(folder, mount_of(folder))


def check_state(url: str) -> Iterator[Finding]:
    """Read the state, and check what it tells about its owner, its time and its keys."""
    began = time.perf_counter()
    try:
        state = read_state(url)
    except (AutostateError, ValueError, OSError, ImportError) as error:
        yield Finding("problem", "state", str(error))
        return
    took = (time.perf_counter() - began) * 1000
    count = len(state.roots)
    size = sum(row["bytes"] for row in tables.object_rows(state))
    yield Finding("ok", "state", f"{count} state objects, {size:,} bytes, read in {took:,.0f} ms")
    here = [each for each in shared.found(state.url) if each.url == state.url]
    if here:
        yield Finding("ok", "shared", f"{len(here[0].objects)} objects that programs share")
    elif state.saved_at is None:
        yield Finding("note", "state", "nothing was ever saved here")
    yield from _check_objects(state)
    yield from _check_owner(state)
    yield from _check_clock(state)
    yield from _check_keys(state)
    for path in spill.pending(state.url):
        yield Finding(
            "warning",
            "state",
            f"{path} holds changes that a process could not save: start the program again, which "
            "adds them, with the same store and keys",
        )
    for also in shared.urls(state.url)[1:]:
        yield Finding("ok", "shared", f"what programs share lies in {also}")


def _check_objects(state: StoredState) -> Iterator[Finding]:
    for name, at in state.roots.items():
        if state.nodes[at].kind == "unreadable":
            yield Finding(
                "problem",
                "state",
                f"{name} could not be read: restore the store from a copy, or let the program "
                f"begin it anew by `autostate delete {name}`",
            )
    names = {node.name for node in state.nodes.values() if node.name}
    if f"{OWN}adopt" in names:
        yield Finding(
            "note", "state", "a record of Actor.use_state was adopted: see docs/actors.md"
        )


def _check_owner(state: StoredState) -> Iterator[Finding]:
    owner = state.owner
    if owner is None or state.alive is False:
        left = "nobody" if owner is None else f"nobody: {owner} has ended without releasing it"
        yield Finding("ok", "owner", left)
        return
    yield Finding(
        "note", "owner", f"{tables.owner_of(state)}: other processes cannot write meanwhile"
    )
    if owner.is_here and owner.pid:
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/{owner.pid}/cwd").readlink()
            if folder != Path.cwd():
                yield Finding("note", "owner", f"its working directory is {folder}")
    elif owner.host:
        yield Finding("note", "owner", f"it runs on another machine, {owner.host}")


def _check_clock(state: StoredState) -> Iterator[Finding]:
    now = time.time()
    if now < _OLDEST:
        yield Finding("warning", "clock", f"it is {time.ctime(now)} here: set the clock")
    elif state.saved_at is not None and state.saved_at > now + _FUTURE:
        yield Finding(
            "warning",
            "clock",
            f"the last save was {state.saved_at - now:,.0f} s in the future: the clock here or "
            "that of the machine that has saved is wrong. Set it (NTP)",
        )
    else:
        yield Finding("ok", "clock", "no save was in the future")


def _check_keys(state: StoredState) -> Iterator[Finding]:
    path = file_of(state.url)
    if path is None or Settings.for_store(state.url).keys:
        return
    key = KeyFile(str(path))
    if not holds_pickled(state.nodes.values()):
        return
    try:
        key.read()
    except (FileNotFoundError, NoKeyError) as error:
        why = str(error) if isinstance(error, NoKeyError) else f"{key.path} is not there"
        yield Finding(
            "problem",
            "keys",
            f"the state holds pickled values, and their key cannot be used: {why}. Bring the key "
            "back that was beside the file, or set the one that the program had (AUTOSTATE_KEY)",
        )
    else:
        yield Finding("ok", "keys", f"{key.path} signs pickled values: copy it with the file")
