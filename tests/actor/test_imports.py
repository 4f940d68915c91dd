"""autostate and the SDK, imported in any order, and an SDK that is not known."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from autostate.testing import LocalPlatform
from tests.actor.programs import PATIENT, SAVES, resumed
from tests.actor_runs import PRELUDE, StartActor

pytestmark = pytest.mark.usefixtures("forked_actors", "forked_programs")


IMPORTS = {
    "autostate first": "import autostate, asyncio\nfrom apify import Actor, Event",
    "apify first": "import asyncio\nfrom apify import Actor, Event\nimport autostate",
    "only a submodule of apify": "import autostate, asyncio\nfrom apify._actor import Actor",
    "state before apify": (
        "import autostate, asyncio\nearly = autostate.PersistedDict('early', n=0)\n"
        "from apify import Actor, Event"
    ),
    "crawlee first": "import asyncio, crawlee, autostate\nfrom apify import Actor",
}


@pytest.mark.parametrize("imports", [*IMPORTS, "inside the context"])
def test_imports_may_come_in_any_order(
    platform: LocalPlatform, start: StartActor, imports: str
) -> None:
    """`import autostate` is all it takes; a context that is already entered is joined."""
    before, inside = PATIENT, ""
    if imports not in IMPORTS:
        before, inside = inside, f"import autostate; {PATIENT}"
    run = start(
        f"""
        {before}
        async with Actor:
            {inside}
            autostate.PersistedDict("state", n=0)["n"] = 1
            print("ready")
            await asyncio.Event().wait()
        """,
        prelude=IMPORTS.get(imports, PRELUDE),
    )
    run.container.wait_for_output("ready")
    run.persist_state()
    platform.traffic.wait_for_calls("PUT", SAVES)
    run.kill()
    assert "dropped" not in run.output
    assert resumed(run) == {"n": 1}


def test_an_unknown_sdk_is_reported_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the SDK's insides are not as expected, importing it still works."""
    from autostate.apify import events as actor_events

    for name in ("apify", "apify._actor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    actor_events.install()
    assert "not known" in caplog.text
