"""State objects that are real dicts, sets, counters, lists and deques, and survive kill -9.

    from autostate import PersistedDict

    progress = PersistedDict("progress", page=1)    # resumes where the last process stopped
    progress["page"] += 1                           # saved by itself; flush() waits for it

A map of the package, from what users touch down to the ground; a file imports only from below:

    restoring.py, contents.py           the state put back after a test, for the plugin of pytest
                                        (_autostate_pytest.py, beside the package)
    adopting.py, exporting.py           coming from Actor.use_state, and going back
    cli/, backing_up.py                 the commands; a copy of a state
    resumable.py, loop_walk.py,         loops that go on; one run; over what; how far it is, on a
    loop_source.py, progress_bar.py     terminal
    state_classes.py, field_options.py  @persisted; what a class says about its fields
    entry_point.py, actor_events.py,    @actor; what Apify tells a program; a platform for tests;
    testing/, containers/               PersistedDict, PersistedSet and the others
    manager.py, state_manager.py,       which store a state object belongs to; one store and its
    incarnation.py                      objects; one life of them in one process
    flusher.py, saver.py,               the thread that saves; one flush; when to flush, decided
    flush_policy.py, flush_request.py,  without thread or clock; who waits for it; where it falls
    loop_bodies.py                      while loops run
    stored_state.py                     what a store holds, read without the program's classes
    tracking/                           what is dirty; the consistent capture
    journal/                            commits and snapshots as records; recovery, fencing
    stores/, codec/                     bytes by key; values as JSON
    lifecycle.py, spill.py, settings.py ends and forks of the process; the last resort; settings
    signing.py                          signatures of pickled values, and their keys
    hub.py, errors.py, syncing.py,      the signals; the errors; fsync; warnings that are errors;
    warned.py, under_test.py            which store the plugin of pytest has chosen

`import autostate` loads little of it: the rest comes with the first state object. What it does is
to wait for `import apify` (actor_events.py) and for the end of the process (lifecycle.py).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "autostate does not run on Windows: it needs the locks, signals and forks of POSIX. Run "
        "the program in WSL (https://learn.microsoft.com/windows/wsl) or in a container; Apify "
        "Actors run on Linux",
        name="autostate",
    )

from autostate import actor_events, hub
from autostate.errors import (
    AutostateError,
    CodecError,
    CorruptStateError,
    FencedError,
    FlushError,
    NotStoredError,
    ReadOnlyError,
    ResumeError,
    SignatureError,
    StateInUseError,
    StateTypeError,
    StoreError,
    StoreUnavailableError,
    UnknownTypeError,
    UnsupportedTypeError,
    UpgradeError,
)
from autostate.manager import (
    Info,
    StateManager,
    atomic,
    configure,
    delete,
    durable,
    flush,
    info,
    names,
    open as open,  # noqa: A004 - as gzip.open; not in __all__, see there
    statistics,
)
from autostate.settings import Settings

if TYPE_CHECKING:
    from autostate.adopting import adopt
    from autostate.backing_up import backup
    from autostate.codec import Unknown, register
    from autostate.codec.pickled import pickled
    from autostate.containers import (
        PersistedCounter,
        PersistedDeque,
        PersistedDict,
        PersistedList,
        PersistedSet,
    )
    from autostate.containers.proxy import proxy
    from autostate.entry_point import actor
    from autostate.exporting import export
    from autostate.field_options import Transient, transient
    from autostate.resumable import resume
    from autostate.saver import Statistics
    from autostate.state_classes import persisted

__version__ = "0.1.0"

__all__ = [  # not `open`: `import *` must not replace the builtin
    "AutostateError",
    "CodecError",
    "CorruptStateError",
    "FencedError",
    "FlushError",
    "Info",
    "NotStoredError",
    "PersistedCounter",
    "PersistedDeque",
    "PersistedDict",
    "PersistedList",
    "PersistedSet",
    "ReadOnlyError",
    "ResumeError",
    "Settings",
    "SignatureError",
    "StateInUseError",
    "StateManager",
    "StateTypeError",
    "Statistics",
    "StoreError",
    "StoreUnavailableError",
    "Transient",
    "Unknown",
    "UnknownTypeError",
    "UnsupportedTypeError",
    "UpgradeError",
    "__version__",
    "actor",
    "adopt",
    "atomic",
    "backup",
    "configure",
    "delete",
    "durable",
    "export",
    "flush",
    "hub",
    "info",
    "names",
    "persisted",
    "pickled",
    "proxy",
    "register",
    "resume",
    "statistics",
    "transient",
]

_LATE = {
    "PersistedCounter": "autostate.containers",
    "PersistedDeque": "autostate.containers",
    "PersistedDict": "autostate.containers",
    "PersistedList": "autostate.containers",
    "PersistedSet": "autostate.containers",
    "Statistics": "autostate.saver",
    "Transient": "autostate.field_options",
    "Unknown": "autostate.codec",
    "actor": "autostate.entry_point",
    "adopt": "autostate.adopting",
    "backup": "autostate.backing_up",
    "export": "autostate.exporting",
    "persisted": "autostate.state_classes",
    "pickled": "autostate.codec.pickled",
    "proxy": "autostate.containers.proxy",
    "register": "autostate.codec",
    "resume": "autostate.resumable",
    "transient": "autostate.field_options",
}
"""What is loaded when it is first asked for, and from where."""


if not TYPE_CHECKING:  # or checkers would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module 'autostate' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


actor_events.install()
