"""An audit hook is Python code in the midst of calls of C: no step may depend on its absence.

`sys.addaudithook` cannot be taken back, so that each program runs in a process of its own. Its hook
writes to the state as other threads do that run meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import SEED
from tests.tracking.held import MADE

BEGIN = """
import random, sys
from tests.conformance.state_kit import Program
from tests.tracking.held import MADE, content, restored

rng = random.Random(SEED)
program = Program()
root = program.root("state")
on, events = False, 0


def hook(event, arguments):
    global on, events
    if on:
        on, events = False, events + 1  # what the hook does has events, too
        write()
        on = True


sys.addaudithook(hook)
"""

HELD = """
held = [MADE[WHAT]() for _ in range(40)]
root.update((f"k{number}", value) for number, value in enumerate(held))


def write():
    for value in rng.sample(held, 20):
        if isinstance(value, tuple | list):
            (value[0] if isinstance(value, tuple) else value)[0] = rng.choice("ab")
        elif isinstance(value, dict):
            value["n"] = rng.choice("ab")
        else:
            value.url = rng.choice("ab")


for number in range(20):
    on = True
    program.flush()
    on = False
    program.flush()
    assert content(restored(program)) == content(root), number
assert events
"""

TAKEN = """
taken = {}


def write():
    for key in rng.sample([*root], 10):
        value = dict.get(root, key)
        if type(value) in (dict, list):  # else its methods would wait for the lock
            taken[key] = value
            value[rng.choice([*value]) if type(value) is dict else 0] = rng.choice("ab")


for number in range(20):
    taken.clear()
    root.clear()
    root.update((f"k{n}", [n, [n]] if n % 2 else {"n": n, "in": {"x": n}}) for n in range(40))
    on = True
    program.flush()
    on = False
    for key, value in taken.items():
        assert dict.get(root, key) is value, (number, key)
        value.append("late") if type(value) is list else value.update(late=1)
    program.flush()
    assert content(restored(program)) == content(root), number
assert events
"""


def run(*parts: str) -> None:
    """Run a program in a process of its own."""
    code = "\n".join(map(textwrap.dedent, parts))
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "what", ["a dict", "a list", "a nested dict", "an object", "a list in a tuple"]
)
def test_what_a_hook_writes_to_held_values_is_saved(what: str) -> None:
    """It is in the picture as it is encoded: no hook is told between the two."""
    assert what in MADE
    run(f"SEED, WHAT = {SEED}, {what!r}", BEGIN, HELD)


def test_a_container_that_a_hook_takes_stays_in_the_state() -> None:
    """None is replaced once somebody holds it, and none without what was written to it."""
    run(f"SEED = {SEED}", BEGIN, TAKEN)
