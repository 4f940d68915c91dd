"""Coming from `Actor.use_state` and going back, as type checkers see it.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, assert_type

import autostate
from autostate import PersistedCounter, PersistedDict


@autostate.persisted
@dataclass
class Progress:
    """A class of the program."""

    page: int = 1
    seen: set[str] = field(default_factory=set[str])


class Pages(PersistedDict[str, int]):
    """A class of the program's own."""


# -- adopt: a dict of anything, or what `into` makes -----------------------------------------------

state = autostate.adopt("APIFY_GLOBAL_STATE", {"page": 1, "done": []})
assert_type(state, PersistedDict[str, Any])
assert_type(autostate.adopt("CRAWLEE_STATE_0"), PersistedDict[str, Any])
assert_type(autostate.adopt("STATE", name="state", store="shops"), PersistedDict[str, Any])

progress = autostate.adopt("APIFY_GLOBAL_STATE", into=Progress)
assert_type(progress, Progress)
assert_type(progress.page, int)
assert_type(autostate.adopt("STATE", into=lambda: Progress(5)), Progress)
assert_type(autostate.adopt("STATE", into=lambda: Pages("pages", page=1)), Pages)
assert_type(
    autostate.adopt("STATE", into=lambda: PersistedCounter[str]("hits")), PersistedCounter[str]
)


def converted(record: Any) -> dict[str, set[str]]:
    """Give back a type that JSON has lost."""
    return {"seen": set(record["seen"])}


assert_type(autostate.adopt("STATE", into=Progress, convert=converted), Progress)

autostate.adopt()  # error
autostate.adopt(5)  # error
autostate.adopt("STATE", [1])  # error
autostate.adopt("STATE", page=1)  # error
autostate.adopt("STATE", into=Progress())  # error
autostate.adopt("STATE", {"page": 1}, into=Progress)  # error
autostate.adopt("STATE", name="state", into=Progress)  # error
autostate.adopt("STATE", convert=len)  # error
progress.pages  # error

# -- export: plain JSON, of which no checker knows more --------------------------------------------

assert_type(autostate.export(state), Any)
assert_type(autostate.export(progress, default=str), Any)
plain: dict[str, Any] = autostate.export(state)

autostate.export()  # error
autostate.export(state, str)  # error
autostate.export(state, default="text")  # error
