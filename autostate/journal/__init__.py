"""The journal: commits and snapshots as records; commit, recover, compact, fence."""

from __future__ import annotations

from autostate.journal.commit import NodeState
from autostate.journal.journal import Journal
from autostate.journal.recovery import Recovered
from autostate.journal.writer import CommitInfo

__all__ = ["CommitInfo", "Journal", "NodeState", "Recovered"]
