"""The functions, signals, settings and errors, as type checkers see them.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

import autostate
from autostate import PersistedDict, PersistedSet, Settings, StateManager, Statistics, hub
from autostate.hub import HubSignal
from autostate.stores import Store, open_store

hits = PersistedDict[str, int]("hits")

# -- the store -----------------------------------------------------------------------------------

assert_type(autostate.configure(), StateManager)
assert_type(autostate.configure("sqlite:///state.db", debounce=0.5, max_delay=2), StateManager)
manager = autostate.configure(max_dirty_bytes=1024, on_corrupt="previous")
assert_type(manager.url, str)
assert_type(manager.settings, Settings)

autostate.configure(5)  # error
autostate.configure("memory:", 0.5)  # error
autostate.configure(debounce="soon")  # error
autostate.configure(debonce=1)  # error: mypy pyright
autostate.configure(on_corrupt="ignore")  # error
manager.url = "memory:"  # error

with autostate.open("memory:") as plain, autostate.atomic():
    assert_type(plain, StateManager)
    assert_type(plain.statistics(), Statistics)
    assert_type(plain.info(hits), autostate.Info)
    plain.flush(timeout=1)
    plain.delete("hits")
with autostate.open("memory:", debounce=1), autostate.atomic() as nothing:
    assert_type(nothing, None)
closed = autostate.open("memory:")
closed.close(timeout=1)

store = open_store("memory:")
assert_type(store, Store)
assert_type(store.read("key"), bytes | None)
assert_type(store.list(""), list[str])
autostate.open(store, debounce=1)


class MyStore:
    """A store that a user wrote: nothing has to be inherited."""

    url = "mine:"
    atomic = False
    conditional = False
    metered = False
    max_record = 1024
    owner_file: Path | None = None

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Read."""
        return None

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Any = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write."""

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """List."""
        return []

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Scan."""
        return {}

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read."""
        return iter([None for _ in keys])

    def close(self) -> None:
        """Close."""


mine: Store = MyStore()
autostate.open(MyStore())

autostate.open()  # error
autostate.open(object())  # error
autostate.open("memory:", debounce="soon")  # error
autostate.open("memory:", debonce=1)  # error: mypy pyright

# -- saving --------------------------------------------------------------------------------------

autostate.flush()
autostate.flush(5)
autostate.flush(timeout=0.5)
autostate.flush(timeout=None)

assert_type(autostate.names(), list[str])
assert_type(autostate.names("sqlite:///state.db"), list[str])
assert_type(autostate.backup("copy.db"), str)
assert_type(autostate.backup(Path("copy.db"), "memory:jobs"), str)
autostate.backup()  # error
assert_type(autostate.history("memory:jobs"), list[autostate.Commit])
assert_type(autostate.history("memory:jobs")[0].objects, tuple[str, ...])
assert_type(autostate.restore("memory:jobs", at=7), int)
autostate.restore("memory:jobs")  # error
autostate.open("memory:jobs", at=1.5, readonly=True)
autostate.open("memory:jobs", at="7", readonly=True)  # error
assert_type(autostate.copy("memory:jobs", Path("copy.db"), progress=False), str)
autostate.copy("memory:jobs")  # error

autostate.flush(hits)  # error
autostate.flush("hits")  # error


async def asynchronous() -> None:
    """Use it in an event loop."""
    async with autostate.open("memory:", max_delay=1.0) as inside:
        assert_type(inside, StateManager)
        await autostate.durable()
        await autostate.durable(timeout=5)
        made = await asyncio.to_thread(PersistedDict[str, int], "elsewhere")
        assert_type(made, PersistedDict[str, int])
        await inside.durable()
        assert_type(await inside.durable(1), None)
    await autostate.durable("soon")  # error


# -- what is known -------------------------------------------------------------------------------

info = autostate.info(hits)
assert_type(info, autostate.Info)
named = autostate.info("hits")  # may be shared
assert_type(named, autostate.Info | autostate.SharedInfo)
assert_type((named.name, named.kind), tuple[str, str])
str(named.dirty)  # error
str(named.age)  # error
if isinstance(named, autostate.Info):
    assert_type(named.dirty, bool)
else:
    assert_type(named.age, float)
assert_type(info.name, str)
assert_type(info.kind, str)
assert_type(info.resumed, bool)
assert_type(info.downtime, float | None)
assert_type(info.last_saved, float | None)
assert_type(info.dirty, bool)
info.resumed = True  # error
str(info.nothing)  # error

statistics = autostate.statistics()
assert_type(statistics, Statistics)
assert_type(statistics.flushes, int)
assert_type(statistics.writes, int)
assert_type(statistics.bytes, int)
assert_type(statistics.entries, int)
assert_type(statistics.last_duration, float)
assert_type(statistics.staleness, float)
assert_type(statistics.unsaved_bytes, int)
assert_type(statistics.failures, int)
assert_type(statistics.failing, int)
assert_type(statistics.compactions, int)
assert_type(statistics.fenced, bool)
statistics.flushes = 0  # error

autostate.delete(hits)
autostate.delete("hits")
assert_type(autostate.names(), list[str])
assert_type(autostate.backup("copy.db", "sqlite:///crawl.db"), str)
autostate.delete()  # error
assert_type(autostate.discard_unpublished("sqlite:///s.db"), dict[str, int])
autostate.discard_unpublished(1)  # error

# -- settings ------------------------------------------------------------------------------------

settings = Settings(debounce=1, max_delay=5.0)
assert_type(settings, Settings)
assert_type(Settings.for_store("memory:", debounce=5), Settings)
assert_type(settings.changed(debounce=1), Settings)
assert_type(settings.debounce, float)
assert_type(settings.max_dirty_bytes, int)
assert_type(settings.reboot_on_migrating, bool)

Settings(1)  # error
Settings(debounce="soon")  # error
Settings(debonce=1)  # error
Settings.for_store("memory:", debonce=1)  # error: mypy pyright
settings.changed(debounce="soon")  # error
settings.debounce = 1  # error

# -- signals -------------------------------------------------------------------------------------


@hub.migrating.connect
def note(sender: object, *, time_remaining: float | None, **rest: Any) -> str:
    """Receive a signal."""
    return f"{sender} {time_remaining} {rest}"


assert_type(note(None, time_remaining=1.0), str)  # the receiver is what it was


class Watcher:
    """Receives with a method."""

    def saved(self, sender: StateManager, **rest: Any) -> None:
        """Receive a signal."""


watcher = Watcher()
hub.flushed.connect(watcher.saved)
hub.flushed.connect(watcher.saved, sender=manager, weak=True)
hub.flushed.disconnect(watcher.saved)
for signal in (
    hub.migrating,
    hub.aborting,
    hub.persist_state,
    hub.shutdown,
    hub.rehydrated,
    hub.flushed,
    hub.flush_failed,
    hub.fenced,
):
    assert_type(signal, HubSignal)
    assert_type(signal.name, str)
assert_type(hub.shutdown.send(timeout=1.0), list[tuple[Callable[..., Any], Any]])

hub.flushed.connect(1)  # error
hub.flushd.connect(watcher.saved)  # error
note(None)  # error

# -- errors --------------------------------------------------------------------------------------

try:
    autostate.flush()
except autostate.UnsupportedTypeError as error:
    assert_type(error.path, str)
    assert_type(error.problem, str)
    str(error.nothing)  # error
except (autostate.FencedError, autostate.FlushError) as error:
    assert_type(error.args, tuple[Any, ...])


def takes_error(error: autostate.AutostateError) -> None:
    """Take any of them."""


def takes_lookup_error(error: LookupError) -> None:
    """Take what the builtins have."""


def errors_are_of_one_family(
    corrupt: autostate.CorruptStateError,
    fenced: autostate.FencedError,
    in_use: autostate.StateInUseError,
    flush: autostate.FlushError,
    missing: autostate.NotStoredError,
    of_type: autostate.StateTypeError,
    unavailable: autostate.StoreUnavailableError,
    unsupported: autostate.UnsupportedTypeError,
    upgrade: autostate.UpgradeError,
) -> None:
    """Say what is a kind of what."""
    read_only: autostate.ReadOnlyError = missing
    takes_lookup_error(missing)
    for error in (read_only, corrupt, fenced, flush, of_type, unavailable, unsupported, upgrade):
        takes_error(error)
    stores: list[autostate.StoreError] = [fenced, unavailable]
    codecs: list[autostate.CodecError] = [corrupt, unsupported]
    types: list[TypeError] = [of_type, unsupported]
    takes_error(stores[0])
    takes_error(codecs[0])
    takes_error(types[0])  # error


# -- names that do not exist ---------------------------------------------------------------------

str(autostate.PersistedTuple)  # error
str(PersistedSet.nothing)  # error
