"""The pages with the docstrings of all public names, by what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Group:
    """Public names that are on one page.

    Attributes:
        title: The title of the page.
        text: What stands below the title, in Markdown.
        names: The names, with their modules.
        bare: Those of them whose methods are not shown, because they are those of a builtin, or
            called by the library alone.
    """

    title: str
    text: str
    names: tuple[str, ...]
    bare: tuple[str, ...] = ()


_STATE: Final = (
    "autostate.PersistedDict",
    "autostate.PersistedSet",
    "autostate.PersistedCounter",
    "autostate.PersistedList",
    "autostate.PersistedDeque",
)
_SHARED: Final = ("autostate.SharedCounter", "autostate.SharedSet", "autostate.SharedDict")

GROUPS: Final = {
    "api/state": Group(
        "State objects",
        "Their methods are those of the builtins, and do the same. [Types](../types.md) says what "
        "can be put into them, [classes](../classes.md) how objects of your own classes become "
        "state objects.",
        (
            *_STATE,
            "autostate.persisted",
            "autostate.transient",
            "autostate.Transient",
            "autostate.proxy",
            "autostate.pickled",
            "autostate.Secret",
            "autostate.register",
            "autostate.Unknown",
        ),
        bare=_STATE,
    ),
    "api/saving": Group(
        "Saving and settings",
        "[Settings](../settings.md) has the table of all settings, and the URLs of stores.",
        (
            "autostate.configure",
            "autostate.open",
            "autostate.Settings",
            "autostate.flush",
            "autostate.durable",
            "autostate.atomic",
            "autostate.info",
            "autostate.Info",
            "autostate.statistics",
            "autostate.Statistics",
            "autostate.StateManager",
            "autostate.__version__",
        ),
        bare=("autostate.StateManager", "autostate.Statistics", "autostate.Info"),
    ),
    "api/stored": Group(
        "What is stored",
        "The [commands](../commands.md) do the same from a shell.",
        (
            "autostate.names",
            "autostate.delete",
            "autostate.discard_unpublished",
            "autostate.backup",
            "autostate.copy",
            "autostate.history",
            "autostate.restore",
            "autostate.Commit",
        ),
    ),
    "api/loops": Group(
        "Loops",
        "[Resumable loops](../loops.md) explains when an item counts as done.",
        ("autostate.resume",),
    ),
    "api/shared": Group(
        "Shared objects",
        "[Shared state](../shared.md) explains what a read shows, and what is merged how.",
        (*_SHARED, "autostate.SharedInfo"),
        bare=_SHARED,
    ),
    "api/delivery": Group(
        "Outboxes",
        "[Outboxes](../outbox.md) explains what arrives once, and when.",
        (
            "autostate.outbox",
            "autostate.Outbox",
            "autostate.delivery.JsonlFile",
            "autostate.delivery.SqlTable",
            "autostate.delivery.HttpEndpoint",
            "autostate.Destination",
            "autostate.OutboxItem",
            "autostate.delivery.RetryLaterError",
        ),
        bare=(
            "autostate.delivery.JsonlFile",
            "autostate.delivery.SqlTable",
            "autostate.delivery.HttpEndpoint",
        ),
    ),
    "api/actors": Group(
        "Actors",
        "For programs on Apify: see [Actors](../actors.md).",
        (
            "autostate.actor",
            "autostate.push_data",
            "autostate.charge",
            "autostate.apify.records.set_value",
            "autostate.call",
            "autostate.adopt",
            "autostate.export",
        ),
    ),
    "api/scrapy": Group(
        "Scrapy",
        "[Scrapy](../scrapy.md) shows how they are set.",
        (
            "autostate.scrapy.Addon",
            "autostate.scrapy.Scheduler",
            "autostate.scrapy.DupeFilter",
            "autostate.scrapy.SpiderState",
            "autostate.scrapy.OutboxPipeline",
            "autostate.scrapy.FifoQueue",
            "autostate.scrapy.LifoQueue",
        ),
        bare=(
            "autostate.scrapy.Addon",
            "autostate.scrapy.Scheduler",
            "autostate.scrapy.DupeFilter",
            "autostate.scrapy.SpiderState",
            "autostate.scrapy.OutboxPipeline",
            "autostate.scrapy.FifoQueue",
            "autostate.scrapy.LifoQueue",
        ),
    ),
    "api/testing": Group(
        "A platform for tests",
        "[Testing your Actor](../testing-actors.md) shows how they are used.",
        (
            "autostate.testing.LocalPlatform",
            "autostate.testing.LocalActor",
            "autostate.testing.Run",
            "autostate.testing.Container",
            "autostate.testing.ChargedEvent",
            "autostate.testing.KeyValueStore",
            "autostate.testing.Record",
            "autostate.testing.ABSENT",
            "autostate.testing.Traffic",
            "autostate.testing.Call",
            "autostate.testing.Fault",
            "autostate.testing.RandomFaults",
            "autostate.testing.Request",
        ),
    ),
    "api/otel": Group(
        "OpenTelemetry",
        "[Monitoring](../monitoring.md#opentelemetry) lists the metrics and spans.",
        ("autostate.otel.instrument", "autostate.otel.uninstrument"),
    ),
    "api/hub": Group(
        "Signals",
        "[The reference](../reference.md#signals) has a table of the signals and their arguments.",
        (
            "autostate.hub",
            "autostate.hub.HubSignal",
            "autostate.hub.KillSignal",
            "autostate.hub.migrating",
            "autostate.hub.aborting",
            "autostate.hub.persist_state",
            "autostate.hub.shutdown",
            "autostate.hub.rehydrated",
            "autostate.hub.flushed",
            "autostate.hub.flush_failed",
            "autostate.hub.delivery_failed",
            "autostate.hub.fenced",
        ),
    ),
    "api/errors": Group(
        "Errors",
        "[The reference](../reference.md#errors) says what to do about each.",
        (
            "autostate.AutostateError",
            "autostate.StoreError",
            "autostate.StoreUnavailableError",
            "autostate.errors.StoreGoneError",
            "autostate.StateInUseError",
            "autostate.ReadOnlyError",
            "autostate.NotStoredError",
            "autostate.FencedError",
            "autostate.CodecError",
            "autostate.UnsupportedTypeError",
            "autostate.CorruptStateError",
            "autostate.errors.DamagedStoreError",
            "autostate.SignatureError",
            "autostate.UnknownTypeError",
            "autostate.FlushError",
            "autostate.errors.ChangesLostError",
            "autostate.LateWriteError",
            "autostate.OutboxFullError",
            "autostate.DeliveryRefusedError",
            "autostate.ResumeError",
            "autostate.ChildRunError",
            "autostate.StateTypeError",
            "autostate.UpgradeError",
        ),
    ),
}
"""The pages, by their paths on the site."""

PAGES: Final = list(GROUPS)

_DATA: Final = {"autostate.__version__", "autostate.testing.ABSENT"}


def pages() -> Iterator[tuple[str, str]]:
    """Give the path and the text of each page."""
    for path, group in GROUPS.items():
        entries = "\n".join(_entry(name, group) for name in group.names)
        yield f"{path}.md", f"# {group.title}\n\n{group.text}\n\n```{{eval-rst}}\n{entries}```\n"


def _entry(name: str, group: Group) -> str:
    """Give the directive that shows a name."""
    last = name.rpartition(".")[2]
    if name == "autostate.hub":
        return f".. automodule:: {name}\n"
    if name in _DATA or (name.startswith("autostate.hub.") and last[0].islower()):
        return f".. autodata:: {name}\n   :no-value:\n"
    if last.endswith("Error"):
        return f".. autoexception:: {name}\n   :show-inheritance:\n"
    if last[0].islower():
        return f".. autofunction:: {name}\n"
    members = "" if name in group.bare else "   :members:\n"
    return f".. autoclass:: {name}\n{members}"
