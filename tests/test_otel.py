"""Metrics and spans of OpenTelemetry, as the SDK collects them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

import autostate
from autostate import FlushError, PersistedDict, hub, otel, outbox
from tests.counting import called
from tests.faulty import FaultyStore, Step

SECRET = "hunter2"


class Collected:
    """What an SDK has collected."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.spans = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def metrics(self) -> dict[str, Any]:
        """The last point of each metric, by name."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "autostate"
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)[-1]
        return found

    def names(self) -> list[str]:
        """The names of the spans that have ended, in order."""
        return [span.name for span in self.spans.get_finished_spans()]


@pytest.fixture
def collected() -> Iterator[Collected]:
    """Everything that is measured and traced in a test."""
    made = Collected()
    otel.instrument(made.meters, made.tracers)
    yield made
    otel.uninstrument()


def test_saves_are_measured(isolated: Path, collected: Collected) -> None:
    """How many, how long, how much; and what came back."""
    url = f"sqlite:///{isolated}/s.db"
    with autostate.open(url):
        PersistedDict("d", token=SECRET, page=1)
        autostate.flush()
    with autostate.open(url) as manager:
        PersistedDict("d")["page"] = 2
        manager.flush()
        found = collected.metrics()
        assert found["autostate.staleness"].value == 0
        assert found["autostate.unsaved"].value == 0
    assert found["autostate.save.duration"].count == 2
    assert found["autostate.save.entries"].value == 3
    assert found["autostate.save.bytes"].value > 50
    assert dict(found["autostate.save.bytes"].attributes) == {"autostate.store": url}
    assert dict(found["autostate.restored"].attributes)["autostate.kind"] == "dict"
    assert "autostate.save.failures" not in found
    told = f"{found}{[span.to_json() for span in collected.spans.get_finished_spans()]}"
    assert SECRET not in told


def test_a_wait_is_a_span_of_the_caller(isolated: Path, collected: Collected) -> None:
    """A save is one beside it, as long as it took."""
    with autostate.open("memory:") as manager:
        PersistedDict("d", a=1)
        with collected.tracers.get_tracer("program").start_as_current_span("request"):
            autostate.flush()
        assert manager.statistics().flushes == 1
    assert collected.names() == ["autostate.save", "autostate.flush", "request"]
    save, wait, request = collected.spans.get_finished_spans()
    assert wait.parent is not None
    assert request.context is not None
    assert wait.parent.span_id == request.context.span_id
    assert save.parent is None
    assert save.attributes is not None
    assert save.attributes["autostate.entries"] == 1
    assert save.start_time is not None
    assert save.end_time is not None
    assert save.end_time > save.start_time


async def test_awaiting_is_a_span_too(isolated: Path, collected: Collected) -> None:
    """Under its own name."""
    async with autostate.open("memory:"):
        PersistedDict("d", a=1)
        await autostate.durable()
    assert collected.names()[:2] == ["autostate.save", "autostate.durable"]


def _failing(step: Step) -> None:
    if step.writes:
        raise autostate.StoreUnavailableError(SECRET)
    step.apply()


def test_failures_are_measured(isolated: Path, collected: Collected) -> None:
    """By the class of the error alone, which is the status of the span, too."""
    store = FaultyStore({}, _failing)
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.2):
        PersistedDict("d", a=1)
        with pytest.raises(FlushError):
            autostate.flush(timeout=0.2)
        assert collected.metrics()["autostate.staleness"].value > 0
    failures = collected.metrics()["autostate.save.failures"]
    assert failures.value >= 1
    assert dict(failures.attributes)["error.type"] == "StoreUnavailableError"
    [wait] = [each for each in collected.spans.get_finished_spans() if each.name.endswith("flush")]
    assert wait.status.description == "FlushError"
    assert not wait.events
    assert SECRET not in wait.to_json()


def test_outboxes_are_measured(isolated: Path, collected: Collected) -> None:
    """What they have, and what fails."""

    def refuse(_items: Any) -> None:
        raise autostate.DeliveryRefusedError(SECRET)

    with autostate.open("memory:"):
        box = outbox("mails", refuse)
        box.put(SECRET)
        autostate.flush()
        with pytest.raises(autostate.DeliveryRefusedError):
            box.drain(10)
        while "autostate.outbox.failures" not in (found := collected.metrics()):
            time.sleep(0.01)  # `drain` may return before the thread has told of it
    assert found["autostate.outbox.items"].value == 1
    assert dict(found["autostate.outbox.failures"].attributes) == {
        "autostate.outbox": "mails",
        "error.type": "DeliveryRefusedError",
    }
    assert SECRET not in str(found)


def test_instrumenting_again_replaces_the_providers(isolated: Path, collected: Collected) -> None:
    """And nothing is measured twice, or after the end."""
    again = Collected()
    otel.instrument(again.meters, again.tracers)
    with autostate.open("memory:"):
        PersistedDict("d", a=1)
        autostate.flush()
        assert "autostate.staleness" not in collected.metrics()
    assert collected.names() == []
    assert again.names()[:2] == ["autostate.save", "autostate.flush"]
    otel.uninstrument()
    with autostate.open("memory:"):
        PersistedDict("d", a=1)
        autostate.flush()
    assert len(again.names()) == len(again.names()[:3])


class Raising(SpanProcessor):
    """A processor that is broken."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Raise."""
        if self.where == "start":
            raise RuntimeError(SECRET)

    def on_end(self, span: Any) -> None:
        """Raise."""
        if self.where == "end":
            raise RuntimeError(SECRET)


@pytest.mark.parametrize("where", ["start", "end"])
def test_an_sdk_that_raises_is_in_nobodys_way(
    isolated: Path, collected: Collected, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits for a save gets it, and its own errors; the first error is told."""
    collected.tracers.add_span_processor(Raising(where))
    with autostate.open("memory:") as manager:
        state = PersistedDict("d", a=1)
        autostate.flush()
        state["a"] = 2
        autostate.flush()
        assert manager.statistics().flushes == 2
        state["lock"] = open
        with pytest.raises(autostate.UnsupportedTypeError):
            autostate.flush()
        del state["lock"]
    assert collected.metrics()["autostate.save.duration"].count >= 2
    told = [record for record in caplog.records if "OpenTelemetry" in record.getMessage()]
    assert len(told) == 1


def test_durations_have_bounds_in_seconds(isolated: Path, collected: Collected) -> None:
    """A save of a millisecond and one of a second are apart."""
    with autostate.open("memory:"):
        PersistedDict("d", a=1)
        autostate.flush()
    bounds = collected.metrics()["autostate.save.duration"].explicit_bounds
    assert len([bound for bound in bounds if 0 < bound < 1]) > 5
    assert bounds[-1] > 10
    assert sorted({*bounds}) == list(bounds)


class Flushing(InMemorySpanExporter):
    """An exporter that keeps what it does in the state."""

    def __init__(self, log: PersistedDict[str, int]) -> None:
        super().__init__()
        self.log = log

    def export(self, spans: Any) -> Any:
        """Write and wait."""
        if spans[0].name == "autostate.flush":
            self.log["n"] = self.log.get("n", 0) + 1
            autostate.flush()
        return super().export(spans)


def test_an_exporter_may_wait_for_a_save(isolated: Path, collected: Collected) -> None:
    """Its own wait is not traced: that would be another span to export, and so on."""
    with autostate.open("memory:"):
        log = PersistedDict[str, int]("log", a=1)
        collected.tracers.add_span_processor(SimpleSpanProcessor(Flushing(log)))
        autostate.flush()
        assert log["n"] == 1
    assert collected.names().count("autostate.flush") == 1


def test_without_an_sdk_a_save_costs_few_calls(isolated: Path) -> None:
    """A program may call `instrument` whether its SDK is there or not."""
    otel.instrument(NoOpMeterProvider(), NoOpTracerProvider())
    try:
        with autostate.open("memory:") as manager:
            save = {"duration": 0.1, "entries": 1, "bytes": 1, "writes": 1}
            hub.flushed.send(manager, **save)
            calls = called(lambda: hub.flushed.send(manager, **save))
    finally:
        otel.uninstrument()
    assert 5 < len(calls) < 40


def test_a_save_is_in_no_span(isolated: Path, collected: Collected) -> None:
    """Not even where the thread of a caller does it, as at the end of a process."""
    with (
        autostate.open("memory:") as manager,
        collected.tracers.get_tracer("program").start_as_current_span("request"),
    ):
        hub.flushed.send(manager, duration=0.1, entries=1, bytes=1, writes=1)
    assert collected.names()[0] == "autostate.save"
    assert collected.spans.get_finished_spans()[0].parent is None


def test_a_missing_api_names_the_extra() -> None:
    """It is needed for nothing else."""
    code = "import sys; sys.modules['opentelemetry'] = None; import autostate.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'autostate[otel]'" in done.stderr.splitlines()[-1]
