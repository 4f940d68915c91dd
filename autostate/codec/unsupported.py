"""The error for a value that cannot be saved, before the path of the value is known."""

from __future__ import annotations

import copyreg
from types import MemberDescriptorType
from typing import Any, Final

_LONGEST_PATH = 12


class Unsupported(Exception):  # noqa: N818 - becomes an UnsupportedTypeError once its path is known
    """A value that cannot be saved; `steps` grows from the inside out while it travels up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        """The way from the outermost value to the one that cannot be saved: `["pages"][3].lock`."""
        steps = self.steps[::-1]
        if len(steps) > _LONGEST_PATH:
            half = _LONGEST_PATH // 2
            steps = [*steps[:half], f"…({len(steps) - 2 * half} more)…", *steps[-half:]]
        return "".join(steps)


class TooDeep(Unsupported):
    """A value that is nested too deeply: no single place inside it is to blame."""


def shown(cls: Any) -> str:
    """Give the name of a class or function, for messages."""
    return f"{cls.__module__}.{getattr(cls, '__qualname__', type(cls).__qualname__)}"


_LIVE: Final = frozenset(
    {
        *("_thread.lock", "_thread.RLock", "_thread._local", "_thread._localdummy"),
        *(f"threading.{name}" for name in ("_RLock", "Condition", "Event", "Semaphore")),
        *("threading.Barrier", "threading.Thread", "queue.Queue", "_queue.SimpleQueue"),
        *("builtins.generator", "builtins.coroutine", "builtins.async_generator"),
        *("builtins.frame", "builtins.traceback", "builtins.module", "builtins.callable_iterator"),
        *("_io._IOBase", "tempfile._TemporaryFileWrapper", "mmap.mmap", "_socket.socket"),
        *("subprocess.Popen", "sqlite3.Connection", "sqlite3.Cursor", "logging.Handler"),
        *("asyncio.events.AbstractEventLoop", "asyncio.events.Handle", "asyncio.locks.Lock"),
        *("asyncio.locks.Event", "asyncio.locks.Condition", "asyncio.locks.Semaphore"),
        *("asyncio.queues.Queue", "asyncio.streams.StreamReader", "asyncio.streams.StreamWriter"),
        *("_asyncio.Future", "_asyncio.Task", "asyncio.futures.Future"),
        *("asyncio.taskgroups.TaskGroup", "selectors.BaseSelector"),
        *("concurrent.futures._base.Future", "concurrent.futures._base.Executor"),
        *("multiprocessing.process.BaseProcess", "multiprocessing.synchronize.SemLock"),
        *("multiprocessing.connection._ConnectionBase", "multiprocessing.pool.Pool"),
        *("weakref.ReferenceType", "weakref.WeakValueDictionary", "weakref.WeakKeyDictionary"),
        *("weakref.finalize", "_ssl._SSLContext", "aiohttp.client.ClientSession"),
        *("psycopg.BaseConnection", "psycopg._connection_base.BaseConnection"),
        *("pymongo.synchronous.mongo_client.MongoClient", "pymongo.mongo_client.MongoClient"),
        *(
            "redis.client.Redis",
            "sqlalchemy.engine.base.Connection",
            "sqlalchemy.engine.base.Engine",
        ),
        "sqlalchemy.orm.session.Session",
    }
)
_STORED: Final = frozenset({"_io.BytesIO", "_io.StringIO"})
_BY_CLOUDPICKLE: Final = frozenset(
    {
        *("builtins.function", "builtins.code", "builtins.cell"),
        *("builtins.mappingproxy", "builtins.dict_keys", "builtins.dict_values"),
        *("builtins.dict_items", "builtins.odict_keys", "builtins.odict_values"),
        *("builtins.odict_items", "builtins.property", "builtins.classmethod"),
        "builtins.staticmethod",
    }
)
"""Classes that `pickle` refuses, but not cloudpickle, which `pickled` uses."""


def is_live(cls: type) -> bool:
    """Tell whether values are part of the running process: not even a pickle can hold them."""
    names = {shown(base) for base in cls.__mro__}
    if not _STORED.isdisjoint(names):
        return False
    return not _LIVE.isdisjoint(names) or _is_opaque(cls)


def _is_opaque(cls: type) -> bool:
    """Tell whether objects hold data that only C sees, and their class cannot pickle it.

    `object.__reduce_ex__` decides this for a value; here there may be no value.
    """
    if issubclass(cls, (list, dict, type)) or shown(cls) in _BY_CLOUDPICKLE:
        return False
    if cls in copyreg.dispatch_table or hasattr(cls, "__getnewargs__"):
        return False
    if hasattr(cls, "__getnewargs_ex__") or any(
        getattr(cls, name) is not getattr(object, name) for name in _HOW_TO_PICKLE
    ):
        return False
    slots = sum(
        type(each) is MemberDescriptorType
        for base in cls.__mro__
        if isinstance(vars(base).get("__slots__"), str | tuple | list)
        for each in vars(base).values()
    )
    words = slots + (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0)
    return cls.__itemsize__ > 0 or cls.__basicsize__ > object.__basicsize__ + words * _WORD


_HOW_TO_PICKLE: Final = ("__reduce_ex__", "__reduce__", "__getstate__")
_WORD: Final = object.__basicsize__ // 2
