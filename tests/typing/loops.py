"""Resumable loops, as type checkers see them.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import autostate
from autostate import PersistedDict, PersistedList, resume
from autostate.loops.resume import AsyncLoop, Loop

for word in resume("words", ["one", "two"]):
    assert_type(word, str)
for number in autostate.resume("numbers", range(3), progress=False, total=3):
    assert_type(number, int)
with Path("lines.txt").open() as text, Path("lines.txt").open("rb") as binary:
    for line in resume("lines", text):
        assert_type(line, str)
    for raw in resume("raw", binary):
        assert_type(raw, bytes)
for name, size in resume("sizes", {"apple": 3}.items()):
    assert_type(name, str)
    assert_type(size, int)
for key in resume("keys", PersistedDict[str, int]("dict")):
    assert_type(key, str)
for item in resume("queue", PersistedList[tuple[str, int]]("queue"), key=lambda one: one[0]):
    assert_type(item, tuple[str, int])
for position, word in enumerate(resume("counted", ["one"])):
    assert_type(position, int)
    assert_type(word, str)


def generated() -> Iterator[bytes]:
    """Give some."""
    yield b""


async def awaited() -> AsyncIterator[float]:
    """Give some."""
    yield 0.5


loop = resume("generated", generated(), check=False, restart=True, again=True, progress=True)
assert_type(loop, Loop[bytes])
for chunk in loop:
    assert_type(chunk, bytes)
    assert_type(loop.done(), None)
later = resume("awaited", awaited(), progress=None, total=None)
assert_type(later, AsyncLoop[float])


async def asynchronous() -> None:
    """Use it in an event loop."""
    async for word in resume("words", ["one", "two"]):
        assert_type(word, str)
    async for share in later:
        assert_type(share, float)
    async for share in resume("awaited", awaited(), key=round):
        assert_type(share, float)
    for word in resume("words", ["one", "two"]):
        assert_type(word, str)


def refused(error: autostate.ResumeError) -> None:
    """Do what cannot be done."""
    autostate.AutostateError(error)
    resume(["one"])  # error
    resume("one")  # error
    resume("one", 1)  # error
    resume(1, ["one"])  # error
    resume("one", ["one"], progress="yes")  # error
    resume("one", ["one"], restart=1)  # error
    resume("one", ["one"], total="3")  # error
    resume("one", ["one"], keys=len)  # error
    resume("one", [1], key=lambda one: one.upper())  # error
    list(later)  # error


for several in resume("several", ["one"], batch=2):
    assert_type(several, list[str])
assert_type(resume("several", awaited(), batch=2), AsyncLoop[list[float]])
resume("one", ["one"], batch="2")  # error
