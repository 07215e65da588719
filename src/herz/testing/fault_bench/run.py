"""Running cases: `python -m herz.testing.fault_bench.run --seed 1 --events 20000 [--case 5 …] [--json]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from herz.errors import HerzError, UsageError
from herz.testing.etcd_cluster import EtcdCluster
from herz.testing.fault_bench import (  # noqa: F401  they declare their cases
    cases_access,
    cases_herd,
    cases_lease,
    cases_members,
    cases_process,
    cases_store,
    cases_wire,
    cases_zookeeper,
)
from herz.testing.fault_bench.bench import Bench, Stage
from herz.testing.fault_bench.case import CASES, Case
from herz.testing.fault_bench.progress import Progress
from herz.testing.fault_bench.report import keep, line, markdown, peak_mib, table


class Outcome(dict[str, Any]):
    """One case's row, ready for JSON.

    `id`, `name`, `naive` and `herz` (the four numbers of each), `did` (see `Stage.did`), `events`
    (keys written), `revisions` and `single` (those of one key), `seconds`, `notes`, `servers` (those that the case had
    of its own), `error` (why it did not come to its end).
    """

    @property
    def ok(self) -> bool:
        """Whether Herz lost nothing, and the case came to its end."""
        return self["error"] is None and not any(self["herz"].values())


async def run_case(
    cluster: EtcdCluster | None,
    case: Case,
    *,
    seed: int,
    events: int,
    say: Callable[[str], None] = lambda line: None,
    begins: Callable[[Stage], None] = lambda stage: None,
) -> Outcome:
    """Run one case on `cluster`, whose members must all be up, and leave them so; None for one that needs none.

    `begins` is shown the stage, which counts while the case runs.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="herz-faults-") as folder:
        bench: Stage
        if not case.cluster:
            bench = Stage(case.name, seed=seed, events=events, say=say, folder=Path(folder))
        elif cluster is not None:
            bench = Bench(cluster, case.name, seed=seed, events=events, say=say, folder=Path(folder))
        else:
            raise UsageError(f"case {case.number} needs a cluster", remedy="pass one of three members")
        error: str | None = None
        begins(bench)
        try:
            await case.story(bench)
            await mend(cluster)
            await bench.finish()
        except AssertionError as failure:
            error = f"{failure}"
        except (HerzError, OSError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        finally:
            counts, did = bench.counts(), bench.did()
            await bench.close()
            await mend(cluster)
    return Outcome(
        id=case.number,
        name=case.name,
        naive=counts["naive"]._asdict(),
        herz=counts["herz"]._asdict(),
        did=did,
        events=bench.written,
        revisions=bench.revisions,
        single=bench.single,
        seconds=round(time.monotonic() - began, 1),
        notes=bench.notes,
        servers=bench.servers,
        error=error,
    )


async def mend(cluster: EtcdCluster | None) -> None:
    """Bring every member back, whatever a case did to it."""
    if cluster is None:
        return
    for member in cluster.members:
        if member.paused:
            member.resume()
        if not member.running:
            await member.start()
    await cluster.leader()


async def run(
    numbers: Sequence[int],
    *,
    seed: int,
    events: int,
    version: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The outcomes of the cases numbered, each with its share of `events`, on three real members.

    The case with the largest share comes last and writes what others have left of theirs.
    """
    began = time.monotonic()
    chosen = sorted((CASES[number] for number in numbers), key=lambda case: (case.share, -case.number))
    chosen = [*sorted(chosen[:-1]), *chosen[-1:]]
    shares = sum(case.share for case in chosen)
    outcomes: list[Outcome] = []
    wanted = any(case.cluster for case in chosen)
    with EtcdCluster(3, version=version) if wanted else nullcontext() as cluster:
        servers = {"etcd": ".".join(map(str, cluster.programs.version))} if cluster is not None else {}
        with Progress(events, len(chosen), say) as progress:
            for case in chosen:
                say(f"{case.number:>2} {case.told}")
                share = max(60, round(events * case.share / shares))
                if case is chosen[-1]:
                    share = max(share, events - sum(outcome["events"] for outcome in outcomes))
                outcome = await run_case(cluster, case, seed=seed, events=share, say=say, begins=progress.begins)
                say(line(outcome))
                outcomes.append(outcome)
                servers |= outcome["servers"]
    return {
        "seed": seed,
        "asked": events,
        "events": sum(outcome["events"] for outcome in outcomes),
        "revisions": sum(outcome["revisions"] for outcome in outcomes),
        "single": sum(outcome["single"] for outcome in outcomes),
        "seconds": round(time.monotonic() - began, 1),
        "peak_mib": round(peak_mib(), 1),
        "servers": servers,
        "cases": sorted(outcomes, key=lambda outcome: int(outcome["id"])),
        "ok": all(outcome.ok for outcome in outcomes),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 1 when Herz lost anything."""
    parser = argparse.ArgumentParser(prog="python -m herz.testing.fault_bench.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=20_000, help="keys written over all cases")
    parser.add_argument("--case", type=int, action="append", choices=sorted(CASES), help="only these cases")
    parser.add_argument("--version", choices=("3.4", "3.5"), default=None, help="of etcd")
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="keep the outcome there, as Markdown; docs/faults.md has a place for it",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="show Herz's own log: a warning for each fault")
    chosen = parser.parse_args(arguments)
    log = logging.StreamHandler()
    if not chosen.verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it reads that when it is first used
        log.addFilter(lambda record: record.name == "asyncio" or "internal error" in str(record.msg))  # nobody's plan
    logging.basicConfig(handlers=[log])

    def say(text: str) -> None:
        print(text, file=sys.stderr if chosen.json else sys.stdout, flush=True)

    numbers = chosen.case or sorted(CASES)
    result = asyncio.run(run(numbers, seed=chosen.seed, events=chosen.events, version=chosen.version, say=say))
    say("\n" + "\n".join(table(result["cases"])))
    say(
        f"\n{result['events']:,} events in {result['seconds']:,.0f} s, seed {result['seed']}: "
        f"{'ok' if result['ok'] else 'FAILED'}"
    )
    if chosen.log is not None:
        keep(chosen.log, markdown(result))
    if chosen.json:
        print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
