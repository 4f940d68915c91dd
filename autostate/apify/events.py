"""Actors: each event of Apify becomes a signal of the hub, and a save.

`import autostate` is enough, before or after `import apify`, and does not load the SDK: an import
finder waits for the import of the SDK. Then six functions of the SDK are wrapped:

- entering an Actor: afterwards the library's listeners are registered, again for each context,
  because the SDK forgets all listeners when a context ends;
- leaving an Actor: one save, when all listeners of the program are done;
- becoming another Actor, and rebooting: see `replacing.py`;
- setting a status message: from then on the message is the program's;
- receiving a message from the platform: the SDK drops events whose data it cannot read, and a
  migration must not go unnoticed because its `data` was null.

Listeners are registered at the event manager because `Actor.reboot()` looks for them there. They
wait without blocking the event loop, and the SDK waits for them where it waits at all.

The SDK's internals may change: a function that cannot be wrapped is logged. Saving at intervals
and at the end of the process needs none of this, and goes on.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from autostate import announced, hub, logs
from autostate.errors import AutostateError, StateInUseError
from autostate.process.interrupts import Latch, Worker
from autostate.runtime.api import current_manager, live
from autostate.runtime.manager import StateManager
from autostate.runtime.store_use import late_checks
from autostate.saving import blocked_loop

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta
    from importlib.machinery import ModuleSpec

    from autostate.apify.listening import Ears
    from autostate.settings import SettingsByName

logger: logging.Logger = logging.getLogger("autostate")

LOOP_WATCH = 5.0
"""Seconds between two checks whether the event loop of an Actor still runs."""
LOOP_BLOCKED = 5.0
"""Seconds after which a loop that does not answer counts as blocked."""

_OUTBOXES = "autostate.apify-"
"""The beginning of the names of outboxes that an Actor uses by itself."""

Wrapped = Callable[..., Awaitable[Any]]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Listener = Callable[[Any], Coroutine[Any, Any, None]]


def install() -> None:
    """Hook the Apify SDK: now if it is loaded, else when it is imported."""
    if "apify" in sys.modules:
        _hook()
        _join(sys.modules["apify"])
    elif not any(isinstance(finder, _ApifyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ApifyFinder())


class _ApifyFinder:
    """A finder that lets the other finders find the SDK, and hooks it after its execution.

    wrapt has such a finder, but importing wrapt takes longer than importing all of autostate.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find `apify`, and no other module."""
        if fullname != "apify":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                _call_after_execution(spec.loader, _hook)
                return spec
        return None


def _call_after_execution(loader: Any, hook: Callable[[], None]) -> None:
    execute = loader.exec_module

    def execute_and_hook(module: ModuleType) -> None:
        execute(module)
        hook()

    try:
        loader.exec_module = execute_and_hook
    except AttributeError:
        logger.warning(
            "%r cannot be hooked: call autostate.apify.events.install() after it", loader
        )


def _hook() -> None:
    """Wrap the functions. Never raise: that would fail the program's `import apify`."""
    try:
        import wrapt

        from autostate.apify import replacing

        actor_type: Any = sys.modules["apify._actor"]._ActorType
        if "_hooked_by_autostate" in vars(actor_type):
            return
        wrapt.wrap_function_wrapper(actor_type, "__aenter__", _enter)
        wrapt.wrap_function_wrapper(actor_type, "__aexit__", _leave)
        wrapt.wrap_function_wrapper(actor_type, "metamorph", replacing.metamorph)
        wrapt.wrap_function_wrapper(actor_type, "reboot", replacing.reboot)
        wrapt.wrap_function_wrapper(actor_type, "set_status_message", _set_status_message)
        actor_type._hooked_by_autostate = True
    except Exception:
        _degraded("its Actors are not noticed; state is saved at intervals and at the end only")
        return
    try:
        events: Any = sys.modules["apify.events"]
        wrapt.wrap_function_wrapper(events.ApifyEventManager, "_handle_platform_message", _receive)
    except Exception:
        _degraded("an event whose data it cannot read goes unnoticed")


def _degraded(what: str) -> None:
    error = sys.exception()
    logger.warning("This version of the Apify SDK is not known (%r): %s.", error, what)


async def _enter(wrapped: Wrapped, actor: Any, args: Args, kwargs: Kwargs) -> Any:
    """Enter an Actor context, and listen to its events."""
    from autostate.apify.purge import surviving_a_purge

    if in_step := wants_in_step():
        from autostate.apify import versions

        versions.check()
        from autostate.apify import storage_client

        storage_client.install()
    with surviving_a_purge(live()):
        entered = await wrapped(*args, **kwargs)
    if in_step:
        _in_step.add(actor)
    _attach(actor)
    await _resume_outboxes(actor)
    return entered


async def _resume_outboxes(actor: Any, *, leaving: bool = False) -> None:
    """Deliver what former processes have put into outboxes, though this one may put nothing."""
    if not wants_in_step() and not _has_outboxes():
        return
    from autostate.apify import in_step

    try:
        await in_step.resume(actor, leaving=leaving)
    except StateInUseError as error:  # the owner delivers it; a use of the state raises this again
        logger.debug("What former runs have pushed and charged is left to the owner: %s", error)
    except AutostateError as error:
        logger.error("What former runs have pushed and charged is not delivered: %s", error)  # noqa: TRY400
    except Exception:
        _degraded("what a former process has pushed and charged may stay in its outboxes")


def _join(apify: Any) -> None:
    """Listen in an Actor context that was entered before autostate was imported."""
    proxy = getattr(apify, "Actor", None)
    if is_open(proxy):
        _attach(getattr(proxy, "__wrapped__", proxy))


def is_open(proxy: Any) -> bool:
    """Tell whether the program is inside `async with Actor`, given `apify.Actor`."""
    return bool(getattr(proxy, "__resolved__", False) and getattr(proxy, "_active", False))


def _attach(actor: Any) -> None:
    """Listen to the events of an open Actor context that concern saving."""
    with contextlib.suppress(Exception):  # an SDK with another kind of logging
        logs.dress_as_sdk(actor)
    _listen(actor)
    _watch_loop(actor)
    _tell_progress(actor)
    _expect_timeout(actor)


def _listen(actor: Any) -> None:
    try:
        events = actor.event_manager
        _listeners[events] = listeners = _Listeners(actor)
        listeners.register(events)
    except Exception:
        _degraded("its events are not heard; state is saved at intervals and at the end only")


def _tell_progress(actor: Any) -> None:
    from autostate.apify import publishing, status_message

    with contextlib.suppress(Exception):  # no loop runs here
        publishing.begin(actor)
    with contextlib.suppress(Exception):  # no loop runs here, or this SDK has no such event
        status_message.begin(actor)


def _expect_timeout(actor: Any) -> None:
    """Save before the run times out; the program may have configured the SDK by itself."""
    with contextlib.suppress(Exception):  # this SDK does not tell: the environment may
        announced.note_timeout(actor.configuration.timeout_at)
        for manager in live():
            manager.expect_timeout()


def _watch_loop(actor: Any) -> None:
    """Notice in another thread when the blocked loop of an Actor hears no events."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # the Actor was entered elsewhere, or before autostate was imported
        return
    _unwatch_loop(actor)
    stop = Latch()
    _watches[actor] = stop
    from autostate.apify.listening import Ears, in_standby

    url = None
    with contextlib.suppress(Exception):  # an SDK with another configuration
        url = actor.configuration.actor_events_ws_url
    ears = Ears(loop, url)
    Worker(functools.partial(_watch, loop, stop, ears), "autostate-loop-watch").start()
    if in_standby():
        listen = functools.partial(ears.listen, lambda: stop.is_set)
        Worker(listen, "autostate-events").start()


def _watch(loop: asyncio.AbstractEventLoop, stop: Latch, ears: Ears) -> None:
    """Ask the loop for a sign of life regularly, and hear its events while there is none.

    This is the thread of `_watch_loop`.
    """
    from autostate.apify.listening import in_standby

    standby = in_standby()  # then another thread hears the events
    while not stop.wait(LOOP_WATCH):
        alive = Latch()
        asked = time.monotonic()
        try:
            loop.call_soon_threadsafe(alive.set)
        except RuntimeError:  # the loop is closed
            return
        if alive.wait(LOOP_BLOCKED):
            continue

        def ended(alive: Latch = alive, asked: float = asked) -> bool:
            if not standby:  # there the server may block the loop as long as it likes
                blocked_loop.report(loop, time.monotonic() - asked)
            return alive.is_set or stop.is_set or not loop.is_running()

        while not ended():
            if standby:
                alive.wait(LOOP_WATCH)
            else:
                ears.listen(ended)
        blocked_loop.ran(loop)


def _unwatch_loop(actor: Any) -> None:
    if (stop := _watches.pop(actor, None)) is not None:
        stop.set()


_watches: WeakKeyDictionary[Any, Latch] = WeakKeyDictionary()
"""The latches that end the watch over the loop of each Actor."""


async def _leave(wrapped: Wrapped, actor: Any, args: Args, kwargs: Kwargs) -> Any:
    """Leave an Actor context and save once, however the context ended.

    The SDK's own last `persist_state` is passed on only here, after the program's listeners have
    run: otherwise their changes would need another save.
    """
    from autostate.apify import publishing, status_message

    was_active = getattr(actor, "_active", True)
    try:
        await status_message.end(actor)
        await publishing.end(actor)
        if was_active:
            await _resume_outboxes(actor, leaving=True)
        return await wrapped(*args, **kwargs)
    finally:
        if was_active:
            _unwatch_loop(actor)
            hub.persist_state.send(None, is_migrating=False)
            try:
                await _finish_outboxes()
                await save("at the end of the Actor", ending=True)
            finally:
                if (queues := sys.modules.get("autostate.apify.in_step_queue")) is not None:
                    queues.go_on()


def _has_outboxes() -> bool:
    """Tell whether an open state has outboxes of an Actor; without loading what they need."""
    names = (name for each in live() for name in each._tracker().names)
    return any(name.startswith(_OUTBOXES) for name in names)


async def _finish_outboxes() -> None:
    """Deliver what this process has put into outboxes, if there are any."""
    in_step: Any = sys.modules.get("autostate.apify.in_step")
    if in_step is not None:
        await in_step.finish()


async def _set_status_message(wrapped: Wrapped, actor: Any, args: Args, kwargs: Kwargs) -> Any:
    """Leave the message to the program from now on, unless it is the library's."""
    from autostate.apify import status_message

    await status_message.let_program(actor)
    return await wrapped(*args, **kwargs)


async def _receive(wrapped: Wrapped, events: Any, args: Args, kwargs: Kwargs) -> Any:
    """Receive a message from the platform, and handle it here if the SDK could not read it."""
    listeners = _listeners.get(events)
    message = args[0] if args else kwargs.get("message")
    heard = listeners.heard if listeners else 0
    result = await wrapped(*args, **kwargs)
    if listeners and (hear := listeners.by_name.get(_name_of(message))):
        import asyncio

        for _ in range(3):  # after this, every task that the SDK has started has begun
            await asyncio.sleep(0)  # a task that a task has started, with crawlee 1.8
        if listeners.heard == heard:
            logger.warning("Apify sent an event that its SDK dropped: %s.", _name_of(message))
            task = asyncio.create_task(hear(None))
            listeners.tasks.add(task)
            task.add_done_callback(listeners.tasks.discard)
    return result


def _name_of(message: Any) -> str:
    import json

    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return str(json.loads(message).get("name"))
    return ""


class _Listeners:
    """The listeners for the events of one Actor context.

    Attributes:
        heard: The number of events so far.
        by_name: The listener for each event, by the platform's name for the event.
        tasks: The tasks that were started here, which keeps them from being collected.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._rebooting = False
        self.heard = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.by_name: dict[str, Listener] = {
            "migrating": self._migrating,
            "aborting": self._aborting,
            "persistState": self._persist_state,
        }

    def register(self, events: Any) -> None:
        """Listen, through the event manager of this context."""
        from apify import Event

        for name, listener in self.by_name.items():
            events.on(event=Event(name), listener=listener)

    async def _migrating(self, data: Any) -> None:
        self.heard += 1
        remaining = _seconds(getattr(data, "time_remaining", None))
        if not self._rebooting:
            hub.migrating.send(None, time_remaining=remaining)
        saved = await save("before the migration", math.inf if remaining is None else remaining)
        if saved and not self._rebooting and _wants_reboot():
            await self._reboot()

    async def _aborting(self, data: Any) -> None:
        from autostate.apify.listening import GRACEFUL_ABORT

        self.heard += 1
        hub.aborting.send(None, time_remaining=GRACEFUL_ABORT)
        await save("before the abort", GRACEFUL_ABORT)

    async def _persist_state(self, data: Any) -> None:
        self.heard += 1
        if not getattr(self._actor, "_is_exiting", False):  # then `_leave` passes it on
            hub.persist_state.send(None, is_migrating=getattr(data, "is_migrating", False))
            await save("at persist_state")

    async def _reboot(self) -> None:
        """Reboot now instead of working until the kill. Sleep until this container is gone."""
        self._rebooting = True
        try:
            await self._actor.reboot()
        except Exception:
            logger.warning("The reboot failed; the Actor goes on until the kill.", exc_info=True)
        finally:
            self._rebooting = False


_listeners: WeakKeyDictionary[Any, _Listeners] = WeakKeyDictionary()
"""The listeners of each Actor context, by its event manager."""


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else max(0.0, duration.total_seconds())


_in_step: WeakSet[Any] = WeakSet()
"""The Actors that were entered with the setting `in_step`."""
_entry_points_in_step: bool = False


def expect_in_step() -> None:
    """Enter all Actors in step: the program has an entry point that needs it."""
    global _entry_points_in_step
    _entry_points_in_step = True


def _refuse_late_step(settings: SettingsByName) -> None:
    """Raise an error if `in_step` is set in an Actor that was entered without it."""
    apify = sys.modules.get("apify") if settings.get("in_step") else None
    proxy = getattr(apify, "Actor", None)
    if is_open(proxy) and getattr(proxy, "__wrapped__", proxy) not in _in_step:
        raise RuntimeError(
            "in_step is set too late: the Actor was entered without it, so what it pushes, charges "
            "and marks goes to the platform at once. Set it before `async with Actor`: by "
            "autostate.configure(in_step=True) or @autostate.actor(in_step=True)"
        )


late_checks.append(_refuse_late_step)


def wants_in_step() -> bool:
    """Tell whether items, charges and requests go through autostate."""
    return _entry_points_in_step or any(
        each.settings.in_step for each in (*live(), current_manager())
    )


def _wants_reboot() -> bool:
    """Tell whether any manager is to reboot, also one without state objects so far."""
    return any(each.settings.reboot_on_migrating for each in (*live(), current_manager()))


async def save(when: str, seconds: float = math.inf, *, ending: bool = False) -> bool:
    """Make everything durable, without blocking the event loop; tell whether it is durable.

    Args:
        when: The occasion, for the message about a failure.
        seconds: The longest time that it may take.
        ending: Do not wait for an error that waiting does not mend.
    """
    import asyncio

    saves = [_save_one(owner, when, seconds, ending=ending) for owner in live()]
    return all(await asyncio.gather(*saves))


async def _save_one(owner: StateManager, when: str, seconds: float, *, ending: bool) -> bool:
    durable = owner.durable_at_end if ending else owner.durable
    try:
        await durable(min(owner.settings.flush_timeout, seconds))
    except (AutostateError, RuntimeError) as error:
        logger.error("Not all state in %s was saved %s: %s", owner.url, when, error)  # noqa: TRY400
        return False
    return True
