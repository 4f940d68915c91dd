"""`@autostate.actor`, as type checkers see it.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, assert_type

import autostate
from autostate import PersistedDict, PersistedSet

# -- an entry point ------------------------------------------------------------------------------


@autostate.actor
async def main(progress: PersistedDict[str, int], seen: PersistedSet[str]) -> int:
    """Inside, parameters have their own types."""
    assert_type(progress["page"], int)
    seen.add(1)  # error
    return len(seen)


@autostate.actor(reboot_on_migrating=True, debounce=5)
async def with_settings(progress: PersistedDict[str, int], url: str, *, limit: int = 5) -> None:
    """Parameters of other types are the caller's."""


@autostate.persisted
class Totals:
    """A class of the user's."""

    def __init__(self) -> None:
        """Begin."""
        self.pages = 0


@autostate.actor
async def with_class(totals: Totals) -> Totals:
    """Inside, it is the class that it was."""
    assert_type(totals.pages, int)
    return totals


@autostate.actor(in_step=True)
async def paid() -> None:
    """What is pushed and charged has the results of the SDK."""
    pushed = await autostate.push_data([{"n": 1}, {"n": 2}], charged_event_name="page")
    assert_type(pushed.charged_count, int)
    charged = await autostate.charge("page", count=2, idempotency_key="k")
    assert_type(charged.event_charge_limit_reached, bool)
    await autostate.push_data("text")  # error
    await autostate.charge("page", 2)  # error


async def plain(progress: PersistedDict[str, int]) -> str:
    """Not decorated yet."""
    return str(progress)


# -- calls of it ---------------------------------------------------------------------------------

assert_type(asyncio.run(main()), int)
assert_type(asyncio.run(with_settings("https://example.com", limit=3)), None)
assert_type(main.__name__, str)
assert_type(asyncio.run(with_class()), Totals)
run: Callable[[], Coroutine[Any, Any, int]] = main


async def calls() -> None:
    """Await it, in a test or in another Actor."""
    assert_type(await main(), int)
    assert_type(await main(progress=PersistedDict[str, int]("other")), int)
    len(await main())  # error
    main().page  # error

    # the function as it was written knows its parameters
    progress, seen = PersistedDict[str, int]("progress"), PersistedSet[str]("seen")
    assert_type(await main.__wrapped__(progress, seen), int)
    assert_type(await with_settings.__wrapped__(progress, "url", limit=1), None)
    await main.__wrapped__()  # error
    await main.__wrapped__(seen, progress)  # error
    await with_settings.__wrapped__(progress, "url", limit="1")  # error

    assert_type(await autostate.actor(plain)(), str)
    assert_type(await autostate.actor(plain, debounce=1)(), str)
    assert_type(await autostate.actor(debounce=1)(plain)(), str)


async def child_runs() -> None:
    """A run of another Actor, started once."""
    try:
        made = await autostate.call("name/details", {"page": 7}, name="page 7")
        assert_type(made.id, str)
    except autostate.ChildRunError as error:
        assert_type(error.args, tuple[Any, ...])
    await autostate.call("name/details", name="page 8", on_abort="resurrect")
    await autostate.call("name/details")  # error
    await autostate.call("name/details", name="page 9", on_abort="again")  # error


# -- what is refused -----------------------------------------------------------------------------


def synchronous(progress: PersistedDict[str, int]) -> None:
    """Nothing can be awaited here."""


autostate.actor(synchronous)  # error
autostate.actor("main")  # error
autostate.actor(reboot_on_migrating="yes")  # error
autostate.actor(debonce=1)  # error: mypy pyright
autostate.actor(debounce=1)(synchronous)  # error
autostate.actor(plain, debounce="soon")  # error
