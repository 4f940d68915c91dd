"""The public functions, and the choice of a manager: that of the process, or of `open()`.

A new state object belongs to the innermost `with autostate.open(...)` around its creation, else
to the default manager. "Around" follows Python's context variables: tasks made in the body
inherit it, and so does `asyncio.to_thread`. A `threading.Thread` started in the body does not;
create the objects before it starts, or run it in a copied context:
`Thread(target=contextvars.copy_context().run, args=(function,))`.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Unpack, overload
from weakref import WeakKeyDictionary

from autostate import announced, logs
from autostate.deadline import Deadline
from autostate.process import exit_status, lifecycle
from autostate.runtime.manager import StateManager, current
from autostate.settings import Settings, SettingsByName

if TYPE_CHECKING:
    from datetime import datetime

    from autostate.runtime.companion import Beside
    from autostate.runtime.info import HasSharedInfo, Info, SharedInfo
    from autostate.saving.statistics import Statistics
    from autostate.stores import Store
    from autostate.tracking import Tracker
    from autostate.tracking.atomic import AtomicBlock

__all__ = ["StateManager", "current_manager"]

logger: logging.Logger = logging.getLogger("autostate")

_default: StateManager | None = None
_default_lock = threading.Lock()


def current_manager() -> StateManager:
    """Give the manager to which a state object that is created now belongs."""
    global _default
    manager = current.get()
    if manager is not None:
        return manager
    with _default_lock:
        if _opened:
            _tell_of_unused()
        if _default is None or (_default._closed and not _default.ended):
            _default = StateManager()
        return _default


_opened: WeakKeyDictionary[StateManager, int] = WeakKeyDictionary()
"""Managers made by `open`, with their threads: another thread may be about to enter its own."""


def _tell_of_unused() -> None:
    """Warn of managers that were never entered: nothing is created in them. The lock is held."""
    mine = [manager for manager, thread in _opened.items() if thread == threading.get_ident()]
    for manager in mine:
        del _opened[manager]
        if manager.entered or manager._closed:
            continue
        logger.warning(
            "autostate.open(%r) has no effect so far: state objects live in its store if they are "
            "created in the body of `with autostate.open(…):`. To choose the store of the whole "
            "program, call autostate.configure(%r)",
            *(manager.url, manager.url),
        )


def manager_of(obj: Any) -> StateManager:
    """Give the manager that keeps a live state object; for a name, the current manager."""
    return next((manager for manager in live() if manager.keeps(obj)), None) or current_manager()


def live() -> list[StateManager]:
    """Give all managers that have state objects."""
    return [keeper for keeper in lifecycle.keepers if isinstance(keeper, StateManager)]


def _affected() -> list[StateManager]:
    """Give the managers that hold state objects, wherever these were created."""
    return live() or [current_manager()]


def _raise_first(errors: list[Exception]) -> None:
    """Raise the first of the errors, if there is one, with notes about the others."""
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"and another store: {type(other).__name__}: {other}")
        raise errors[0]


def _durable() -> list[StateManager | Beside]:
    """Give all that `flush` makes durable: states first, then what follows from them."""
    states = live()
    if states and len(states) == len(lifecycle.keepers):  # mostly; a flush makes few calls
        return [*states]
    return [*(states or [current_manager()]), *_beside()]


def _beside() -> list[Beside]:
    """Give what works beside the states."""
    found: list[Any] = [each for each in lifecycle.keepers if not isinstance(each, StateManager)]
    return found


def _is_gone(manager: StateManager | Beside) -> bool:
    """Tell whether another thread or task has closed a manager meanwhile, and got its errors."""
    if not isinstance(manager, StateManager):
        return False
    return manager._closed and manager not in (current.get(), _default)


def _trackers() -> list[Tracker]:
    """Give the trackers of all stores, for a block of `atomic()`.

    A program that only shares state does not open a state of its own because of a block: that would
    be refused while another process of the program runs.
    """
    found = [each.tracker for each in _beside()]
    for manager in live() if found else _affected():
        try:
            found += manager._trackers()
        except RuntimeError:
            if not _is_gone(manager):
                raise
    return found


def configure(
    url: str | os.PathLike[str] | None = None, **settings: Unpack[SettingsByName]
) -> StateManager:
    """Set up where and when this process saves.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, `memory:`, `apify:` (the run's
            default key-value store) or `apify:NAME`; or the path of a SQLite file. A path may
            begin with `~`. By default `AUTOSTATE_URL`; inside an Actor `apify:`; else
            `sqlite:///.autostate/PROGRAM.db`, with the name of the script or module that runs.
        settings: Attributes of `Settings`, such as `debounce` in seconds.

    Returns:
        The manager of the process.

    Raises:
        RuntimeError: State objects live in another store already.
        TypeError: There is no such setting.
        ValueError: A setting's value makes no sense, or the URL is not that of a store.
        StoreError: Nothing can be saved at this path.

    Example:
        >>> import autostate
        >>> autostate.configure("memory:", debounce=5)
        <StateManager of memory:>
    """
    global _default
    with _default_lock:
        if _default is None or _default._closed:
            _default = StateManager(url, **settings)
        else:
            _default.configure(url, **settings)
        return _default


def open(  # noqa: A001 - as gzip.open
    url: str | os.PathLike[str] | Store,
    *,
    at: float | datetime | None = None,
    **settings: Unpack[SettingsByName],
) -> StateManager:
    """Make a manager for a `with` or `async with`, in whose body state objects live in its store.

    Args:
        url: A URL or path as for `configure`, or a store.
        at: A commit of the history of the state, which is opened in place of the present state,
            with `readonly=True`: its number; or a time, in seconds since 1970 or as a datetime, for
            the last commit until then.
        settings: Attributes of `Settings`. By default shared objects lie where `configure` says.

    Returns:
        A manager that is used as a context manager, or closed by `close()`.

    Raises:
        TypeError: There is no such setting.
        ValueError: A setting's value makes no sense, or the URL is not that of a store.
        StoreError: Nothing can be saved at this path; or there is no such commit.

    Example:
        >>> import autostate
        >>> with autostate.open("memory:"):
        ...     progress = autostate.PersistedDict("progress", page=1)
    """
    if at is not None:
        from autostate.runtime.past import past_store
        from autostate.stores.urls import normalized

        named = normalized(url) if isinstance(url, str | os.PathLike) else url
        known = Settings.for_store(named, **settings)
        if not known.readonly:
            raise ValueError(
                "a commit of the history can only be read: write "
                "autostate.open(url, at=…, readonly=True); autostate.restore(url, at=…) makes it "
                "the present state"
            )
        url = past_store(named, at, known)
    if _default is not None:
        settings = {**_default.sharing(), **settings}
    made = StateManager(url, **settings)
    with _default_lock:
        _opened[made] = threading.get_ident()
    return made


def flush(timeout: float | None = None) -> None:
    """Return when all writes before the call are durable: they survive kill -9.

    Args:
        timeout: Seconds; the setting `flush_timeout` by default.

    Raises:
        FlushError: The writes were not saved in time. They stay in memory, and saving is retried.
        FencedError: A later process has taken over.
        UnsupportedTypeError: An entry cannot be saved; everything else was saved.
        RuntimeError: Called inside `atomic()`.

    Example:
        >>> import autostate
        >>> hits = autostate.PersistedCounter("hits")
        >>> hits["index.html"] += 1
        >>> autostate.flush()
    """
    _check_timeout("flush", timeout)
    deadline = None if timeout is None else Deadline.after(timeout)
    errors = []
    for manager in _durable():  # each is flushed, even if another one fails
        try:
            manager.flush(None if deadline is None else deadline.left())
        except Exception as error:  # not Ctrl-C: its sender does not wait for the other managers
            if not _is_gone(manager):
                errors.append(error)
    if errors:
        _raise_first(errors)


async def durable(timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
    """Return when all writes before the call are durable, without blocking the event loop.

    Args:
        timeout: Seconds; the setting `flush_timeout` by default.

    Raises:
        FlushError: As for `flush`, which raises the same other errors, too.
    """
    _check_timeout("durable", timeout)
    deadline = None if timeout is None else Deadline.after(timeout)
    errors = []
    for manager in _durable():
        try:
            await manager.durable(None if deadline is None else deadline.left())
        except Exception as error:  # not a cancellation: a task that is cancelled ends now
            if not _is_gone(manager):
                errors.append(error)
    _raise_first(errors)


def _check_timeout(name: str, timeout: Any) -> None:
    """Refuse a state object, or a function under `@durable`, in place of the timeout."""
    if timeout is not None and not isinstance(timeout, int | float):
        raise TypeError(
            f"{name}() saves all state objects; its argument is a timeout in seconds, not "
            f"{type(timeout).__name__}"
        )


def atomic(function: None = None, /) -> AtomicBlock:
    """Save the writes of the body together or not at all; if the body raises, undo them.

    For a `with` statement, or as a decorator of a function or coroutine function.

    The writes of a block are undone: those of the code in the `with` statement, and of tasks and
    threads that were started there with its context. An entry gets its former value, unless other
    code has written to it since. In that case a number is taken back as a difference, so that
    `stats["pages"] += 1` of other code stays; any other value stays as the other code left it. The
    same holds for the items of lists and deques. Attributes of `@persisted` objects, and
    containers that the program also holds elsewhere, are restored as a whole, including the
    writes of other code since the block began. Changes inside a pickled object are not undone,
    and neither are creating and deleting state objects.

    A block is no lock: other code sees its writes, and may write at the same time. While a task of
    an event loop is inside a block across an `await`, saves leave out the writes of the block so
    far. A save waits for the blocks of other threads, and a block that is about to begin waits
    for a save that waits.

    Args:
        function: Nothing: `@atomic` without parentheses is an error that says so.

    Returns:
        The context manager.

    Raises:
        TypeError: An argument was passed.

    Example:
        >>> import autostate
        >>> account = autostate.PersistedDict("account", left=10, right=0)
        >>> with autostate.atomic():
        ...     account["left"] -= 1
        ...     account["right"] += 1
    """
    if function is not None:
        raise TypeError(
            "atomic() takes no arguments: write `with autostate.atomic():` around a block, or "
            "`@autostate.atomic()`, with parentheses, over a function"
        )
    from autostate.tracking.atomic import AtomicBlock

    return AtomicBlock(_trackers)


@overload
def info() -> list[Info | SharedInfo]: ...
@overload
def info(obj: HasSharedInfo) -> SharedInfo: ...
@overload
def info(obj: str) -> Info | SharedInfo: ...
@overload
def info(obj: Any) -> Info: ...
def info(obj: Any = None) -> Any:
    """Tell what is known about a live state object or shared object, or about all.

    Args:
        obj: The object or its name; a state object goes before a shared object of the same name.
            By default all live ones.

    Returns:
        Of a state object its name and kind, whether it was resumed and after how long, when it was
            last saved, and whether it is dirty: see `Info`. Of a shared object the age of its view,
            what is not published yet, and so on: see `SharedInfo`.

    Raises:
        LookupError: There is no live state object or shared object of that name.
        TypeError: The object is neither a state object nor shared, or a nested one.

    Example:
        >>> import autostate
        >>> autostate.info(autostate.PersistedSet("seen")).resumed
        False
    """
    if obj is None:
        found: list[Any] = [one for manager in live() for one in manager.infos()]
        return found + [one for beside in _beside() for one in beside.infos()]
    of_shared = getattr(type(obj), "_info_", None)
    if of_shared is not None:
        return of_shared(obj)
    try:
        return manager_of(obj).info(obj)
    except LookupError:
        for known in _shared_infos(obj):
            return known
        raise


def _shared_infos(name: Any) -> list[SharedInfo]:
    """Tell what is known about the live shared objects of a name."""
    return [each for beside in _beside() for each in beside.infos() if each.name == name]


def names(url: str | os.PathLike[str] | None = None) -> list[str]:
    """Give the names of the state objects that a store holds; make and change nothing.

    Args:
        url: The store, as for `configure`. By default the store of this process, including live
            state objects that are not saved yet.

    Returns:
        The names in order, without the library's own names. An empty list if nothing was saved
            yet in the store of this process.

    Raises:
        CorruptStateError: The state cannot be read.
        StoreError: There is no store at this URL, or it cannot be read.
        ValueError: `url` is not the URL of a store.

    Example:
        >>> import autostate
        >>> progress = autostate.PersistedDict("progress")
        >>> autostate.names()
        ['progress']
    """
    if url is None:
        return current_manager().names()
    from autostate.runtime.stored_state import names_in
    from autostate.stores.urls import normalized

    return names_in(url, Settings.for_store(normalized(url)))


def delete(obj: Any) -> None:
    """Remove a state object from the state, with the next save.

    A live object becomes a plain one. A new state object of the same name begins with its
    defaults.

    This is also the way out when the state cannot be read: the unreadable records are then kept
    under other names (the log says where), and the name begins anew. Other state objects that
    were stored in the same state stay unreadable, each until it is deleted too.

    Args:
        obj: The object or its name; the name may also be one that is only stored.

    Raises:
        LookupError: There is no state object of that name.
        CorruptStateError: The state cannot be read, but there is an earlier state to go back to,
            with other state objects in it.
        TypeError: The object is no state object, or a nested one; or it is shared.
    """
    if hasattr(type(obj), "_info_"):
        raise _undeletable(type(obj).__name__)
    try:
        manager_of(obj).delete(obj)
    except LookupError:
        for known in _shared_infos(obj):
            raise _undeletable(f"shared {known.kind}") from None
        raise


def _undeletable(kind: str) -> TypeError:
    return TypeError(
        f"a {kind} cannot be deleted, since other processes may write it at this moment: use a new "
        "name; or delete the store when no process runs"
    )


def statistics() -> Statistics:
    """Tell how much was saved, and the present state of saving.

    Returns:
        Flushes, bytes, entries, staleness, failures and so on; see `Statistics`.
    """
    return current_manager().statistics()


def close_default() -> None:
    """Close the manager of the process, for tests; log any error."""
    global _default
    with _default_lock:
        manager, _default = _default, None
    if manager is not None:
        manager.finish(manager.exit_timeout)
    for keeper in lifecycle.keepers:  # the shared objects of its program
        if getattr(keeper, "_manager", None) is manager:
            keeper.finish(keeper.exit_timeout)
    announced.forget()
    logs.undress()
    exit_status.forget()


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()


lifecycle.on_fork(_after_fork_in_child)
