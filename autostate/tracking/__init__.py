"""What is dirty, and the consistent capture of it."""

from __future__ import annotations

from autostate.tracking.barrier import Barrier, changed, dropped, locked, put, register_kind
from autostate.tracking.capture import Capture
from autostate.tracking.decoded_conversion import convert
from autostate.tracking.kind import Kind
from autostate.tracking.node import LARGE, Node
from autostate.tracking.tracker import Tracker

__all__ = [
    "LARGE",
    "Barrier",
    "Capture",
    "Kind",
    "Node",
    "Tracker",
    "changed",
    "convert",
    "dropped",
    "locked",
    "put",
    "register_kind",
]
