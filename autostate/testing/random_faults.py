"""Faults that strike at random, the same ones for the same seed."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from autostate.testing.wire import ApiError, Request, Response

_KINDS: Final[tuple[Mapping[str, Any], ...]] = (
    {"status": 429, "apply": False},
    {"status": 500, "apply": False},
    {"status": 503, "apply": True},
    {"status": None, "apply": False},
    {"status": None, "apply": True},
)


_ID: Final = re.compile(r"(?<=/)[a-zA-Z0-9]{17}(?=/|$)")
"""The ids of storages and runs, which are random."""


class RandomFaults:
    """A share of the requests goes wrong. Made by `LocalPlatform.faults`.

    Whether a request does depends on the seed, its method and path, and how many of the same came
    before it; not on how the requests of several clients mix.

    Args:
        probability: The share.
        seed: Chooses the requests.
        method: Only this method.
        path: Only paths that match this pattern.

    Attributes:
        hits: How many requests were met so far.
    """

    def __init__(self, probability: float, seed: int, method: str, path: str) -> None:
        self.hits: int = 0
        self._probability = probability
        self._seed = seed
        self._method = method
        self._path = path
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._kind = threading.local()

    def meets(self, request: Request) -> bool:
        """Whether this request goes wrong; counts it."""
        if self._method not in {"*", request.method} or not fnmatchcase(request.path, self._path):
            return False
        with self._lock:
            which = (request.method, _ID.sub("ID", request.path))
            self._seen[which] += 1
            drawn = random.Random(f"{self._seed} {which} {self._seen[which]}")
            if drawn.random() >= self._probability:
                return False
            self.hits += 1
        self._kind.drawn = drawn.choice(_KINDS)
        return True

    def release(self) -> None:
        """Hold nothing."""

    def passes(
        self, request: Request, answer: Callable[[Request], Response]
    ) -> tuple[Response | None, bool]:
        """What becomes of the request that was met last by this thread."""
        kind = self._kind.drawn
        if kind["apply"]:
            answer(request)
        if kind["status"] is None:
            return None, kind["apply"]
        error = ApiError(kind["status"], "injected-fault", "This answer was drawn by a test.")
        return error.response(), kind["apply"]
