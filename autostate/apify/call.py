"""Child runs: `autostate.call` starts a run of another Actor once, and waits for it again.

The API has no idempotency key for the start of a run. So each call has a name, and a state object
of the library's own keeps, for each name:

    (nothing) ──▶ INTENT: input, time ──POST──▶ RUN: its id ──▶ the run has ended
                     │  ▲                        │
                     │  └── nothing was found    └──▶ INTENT, for a new run (on_failure="restart")
                     └──▶ the outcome is unknown: look in the list of runs, until SETTLES is over

The intent is durable before the request is sent, and the request is sent once, without the
repetitions of the client: a repetition after a lost answer would be a second run. The id is durable
before anything else happens. Between the two, a kill, a lost answer or a timeout leaves it open
whether there is a run. Then the runs of the Actor are listed that started since the intent. The one
whose INPUT record is equal, and that no other name has claimed, is taken for it.

Three assumptions are not documented by Apify. A request that was sent has started its run, and the
list shows the run, within `SETTLES` seconds after the intent: it may have waited in this process
for `SENDING`, and then has 60 s to be carried out and to show. If the server has answered, by a
status of 500 or more, nothing is on its way any more, and `ANSWERED` seconds are enough. The clocks
of this machine and of the platform differ by less than `SKEW`. And nobody else starts the same
Actor with an equal input at the same time: nothing in a run tells who started it.

The INPUT record may have more than what was sent: the platform adds defaults, and encrypts secrets.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import itertools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from autostate.apify import api
from autostate.apify.run_input import digest_of, is_equal, text_of
from autostate.containers.dict import PersistedDict
from autostate.containers.root import blank
from autostate.deadline import backoff
from autostate.errors import ChildRunError
from autostate.ownership.state_names import OWN
from autostate.process import lifecycle
from autostate.runtime.api import current_manager
from autostate.runtime.manager import StateManager

if TYPE_CHECKING:
    from decimal import Decimal

    from apify import Webhook
    from apify_client._models import Run

logger: logging.Logger = logging.getLogger("autostate")

NOTES: Final = f"{OWN}calls"
"""The name of the state object that keeps the intents and the runs."""

SETTLES: float = 90.0
"""Seconds after an intent when a run that the list does not show is taken for not started."""
ANSWERED: float = 30.0
"""The same, in seconds after an answer that says that something has failed."""
SKEW: float = 60.0
"""Seconds by which a run may seem to have started before the intent."""
SENDING: float = 30.0
"""The most seconds between an intent and the moment when its request is given up."""

_LOOK: Final = 2.0
_PAGE: Final = 1000
_ATTEMPTS: Final = 8
_TOO_MANY: Final = 429
_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})

T = TypeVar("T")
OnAbort = Literal["raise", "resurrect"]
OnFailure = Literal["raise", "restart"]


async def call(
    actor_id: str,
    run_input: Any = None,
    *,
    name: str,
    token: str | None = None,
    content_type: str | None = None,
    build: str | None = None,
    max_items: int | None = None,
    max_total_charge_usd: Decimal | None = None,
    restart_on_error: bool | None = None,
    memory_mbytes: int | None = None,
    timeout: timedelta | Literal["inherit"] | None = None,  # noqa: ASYNC109 - as Actor.call
    force_permission_level: Any = None,
    webhooks: list[Webhook] | None = None,
    wait: timedelta | None = None,
    logger: logging.Logger | Literal["default"] | None = "default",
    on_abort: OnAbort = "raise",
    on_failure: OnFailure = "raise",
) -> Run:
    """Start a run of another Actor once, whatever happens, and wait until it has succeeded.

    The arguments are those of `Actor.call`, besides the name and what to do about a run that has
    not succeeded. A process that calls the same name again, after a migration or a resurrection,
    waits for the same run. So does a call of the name in the same process, also after the run has
    ended: a name stands for one run, and its options count when the run is started.

    Args:
        actor_id: The Actor.
        run_input: Its input.
        name: The name of the call, such as "details of page 7".
        token: The API token; by default that of the Actor.
        content_type: The content type of the input.
        build: The tag or the number of the build.
        max_items: The most items to pay for.
        max_total_charge_usd: The most to be charged for events.
        restart_on_error: Restart the run when it fails.
        memory_mbytes: Its memory.
        timeout: Its timeout; "inherit": what is left of this run's.
        force_permission_level: Its permissions.
        webhooks: Ad-hoc webhooks of the run.
        wait: The most time to wait; the run is returned as it is then. None: any time.
        logger: Gets the log of the run while it is waited for, as in `Actor.call`.
        on_abort: About a run that was aborted or timed out before this call: "raise" the error, or
            "resurrect" it.
        on_failure: About a run that failed, or that is deleted, before this call: "raise" the
            error, or "restart": start another one.

    Returns:
        The run.

    Raises:
        ChildRunError: The run has failed, was aborted, or timed out; `error.run` is the run.
        ApifyApiError: The platform refuses to start the run, or does not answer for some minutes.
            Calling the name again is safe.
        FencedError: Another process has taken over the state: nothing was started.
        RuntimeError: Called inside `atomic()`, or outside of `async with Actor`.
        ValueError: The name is empty, or an option has another value.

    Example:
        >>> import autostate
        >>> async def details(page: int) -> str:
        ...     run = await autostate.call("me/details", {"page": page}, name=f"details {page}")
        ...     return run.default_dataset_id
    """
    _check(name, on_abort, on_failure)
    actor = _actor()
    options = {
        "content_type": content_type,
        "build": build,
        "max_items": max_items,
        "max_total_charge_usd": max_total_charge_usd,
        "restart_on_error": restart_on_error,
        "memory_mbytes": memory_mbytes,
        "run_timeout": _resolved(actor, timeout),
        "force_permission_level": force_permission_level,
        "webhooks": _representations(webhooks),
    }
    manager = current_manager()
    if manager.inside_atomic():
        raise RuntimeError("call() saves what it is about to do: call it outside of atomic()")
    child = _Child(manager, actor, actor_id, name, token)
    async with _alone(manager, name):
        run = await child.found(run_input, on_abort, on_failure)
        if run is None:
            run = await child.start(run_input, options)
    return await child.ended(run, wait, logger)


class _Child:
    """The run of one name.

    Args:
        manager: Keeps the notes.
        actor: The SDK's Actor.
        actor_id: The Actor to run.
        name: The name of the call.
        token: Its own API token, if it has one.
    """

    def __init__(
        self, manager: StateManager, actor: Any, actor_id: str, name: str, token: str | None
    ) -> None:
        self._manager = manager
        self._actor_id = actor_id
        self._name = name
        # A client that repeats the request could start two runs.
        self._sender = actor.new_client(token=token, max_retries=0)
        self._client = actor.new_client(token=token)
        make = functools.partial(blank, PersistedDict)
        notes: PersistedDict[str, dict[str, Any]] = _outside(
            lambda: manager.create(NOTES, "dict", make, own=True)
        )
        self._all = notes

    @property
    def _note(self) -> dict[str, Any]:
        """The note; empty if there is none. It is a copy."""
        return dict(self._all.get(self._name, {}))

    def _write(self, note: dict[str, Any]) -> None:
        """Replace the note, outside of the unit of work that the caller is in.

        A unit that fails, or that a kill ends, must not take the note along: the run has started.
        The state gets a copy, which nobody holds: else no save could leave out the unit.
        """
        _outside(lambda: self._all.__setitem__(self._name, copy.deepcopy(note)))

    # -- what earlier calls have left -----------------------------------------------------------

    async def found(self, run_input: Any, on_abort: OnAbort, on_failure: OnFailure) -> Run | None:
        """Give the run that an earlier call has started; None if there is none."""
        note = self._note
        self._check_actor(note)
        self._write(note)
        if "run" in note:
            if note.get("input", digest_of(text_of(run_input))) != digest_of(text_of(run_input)):
                told = "the call %r has started the run %s with another input: use another name"
                logger.warning(told, self._name, note["run"])
            return await self._known(note["run"], on_abort, on_failure)
        return None

    def _check_actor(self, note: dict[str, Any]) -> None:
        if note.setdefault("actor", self._actor_id) != self._actor_id:
            raise ValueError(
                f"the call {self._name!r} has started {note['actor']}: use another name"
            )

    async def _known(self, run_id: str, on_abort: OnAbort, on_failure: OnFailure) -> Run | None:
        """Give a run whose id is known, which may be mended first; None to start another."""
        run: Run | None = await self._client.run(run_id).get()
        status = None if run is None else _status(run)
        if status in ("ABORTED", "TIMED-OUT") and on_abort == "resurrect":
            return await self._resurrect(run_id)
        if status in (None, "FAILED") and on_failure == "restart":
            note = self._note
            note["former"] = [*note.get("former", ()), note.pop("run")]
            self._write(note)
            return None
        if run is None:
            raise ChildRunError(f"the run {run_id} of {self._name!r} does not exist any more", None)
        return run

    async def _resurrect(self, run_id: str) -> Run:
        from apify_client.errors import ApifyApiError

        try:
            resurrected: Run = await self._client.run(run_id).resurrect()
        except ApifyApiError:
            # The answer to a request that was carried out was lost, and the client repeated it.
            run: Run | None = await self._client.run(run_id).get()
            if run is None or _status(run) in ("ABORTED", "TIMED-OUT"):
                raise
            return run
        logger.info("the run %s of %r goes on: it was resurrected", run_id, self._name)
        return resurrected

    # -- starting -------------------------------------------------------------------------------

    async def start(self, run_input: Any, options: Any) -> Run:
        """Start the run, unless an earlier attempt has started it.

        Calls of one Actor with equal inputs do this one after another: else the run that one of
        them starts could be found by another one, before it is claimed.
        """
        text = text_of(run_input)
        async with _alone(self._manager, f"{self._actor_id} {text}"):
            for attempt in itertools.count(1):
                run = await self._search() if "intent" in self._note else None
                run = run or await self._try_to_start(run_input, text, options, attempt)
                if run is not None:
                    await self._manager.durable_rest()  # before anything else happens
                    return run
        raise AssertionError

    async def _try_to_start(
        self, run_input: Any, text: str, options: Any, attempt: int
    ) -> Run | None:
        """Note the intent and send the request; None if it is unknown whether there is a run."""
        from apify_client.errors import ApifyApiError

        intent: dict[str, Any] = {"at": time.time(), "input": text}
        self._write(self._note | {"intent": intent})
        begun = time.monotonic()
        try:
            await self._manager.durable_rest()  # raises if another process has taken over
        except RuntimeError:  # no save is possible during this work
            self._withdraw()
            raise
        left = SENDING - (time.monotonic() - begun)
        if left <= 0:  # the save took long: a search might give up before the request arrives
            self._withdraw()
            return None
        try:
            run: Run = await self._sender.actor(self._actor_id).start(
                run_input=run_input, timeout=timedelta(seconds=left), **options
            )
        except Exception as error:
            refused = isinstance(error, ApifyApiError) and _refuses(error.status_code)
            if refused or _never_sent(error):
                self._withdraw()
            elif isinstance(error, ApifyApiError):
                self._write(self._note | {"intent": intent | {"answered": time.time()}})
            limited = isinstance(error, ApifyApiError) and error.status_code == _TOO_MANY
            if (refused and not limited) or _never_sent(error) or attempt >= _ATTEMPTS:
                raise
            logger.warning("the start of %r has failed, or perhaps not: %r", self._name, error)
            if limited:
                await asyncio.sleep(backoff(attempt, first=1.0, longest=30.0))
            return None
        self._claim(run.id)
        return run

    def _claim(self, run_id: str) -> None:
        """Note that this is the run."""
        note = self._note
        digest = digest_of(note.pop("intent")["input"])
        self._write(note | {"run": run_id, "input": digest})

    def _withdraw(self) -> None:
        """Note that nothing was started."""
        note = self._note
        del note["intent"]
        self._write(note)

    async def _search(self) -> Run | None:
        """Look for the run of an intent, until it can no longer appear."""
        intent = dict(self._note["intent"])
        end = intent["at"] + api.lateness(SETTLES)
        if "answered" in intent:
            end = min(end, intent["answered"] + api.lateness(ANSWERED))
        while True:
            now = time.time()  # before the list is read
            run = await self._listed(intent)
            if run is not None:
                logger.info("the run %s of %r was started before", run.id, self._name)
                return run
            if now >= end or now < intent["at"] - SKEW:  # or the clock was set back
                return None
            await asyncio.sleep(min(_LOOK, max(0.0, end - now)))

    async def _listed(self, intent: dict[str, Any]) -> Run | None:
        """Claim and give the first run of the list that can be that of the intent."""
        since = datetime.fromtimestamp(intent["at"] - SKEW, UTC)
        runs = self._client.actor(self._actor_id).runs()
        offset = 0
        while True:
            page = await runs.list(started_after=since, desc=False, offset=offset, limit=_PAGE)
            for each in page.items:
                if each.id in self._claimed() or not await self._has_input(each, intent["input"]):
                    continue
                found: Run | None = await self._client.run(each.id).get()
                if found is not None and each.id not in self._claimed():
                    self._claim(each.id)
                    return found
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return None

    def _claimed(self) -> set[str]:
        """Give the ids of all runs that calls have started."""
        ids: set[str] = set()
        for note in list(self._all.values()):
            ids.update(note.get("former", ()))
            ids.update([note["run"]] if "run" in note else ())
        return ids

    async def _has_input(self, run: Any, text: str) -> bool:
        store = self._client.key_value_store(run.default_key_value_store_id)
        record = await store.get_record_as_bytes("INPUT")
        return is_equal(None if record is None else record["value"], text)

    # -- waiting --------------------------------------------------------------------------------

    async def ended(self, known: Run, wait: timedelta | None, to_logger: Any) -> Run:
        """Wait for the end of the run.

        Of one that has ended the log was told before; the client's watchers would tell it again,
        and wait for six seconds for what may come.
        """
        run_id, run = known.id, known
        if _status(known) not in _ENDED:
            found = await self._waited_for(self._client.run(run_id), wait, to_logger)
            if found is None:
                message = f"the run {run_id} of {self._name!r} does not exist any more"
                raise ChildRunError(message, None)
            run = found
        status = _status(run)
        if status in _ENDED and status != "SUCCEEDED":
            raise ChildRunError(
                f"the run {run_id} of {self._name!r} ended as {status}: {run.status_message or ''}",
                run,
            )
        return run

    @staticmethod
    async def _waited_for(client: Any, wait: timedelta | None, to_logger: Any) -> Run | None:
        """Wait as the client's `call` does, with the log of the run if it is wanted."""
        run: Run | None
        if to_logger is None:
            run = await client.wait_for_finish(wait_duration=wait)
            return run
        to_logger = None if to_logger == "default" else to_logger
        status = await client.get_status_message_watcher(to_logger=to_logger)
        log = await client.get_streamed_log(to_logger=to_logger)
        async with status, log:
            run = await client.wait_for_finish(wait_duration=wait)
        return run


def _outside(do: Callable[[], T]) -> T:
    """Call a function in an empty context, which is in no unit of work."""
    return contextvars.Context().run(do)


def _check(name: Any, on_abort: Any, on_failure: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError("the call needs a name, a text")
    if on_abort not in ("raise", "resurrect"):
        raise ValueError(f'on_abort must be "raise" or "resurrect", not {on_abort!r}')
    if on_failure not in ("raise", "restart"):
        raise ValueError(f'on_failure must be "raise" or "restart", not {on_failure!r}')


def _actor() -> Any:
    """Give the SDK's Actor, which is open."""
    from apify import Actor

    from autostate.apify import events

    if not events.is_open(Actor):
        raise RuntimeError("call() is for the body of `async with Actor`, or of @autostate.actor")
    return Actor


def _representations(webhooks: Any) -> Any:
    if webhooks is None:
        return None
    from apify._webhook import to_client_representations

    return to_client_representations(webhooks)


def _status(run: Any) -> str:
    return str(getattr(run.status, "value", run.status))


def _refuses(status: int) -> bool:
    """Tell whether an answer of this status says that no run was started."""
    return 400 <= status < 500 and status != 408


def _never_sent(error: Exception) -> bool:
    """Tell whether an error is about the arguments, and not about an answer."""
    from pydantic import ValidationError

    return isinstance(error, TypeError | ValueError) and not isinstance(error, ValidationError)


def _resolved(actor: Any, timeout: timedelta | Literal["inherit"] | None) -> timedelta | None:
    """Give the timeout of the child; the SDK knows what is left of that of this run."""
    if timeout != "inherit":
        return timeout
    left: timedelta | None = actor._get_remaining_time()
    return left


_busy: Final[set[tuple[int, str]]] = set()
_busy_lock = threading.Lock()


@asynccontextmanager
async def _alone(manager: StateManager, name: str) -> AsyncGenerator[None]:
    """Let one task at a time start the run of a name, in whatever loop it is."""
    key = (id(manager), name)
    while True:
        with _busy_lock:
            if key not in _busy:
                _busy.add(key)
                break
        await asyncio.sleep(0.05)
    try:
        yield
    finally:
        with _busy_lock:
            _busy.discard(key)


def _after_fork_in_child() -> None:
    global _busy_lock
    _busy_lock = threading.Lock()
    _busy.clear()


lifecycle.on_fork(_after_fork_in_child)
