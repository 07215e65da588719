"""A batch of a thousand instances goes back because one of them fails: `python -m benchmarks.rollback`.

One `herz serve` on SQLite in a process of its own, load generators in others; every instance has a real watch session.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

from benchmarks._report import Row, print_table
from benchmarks.delivery import GENERATORS, Api, _settled
from benchmarks.instances import Instance, Instances
from benchmarks.workload import Process, quantile, say
from herz.errors import BuildError
from herz.sources.base import Item, Prepare, Rehearsal, Running
from herz.testing.control_plane import ControlPlaneServer

INSTANCES: Final = 1_000
ROLLOUTS: Final = 10
PATIENCE_S: Final = 120.0
PLAN: Final = {
    "kind": "explicit",
    "percent": [100],
    "bake_s": 600,
    "prepare_s": 60,
    "commit_s": 60,
    "verify_s": 30,
}


class Member(Instance):
    """An instance that builds what it is told to prepare, and fails when it is told to."""

    broken = False
    rehearsal: Rehearsal | None = None

    async def _deliver(self, item: Item) -> None:
        if isinstance(item, Prepare):
            document = item.document
            self.rehearsal = None if document is None else Rehearsal(document)
            self._revision = max(self._revision, item.revision)
            self.source.moved()
        else:
            await super()._deliver(item)

    def _running(self) -> Running:
        error = BuildError("its pool broke", remedy="look into its log") if self.broken else None
        rehearsal = self.rehearsal
        if rehearsal is not None and not rehearsal.fingerprint:
            prepared = self.source._prepared
            rehearsal = self.rehearsal = rehearsal._replace(fingerprint=prepared.ref.fingerprint if prepared else "")
        return super()._running()._replace(error=error, rehearsal=rehearsal)


class Members(Instances):
    """Members of a batch, named by their numbers."""

    kind = Member

    def fail(self, broken: int) -> float:
        """The first one fails, or is well again; when that was."""
        at = time.monotonic()

        async def change() -> None:
            member = self._instances[0]
            assert isinstance(member, Member)
            member.broken = bool(broken)
            member.source.moved()

        self._thread.run(change())
        return at

    def back(self, number: int, after: float) -> list[float]:
        """When each ran release `number` after that moment, waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(one.number == number and one.at[number] >= after for one in self._instances):
            assert time.monotonic() < deadline, "not everybody is back"
            time.sleep(0.02)
        return [one.at[number] for one in self._instances]


def run(instances: int = INSTANCES, rollouts: int = ROLLOUTS) -> list[Row]:
    """Rows: from one failing instance to every instance of the batch back."""
    each = instances // GENERATORS
    every: list[float] = []
    last: list[float] = []
    forward: list[float] = []
    with ControlPlaneServer() as server:
        api = Api(server.url, "pay")
        api.draft(0)
        stable = api.release()
        generators = [Process("herz_members", f"{server.source}/pay", at * each, each) for at in range(GENERATORS)]
        try:
            say(f"{instances} instances connect")
            for generator in generators:
                generator.ask("start")
            _settled(api, each * GENERATORS)
            for at in range(rollouts):
                say(f"rollout {at + 1} of {rollouts}")
                api.draft(at + 1)
                number = api.ask("POST", "/releases", {"message": "a benchmark", "publish": False})["number"]
                begin = time.monotonic()
                rollout = api.ask("POST", "/rollouts", {"release": number, "plan": PLAN})["id"]
                _until(api, rollout, "BAKING")
                forward.append(time.monotonic() - begin)
                failed = float(generators[0].ask("fail", 1))
                seconds = [at - failed for one in generators for at in one.ask("back", stable, failed)]
                every += seconds
                last.append(max(seconds))
                generators[0].ask("fail", 0)
                _until(api, rollout, "ROLLED_BACK")
                _settled(api, each * GENERATORS)
            for generator in generators:
                generator.ask("stop")
        finally:
            api._connection.close()
            for generator in generators:
                generator.__exit__(None, None, None)
    worst = max(last)
    return [
        Row(
            f"one instance fails → all {instances:,} of its batch are back, the last one",
            worst,
            "s",
            target="≤ 1 s",
            ok=worst <= 1,
            note=f"the worst of {rollouts} rollouts; p50 of the last one {statistics.median(last):.3f} s, of every "
            f"instance {statistics.median(every):.3f} s, p99 {quantile(every, 0.99):.3f} s",
        ),
        Row(
            f"a rollout begins → {instances:,} instances prepared, committed and verified",
            statistics.median(forward),
            "s",
            note=f"{instances:,} mailboxes in batches of 100, two rounds of reports, one of answers",
        ),
    ]


def _until(api: Api, rollout: str, phase: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found: dict[str, Any] = api.ask("GET", f"/rollouts/{rollout}")
        now = found.get("phase", "PENDING")
        if now == phase:
            return
        assert now not in ("ROLLED_BACK", "PROMOTED"), (now, found.get("reason"))
        assert time.monotonic() < deadline, f"still {now}: {found.get('waiting')}"
        time.sleep(0.01)


if __name__ == "__main__":
    print_table(run())
