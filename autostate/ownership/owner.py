"""The description of a state's owner, for other processes."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import Any, Self

from msgspec import Struct, structs


class Owner(Struct, frozen=True):
    """A process that may write a state.

    Attributes:
        pid: The number of the process on its machine; 0: not known.
        host: The name of the machine; empty: not known.
        program: The program that it runs; empty: not known.
        since: When it became the owner, in seconds since 1970; None: not known.
        ending: Whether it has begun to end.
        ended: Whether it has released the state.
        run: The run of an Actor to whose container it belongs, on Apify's platform; else empty.
        lease: Seconds for which it counts as alive without a sign of life; None: others can find
            out whether it lives.
    """

    pid: int = 0
    host: str = ""
    program: str = ""
    since: float | None = None
    ending: bool = False
    ended: bool = False
    run: str = ""
    lease: float | None = None

    @classmethod
    def this(cls, lease: float | None = None) -> Self:
        """Describe this process, as the owner from now on."""
        return cls(os.getpid(), _host(), program(), time.time(), run=this_run(), lease=lease)

    @property
    def is_here(self) -> bool:
        """Whether the owner runs on this machine, as far as that is known."""
        return self.host in ("", _host())

    def about_to_end(self) -> Self:
        """Give the same owner, which has begun to end."""
        return structs.replace(self, ending=True)

    def at_the_end(self) -> Self:
        """Give the same owner, which has released the state."""
        return structs.replace(self, ended=True)

    def __str__(self) -> str:
        told = f"process {self.pid}" if self.pid else "another process"
        if not self.is_here:
            told += f" on {self.host}"
        if self.run:
            told = f"the run {self.run}"
        if self.program:
            told += f" ({self.program})"
        if self.since is not None:
            began = datetime.fromtimestamp(self.since).astimezone()
            told += f", since {began:%Y-%m-%d %H:%M:%S}"
        return told

    def as_json(self) -> dict[str, object]:
        """Give the stored form, which is in each commit and so leaves out unknown attributes."""
        return {name: value for name, value in structs.asdict(self).items() if value}

    @classmethod
    def from_json(cls, found: object) -> Self | None:
        """Read the stored form; None if it is another thing."""
        if not isinstance(found, dict):
            return None
        kinds: dict[str, Any] = {"pid": int, "host": str, "program": str, "run": str}
        kinds["ending"] = kinds["ended"] = bool
        kinds["since"] = kinds["lease"] = (int, float)
        known = {name: found.get(name) for name in kinds}
        if not _is_date(known["since"]):  # from a wrong clock, or another writer
            known["since"] = None
        return cls(**{name: at for name, at in known.items() if isinstance(at, kinds[name])})


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename  # the same as `socket.gethostname`, whose import takes 3 ms
    import socket

    return socket.gethostname()


def _is_date(seconds: Any) -> bool:
    try:
        datetime.fromtimestamp(seconds).astimezone()
    except (TypeError, ValueError, OverflowError, OSError):
        return False
    return True


def is_dying(owner: Owner) -> bool:
    """Tell whether a process of this machine is being killed, or has begun to exit, on Linux.

    Its files, and with them its locks, are closed a moment later: see proc_pid_status(5).
    """
    if not owner.pid or not owner.is_here:
        return False
    state, *fields = [*_stat(owner.pid), *[b"0"] * 9]
    pending = [_word(line) for line in _read(owner.pid, "status").splitlines() if b"Pnd:" in line]
    killed = any(signals >> (_SIGKILL - 1) & 1 for signals in pending)
    return state in (b"Z", b"X") or bool(int(fields[5]) & _PF_EXITING) or killed


def _word(line: bytes) -> int:
    return int(line.split()[-1], 16)


_PF_EXITING = 0x4
_SIGKILL = 9


def this_run() -> str:
    """Give the run of an Actor to which this process belongs; empty off the platform."""
    if os.environ.get("APIFY_IS_AT_HOME", "").lower() in ("", "0", "false"):
        return ""
    return os.environ.get("ACTOR_RUN_ID") or os.environ.get("APIFY_ACTOR_RUN_ID", "")


def is_of_this_run(owner: object) -> bool:
    """Tell whether an owner belongs to the same run of an Actor, in another container."""
    return isinstance(owner, Owner) and owner.run != "" and owner.run == this_run()


def program() -> str:
    """Give a name of the running program that a person recognizes."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name and spec.name != "__main__":
        return f"python -m {spec.name.removesuffix('.__main__')}"
    name = sys.argv[0] if sys.argv else ""
    if name in ("", "-c"):
        return "python -c" if name else "python"
    folder, file = os.path.split(name)  # the path is of no use to others
    return f"python -m {os.path.basename(folder)}" if folder and file == "__main__.py" else file  # noqa: PTH119


def ancestors() -> set[int]:
    """Find the ancestors of this process, as far as the system tells."""
    found: set[int] = set()
    pid: int | None = os.getppid()
    while pid and pid not in found:
        found.add(pid)
        pid = _parent(pid)
    return found


def is_sibling(pid: int) -> bool:
    """Tell whether another process and this one are forks of one living process, as workers are.

    A fork has its code and stack at the same addresses as its parent; each program that is started
    gets other addresses. Only Linux shows them: elsewhere no process counts as a sibling.
    """
    parent = os.getppid()
    if pid == os.getpid() or _parent(pid) != parent:
        return False
    mine = _layout(os.getpid())
    return bool(mine) and mine == _layout(parent) == _layout(pid)


def _parent(pid: int) -> int | None:
    try:
        return int(_stat(pid)[1])
    except (ValueError, IndexError):
        return None


def _layout(pid: int) -> list[bytes]:
    """Find where the code of a process begins and ends, and where its stack begins."""
    places = _stat(pid)[23:26]
    return [] if b"0" in places else places


def _stat(pid: int) -> list[bytes]:
    """Read the fields of Linux about a process, from its state on; elsewhere none."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - small and often
            return file.read()
    except OSError:
        return b""
