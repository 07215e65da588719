"""What every test relies on: an environment without Herz's own variables, a Ctrl-C that arrives, and the tries of laws.

CI tries a law on the same examples every time. `make quick` (`--hypothesis-profile=quick`) tries a fifth of them.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Profiles and overrides of the developer's own shell must not reach the tests.
for name in [name for name in os.environ if name.startswith("HERZ_")]:
    del os.environ[name]

# A shell that starts the tests in the background has its children ignore Ctrl-C, which some of them are sent.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples that take long on a busy machine are no fault of the law, so there is no deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def examples(full: int) -> int:
    """How many examples a law is tried on that would else take `full`, as 100 are hypothesis's own number."""
    return max(1, full * settings().max_examples // 100)
