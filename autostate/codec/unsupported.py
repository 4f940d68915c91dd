"""What is raised where a value cannot be saved, before it is known where that value is."""

from __future__ import annotations

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
    """A value that is nested too deeply: no place inside it can stand for it, all are as deep."""


def shown(cls: Any) -> str:
    """The name of a class or function, for messages."""
    return f"{cls.__module__}.{getattr(cls, '__qualname__', type(cls).__qualname__)}"


_LIVE: Final = frozenset(
    {
        *("_thread.lock", "_thread.RLock", "_thread._local", "_thread._localdummy"),
        *(f"threading.{name}" for name in ("_RLock", "Condition", "Event", "Semaphore")),
        *("threading.Barrier", "threading.Thread", "queue.Queue", "_queue.SimpleQueue"),
        *("builtins.generator", "builtins.coroutine", "builtins.async_generator"),
        *("builtins.frame", "builtins.traceback", "_io._IOBase", "mmap.mmap", "_socket.socket"),
        *("subprocess.Popen", "sqlite3.Connection", "sqlite3.Cursor", "_asyncio.Future"),
        *("concurrent.futures._base.Future", "concurrent.futures._base.Executor"),
        *("weakref.ReferenceType", "_ssl._SSLContext"),
    }
)
_STORED: Final = frozenset({"_io.BytesIO", "_io.StringIO"})


def is_live(cls: type) -> bool:
    """Whether values are a part of the running process, which not even a pickle can hold."""
    names = {shown(base) for base in cls.__mro__}
    return not _LIVE.isdisjoint(names) and _STORED.isdisjoint(names)
