"""What Counter itself does by other ways than the methods of a mapping."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.state_kit import Program

MANY = {f"k{number}": number + 1 for number in range(400)}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("rehydrated", [False, True])
def test_a_large_counter_that_was_emptied_is_filled_again(nested: bool, rehydrated: bool) -> None:
    """`Counter.update` fills an empty one by `dict.update`."""
    from collections import Counter

    def counter(of: Program) -> Any:
        return of.root("d")["c"] if nested else of.root("c", "counter")

    program = Program()
    if nested:
        program.root("d", default={"c": Counter(MANY)})
    else:
        program.root("c", "counter", MANY)
    program.flush()
    program = program.restart() if rehydrated else program
    count = counter(program)
    for key in list(count):
        del count[key]
    count.update(MANY)
    program.flush()
    assert counter(program.restart()) == MANY
