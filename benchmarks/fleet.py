"""A gray release under load on real service processes, as `herz demo --fleet` runs it: `python -m benchmarks.fleet`.

Each service pins its requests and answers two values that belong together, read from two objects: a request is mixed when
they are of two releases.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks._report import Row, print_table

LIMIT_S = 240


def run(*, instances: int = 20) -> list[Row]:
    """One good rollout, one that cannot be built, one that does harm; what the services counted meanwhile."""
    command = [sys.executable, "-m", "herz.cli.main", "demo", "--fleet", str(instances), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["promoted"], told
    assert told["rolled_back"], told
    return [
        Row(
            f"pinned requests that saw two releases, {instances} services, three rollouts",
            told["mixed"],
            "requests",
            target="0",
            ok=told["mixed"] == 0,
            note="each service a process of its own under load; counted by the services",
        ),
        Row(
            "failing probe → its whole batch back, real services",
            told["rollback_s"],
            "s",
            target="≤ 1 s",
            ok=told["rollback_s"] <= 1,
            note="from the start of the failing probe, its repeats included",
        ),
    ]


if __name__ == "__main__":
    print_table(run())
