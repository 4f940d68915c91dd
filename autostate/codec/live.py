"""Classes whose values are part of the running process: not even a pickle can hold them.

Well-known classes are known by their names, since nothing is imported for this; of others, the
memory layout tells whether objects hold data that only C sees.
"""

from __future__ import annotations

import copyreg
from types import MemberDescriptorType
from typing import Final

from autostate.codec.unsupported import shown

_LIVE: Final = frozenset(
    {
        *("_thread._localdummy", "_socket.socket", "_io._IOBase", "builtins.callable_iterator"),
        *(f"threading.{name}" for name in ("_RLock", "Condition", "Event", "Semaphore")),
        *("threading.Barrier", "threading.Thread", "queue.Queue", "builtins.module"),
        *("tempfile._TemporaryFileWrapper", "subprocess.Popen", "logging.Handler"),
        *("asyncio.events.AbstractEventLoop", "asyncio.events.Handle", "asyncio.futures.Future"),
        *(f"asyncio.locks.{name}" for name in ("Lock", "Event", "Condition", "Semaphore")),
        *("asyncio.queues.Queue", "asyncio.streams.StreamReader", "asyncio.streams.StreamWriter"),
        *("asyncio.taskgroups.TaskGroup", "selectors.BaseSelector", "_ssl._SSLContext"),
        *("concurrent.futures._base.Future", "concurrent.futures._base.Executor"),
        *("multiprocessing.process.BaseProcess", "multiprocessing.synchronize.SemLock"),
        *("multiprocessing.connection._ConnectionBase", "multiprocessing.pool.Pool"),
        *("weakref.WeakValueDictionary", "weakref.WeakKeyDictionary", "weakref.finalize"),
        *("weakref.ReferenceType", "aiohttp.client.ClientSession", "redis.client.Redis"),
        *("psycopg.BaseConnection", "psycopg._connection_base.BaseConnection"),
        *("pymongo.synchronous.mongo_client.MongoClient", "pymongo.mongo_client.MongoClient"),
        *("sqlalchemy.engine.base.Connection", "sqlalchemy.engine.base.Engine"),
        "sqlalchemy.orm.session.Session",
    }
)
"""Classes that `_is_opaque` does not recognise, because they are written in Python, for example."""

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
