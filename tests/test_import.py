"""What `import autostate` loads, and does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COSTLY = [
    *("apify", "apify_client", "asyncio", "cloudpickle", "crawlee", "hashlib", "json"),
    *("pathlib", "sqlite3", "stamina", "wrapt"),
]

OWN = {
    *("announced", "apify", "apify.events", "deadline", "errors", "hub", "logs", "ownership"),
    *("ownership.program", "ownership.state_names", "process", "process.exec_hook"),
    *("process.exit_status", "process.interrupts", "process.lifecycle", "process.signal_hook"),
    *("runtime", "runtime.api", "runtime.manager", "runtime.names", "runtime.store_use"),
    *("runtime.place", "saving", "saving.blocked_loop", "settings", "under_test"),
}
"""The modules of autostate that `import autostate` loads."""

SELDOM = [
    *("_hashlib", "asyncio", "cloudpickle", "ctypes", "hmac", "numpy", "secrets", "wrapt"),
    *("base64", "zoneinfo", "autostate.journal.claimed", "autostate.journal.salvage"),
    *("autostate.containers.position", "autostate.containers.proxy", "autostate.notebook"),
    *("autostate.otel", "opentelemetry"),
    *("autostate.runtime.unreadable", "autostate.saving.statistics", "autostate.stores.readonly"),
    *("autostate.tracking.atomic", "autostate.tracking.blocks", "autostate.tracking.undo"),
    *("autostate.tracking.instances", "autostate.tracking.mirror", "autostate.tracking.scan"),
    *("autostate.tracking.picture", "autostate.tracking.survey", "autostate.tracking.watch"),
]
"""Modules that a program with a small state of its own never needs."""


def test_windows_is_refused_with_a_way_out() -> None:
    """Before anything fails that is not there."""
    code = "import sys; sys.platform = 'win32'; import autostate"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: autostate does not run on Windows")
    assert "WSL" in last


@pytest.mark.parametrize("module", COSTLY)
def test_import_loads_nothing_that_is_not_needed_yet(module: str) -> None:
    """A program that only imports autostate does not pay for what it may never use."""
    code = f"import autostate, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_loads_few_modules() -> None:
    """Whoever lets it load another one looks at what that costs, with `python -X importtime`."""
    code = "import sys, autostate; print(*sys.modules)"
    found = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {name[10:] for name in found if name.startswith("autostate.")} == OWN


@pytest.mark.parametrize("url", ["sqlite:///s.db", None])
def test_a_small_state_starts_without_what_it_does_not_need(
    isolated: Path, url: str | None
) -> None:
    """OpenSSL, for example, takes as long to load as the state."""
    code = f"""import sys, autostate
autostate.configure(*{[url] if url else []})
autostate.PersistedDict("s", a=1, b={{"c": 2}}, d=[])
autostate.flush()
print(*sys.modules)"""
    command = [sys.executable, "-c", code]
    for _ in ("a new state", "a state that exists"):
        assert not {*SELDOM} & {*subprocess.check_output(command, text=True).split()}


def test_what_a_start_loads_is_no_work_for_the_garbage_collector(isolated: Path) -> None:
    """Else it goes through the new classes and functions fifty times, and through all once more."""
    code = """import gc, sys, autostate
count = lambda: sum(each["collections"] for each in gc.get_stats())
before = count()
autostate.PersistedDict("s", a=1)
print(count() - before, gc.isenabled(), max(gc.get_count()) < 2_000)"""
    found = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert int(found[0]) < 10
    assert found[1:] == ["True", "True"]


def test_the_figures_of_saves_are_defined_when_they_are_asked_for() -> None:
    """A dataclass takes a millisecond."""
    code = """import sys, autostate
with autostate.open("memory:"):
    autostate.PersistedDict("s", a=1)
    autostate.flush()
    before = "autostate.saving.statistics" in sys.modules
    print(before, autostate.statistics().flushes)"""
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found == "False 1\n"


def test_an_object_is_met_by_a_program_that_has_loaded_nothing_for_objects(isolated: Path) -> None:
    """It is an error that names the class, as in any program that does not have it."""
    first = """import autostate
@autostate.persisted(name="thing")
class Thing:
    def __init__(self): self.size = 1
autostate.PersistedDict("s", a=1)["thing"] = Thing()"""
    subprocess.run([sys.executable, "-c", first], check=True)
    code = """import autostate, sys
try:
    autostate.PersistedDict("s")
except autostate.UnknownTypeError as error:
    print("thing" in str(error).lower(), "autostate.tracking.mirror" in sys.modules)"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True True\n"


def test_a_proxy_is_met_by_a_program_that_has_loaded_none(isolated: Path) -> None:
    """Another state object refers to it."""
    first = """import autostate, random
autostate.PersistedDict("s", a=1)["dice"] = autostate.proxy("dice", random.Random(7))"""
    subprocess.run([sys.executable, "-c", first], check=True)
    code = """import autostate, sys
state = autostate.PersistedDict("s")
print("autostate.containers.proxy" in sys.modules, round(state["dice"].random(), 6))"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True 0.323833\n"
