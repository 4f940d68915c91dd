"""How Hypothesis runs its tests: imported before any of them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_SHORT = "AUTOSTATE_EXAMPLES" not in os.environ
# To shrink what fails takes five minutes, and a test that takes four counts as one that hangs: what
# failed would never be shown. Longer runs shrink it.
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate] if _SHORT else list(Phase)

settings.register_profile(
    "autostate",
    phases=_PHASES,
    deadline=None,  # no test judges how long something takes
    max_examples=int(os.environ.get("AUTOSTATE_EXAMPLES", "15")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("autostate"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "autostate"))
