"""The errors of autostate.

    AutostateError
    ├── StoreError                 the store refused, and trying again will not help
    │   ├── StoreGoneError         its file was deleted or replaced while it was in use
    │   ├── StoreUnavailableError  the store was not reached, or did not answer in time
    │   ├── DamagedStoreError      its file was cut short or overwritten; also a CorruptStateError
    │   ├── StateInUseError        another live process owns this state
    │   ├── ReadOnlyError          this state was opened for reading only
    │   │   └── NotStoredError     it has no state object of this name; also a LookupError
    │   └── FencedError            a later process has taken over this state
    ├── CodecError
    │   ├── UnsupportedTypeError   a value that cannot be saved; the message names its path
    │   ├── CorruptStateError      a record that cannot be read; it is kept, never overwritten
    │   └── SignatureError         a pickled value that no key of the program has signed
    ├── OutboxFullError            an outbox has no room: its destination is too slow, or down
    ├── DeliveryRefusedError       a destination will not take items any more
    ├── FlushError                 a flush did not finish: the cause is chained to it
    │   └── ChangesLostError       nor could its changes be kept in a file at the end
    ├── LateWriteError             a write of an attempt that has failed and was undone
    ├── ResumeError                a loop cannot go on: what it goes over is not the same
    ├── StateTypeError             the same name, but another kind of state object
    └── UpgradeError               stored by a newer version of a class, or not to be upgraded

Messages say what happened, to which state object and path, and what to do. They never hold
values of the user: those may be cookies and tokens.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


def forget_locals(error: BaseException, *, own: bool = False) -> None:
    """Clear the local variables in the traceback of an error, and of those chained to it.

    In functions that save and load these are records, with what secrets hold. `rich`, `cgitb` and
    services that collect errors show them.

    Args:
        error: The error. Frames that still run are left as they are.
        own: Clear the frames of autostate only: others may be those of the program, which a
            debugger should see as they were.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += each.__cause__, each.__context__
        _clear(each.__traceback__, own=own)


def _clear(traceback: TracebackType | None, *, own: bool) -> None:
    while traceback is not None:
        frame = traceback.tb_frame
        if not own or str(frame.f_globals.get("__name__")).startswith("autostate."):
            with contextlib.suppress(RuntimeError):  # it still runs
                frame.clear()
        traceback = traceback.tb_next


class AutostateError(Exception):
    """The base of all errors that autostate raises on its own account."""


class StoreError(AutostateError):
    """The store refused an operation and would refuse it again: the message says what to mend."""


class StoreUnavailableError(StoreError):
    """The store was not reached or did not answer in time: the outcome is unknown.

    Autostate tries again by itself. Memory is untouched and stays dirty meanwhile.

    Attributes:
        lasting: Whether waiting alone does not mend it: the disk is full, for example. The end of
            the process does not wait for such an error.
    """

    def __init__(self, *args: object, lasting: bool = False) -> None:
        super().__init__(*args)
        self.lasting = lasting


class StoreGoneError(StoreError):
    """The store was deleted, emptied, or replaced by an older one while it was in use.

    The flush thread saves everything again by itself.
    """


class StateInUseError(StoreError):
    """Another live process owns this state, and only one may write it. Nothing was changed.

    The message says which process that is, and the ways out. A program that does not catch this
    error ends with exit code 75 and one line, without a traceback. So does one whose store cannot
    be used at the start, with exit code 1.

    Attributes:
        owner: The owner of the state, if known: see `autostate.ownership.owner.Owner`.
    """

    def __init__(self, *args: object, owner: object = None) -> None:
        super().__init__(*args)
        self.owner = owner


class ReadOnlyError(StoreError):
    """The state was opened with `readonly=True`: this process cannot change it."""


class NotStoredError(ReadOnlyError, LookupError):
    """The state holds no state object of this name, and reading alone makes none.

    The message lists the names that the state holds.
    """


class FencedError(StoreError):
    """A later process has taken over this state: this process must not write any more.

    Stop this process, or open another store: its changes from now on are not saved.

    Attributes:
        owner: The new owner, if known: see `autostate.ownership.owner.Owner`.
    """

    def __init__(self, *args: object, owner: object = None) -> None:
        super().__init__(*args)
        self.owner = owner


class ChildRunError(AutostateError):
    """A run that `call()` has waited for did not succeed.

    Attributes:
        run: The run as the API gives it; None if it does not exist any more.
    """

    def __init__(self, message: str, run: Any | None) -> None:
        super().__init__(message)
        self.run: Any | None = run

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.run)


class CodecError(AutostateError):
    """A value or a record could not be translated."""


class UnsupportedTypeError(CodecError, TypeError):
    """A value of a type that cannot be saved. Everything else in the state is still saved.

    Attributes:
        path: The place of the value, written as in code: `crawl["pages"][3].lock`.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[UnsupportedTypeError], tuple[str, str]]:
        """Pickle by the two arguments, not by the joined message."""
        return type(self), (self.path, self.problem)


class CorruptStateError(CodecError):
    """A stored record is damaged or of an unknown format. It was left as it is.

    The message says what helps: restoring the store from a copy; `on_corrupt="previous"` if there
    is an earlier state to go back to; or `autostate.delete(name)`, which keeps the unreadable
    records under other names, and begins anew.
    """


class DamagedStoreError(StoreError, CorruptStateError):
    """The file of a store was cut short or overwritten. It was left as it is.

    Restore it from a copy; or call `autostate.delete(name)`, which renames it, and begins anew.
    """


class SignatureError(CodecError):
    """A pickled value whose signature does not hold. None of its code ran; it was left unchanged.

    Set the key with which it was saved: the setting `key` accepts several keys.
    """


class UnknownTypeError(CodecError):
    """The stored state holds a value of a type that this program does not know. It was kept.

    Import the module of its class, or register the type, before the object is created; or pass
    `on_unknown="keep"` to carry such values of a state along untouched.

    Attributes:
        name: The name of the type in the store: a tag, or "module:class".
        holder: What holds it, if it is no state object: "the shared dict 'best'".
    """

    def __init__(self, name: str, holder: str = "") -> None:
        shown = name[:200]
        how = _how_to_know(shown)
        super().__init__(
            f"{holder} holds a {shown}, which this program does not know: before that is created, "
            f"{how}"
            if holder
            else f"the stored state holds a {shown}, which this program does not know: before the "
            f"state object is created, {how}; or keep such values as they are with "
            'on_unknown="keep"'
        )
        self.name = name
        self.holder = holder

    def __reduce__(self) -> tuple[type[UnknownTypeError], tuple[str, str]]:
        """Pickle by what it is about, not by the message."""
        return type(self), (self.name, self.holder)


def _how_to_know(name: str) -> str:
    if name.startswith("numpy."):
        return "import numpy"
    if ":" not in name:
        return f'call autostate.register(…, "{name}", …)'
    if name.startswith("__main__:"):
        return (
            "define that class, or import it from where it is by now; in a notebook run its cell, "
            "then this one again"
        )
    return "import the module that defines that class, under a name that no other class has"


class FlushError(AutostateError):
    """A flush did not finish. Unsaved changes stay dirty, and saving is retried."""


class ChangesLostError(FlushError):
    """The last save failed, and the unsaved changes could not be kept in a file either."""


class LateWriteError(AutostateError):
    """A thread or a task wrote for an attempt at a request that has failed: nothing was changed.

    What the attempt had written was undone, and its request is worked again. So this write would
    count for nobody, or twice. Let what a handler starts end before the handler does.
    """


class ResumeError(AutostateError):
    """A resumable loop cannot go on at its position, which was left unchanged.

    Go over the same items in the same order; or begin again with `restart=True`.
    """


class StateTypeError(AutostateError, TypeError):
    """The name belongs to a state object of another kind or class: use that, or another name."""


class UpgradeError(AutostateError):
    """The stored version of a class is newer than the program's, or an upgrade failed.

    Nothing was touched. Run the program that has that version; or mend the upgrade function, whose
    own error is the cause of this one.
    """


class OutboxFullError(AutostateError):
    """An outbox has no room for an item, which was not added: its destination is too slow.

    The message says how many items wait, and the last error of the destination, if there was one.
    """


class DeliveryRefusedError(AutostateError):
    """A destination will not take items any more, and trying again does not mend it.

    A destination raises it, for example because a token is not valid. The outbox then stops, and
    keeps its items; the next process tries again.
    """
