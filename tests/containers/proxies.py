"""What the tests of proxies share: an object of a class that no container knows."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from autostate.containers.proxy import VALUE, ProxyRoot, show
from autostate.containers.root import blank
from autostate.tracking.defaults import offer
from tests.conformance.state_kit import Program


@dataclasses.dataclass
class Meter:
    """An object of a third party: with every kind of method."""

    n: int = 0
    log: list[Any] = dataclasses.field(default_factory=list)
    by: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def add(self, n: int = 1) -> Meter:
        """Count, and give itself, to be chained."""
        self.n += n
        return self

    def fail(self) -> None:
        """Count, then raise."""
        self.n += 1
        raise LookupError("after a change")

    async def fetch(self) -> int:
        """Count after a while."""
        await asyncio.sleep(0)
        self.n += 1
        return self.n

    def steps(self) -> Iterator[int]:
        """Count with every step."""
        while True:
            self.n += 1
            yield self.n

    async def pages(self) -> AsyncIterator[int]:
        """Count with every page."""
        while True:
            await asyncio.sleep(0)
            self.n += 1
            yield self.n

    @contextlib.contextmanager
    def session(self) -> Iterator[Meter]:
        """Count when it ends."""
        yield self
        self.n += 1

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Meter]:
        """Count when it ends."""
        yield self
        self.n += 1

    def __call__(self, n: int) -> int:
        self.n += n
        return n

    def __getitem__(self, key: Any) -> Any:
        return self.by[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.by[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.by[key]

    def __iadd__(self, n: int) -> Self:
        self.n += n
        return self

    def __iter__(self) -> Meter:
        return self

    def __next__(self) -> int:
        self.n += 1
        return self.n

    def __len__(self) -> int:
        return len(self.by)

    def __contains__(self, key: Any) -> bool:
        return key in self.by

    def __enter__(self) -> Self:
        self.n += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.n += 1

    async def __aenter__(self) -> Self:
        self.n += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.n += 1

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        self.n += 1
        return self

    def __aiter__(self) -> Meter:
        return self

    async def __anext__(self) -> int:
        self.n += 1
        return self.n


def proxied(program: Program, obj: Any, name: str = "p") -> Any:
    """Do as `autostate.proxy` does, with the store of a program."""
    root = program.tracker.root(name)
    if root is None:
        root = blank(ProxyRoot)
        program.tracker.attach(root, name, "proxy")
    offer(root, {VALUE: obj})
    return show(root)


def dirty(program: Program) -> bool:
    """Whether anything is marked."""
    return program.tracker.dirty
