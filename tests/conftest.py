"""What every test relies on: an environment without Herz's own variables, and laws tried on the same examples in CI."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Profiles and overrides of the developer's own shell must not reach the tests.
for name in [name for name in os.environ if name.startswith("HERZ_")]:
    del os.environ[name]

# Examples that take long on a busy machine are no fault of the law, so there is no deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
