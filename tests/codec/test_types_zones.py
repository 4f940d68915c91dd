"""`ZoneInfo` is a known type, and is loaded by nobody but the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LATE = """import autostate, sys
state = autostate.PersistedDict("s", a=1)
autostate.flush()
assert "zoneinfo" not in sys.modules
import datetime, zoneinfo
zone = zoneinfo.ZoneInfo("Europe/Berlin")
state["zone"], state[zone] = zone, [zone]
state["then"] = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1)
autostate.flush()
"""
AGAIN = """import autostate, sys
state = autostate.PersistedDict("s")
zone = state["zone"]
assert type(zone).__name__ == "ZoneInfo" and zone.key == "Europe/Berlin"
assert state[zone] == [zone]
assert state["then"].tzinfo is zone and state["then"].fold
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr


def test_a_zone_can_be_saved_by_a_program_that_loads_them_later(isolated: Path) -> None:
    """As a value, as a key, and inside of a moment; and the next process reads it."""
    assert not _run(LATE)
    assert not _run(AGAIN)


@pytest.mark.parametrize(
    "code",
    [
        "assert codec.is_atom(zone_class)",
        "assert codec.jsonable(zone_class('UTC'), None) == {'$timezone': ['zone', 'UTC']}",
        "assert codec.problem_of(zone_class('UTC')) is None",
    ],
)
def test_whoever_asks_first_finds_a_zone_known(code: str) -> None:
    """The codec was loaded before."""
    first = "from autostate import codec\nfrom zoneinfo import ZoneInfo as zone_class\n"
    assert not _run(first + code)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("autostate.register(zone_class, 'zone', encode=str, decode=zone_class)", "ZoneInfo"),
        (
            "state['a'] = type('Mine', (zone_class,), {})('UTC'); autostate.flush()",
            "which may hold more than the ZoneInfo that it is based on",
        ),
    ],
)
def test_a_zone_is_a_builtin_type_from_then_on(isolated: Path, code: str, told: str) -> None:
    """It needs no registration, and a subclass is refused as such."""
    first = 'import autostate; state = autostate.PersistedDict("s", a=1)\n'
    assert told in _run(first + "from zoneinfo import ZoneInfo as zone_class\n" + code)
