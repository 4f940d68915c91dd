"""What the tests of Actors share."""

from __future__ import annotations

import json
from typing import Any

from autostate.testing import LocalPlatform, Run
from tests import programs
from tests.actor_runs import PRELUDE

SAVES = "*/records/autostate-*[0-9a-f]"
"""Records with state; not the claim that announces an incarnation's first one."""
PATIENT = "autostate.configure(debounce=3600)"
"""Nothing is saved because time has passed: only because of an event."""
WITH_AUTOSTATE = f"{PRELUDE}\nimport autostate\nfrom autostate import PersistedDict\n{PATIENT}"
LISTEN = """
        async def nothing(data):
            print("heard", type(data).__name__)
        for event in (Event.MIGRATING, Event.ABORTING, Event.PERSIST_STATE):
            Actor.on(event, nothing)
        print("ready")
        await asyncio.Event().wait()
"""


def saves(platform: LocalPlatform) -> int:
    """How many records autostate has written."""
    return len(platform.traffic.calls_to("PUT", SAVES))


def resumed(run: Run) -> Any:
    """What another process finds in the run's store, under the name "state"."""
    code = 'import autostate, json; print(json.dumps(autostate.PersistedDict("state")))'
    done = programs.run(code, env=run.env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
