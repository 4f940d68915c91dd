"""Which store a manager uses, with which settings, and for how long.

Nothing is opened before the first state object is created: `import autostate` and `configure()`
write to no disk and use no network, and at the first state object it is known whether the program
is an Actor.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from autostate import logs, under_test
from autostate.errors import AutostateError
from autostate.ownership import program
from autostate.process import exit_status, lifecycle
from autostate.runtime.place import checked, named_by_environment, path_of, place_of, shared_url
from autostate.settings import Settings, SettingsByName, default_url

if TYPE_CHECKING:
    from autostate.runtime.incarnation import Incarnation
    from autostate.stores import Store

logger: logging.Logger = logging.getLogger("autostate")

CREATING = 1.0
"""Seconds that the end of the process waits for a thread that is creating a state object."""


late_checks: list[Callable[[SettingsByName], None]] = []
"""Called with settings that are about to be made; they raise an error if one comes too late."""


class StoreUse:
    """A store that is opened at its first use and stays open until the process or its body ends.

    `process.lifecycle` keeps it meanwhile: what ends the process ends it, too.

    Args:
        store: A URL, a path, or a store; None: the default.
        settings: Attributes of `Settings`.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | None = None,
        **settings: Unpack[SettingsByName],
    ) -> None:
        self._store: str | Store | None = checked(store, settings)
        self._overrides: SettingsByName = {}
        self._lock = threading.RLock()
        self._incarnation: Incarnation | None = None
        self._shares: str | None = None
        self._closed = False
        self.ended: bool = False
        self.entered: bool = False
        self._override(settings)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.url}>"

    @property
    def url(self) -> str:
        """The URL of the store; the default URL may change until the store is first used."""
        if self._incarnation is not None:
            return self._incarnation.store.url
        store = self._store
        if store is None:
            from autostate.stores.urls import public

            return public(default_url())
        return store if isinstance(store, str) else store.url

    @property
    def settings(self) -> Settings:
        """The present settings; once a state is open, the settings with which it was opened."""
        if self._incarnation is not None:
            return self._incarnation.flush_thread.settings
        return self._made_settings()

    def _made_settings(self) -> Settings:
        return Settings.for_store(self.url, **self._overrides)

    def configure(
        self, store: str | os.PathLike[str] | None = None, **settings: Unpack[SettingsByName]
    ) -> None:
        """Change the settings, and before the first state object is created also the store.

        Raises:
            RuntimeError: State objects live in another store already.
            TypeError: There is no such setting.
            ValueError: A setting's value makes no sense.
        """
        url = checked(store, {**self._overrides, **settings})
        with self._lock:
            self._check_shared(url, settings)
            if url is not None and url != self._store:
                if self._incarnation is not None:
                    raise RuntimeError(
                        f"state objects live in {self.url} already: call configure() before the "
                        "first one is created, or use `with autostate.open(url):` for the others"
                    )
                self._store = url
            if self._incarnation is not None:
                self._check_late(settings)
            self._override(settings)
            if self._incarnation is not None:
                self._incarnation.flush_thread.settings = self._made_settings().changed(
                    key=self.settings.key, encrypt=self.settings.encrypt
                )

    def _check_late(self, settings: SettingsByName) -> None:
        """Refuse settings about opening the state, because it is open already."""
        for name in ("readonly", "takeover", "wait_for_owner", "key", "encrypt", "history"):
            if name in settings and settings[name] != getattr(self.settings, name):
                raise RuntimeError(
                    f"{name} says how a state is opened, and {self.url} is open: call configure() "
                    "before the first state object is created"
                )

    def _override(self, settings: SettingsByName) -> None:
        for check in late_checks:
            check(settings)
        merged: SettingsByName = {**self._overrides, **settings}
        # A wrong setting raises now, not at the first use.
        made = Settings.for_store(self.url, **merged)
        if settings.get("shared") is not None:
            merged["shared"] = made.shared
            if not made.readonly:
                checked(made.shared, {"readonly": False})
        self._overrides = merged
        for keeper in lifecycle.keepers:  # what the program shares is published accordingly
            if getattr(keeper, "_manager", None) is self:
                shared: Any = keeper
                shared.settings = self.shared_settings(shared.url)

    # -- the shared state ---------------------------------------------------------------------

    def shared_url(self) -> str:
        """Give the URL of the state that this program shares with others.

        Raises:
            StoreError: It has to be named.
        """
        return self._shares or shared_url(self.url, self._made_settings().shared)

    def sharing(self) -> SettingsByName:
        """Give what the program has said about shared objects."""
        said: SettingsByName = {}
        if (shared := self._overrides.get("shared")) is not None:
            said["shared"] = shared
        if (seconds := self._overrides.get("shared_refresh")) is not None:
            said["shared_refresh"] = seconds
        return said

    def share(self, url: str) -> None:
        """Note where shared objects live: they stay there."""
        self._shares = url

    def shared_settings(self, url: str) -> Settings:
        """Give the settings of the shared state."""
        # The key is from when it was first read: the environment may have lost it since.
        overrides: SettingsByName = {**self._overrides, "key": self.settings.key}
        return Settings.for_store(url, **overrides)

    def _check_shared(self, store: str | Store | None, settings: SettingsByName) -> None:
        """Refuse to move the shared state, or to change how it is opened: it is open already."""
        opening = ("shared_refresh", "readonly", "key", "encrypt")
        for name in opening if self._shares is not None else ():
            known = getattr(self._made_settings(), name)
            if settings.get(name, known) != known:
                raise RuntimeError(
                    f"{name} says how shared objects are opened, and some are: call configure() "
                    "before the first one is created"
                )
        if self._shares is None or (store in (None, self._store) and "shared" not in settings):
            return
        own = self.url if store is None else store if isinstance(store, str) else store.url
        merged: SettingsByName = {**self._overrides, **settings}
        if shared_url(own, Settings.for_store(own, **merged).shared) != self._shares:
            raise RuntimeError(
                f"shared objects live in {self._shares} already: call configure() before the first "
                "one is created"
            )

    # -- beginning ----------------------------------------------------------------------------

    def _begin(self, *, instead_of: str | None = None) -> Incarnation:
        """Give the incarnation, made at the first use; the lock is held.

        Args:
            instead_of: A name that is deleted: begin anew if the state cannot be read.
        """
        self._check_open()
        incarnation = self._incarnation
        if incarnation is not None:
            lifecycle.recheck()
        else:
            source = self._store
            if source is None:  # fixed from now on
                source = named_by_environment(self.url, self._overrides)
                _tell_nameless(source)
            settings = self._made_settings()
            if isinstance(source, str) and not settings.readonly:
                from autostate.stores.urls import public

                under_test.check(source, path_of(source), public)
            try:
                lifecycle.register(self)  # first: so every state object is saved at the end
                place = place_of(source)
                while incarnation is None:
                    incarnation = self._join(place, source, settings, instead_of)
                self._join_blocks(incarnation)
                if self._closed:  # closed meanwhile by another thread
                    self._end(0.0)
                    self._check_open()
            except AutostateError as error:
                # The message says what to do. Neither the client's errors nor the frames of the
                # library help whoever reads it.
                logger.debug("the state in %s cannot be used", self.url, exc_info=error)
                raise exit_status.expect(error).with_traceback(None) from None
            finally:
                if self._incarnation is None:
                    lifecycle.unregister(self)
        incarnation.handlers.connect()
        return incarnation

    def _join_blocks(self, incarnation: Incarnation) -> None:
        """Let the blocks of `atomic()` around the first use of a state cover it.

        Not around the body of `with`: the state is closed at its end, before the blocks end.
        """
        from autostate.tracking.savepoint import inside

        if inside.get() is not None and not self.entered:
            from autostate.tracking.atomic import join

            join(incarnation.tracker)

    def _join(
        self, place: object, source: str | Store, settings: Settings, instead_of: str | None
    ) -> Incarnation | None:
        """Use the incarnation of another manager that has the same store open, or make one.

        Returns:
            The incarnation; None if the other manager's was ending, and has ended now.
        """
        from autostate.collector import no_collections

        with no_collections(lasting=True):
            from autostate.runtime.incarnation import Incarnation

        with _beginning:
            made = self._shared(place, source, settings) or Incarnation(
                source, settings, self, instead_of=instead_of
            )
            if made.ending is None:
                made.place = place
                made.users.append(self)
                self._incarnation = made
                return made
        made.wait_for_end(settings.flush_timeout)
        return None

    def _shared(self, place: object, source: str | Store, settings: Settings) -> Incarnation | None:
        """Give the incarnation of another manager that has the same store open.

        Raises:
            RuntimeError: Its settings differ from those of this manager.
        """
        for other in lifecycle.keepers:
            made = other._incarnation if isinstance(other, StoreUse) else None
            if made is None or made.finished or made.place != place:
                continue
            if isinstance(source, str) and made.flush_thread.settings.readonly != settings.readonly:
                continue  # a reader sees the saved state, as another process does
            for name, value in self._overrides.items():
                if getattr(made.flush_thread.settings, name) != value:
                    raise RuntimeError(
                        f"{made.store.url} is open in this process with another setting of {name}: "
                        "open it with the same settings, or close the other one first"
                    )
            return made
        return None

    def _in_use(self) -> Incarnation | None:
        """Give the incarnation, if there is anything to save."""
        if self._closed:
            self._check_open()
        lifecycle.recheck()
        return self._incarnation

    def _check_open(self) -> None:
        if self._closed and self.ended:
            lifecycle.wait_for_signal()
            raise RuntimeError(
                f"{self!r} is closed: it has saved for the last time, at the end of the process or "
                "of its `with` body, and keeps nothing that is begun or deleted now"
            )
        if self._closed:
            raise RuntimeError(f"{self!r} is closed: open another one")

    def _opened(self) -> Incarnation:
        """Give the incarnation; open the state if it is not open yet. For what works beside it."""
        with self._lock:
            return self._begin()

    # -- ending -------------------------------------------------------------------------------

    def _end(self, timeout: float) -> Exception | None:
        # Another thread may be creating a state object, and wait for the state's owner: it stops
        # waiting when it sees that this manager is closed.
        taken = self._lock.acquire(timeout=min(timeout, CREATING))
        self._closed = True
        incarnation = self._incarnation
        if taken:
            self._lock.release()
        try:
            return None if incarnation is None else self._finish(incarnation, timeout)
        finally:
            # Else Ctrl-C struck: the end has to be repeated.
            if incarnation is None or incarnation.finished or self not in incarnation.users:
                self._incarnation = None
                lifecycle.unregister(self)

    def _finish(self, incarnation: Incarnation, timeout: float) -> Exception | None:
        """Leave an incarnation; the last manager that uses it finishes it."""
        problem: Exception | None = None
        if incarnation.users != [self]:
            try:
                incarnation.flush_thread.flush(timeout, ending=True)
            except Exception as error:
                problem = error
        with _beginning:  # of two managers that end at once, one finishes
            if incarnation.users != [self]:
                incarnation.users.remove(self)
                return problem
            incarnation.ending = threading.get_ident()  # no manager joins it from here on
        return incarnation.finish(timeout)

    # -- the keeper of `lifecycle` --------------------------------------------------------------

    @property
    def exit_timeout(self) -> float:
        """The number of seconds that the save at exit may take."""
        return self.settings.flush_timeout

    def expect_timeout(self) -> None:
        """Save everything shortly before the run times out, if the time is known."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.handlers.expect_timeout()

    def announce_kill(self) -> None:
        """Save shortly after every change from now on; take no lock."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.flush_thread.announce_kill(None)

    def recall_kill(self) -> None:
        """Save as before the last announced kill, which does not come."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.flush_thread.recall_kill()

    def announce_end(self) -> None:
        """Tell a process that waits for this one that the end has begun."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.claim.announce_end()

    def finish(self, timeout: float) -> None:
        """Save for the last time, and report a failure loudly. No other default is made."""
        self.ended = True
        incarnation = self._incarnation
        problem: Exception | None = None
        try:
            problem = self._end(timeout)
        except BaseException:
            problem = None if incarnation is None else incarnation.last_resort.failure
            raise
        finally:
            if problem is not None:
                from autostate.runtime.last_resort import shout

                shout(problem)

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Save before this process becomes another program; give an undo function for failure."""
        incarnation = self._incarnation
        return _nothing if incarnation is None else incarnation.before_exec(timeout)

    def before_fork(self, timeout: float) -> Callable[[], None]:
        """Wait until no other thread is changing anything; give a function for after the fork."""
        incarnation = self._incarnation
        lock = None if incarnation is None else incarnation.tracker.lock
        taken = lock is not None and lock.acquire(timeout=max(0.0, timeout))
        return lock.release if lock is not None and taken else _nothing

    def forked(self) -> bool:
        """Go on in the child of a fork, where the state, if any, belongs to the parent."""
        self._lock = threading.RLock()
        incarnation = self._incarnation
        if incarnation is not None:
            if self._store is None or isinstance(self._store, str):
                self._store = incarnation.store.url  # the child may change its directory
            if not incarnation.forked():
                self._incarnation = incarnation = None
        return incarnation is not None


def _tell_nameless(url: str) -> None:
    """Warn if this is a notebook whose name is not known: its state is not its own."""
    if program.is_notebook() and getattr(path_of(url), "stem", None) == program.INTERACTIVE:
        logger.warning(
            "nothing tells which notebook this is, so its state is in %s, as that of any other "
            "such notebook here: name it in the first cell, by "
            'autostate.configure("sqlite:///.autostate/NAME.db")',
            url,
            extra=logs.attributes("nameless_notebook", store=url),
        )


_beginning = threading.RLock()
"""Held while a manager checks whether another manager has its store open, and opens it."""


def _after_fork_in_child() -> None:
    global _beginning
    _beginning = threading.RLock()


lifecycle.on_fork(_after_fork_in_child)


def _nothing() -> None:
    """Undo nothing."""
