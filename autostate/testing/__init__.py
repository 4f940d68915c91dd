"""A local Apify platform for tests: real HTTP, real websocket, real processes.

The real, unmodified Apify SDK runs against it: Actors can be started, migrated, rebooted, aborted
and killed, and every request can be made to fail in the ways in which requests fail.
"""

from __future__ import annotations

from autostate.testing.actors import LocalActor
from autostate.testing.charging import ChargedEvent
from autostate.testing.container import Container
from autostate.testing.events import ABSENT
from autostate.testing.key_value_store import KeyValueStore, Record
from autostate.testing.platform import LocalPlatform
from autostate.testing.random_faults import RandomFaults
from autostate.testing.run import Run
from autostate.testing.traffic import Call, Fault, Traffic
from autostate.testing.wire import Request

__all__ = [
    "ABSENT",
    "Call",
    "ChargedEvent",
    "Container",
    "Fault",
    "KeyValueStore",
    "LocalActor",
    "LocalPlatform",
    "RandomFaults",
    "Record",
    "Request",
    "Run",
    "Traffic",
]
