"""How Hypothesis runs its tests: imported before any of them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "autostate",
    deadline=None,  # no test judges how long something takes
    max_examples=int(os.environ.get("AUTOSTATE_EXAMPLES", "15")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("autostate"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "autostate"))
