"""State that many processes share, as type checkers see it.

See tests/test_typing.py for what `# error` means.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import assert_type

import autostate
from autostate import SharedCounter, SharedDict, SharedSet

autostate.configure(shared="redis://host/0?state=stats")
autostate.configure("memory:", shared=Path("shared.db"))
autostate.open("memory:", shared=None)
autostate.configure(shared=5)  # error
autostate.configure(shared_refresh=2.5)
autostate.configure(shared_refresh="often")  # error

# -- counters ------------------------------------------------------------------------------------

hits = SharedCounter[str]("hits")
assert_type(hits, SharedCounter[str])
assert_type(hits["x"], int)
assert_type(hits.copy(), Counter[str])
assert_type(hits.most_common(3), list[tuple[str, int]])
assert_type(hits.total(), int)
assert_type(hits + Counter("a"), Counter[str])
assert_type(sorted(hits), list[str])
hits["x"] += 1
hits.update({"x": 1})
hits.update("ab")
hits.subtract({"x": 1})
hits.refresh()
hits.refresh(timeout=5)
about = autostate.info(hits)
assert_type(about, autostate.SharedInfo)
assert_type(about.age, float)
assert_type(about.unpublished, int)
assert_type(autostate.info(), list[autostate.Info | autostate.SharedInfo])
plain: dict[str, int] = hits
declared: SharedCounter[tuple[str, int]] = SharedCounter("declared")

SharedCounter()  # error
SharedCounter(5)  # error
SharedCounter[str]("hits", {"x": 1})  # error
hits["x"] = "text"  # error
hits[1] += 1  # error
hits.refresh("soon")  # error

# -- sets ----------------------------------------------------------------------------------------

seen = SharedSet[str]("seen")
assert_type(seen, SharedSet[str])
assert_type("x" in seen, bool)
assert_type(seen.copy(), set[str])
assert_type(seen | {"a"}, set[str])
assert_type(sorted(seen), list[str])
seen.add("x")
seen.discard("x")
seen |= {"a"}
seen.refresh()
members: set[str] = seen

SharedSet()  # error
SharedSet[str]("seen", ["a"])  # error
seen.add(1)  # error

# -- dicts ---------------------------------------------------------------------------------------

best = SharedDict[str, float]("best", merge={"price": min})
assert_type(best, SharedDict[str, float])
assert_type(SharedDict[str, int]("largest", merge=max), SharedDict[str, int])
assert_type(best["price"], float)
assert_type(best.get("price"), float | None)
assert_type(best.copy(), dict[str, float])
assert_type(best.pop("price"), float)
assert_type(list(best.items()), list[tuple[str, float]])
best["price"] = 12.5
best.update(price=1.0)
best.refresh()

SharedDict()  # error
SharedDict("best", {"price": 1})  # error
SharedDict("best", merge=5)  # error
best["price"] = "text"  # error
