"""CPython's own tests of dict, set, list, deque, Counter, OrderedDict and defaultdict."""

from __future__ import annotations

import importlib.util
import random
import sys
import traceback
import unittest
import warnings

import pytest

from tests.campaign import LONG, sampled
from tests.cpython.differences import DIFFERENCES
from tests.cpython.factories import STATES, World, factory
from tests.cpython.suites import SUITES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test.test_dict") is None,
    reason="this Python came without its own tests",
)


def expected(kind: str, state: str) -> dict[str, str]:
    """The tests that fail, with the reasons."""
    return {
        test: difference.reason
        for difference in DIFFERENCES
        for test in difference.tests.get(kind, ())
        if state in difference.states
        if difference.since <= sys.version_info[:2] < difference.before
    }


def problems(case: unittest.TestCase, world: World) -> list[str]:
    """Run one test; gives what went wrong."""
    result = unittest.TestResult()
    try:
        with world.open(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the tests expect it
            type(case).setUpClass()
            case.run(result)
    except Exception:
        return [traceback.format_exc()]
    return [shown for _, shown in result.failures + result.errors]


def chosen(
    state: str, cases: list[unittest.TestCase], rng: random.Random
) -> list[unittest.TestCase]:
    """A third armed, and some in each other state, drawn anew; in a long run, all in all."""
    share = 3 if state == "armed" else 16
    return sampled(rng, cases, -(-len(cases) // share))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", SUITES)
def test_cpythons_tests_pass(kind: str, state: str, rng: random.Random) -> None:
    """All pass but those of `DIFFERENCES`, which fail; what is left in the end is what is saved."""
    world = World(kind, state)
    differences = expected(kind, state)
    wrong = []
    cases = SUITES[kind].cases(SUITES[kind].load(factory(world)), every=LONG)
    assert cases
    for case in chosen(state, cases, rng):
        name = case.id().rpartition(f"{SUITES[kind].module}.")[2]
        found = problems(case, world)
        if found and name not in differences:
            wrong.append(f"{name} failed:\n{found[0]}")
        elif not found and name in differences:
            wrong.append(f"{name} passed, although: {differences[name]}")
    assert not wrong, "\n".join(wrong)
