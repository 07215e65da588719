"""The cases behind `herz demo --faults`, in a process of their own: what a library prints here spoils no narration.

Says one JSON object a line: `{"version"}` when the cluster is up, then for each case `{"case"}`, while it runs
`{"written", "naive", "herz"}` (keys written, revisions that each side has heard of), and at its end `{"outcome"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Final

from herz.cli.demo.process import announce, dismissed
from herz.testing.etcd_cluster import EtcdCluster
from herz.testing.fault_bench import cases_members, cases_store, cases_wire  # noqa: F401  they declare their cases
from herz.testing.fault_bench.bench import Bench, Stage
from herz.testing.fault_bench.case import CASES
from herz.testing.fault_bench.run import run_case

REPORT_S: Final = 0.2
"""How often the counts are told."""


async def count(stage: Stage) -> None:
    """Tell how far a case is, until cancelled."""
    while True:
        heard = {"naive": 0, "herz": 0}
        if isinstance(stage, Bench) and hasattr(stage, "naive"):
            heard = {"naive": len(stage.naive.heard), "herz": len(stage.hot.heard)}
        announce(written=stage.written, **heard)
        await asyncio.sleep(REPORT_S)


async def play(cluster: EtcdCluster, numbers: Sequence[int], *, seed: int, events: int) -> None:
    """Run the cases numbered, one after the other, each with its share of the events."""
    shares = sum(CASES[number].share for number in numbers)
    counting: asyncio.Task[None] | None = None

    def begins(stage: Stage) -> None:
        nonlocal counting
        counting = asyncio.create_task(count(stage))

    await cluster.__aenter__()
    announce(version=".".join(map(str, cluster.programs.version)))
    for number in numbers:
        announce(case=number)
        share = round(events * CASES[number].share / shares)
        outcome = await run_case(cluster, CASES[number], seed=seed, events=share, begins=begins)
        if counting is not None:
            counting.cancel()
        announce(outcome=outcome)


async def main(arguments: Sequence[str]) -> None:
    """Play until the end, or until dismissed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--case", type=int, action="append", required=True)
    chosen = parser.parse_args(arguments)
    announce(ready=True)
    with contextlib.closing(EtcdCluster(3)) as cluster:
        playing = asyncio.create_task(play(cluster, chosen.case, seed=chosen.seed, events=chosen.events))
        leaving = asyncio.create_task(dismissed())
        await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            leaving.cancel()
            playing.result()
            return
        cluster.close()  # first of all, or the case that is under way would bring back the members that it has broken
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
