"""OpenTelemetry: metrics and spans of what autostate does, through its API alone.

    from autostate import otel

    otel.instrument()

Where they go is up to the SDK that the program sets up; without one nothing happens. They hold
names, sizes, durations and numbers, and no values of the program. Nothing else of autostate imports
OpenTelemetry.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final

from autostate import hub
from autostate.delivery.outbox import Outbox
from autostate.runtime import manager as managers
from autostate.runtime.api import live
from autostate.runtime.manager import StateManager

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        "autostate.otel needs the API of OpenTelemetry: pip install 'autostate[otel]'",
        name=error.name,
    ) from None

_NAME: Final = "autostate"
_STORE: Final = "autostate.store"
_ERROR: Final = "error.type"


def instrument(
    meter_provider: metrics.MeterProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> None:
    """Measure saves, failures and deliveries from now on, and trace saves and waits for them.

    Another call replaces the providers of the one before.

    Args:
        meter_provider: Where metrics go; by default to the global provider.
        tracer_provider: Where spans go; by default to the global provider.
    """
    global _active
    made = _Instruments(
        metrics.get_meter(_NAME, meter_provider=meter_provider),
        trace.get_tracer(_NAME, tracer_provider=tracer_provider),
    )
    uninstrument()
    _active = made
    made.connect()


def uninstrument() -> None:
    """Measure and trace nothing more."""
    global _active
    active, _active = _active, None
    if active is not None:
        active.disconnect()


class _Instruments:
    """What is measured, and the receivers of the signals that measure it.

    Args:
        meter: Makes the instruments.
        tracer: Makes the spans.
    """

    def __init__(self, meter: metrics.Meter, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            "autostate.save.duration", "s", "How long saves took, from the cut to the answer"
        )
        self._bytes = meter.create_counter("autostate.save.bytes", "By", "Bytes that were saved")
        self._entries = meter.create_counter(
            "autostate.save.entries", "{entry}", "Entries that were saved"
        )
        self._failures = meter.create_counter(
            "autostate.save.failures", "{failure}", "Attempts to save that failed"
        )
        self._fenced = meter.create_counter(
            "autostate.fenced", "{state}", "States that a later process has taken over"
        )
        self._restored = meter.create_counter(
            "autostate.restored", "{object}", "State objects that were restored"
        )
        self._undelivered = meter.create_counter(
            "autostate.outbox.failures", "{failure}", "Deliveries that failed"
        )
        meter.create_observable_gauge(
            "autostate.staleness", [self._gauge(_staleness)], "s", "How long something is unsaved"
        )
        meter.create_observable_gauge(
            "autostate.unsaved", [self._gauge(_unsaved)], "By", "An estimate of what is unsaved"
        )
        meter.create_observable_gauge(
            "autostate.outbox.items", [self._gauge(_items)], "{item}", "Items to be delivered"
        )
        self._receivers = (
            (hub.flushed, self._saved),
            (hub.flush_failed, self._failed),
            (hub.fenced, self._was_fenced),
            (hub.rehydrated, self._was_restored),
            (hub.delivery_failed, self._not_delivered),
        )

    def connect(self) -> None:
        """Begin to measure and trace."""
        for signal, receiver in self._receivers:
            signal.connect(receiver)
        managers.around_waits = self._wait

    def disconnect(self) -> None:
        """Measure and trace nothing more."""
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)
        managers.around_waits = None

    def _gauge(
        self, observe: Callable[[StateManager], Iterable[tuple[float, dict[str, str]]]]
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        def observed(_options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            for manager in live() if _active is self else ():
                for value, attributes in observe(manager):
                    yield metrics.Observation(value, {_STORE: manager.url, **attributes})

        return observed

    # -- the receivers ------------------------------------------------------------------------

    def _saved(self, sender: Any, *, duration: float, entries: int, **details: Any) -> None:
        store = {_STORE: sender.url}
        self._duration.record(duration, store)
        self._bytes.add(details["bytes"], store)
        self._entries.add(entries, store)
        end = time.time_ns()
        span = self._tracer.start_span(
            "autostate.save",
            start_time=end - int(duration * 1e9),
            attributes={
                **store,
                "autostate.bytes": details["bytes"],
                "autostate.entries": entries,
                "autostate.records": details["writes"],
            },
        )
        span.end(end)

    def _failed(self, sender: Any, *, error: BaseException, **_: Any) -> None:
        self._failures.add(1, {_STORE: sender.url, _ERROR: type(error).__name__})

    def _was_fenced(self, sender: Any, **_: Any) -> None:
        self._fenced.add(1, {_STORE: sender.url})

    def _was_restored(self, sender: Any, *, kind: str, resumed: bool, **_: Any) -> None:
        if resumed:
            self._restored.add(1, {_STORE: sender.url, "autostate.kind": kind})

    def _not_delivered(self, _: Any, *, outbox: str, error: BaseException, **__: Any) -> None:
        attributes = {"autostate.outbox": outbox, _ERROR: type(error).__name__}
        self._undelivered.add(1, attributes)

    @contextlib.contextmanager
    def _wait(self, name: str, manager: StateManager) -> Generator[None]:
        """Trace a call of `flush` or `durable`, in the span of whatever calls it."""
        with self._tracer.start_as_current_span(
            f"autostate.{name}",
            attributes={_STORE: manager.url},
            record_exception=False,  # the class says enough, and holds nothing of the program
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute(_ERROR, type(error).__name__)
                span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
                raise


_active: _Instruments | None = None


def _staleness(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    yield manager.statistics().staleness, {}


def _unsaved(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    yield manager.statistics().unsaved_bytes, {}


def _items(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    for companion in manager.companions():
        if isinstance(companion, Outbox):
            yield len(companion), {"autostate.outbox": companion.name}
