"""KeyboardInterrupt at the places where CPython delivers signals, in the library's own code."""

from __future__ import annotations

import dis
import functools
import signal
import sys
from types import CodeType, FrameType
from typing import Any, ClassVar, Final, Self

from tests.campaign import Tally

_OURS: Final = "/autostate/"
_CHECKS: Final = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME"})
"""Instructions after which the interpreter looks for signals; the rest are jumps backward."""


@functools.cache
def _places(code: CodeType) -> frozenset[int]:
    """The instructions that follow those after which signals are delivered.

    Only where errors in both meet the same handler: a signal is raised in the first.
    """
    found, before = set(), None
    for instruction in dis.get_instructions(code):
        at = instruction.offset
        if before is not None and _handler(code, at) == _handler(code, before):
            found.add(at)
        before = at if instruction.opname in _CHECKS else None
    return frozenset(found)


def _handler(code: CodeType, offset: int) -> int | None:
    """Where an error in an instruction is handled."""
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return next((one.target for one in entries if one.start <= offset < one.end), None)


class AlarmError(Exception):
    """What a handler of the program's own raises, to give up something that takes too long."""


def on_alarm(_number: int, _frame: FrameType | None) -> None:
    """That handler."""
    raise AlarmError


class Interrupt:
    """Raises at the n-th such place that is come to from here on.

    A signal is handled when an instruction has been executed. What comes before the next one is
    the same moment, and there a trace function can raise.

    Args:
        number: From 1.
        error: What is raised: an `AlarmError` by a handler that is in place meanwhile.
        ours: What the name of a file contains whose code counts.
        times: How many such places in a row.

    Attributes:
        tally: Counts those that have raised.
    """

    tally: ClassVar[Tally] = Tally()

    def __init__(
        self,
        number: int,
        error: type[BaseException] = KeyboardInterrupt,
        ours: str = _OURS,
        times: int = 1,
    ) -> None:
        self.left = number
        self.times = times
        self.error = error
        self.ours = ours
        self.at = ""
        self.previous: Any = None

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        """Trace functions of the library by instruction, and no others."""
        if self.ours not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        # Python 3.14 asks for instructions only in a frame that has its function already.
        frame.f_trace = follow = _Frame(self)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return follow

    def arrive(self, frame: FrameType) -> None:
        """Count a place, and raise if it is the one."""
        self.left -= 1
        if -self.times < self.left <= 0:
            self.tally.tried(int(not self.at))
            code = frame.f_code
            at = f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}"
            self.at = self.at or at
            if self.error is AlarmError:
                on_alarm(signal.SIGALRM, frame)
            raise self.error

    def __enter__(self) -> Self:
        # Python 3.12 asks only when a trace function is set whether instructions are wanted at all.
        sys._getframe().f_trace_opcodes = True
        if self.error is AlarmError:
            self.previous = signal.signal(signal.SIGALRM, on_alarm)
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        if self.error is AlarmError:
            signal.signal(signal.SIGALRM, self.previous)


class _Frame:
    """Follows one function."""

    def __init__(self, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self.before = -1

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        """Look at the next instruction."""
        if event == "opcode":
            at, before = frame.f_lasti, self.before
            self.before = at
            if at < before or at in _places(frame.f_code):
                self.interrupt.arrive(frame)
        return self
