"""Which manager a state object belongs to: the process default, and `open()`.

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
import time
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakKeyDictionary

from autostate import announced, logs
from autostate.process import exit_status, lifecycle
from autostate.runtime.manager import Info, StateManager, current
from autostate.settings import Settings, SettingsByName

if TYPE_CHECKING:
    from autostate.saving.job import Statistics
    from autostate.stores import Store
    from autostate.tracking import Tracker
    from autostate.tracking.savepoint import AtomicBlock

__all__ = ["Info", "StateManager", "current_manager"]

logger: logging.Logger = logging.getLogger("autostate")

_default: StateManager | None = None
_default_lock = threading.Lock()


def current_manager() -> StateManager:
    """Give the manager to which state objects created here belong."""
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
"""Managers that `open` has made, with the thread: another one may be about to enter its own."""


def _tell_of_unused() -> None:
    """Say of a manager that was never entered that nothing is created in it; the lock is held."""
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
    """Give the manager that keeps a live state object; for a name, the current one."""
    return next((manager for manager in live() if manager.keeps(obj)), None) or current_manager()


def live() -> list[StateManager]:
    """Give all managers that have state objects."""
    return [keeper for keeper in lifecycle.keepers() if isinstance(keeper, StateManager)]


def _affected() -> list[StateManager]:
    """Give the managers that hold state objects, wherever these were created."""
    return live() or [current_manager()]


def _raise_first(errors: list[Exception]) -> None:
    """Raise the first of the errors, if there is one, which tells of the others."""
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"and another store: {type(other).__name__}: {other}")
        raise errors[0]


def _is_gone(manager: StateManager) -> bool:
    """Whether another thread or task has closed a store of its own meanwhile, and was told all."""
    return manager._closed and manager not in (current.get(), _default)


def _trackers() -> list[Tracker]:
    """The trackers for a block of `atomic()`, of all stores."""
    found = []
    for manager in _affected():
        try:
            found += manager._trackers()
        except RuntimeError:
            if not _is_gone(manager):
                raise
    return found


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


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
    url: str | os.PathLike[str] | Store, **settings: Unpack[SettingsByName]
) -> StateManager:
    """Make a manager for a `with` or `async with`, in whose body state objects live in its store.

    Args:
        url: As for `configure`, or a store.
        settings: Attributes of `Settings`.

    Returns:
        A manager that is used as a context manager, or closed by `close()`.

    Raises:
        TypeError: There is no such setting.
        ValueError: A setting's value makes no sense, or the URL is not that of a store.
        StoreError: Nothing can be saved at this path.

    Example:
        >>> import autostate
        >>> with autostate.open("memory:"):
        ...     progress = autostate.PersistedDict("progress", page=1)
    """
    made = StateManager(url, **settings)
    with _default_lock:
        _opened[made] = threading.get_ident()
    return made


def flush(timeout: float | None = None) -> None:
    """Return when all that was written before the call is durable: it survives kill -9.

    Args:
        timeout: Seconds; the setting `flush_timeout` by default.

    Raises:
        FlushError: It was not saved in time. It stays in memory and is tried again.
        FencedError: A later process has taken over.
        UnsupportedTypeError: An entry cannot be saved; everything else was.
        RuntimeError: Called inside `atomic()`.

    Example:
        >>> import autostate
        >>> hits = autostate.PersistedCounter("hits")
        >>> hits["index.html"] += 1
        >>> autostate.flush()
    """
    _check_timeout("flush", timeout)
    end = None if timeout is None else time.monotonic() + timeout
    errors = []
    for manager in _affected():  # each is flushed, also when another fails
        try:
            manager.flush(None if end is None else _left(end))
        except Exception as error:  # not Ctrl-C: whoever pressed it does not wait for the others
            if not _is_gone(manager):
                errors.append(error)
    _raise_first(errors)


async def durable(timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
    """Return when all that was written before the call is durable, without blocking the loop.

    Args:
        timeout: Seconds; the setting `flush_timeout` by default.

    Raises:
        FlushError: As for `flush`, and so for the other errors.
    """
    _check_timeout("durable", timeout)
    end = None if timeout is None else time.monotonic() + timeout
    errors = []
    for manager in _affected():
        try:
            await manager.durable(None if end is None else _left(end))
        except Exception as error:  # not a cancellation: a task that is cancelled ends now
            if not _is_gone(manager):
                errors.append(error)
    _raise_first(errors)


def _check_timeout(name: str, timeout: Any) -> None:
    """Refuse a state object, or a function under `@durable`, in the place of the timeout."""
    if timeout is not None and not isinstance(timeout, int | float):
        raise TypeError(
            f"{name}() saves all state objects; its argument is a timeout in seconds, not "
            f"{type(timeout).__name__}"
        )


def atomic(function: None = None, /) -> AtomicBlock:
    """Save what happens in the body together or not at all; if the body raises, undo it.

    For a `with` statement, or as a decorator of a function or coroutine function.

    Undone is what the block wrote: the code in the `with` statement, and tasks and threads that
    were started there with its context. An entry goes back to what it was unless somebody has
    written to it since. Then a number is taken back as a difference, so `stats["pages"] += 1` of
    others stays; what is no number stays as the others left it. The same holds for the items of
    lists and deques. Put back as a whole, with what others wrote since the block began, are
    attributes of `@persisted` objects, and containers that the program holds elsewhere too. What
    was done inside an object that is pickled is not undone, nor is creating and deleting of state
    objects.

    This is no lock: others see what the block writes, and may write at the same time. While tasks
    of an event loop are inside across an `await`, saves leave out what their blocks have written
    so far. A save waits for the blocks of other threads, and a block that is about to begin gives
    way to a save that waits.

    Args:
        function: Nothing: `@atomic` without parentheses is an error that says so.

    Returns:
        The context manager.

    Raises:
        TypeError: Something was passed.

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
    from autostate.tracking.savepoint import AtomicBlock

    return AtomicBlock(_trackers)


def info(obj: Any) -> Info:
    """Tell what is known about a live state object.

    Args:
        obj: The object or its name.

    Returns:
        Name, kind, whether it was resumed and after how long, when last saved, whether dirty.

    Raises:
        LookupError: There is no live state object of that name.
        TypeError: The object is no state object, or a nested one.

    Example:
        >>> import autostate
        >>> autostate.info(autostate.PersistedSet("seen")).resumed
        False
    """
    return manager_of(obj).info(obj)


def names(url: str | os.PathLike[str] | None = None) -> list[str]:
    """Give the names of the state objects that a store holds; nothing is made or changed.

    Args:
        url: The store, as for `configure`. By default that of this process, with what lives in it
            and is not saved yet.

    Returns:
        The names in order, without those of the library's own. None if nothing was saved yet in
        the store of this process.

    Raises:
        CorruptStateError: The state cannot be read.
        StoreError: There is no store at this URL, or it cannot be read.
        ValueError: It is not the URL of a store.

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

    A live object goes on as a plain one. The same name begins from its defaults again.

    This is also the way out when the state cannot be read: what is stored is then kept aside
    (the log says where), and the name begins anew. Other state objects that were stored with it
    stay unreadable, each until it is deleted too.

    Args:
        obj: The object or its name; the name may also be one that is only stored.

    Raises:
        LookupError: There is no state object of that name.
        CorruptStateError: The state cannot be read, but there is an earlier one to go back to,
            with other state objects in it.
        TypeError: The object is no state object, or a nested one.
    """
    manager_of(obj).delete(obj)


def statistics() -> Statistics:
    """Tell how much was saved, and how things stand.

    Returns:
        Flushes, bytes, entries, staleness, failures and so on; see `Statistics`.
    """
    return current_manager().statistics()


def close_default() -> None:
    """Close the manager of the process, for tests; what goes wrong is logged."""
    global _default
    with _default_lock:
        manager, _default = _default, None
    if manager is not None:
        manager.finish(manager.exit_timeout)
    announced.forget()
    logs.undress()
    exit_status.forget()


def _after_fork_in_child() -> None:
    global _default_lock
    _default_lock = threading.Lock()


lifecycle.on_fork(_after_fork_in_child)
