"""SIGKILL of the server at random points of rollouts: `python -m benchmarks.rollout_kills`.

Nothing may be lost, stuck, or promoted without proof; how soon another server goes on is measured as well.
"""

from __future__ import annotations

import asyncio
from typing import Final

from benchmarks._report import Row, print_table
from benchmarks.workload import quantile
from herz.testing.rollout_kills import TAKEOVER_S, kill_rollouts

KILLS: Final = 200


def run(kills: int = KILLS, seed: int = 1) -> list[Row]:
    """Rows of one trial: what was lost, stuck and unverified, and how long it took until somebody went on."""
    told = asyncio.run(kill_rollouts(kills, seed))
    where = ", ".join(f"{phase} {count}" for phase, count in sorted(told.phases.items()))
    what = f"{told.kills} kills in {told.rollouts} rollouts ({told.promoted} promoted, {told.rolled_back} rolled back)"
    rows = [
        Row(f"SIGKILL of the server, {told.kills} times: {name}", value, "", target="0", ok=value == 0, note=note)
        for name, value, note in (
            ("lost releases", told.lost, what),
            ("stuck rollouts", told.stuck, f"killed in {where}"),
            ("unverified promotions", told.unverified, "; ".join(told.notes)),
            ("instances that went astray", told.astray, ""),
            ("breaks in the audit log", int(not told.audited), ""),
        )
    ]
    if told.resumed_s:
        note = (
            f"median {quantile(told.resumed_s, 0.5):.2f} s; the lease lives {TAKEOVER_S:g} s here, 5 s unless told so"
        )
        seconds = quantile(told.resumed_s, 0.99)
        rows.append(Row("SIGKILL of the server → another one goes on, p99", seconds, "s", note=note))
    return rows


if __name__ == "__main__":
    print_table(run())
