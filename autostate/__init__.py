"""State objects that are real dicts, sets, counters, lists and deques, and survive kill -9.

    from autostate import PersistedDict

    progress = PersistedDict("progress", page=1)    # resumes where the last process stopped
    progress["page"] += 1                           # saved by itself; flush() waits for it

A map of the package, from what users touch down to the ground. A file imports only from layers
below its own, and packages on one line do not import each other:

    testing/                a platform for tests
    cli/                    the commands
    notebook.py, otel.py    how notebooks show state objects; metrics and spans
    scrapy/                 crawls of Scrapy
    apify/                  what Apify tells a program; @actor; to and from Actor.use_state
    shared/                 SharedCounter and the others, which many processes write at once
    delivery/, loops/,      outbox(); resume(); @persisted, and the state put back after a test
    objects/
    containers/             PersistedDict, PersistedSet and the others
    runtime/                which store a state object belongs to; one store and its objects; one
                            process's life with them
    saving/                 when to save; one save; the last resort
    tracking/, journal/     what is dirty, and the consistent cut; commits and snapshots as records
    codec/, settings.py     values as JSON
    stores/, process/,      bytes by key; ends, signals and forks of the process; which store the
    under_test.py           plugin of pytest has chosen
    ownership/, hub.py,     who may write a state; the signals; keys and signatures; deep values
    signing.py, depth.py
    errors.py, files.py, digest.py, memory.py, logs.py, warned.py, announced.py, progress_bar.py

`_autostate_pytest.py`, beside the package, is the plugin of pytest.

`import autostate` loads few modules: most of them come with the first state object. The import only
prepares for `import apify` (apify/events.py) and the end of the process (process/lifecycle.py).
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

import msgspec  # noqa: F401 - the first state object needs it, and would wait for it

from autostate import hub
from autostate.apify import events
from autostate.errors import (
    AutostateError,
    ChildRunError,
    CodecError,
    CorruptStateError,
    DeliveryRefusedError,
    FencedError,
    FlushError,
    LateWriteError,
    NotStoredError,
    OutboxFullError,
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
from autostate.runtime.api import (
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
from autostate.runtime.manager import resumers
from autostate.settings import Settings

if TYPE_CHECKING:
    from autostate.apify.adopt import adopt
    from autostate.apify.call import call
    from autostate.apify.entry_point import actor
    from autostate.apify.export import export
    from autostate.apify.in_step import charge, push_data
    from autostate.codec import Unknown, register
    from autostate.codec.pickled import pickled
    from autostate.codec.secret import Secret
    from autostate.containers import (
        PersistedCounter,
        PersistedDeque,
        PersistedDict,
        PersistedList,
        PersistedSet,
    )
    from autostate.containers.proxy import proxy
    from autostate.delivery.destination import Destination, OutboxItem
    from autostate.delivery.outbox import Outbox, outbox
    from autostate.loops.resume import resume
    from autostate.objects.decorator import persisted
    from autostate.objects.options import Transient, transient
    from autostate.runtime.backup import backup
    from autostate.runtime.copying import copy
    from autostate.runtime.history import Commit, history, restore
    from autostate.runtime.info import Info, SharedInfo
    from autostate.saving.statistics import Statistics
    from autostate.shared.classes import SharedCounter, SharedDict, SharedSet
    from autostate.shared.unpublished import discard_unpublished

__version__ = "0.1.0"

__all__ = [  # not `open`: `import *` must not replace the builtin
    "AutostateError",
    "ChildRunError",
    "CodecError",
    "Commit",
    "CorruptStateError",
    "DeliveryRefusedError",
    "Destination",
    "FencedError",
    "FlushError",
    "Info",
    "LateWriteError",
    "NotStoredError",
    "Outbox",
    "OutboxFullError",
    "OutboxItem",
    "PersistedCounter",
    "PersistedDeque",
    "PersistedDict",
    "PersistedList",
    "PersistedSet",
    "ReadOnlyError",
    "ResumeError",
    "Secret",
    "Settings",
    "SharedCounter",
    "SharedDict",
    "SharedInfo",
    "SharedSet",
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
    "call",
    "charge",
    "configure",
    "copy",
    "delete",
    "discard_unpublished",
    "durable",
    "export",
    "flush",
    "history",
    "hub",
    "info",
    "names",
    "outbox",
    "persisted",
    "pickled",
    "proxy",
    "push_data",
    "register",
    "restore",
    "resume",
    "statistics",
    "transient",
]

_LATE = {
    "Commit": "autostate.runtime.history",
    "Destination": "autostate.delivery.destination",
    "Info": "autostate.runtime.info",
    "Outbox": "autostate.delivery.outbox",
    "OutboxItem": "autostate.delivery.destination",
    "PersistedCounter": "autostate.containers",
    "PersistedDeque": "autostate.containers",
    "PersistedDict": "autostate.containers",
    "PersistedList": "autostate.containers",
    "PersistedSet": "autostate.containers",
    "Secret": "autostate.codec.secret",
    "SharedCounter": "autostate.shared.classes",
    "SharedDict": "autostate.shared.classes",
    "SharedInfo": "autostate.runtime.info",
    "SharedSet": "autostate.shared.classes",
    "Statistics": "autostate.saving.statistics",
    "Transient": "autostate.objects.options",
    "Unknown": "autostate.codec",
    "actor": "autostate.apify.entry_point",
    "adopt": "autostate.apify.adopt",
    "backup": "autostate.runtime.backup",
    "call": "autostate.apify.call",
    "charge": "autostate.apify.in_step",
    "copy": "autostate.runtime.copying",
    "discard_unpublished": "autostate.shared.unpublished",
    "export": "autostate.apify.export",
    "history": "autostate.runtime.history",
    "outbox": "autostate.delivery.outbox",
    "persisted": "autostate.objects.decorator",
    "pickled": "autostate.codec.pickled",
    "proxy": "autostate.containers.proxy",
    "push_data": "autostate.apify.in_step",
    "register": "autostate.codec",
    "restore": "autostate.runtime.history",
    "resume": "autostate.loops.resume",
    "transient": "autostate.objects.options",
}
"""The names that are loaded at their first use, and their modules."""


if not TYPE_CHECKING:  # or checkers would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module 'autostate' has no attribute {name!r}")
        from importlib import import_module

        from autostate.collector import no_collections

        with no_collections(lasting=True):
            value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Let a shell of IPython show state objects as tables; `%load_ext autostate` calls this.

    It is needed where IPython is loaded after autostate, as by `IPython.embed()`.
    """
    from autostate.notebook import register

    register(shell)


if "IPython" in sys.modules:
    from autostate import notebook

    notebook.register()
resumers["autostate.shared"] = "autostate.shared.home"
events.install()
