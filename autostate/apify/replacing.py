"""Calls by which an Actor lets the platform replace its container: a reboot, and a metamorph.

Both end by a kill, some time after the platform was asked.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sized
from typing import Any

from autostate import announced
from autostate.apify.events import Args, Kwargs, Wrapped, save
from autostate.errors import AutostateError, UnsupportedTypeError
from autostate.runtime.api import live

logger: logging.Logger = logging.getLogger("autostate")


async def metamorph(wrapped: Wrapped, _actor: Any, args: Args, kwargs: Kwargs) -> Any:
    """Save before another Actor takes the place of this one.

    The requests in work are undone. One that ended after the save might be marked as handled while
    what it has pushed is lost, as the next Actor has other outboxes. If the metamorph fails, all of
    them are worked again.
    """
    queues = sys.modules.get("autostate.apify.in_step_queue")
    with contextlib.nullcontext() if queues is None else queues.abandoned():
        await _deliver("before the metamorph")
        await save("before the metamorph")
        return await wrapped(*args, **kwargs)


async def _deliver(when: str) -> None:
    """Empty the outboxes: the next Actor has others, and delivers nothing of this one."""
    for manager in live():
        for companion in manager.companions():
            drain = getattr(companion, "drain_async", None)
            try:
                try:
                    emptied = drain is None or await drain()
                except UnsupportedTypeError:  # logged; everything else is durable, and delivered
                    emptied = not (isinstance(companion, Sized) and len(companion))
                if not emptied:
                    logger.error("%r was not emptied %s", companion, when)
            except (AutostateError, RuntimeError) as error:
                logger.error("%r was not emptied %s: %s", companion, when, error)  # noqa: TRY400


async def reboot(wrapped: Wrapped, actor: Any, args: Args, kwargs: Kwargs) -> Any:
    """Reboot; go on as before if that fails.

    The SDK calls the listeners for `migrating` before it asks the platform. They announce a kill,
    which does not come if the platform refuses. Crawls would wait for it.
    """
    before = announced.kills
    try:
        return await wrapped(*args, **kwargs)
    except BaseException as error:
        # A call that is cancelled while it waits for its end, as by a timeout, has succeeded.
        has_failed = isinstance(error, Exception) or not getattr(actor, "_is_rebooting", False)
        if has_failed and announced.kills > before:
            _recall_kill()
        raise


def _recall_kill() -> None:
    announced.recall_kill()
    for manager in live():
        manager.recall_kill()
