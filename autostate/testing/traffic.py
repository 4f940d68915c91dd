"""What passed the platform's HTTP server, and what is done to it on purpose.

A fault is a rule: which requests it meets, and what happens to them. Faults that hold a request
do so on an event, not for a time, so that a test decides when it goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from autostate.testing.random_faults import RandomFaults
from autostate.testing.wire import ApiError, Request, Response


@dataclass(frozen=True)
class Call:
    """One request and what became of it, for the log.

    Attributes:
        method: The HTTP method.
        path: The path, percent-encoded, without the query.
        query: The query parameters.
        bytes: The size of the body as uploaded.
        status: The status answered; None when the connection was cut.
        applied: Whether the platform did what was asked.
    """

    method: str
    path: str
    query: dict[str, str]
    bytes: int
    status: int | None
    applied: bool


@dataclass
class Fault:
    """A rule about requests that shall go wrong. Made by `Traffic.fault`.

    Attributes:
        hits: How many requests it has met so far.
    """

    method: str
    path: str
    when: Callable[[Request], bool]
    skip: int
    times: int | None
    status: int | None
    delay: float
    cut: bool
    apply: bool
    gate: threading.Event = field(default_factory=threading.Event)
    hits: int = 0
    _seen: int = 0
    _hit: threading.Condition = field(default_factory=threading.Condition)

    def meets(self, request: Request) -> bool:
        """Whether this request is one of those; counts it."""
        if self.method not in {"*", request.method} or not fnmatchcase(request.path, self.path):
            return False
        if not self.when(request):
            return False
        with self._hit:
            self._seen += 1
            if self._seen <= self.skip or (self.times is not None and self.hits >= self.times):
                return False
            self.hits += 1
            self._hit.notify_all()
        return True

    def release(self) -> None:
        """Let the requests that it holds go on, and all that come later."""
        self.gate.set()

    def wait_hit(self, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until it has met so many requests."""
        with self._hit:
            if not self._hit.wait_for(lambda: self.hits >= count, timeout):
                message = f"the fault met {self.hits} requests in {timeout} s, not {count}"
                raise TimeoutError(message)

    def passes(
        self, request: Request, answer: Callable[[Request], Response]
    ) -> tuple[Response | None, bool]:
        """What becomes of a request that it met: the answer (None: cut), whether applied."""
        if self.delay:
            time.sleep(self.delay)
        self.gate.wait()
        response = answer(request) if self.apply else None
        if self.cut:
            return None, self.apply
        if self.status is not None:
            error = ApiError(self.status, "injected-fault", "This answer was ordered by a test.")
            return error.response(), self.apply
        return response or answer(request), True


class Traffic:
    """The log of all requests and the faults in force."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._faults: list[Fault | RandomFaults] = []

    def fault(
        self,
        method: str = "*",
        path: str = "*",
        *,
        when: Callable[[Request], bool] | None = None,
        nth: int | None = None,
        times: int | None = None,
        status: int | None = None,
        delay: float = 0.0,
        hold: bool = False,
        cut: bool = False,
        lose_answer: bool = False,
    ) -> Fault:
        """Let requests go wrong.

        Args:
            method: Only this method.
            path: Only paths that match this pattern, as `fnmatch` reads it.
            when: Only requests for which this is true.
            nth: Only the nth of them, counted from 1.
            times: Only so many of them.
            status: Answer with this status; nothing is applied.
            delay: Seconds to wait first.
            hold: Wait first until `release()` is called. A client that gives up meanwhile has
                sent a request that is applied late.
            cut: Close the connection instead of answering; nothing is applied.
            lose_answer: Apply the request, then answer with `status` or close the connection.
        """
        fault = Fault(
            method=method,
            path=path,
            when=when or (lambda _: True),
            skip=0 if nth is None else nth - 1,
            times=times if nth is None else 1,
            status=status,
            delay=delay,
            cut=cut or (lose_answer and status is None),
            apply=lose_answer,
        )
        if not hold:
            fault.release()
        with self._changed:
            self._faults.append(fault)
        return fault

    def random_faults(
        self, probability: float, seed: int, *, method: str = "*", path: str = "*"
    ) -> RandomFaults:
        """Let a share of the requests go wrong; see `LocalPlatform.faults`."""
        faults = RandomFaults(probability, seed, method, path)
        with self._changed:
            self._faults.append(faults)
        return faults

    def heal(self) -> None:
        """Remove all faults and release what they hold."""
        with self._changed:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    @contextlib.contextmanager
    def suspended(self) -> Generator[None]:
        """Let everything go well for the length of a block."""
        with self._changed:
            faults, self._faults = self._faults, []
        try:
            yield
        finally:
            with self._changed:
                self._faults[:0] = faults

    @property
    def calls(self) -> list[Call]:
        """All requests so far, in the order of their answers."""
        with self._changed:
            return list(self._calls)

    def calls_to(
        self, method: str = "*", path: str = "*", *, applied: bool | None = None
    ) -> list[Call]:
        """The requests of a method to paths that match a pattern; all, or those (not) applied."""
        return list(_select(self.calls, method, path, applied))

    def wait_for_calls(
        self,
        method: str = "*",
        path: str = "*",
        *,
        applied: bool | None = None,
        count: int = 1,
        timeout: float = 30.0,
    ) -> list[Call]:
        """Wait until so many such requests have been answered, and give them."""

        def found() -> list[Call]:
            return list(_select(self._calls, method, path, applied))

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count, timeout)
            calls = found()
        if len(calls) < count:
            message = f"{len(calls)} requests {method} {path} in {timeout} s, not {count}"
            raise TimeoutError(message)
        return calls

    def pass_through(
        self, request: Request, answer: Callable[[Request], Response]
    ) -> Response | None:
        """Have a request answered, faults considered; None: cut the connection."""
        with self._changed:
            faults = list(self._faults)
        fault = next((fault for fault in faults if fault.meets(request)), None)
        response, applied = fault.passes(request, answer) if fault else (answer(request), True)
        status = None if response is None else response.status
        call = Call(
            request.method, request.path, dict(request.query), len(request.body), status, applied
        )
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        return response


def _select(calls: list[Call], method: str, path: str, applied: bool | None) -> Iterator[Call]:
    for call in calls:
        wanted = method in {"*", call.method} and fnmatchcase(call.path, path)
        if wanted and applied in {None, call.applied}:
            yield call
