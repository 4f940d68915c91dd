"""Whether the owner of a state lives: a lock that ends with its process.

Beside a store on this machine lies a *lock file*. The owner of the state holds a lock on one byte
of the file, the byte with the number of its epoch. Such a lock (`fcntl`, of a range of bytes) ends
with the process, however the process ends; so no process is kept out by one that is gone.

On Linux the lock belongs to the open file (`F_OFD_SETLK`, see fcntl_locking(2)): using other
descriptors of the file in this process, as copying its folder does, does not end the lock. A forked
child has the open file too, and closes it at once. Elsewhere the lock belongs to the process
(POSIX): a child does not have it; but all locks are dropped when the process closes *any*
descriptor of the file. So each file is opened once in a process, and closed when the last lock on
it is released.

Each owner has a byte of its own, because a process may take over while the former owner still
lives. A process that has read the state of epoch 7 asks whether anybody holds byte 7 or a later
one. If nobody does, it locks byte 8, and checks again that the state is still the one that it has
read.

The file says who the owner is. An owner that ends removes the file. So a locked file may have lost
its name meanwhile: then the new file with that name is opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import struct
import sys
import threading
from pathlib import Path
from typing import Any, Final

from autostate.files import ALONE, create, make_folder
from autostate.ownership.owner import Owner

_LONGEST = 65_536
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_FLOCK: Final = "qqihhi4x" if sys.platform == "darwin" else "hhqqi4x"
OF_FILES: Final = sys.platform == "linux"
"""Whether locks belong to open files; elsewhere they belong to processes."""
_SET: Final = fcntl.F_OFD_SETLK if sys.platform == "linux" else fcntl.F_SETLK
_GET: Final = fcntl.F_OFD_GETLK if sys.platform == "linux" else fcntl.F_GETLK


class _File:
    """A lock file that this process has open, and the bytes that it holds there."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.held: set[int] = set()


_files: dict[Path, _File] = {}
_lock = threading.RLock()
_forking = threading.local()
_FORK_WAITS: Final = 2.0


class LocksUnsupportedError(Exception):
    """The file system has no locks, so nobody can tell whether an owner lives."""


class OwnerLock:
    """A process's hold on the state beside whose store the lock file lies.

    Args:
        path: The lock file.

    Attributes:
        byte: The number of the byte that is held; None: none is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.byte: int | None = None
        self._name = str(path)

    def acquire(self, epoch: int, owner: Owner, *, beside: bool = False) -> Owner | None:
        """Become the owner, unless one lives.

        Args:
            epoch: The epoch of the state that was read; the byte after it is locked.
            owner: The description of this process.
            beside: Become the owner even if another one lives: lock the next free byte.

        Returns:
            The owner that lives; None if this process is the owner now, of `byte`.

        Raises:
            LocksUnsupportedError: The file system has no locks.
            OSError: The file cannot be made.
        """
        with _lock:
            while True:
                file = self._open()
                try:
                    living = None if beside else self._living(file, epoch)
                    byte = epoch + 1
                    while living is None and not _try(file.descriptor, byte):
                        byte += 1
                        living = None if beside else self._living(file, epoch)
                    if living is not None:
                        return living
                    if self._has_its_name(file):
                        self.byte = byte
                        file.held.add(byte)
                        self._say(file, owner)
                        return None
                    _release(file.descriptor, byte)
                finally:
                    self._close_unused(file)

    def move_to(self, epoch: int, owner: Owner) -> None:
        """Lock the byte of a later epoch than the claimed one, if it is free.

        If the file was deleted, a new one is made.
        """
        with _lock:
            file, byte = _files.get(self.path), self.byte
            if file is not None and byte in file.held and not self._has_its_name(file):
                self.release()
                self.acquire(epoch - 1, owner, beside=True)
                return
            if file is None or byte not in file.held or byte >= epoch:
                return
            if _try(file.descriptor, epoch):
                file.held.add(epoch)
                self.byte = epoch
                file.held.discard(byte)
                _release(file.descriptor, byte)

    def is_in_place(self) -> bool:
        """Tell whether other processes find the lock: the file was not deleted."""
        file = _files.get(self.path)
        return file is None or self.byte not in file.held or self._has_its_name(file)

    def keep(self, owner: Owner) -> Owner | None:
        """Lock a new file in place of a deleted one.

        Returns:
            A living owner that has locked the new file: this process has lost the state. None:
                this process is still the owner.
        """
        with _lock:
            if self.is_in_place():
                return None
            byte = self.byte or 0
            self.release()
            living = self.acquire(0, owner)
            if living is None:
                self.move_to(byte, owner)
            return living

    def living(self, epoch: int) -> Owner | None:
        """Give the owner of a state of this epoch, if it lives; make no file.

        Raises:
            LocksUnsupportedError: The file system has no locks.
        """
        with _lock:
            try:
                file = self._open(make=False)
            except FileNotFoundError:
                return None
            try:
                return self._living(file, epoch)
            finally:
                self._close_unused(file)

    def named(self) -> Owner | None:
        """Give the owner that the file names, whether it lives or not; make no file."""
        with _lock:
            try:
                file = self._open(make=False)
            except OSError:
                return None
            try:
                return Owner.from_json(json.loads(os.pread(file.descriptor, _LONGEST, 0)))
            except (OSError, ValueError):
                return None
            finally:
                self._close_unused(file)

    def announce(self, owner: Owner) -> None:
        """Write the owner's description again: that it is about to end, for example."""
        with _lock:
            file = _files.get(self.path)
            if self.byte is not None and file is not None:
                self._say(file, owner)

    def release(self) -> None:
        """Release the state. Remove the file, unless another owner has taken over."""
        with _lock:
            file, byte = _files.get(self.path), self.byte
            if file is None:
                self.byte = None
                return
            if byte not in file.held:  # also after a release that Ctrl-C ended
                self.byte = None
                self._close_unused(file)
                return
            with contextlib.suppress(OSError):
                if len(file.held) > 1 or _holder(file.descriptor, 0) is not None:
                    self._unsay(file)
                elif self._has_its_name(file):
                    self.path.unlink()
            _release(file.descriptor, byte)
            file.held.discard(byte)
            self.byte = None
            self._close_unused(file)

    def __del__(self) -> None:
        """Release a lock that was not released because of Ctrl-C."""
        if getattr(self, "byte", None) is not None:
            self.release()

    def forget(self) -> None:
        """Forget, in a forked child, what its parent holds."""
        self.byte = None

    # -- the file -----------------------------------------------------------------------------

    def _open(self, *, make: bool = True) -> _File:
        known = _files.get(self.path)
        if known is not None and (known.held or self._has_its_name(known)):
            return known
        if known is not None:
            os.close(_files.pop(self.path).descriptor)
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            if not make:
                raise
            descriptor = self._made(flags)
        except PermissionError:
            if make:
                raise
            descriptor = os.open(self.path, flags & ~os.O_RDWR)
        try:
            self._check(os.fstat(descriptor))
        except BaseException:  # also Ctrl-C
            os.close(descriptor)
            raise
        file = _files[self.path] = _File(descriptor)
        return file

    def _made(self, flags: int) -> int:
        """Make the file, or open what another process has just made."""
        folder = self.path.parent
        # The folder of the SDK's stores is the program's, too. That of a database exists, unless it
        # was moved away meanwhile.
        make_folder(folder, 0o755 if folder.name == "key_value_stores" else 0o700)
        while True:  # an owner that ends removes the file
            with contextlib.suppress(FileExistsError):
                return create(self.path, self._mode())
            with contextlib.suppress(FileNotFoundError):
                return os.open(self.path, flags)

    def _mode(self) -> int:
        """Give the mode of the database beside the file, which users may share by a group."""
        database = self.path.with_name(self.path.name.removesuffix("-owner"))
        with contextlib.suppress(OSError):
            found = database.lstat().st_mode
            if stat.S_ISREG(found):
                return found & 0o666 | ALONE
        return ALONE

    def _check(self, found: os.stat_result) -> None:
        """Refuse a file that is no lock file: the owner's name would overwrite it."""
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(errno.EINVAL, "no file of its own", str(self.path))

    def _close_unused(self, file: _File) -> None:
        if not file.held and _files.get(self.path) is file:
            del _files[self.path]
            os.close(file.descriptor)

    def _has_its_name(self, file: _File) -> bool:
        try:
            named = os.stat(self._name, follow_symlinks=False)  # noqa: PTH116 - at each flush
            return os.path.samestat(os.fstat(file.descriptor), named)
        except FileNotFoundError:
            return False
        except OSError:  # a file that cannot be accessed is not gone
            return True

    def _living(self, file: _File, epoch: int) -> Owner | None:
        """Give the owner that holds an epoch's byte, or a later one; it may be this process."""
        ours = [byte for byte in file.held if byte >= epoch]
        pid = os.getpid() if ours else _holder(file.descriptor, epoch)
        if pid is None:
            return None
        return self._said(file, pid)

    def _say(self, file: _File, owner: Owner) -> None:
        text = json.dumps(owner.as_json()).encode()
        with contextlib.suppress(OSError):  # a full disk: only the lock counts
            os.pwrite(file.descriptor, text, 0)
            os.ftruncate(file.descriptor, len(text))

    def _unsay(self, file: _File) -> None:
        """Remove this process's name from the file, in case another process locks it."""
        if self._said(file, 0).pid == os.getpid():
            os.ftruncate(file.descriptor, 0)

    def _said(self, file: _File, pid: int) -> Owner:
        """Read the owner from the file, if it describes this process number; 0 stands for any."""
        said: Any = None
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(os.pread(file.descriptor, _LONGEST, 0))
        known = Owner.from_json(said)
        if known is not None and (known.pid == pid if pid else not is_gone(known)):
            return known
        return Owner(pid=pid)


def is_gone(owner: Owner) -> bool:
    """Tell whether an owner certainly cannot hold a lock on this machine."""
    if not owner.pid or not owner.is_here:
        return False
    try:
        os.kill(owner.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False


def _request(kind: int, byte: int, length: int) -> bytes:
    """Make a `struct flock`; a length of 0 means: up to the end."""
    if sys.platform == "darwin":
        return struct.pack(_FLOCK, byte, length, 0, kind, os.SEEK_SET, 0)
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, length, 0)


def _holder(descriptor: int, byte: int) -> int | None:
    """Find the other process that holds a byte, or a later one; 0 if it cannot be named."""
    try:
        answer = fcntl.fcntl(descriptor, _GET, _request(fcntl.F_WRLCK, byte, 0))
    except OSError as error:
        raise _unsupported(error) from error
    fields = struct.unpack(_FLOCK, answer)
    kind, pid = (fields[3], fields[2]) if sys.platform == "darwin" else (fields[0], fields[4])
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _try(descriptor: int, byte: int) -> bool:
    """Lock a byte unless another process holds it."""
    try:
        fcntl.fcntl(descriptor, _SET, _request(fcntl.F_WRLCK, byte, 1))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise _unsupported(error) from error
    return True


def _release(descriptor: int, byte: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, _SET, _request(fcntl.F_UNLCK, byte, 1))


def _unsupported(error: OSError) -> Exception:
    return LocksUnsupportedError(str(error)) if error.errno in _UNSUPPORTED else error


def _before_fork() -> None:
    """Wait until no other thread is opening a file: the child would keep it, and its lock."""
    _forking.lock = _lock if _lock.acquire(timeout=_FORK_WAITS) else None


def _after_fork_in_parent() -> None:
    lock = vars(_forking).pop("lock", None)
    if lock is not None:
        lock.release()


def _after_fork_in_child() -> None:
    """Close the parent's files: this releases no lock of the parent, and keeps none after it."""
    global _lock
    _lock = threading.RLock()
    while _files:
        _, file = _files.popitem()
        with contextlib.suppress(OSError):
            os.close(file.descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
