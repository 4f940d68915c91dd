"""OpenTelemetry: metrics and spans of what autostate does, through its API alone.

    from autostate import otel

    otel.instrument()

Where they go is up to the SDK that the program sets up; without one nothing happens. They hold
names, sizes, durations and numbers, and no values of the program. Nothing else of autostate imports
OpenTelemetry.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final

from autostate import hub
from autostate.delivery.outbox import Outbox
from autostate.runtime import manager as managers
from autostate.runtime.api import live
from autostate.runtime.manager import StateManager

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as _SUPPRESSED
except ImportError as error:
    raise ImportError(
        "autostate.otel needs the API of OpenTelemetry: pip install 'autostate[otel]'",
        name=error.name,
    ) from None

logger: logging.Logger = logging.getLogger("autostate")

_NAME: Final = "autostate"
_STORE: Final = "autostate.store"
_ERROR: Final = "error.type"
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
"""The bounds of durations: those of an SDK begin with 5, as for milliseconds."""


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
        self._has_raised = False
        self._duration = meter.create_histogram(
            "autostate.save.duration",
            "s",
            "How long saves took, from the cut to the answer",
            explicit_bucket_boundaries_advisory=_SECONDS,
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
        with self._harmless():
            self._duration.record(duration, store)
            self._bytes.add(details["bytes"], store)
            self._entries.add(entries, store)
            end = time.time_ns()
            span = self._tracer.start_span(
                "autostate.save",
                context.Context(),  # in no other span, whichever thread saves
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
        with self._harmless():
            self._failures.add(1, {_STORE: sender.url, _ERROR: type(error).__name__})

    def _was_fenced(self, sender: Any, **_: Any) -> None:
        with self._harmless():
            self._fenced.add(1, {_STORE: sender.url})

    def _was_restored(self, sender: Any, *, kind: str, resumed: bool, **_: Any) -> None:
        with self._harmless():
            if resumed:
                self._restored.add(1, {_STORE: sender.url, "autostate.kind": kind})

    def _not_delivered(self, _: Any, *, outbox: str, error: BaseException, **__: Any) -> None:
        attributes = {"autostate.outbox": outbox, _ERROR: type(error).__name__}
        with self._harmless():
            self._undelivered.add(1, attributes)

    @contextlib.contextmanager
    def _wait(self, name: str, manager: StateManager) -> Generator[None]:
        """Trace a call of `flush` or `durable`, in the span of whatever calls it."""
        span = token = raised = None
        if not context.get_value(_SUPPRESSED):  # an exporter that calls it would be its own cause
            with self._harmless():
                span = self._tracer.start_span(
                    f"autostate.{name}", attributes={_STORE: manager.url}
                )
                token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        except Exception as error:
            raised = type(error).__name__  # the class says enough: no values of the program
            raise
        finally:
            with self._harmless():
                if token is not None:
                    context.detach(token)
                if span is not None:
                    self._end(span, raised)

    def _end(self, span: trace.Span, raised: str | None) -> None:
        if raised is not None:
            span.set_attribute(_ERROR, raised)
            span.set_status(trace.Status(trace.StatusCode.ERROR, raised))
        span.end()

    @contextlib.contextmanager
    def _harmless(self) -> Generator[None]:
        """Keep an error of a sampler, a processor or an exporter from saving and its callers."""
        try:
            yield
        except Exception as error:
            if not self._has_raised:
                self._has_raised = True
                logger.warning(
                    "OpenTelemetry raised an error, and others of it are not told: %s",
                    *(type(error).__name__,),
                    exc_info=error,
                )


_active: _Instruments | None = None


def _staleness(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    yield manager.statistics().staleness, {}


def _unsaved(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    yield manager.statistics().unsaved_bytes, {}


def _items(manager: StateManager) -> Iterator[tuple[float, dict[str, str]]]:
    for companion in manager.companions():
        if isinstance(companion, Outbox):
            yield len(companion), {"autostate.outbox": companion.name}
