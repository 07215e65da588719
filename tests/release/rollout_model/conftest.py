"""What must hold wherever a small rollout can come to, and how its runs end."""

from __future__ import annotations

from collections import deque

import pytest

from herz.release.member import membership
from herz.release.report import Status
from herz.release.rollout import Decision, Phase, Rollout


class Violation(AssertionError):
    """A property does not hold; the message ends with the run that leads there."""


class Exploration:
    """Every world that can be reached, breadth first, and how."""

    def __init__(self, runs, decide, **kind) -> None:
        self.runs = runs(decide, self.check_decision, **kind)
        self.edges: dict = {}
        self.came: dict = {self.runs.start: None}

    def walk(self) -> Exploration:
        """Reach everything; `Violation` at the first world or decision where a property does not hold."""
        todo = deque([self.runs.start])
        while todo:
            world = todo.popleft()
            self.check_world(world)
            self.edges[world] = self.runs.steps(world)
            for step, after in self.edges[world]:
                if after not in self.came:
                    self.came[after] = (step, world)
                    todo.append(after)
        return self

    def record(self, world) -> Rollout:
        return self.runs.records[world.record]

    def must(self, holds: object, world, what: str) -> None:
        if not holds:
            raise Violation(f"{what}\n{self.story(world)}")

    def story(self, world) -> str:
        """The shortest run that leads to `world`, one step a line."""
        steps: list[str] = []
        came = self.came[world]
        while came is not None:
            steps.append(f"{came[0]:28} → {self.record(world).phase}")
            world = came[1]
            came = self.came[world]
        return "\n".join(["it begins", *reversed(steps)])

    # --- what must hold --------------------------------------------------------------------------------

    def check_decision(self, world, before: Rollout, decision: Decision) -> None:
        """What must hold of every single decision."""
        after, channel = decision.rollout, self.runs.channels[world.channel]
        members = [member for member in self.runs.members(world) if member.rollout == before.id]
        if before.over:
            self.must(not decision.writes(before), world, "a rollout that is over stays as it is")
        if before.aborted and before.phase.forward:
            self.must(after.phase is Phase.ROLLING_BACK, world, "an order to abort is obeyed at once")
        if decision.channel is not None and decision.channel.stable != channel.stable:
            self.must(channel.stable.release == before.stable, world, "what somebody else released is not overwritten")
        if {batch.number for batch in after.batches if batch.committed} - {
            batch.number for batch in before.batches if batch.committed
        }:
            self.must(before.paused is None, world, "a paused rollout commits nothing")
            for member in members:
                if member.cohort == before.cohort:
                    report = member.report
                    self.must(report and report.rehearsed, world, "nothing is committed that is not built everywhere")
                    self.must(report.rehearsed.ok, world, "nothing is committed that could not be built")
                    self.must(before.patch_id in (None, report.patch_id), world, "the patch comes before the release")
        if after.phase is Phase.PROMOTING and before.phase.forward and before.forced is None:
            failed = [one for one in members if one.report is not None and one.report.status is Status.FAILED]
            self.must(not failed, world, "nothing is promoted over a member that failed")
            left = [one.instance for one in self.runs.members(world) if one.rollout is None]
            proven = sum(batch.size for batch in before.batches)
            self.must(proven >= before.total or not left, world, "promotion comes after the last batch")

    def check_world(self, world) -> None:
        """What must hold in every world."""
        record, channel = self.record(world), self.runs.channels[world.channel]
        boxes = {name: one.box for name, one in zip("abc", world.instances, strict=False)}
        pointers = [channel.stable, *channel.cohorts.values()]
        foreign = [pointer for pointer in pointers if pointer.release not in (record.stable, record.release)]
        self.must(world.meddled or not foreign, world, "no third release is committed")
        if channel.stable.release == record.release and record.forced is None:
            self.must(record.batches, world, "nothing is promoted without any proof")
            proven = {batch.number for batch in record.batches} <= world.proven
            self.must(proven, world, "no batch is promoted that was not verified")
        for batch in record.batches:
            if batch.number < record.batch:
                self.must(batch.number in world.proven, world, "the next batch comes after the proof of the last")
            if record.phase.forward:
                members = [name for name, box in boxes.items() if box == batch.number]
                self.must(membership(members) == batch.membership, world, "membership is frozen")
        if record.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            for pointer in pointers:
                released = record.release in (pointer.release, pointer.prepare)
                self.must(not released, world, "no cohort points to what is rolled back")
        if record.phase in (Phase.PROMOTING, Phase.PROMOTED):
            self.must(channel.stable.release == record.release or world.meddled, world, "what is promoted is stable")
            self.must(not channel.cohorts, world, "no cohort is left")
        if record.over:
            self.must(not any(boxes.values()), world, "no mailbox is left")

    def stuck(self) -> list:
        """Worlds from which no end can be reached any more."""
        before: dict = {}
        for world, edges in self.edges.items():
            for _, after in edges:
                before.setdefault(after, []).append(world)
        ends = [world for world in self.edges if self.record(world).over]
        reached, todo = set(ends), list(ends)
        while todo:
            for world in before.get(todo.pop(), ()):
                if world not in reached:
                    reached.add(world)
                    todo.append(world)
        return [world for world in self.edges if world not in reached]

    def endless(self) -> list:
        """Worlds in which a fair run may stay for ever.

        Fair: misfortunes and orders come to an end, time passes (the driver decides late, sooner or later), and who is
        asked because it is paused aborts in the end. Such a run stays in one component of the graph of what the driver
        and instances do; it can only if somewhere in it the late decision (or the answer) does not lead out.
        """
        fair = {world: [after for step, after in edges if step[0] in "di"] for world, edges in self.edges.items()}
        component = _components(fair)
        endless = []
        for world, edges in self.edges.items():
            if not self.record(world).over:
                ways = ("d decides late", "p abort") if self.record(world).paused else ("d decides late",)
                if not any(step in ways and component[after] != component[world] for step, after in edges):
                    endless.append(world)
        return endless

    def check_ends(self) -> Exploration:
        for what, worlds in (("it is stuck", self.stuck()), ("it need not end", self.endless())):
            for world in worlds:
                self.must(False, world, what)
        return self


def _components(graph: dict) -> dict:
    """The strongly connected component of each node (Tarjan, 1972, without recursion)."""
    index: dict = {}
    low: dict = {}
    component: dict = {}
    path: list = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        while work:
            node, following = work[-1]
            for after in following:
                if after not in index:
                    index[after] = low[after] = len(index)
                    path.append(after)
                    work.append((after, iter(graph[after])))
                    break
                if after not in component:
                    low[node] = min(low[node], index[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    while True:
                        member = path.pop()
                        component[member] = index[node]
                        if member == node:
                            break
    return component


@pytest.fixture
def explored(runs):
    """Walks through all runs of `decide` and checks everything; gives what was reached. `Violation` otherwise."""

    def explored(decide, **kind) -> Exploration:
        return Exploration(runs, decide, **kind).walk().check_ends()

    explored.violation = Violation  # type: ignore[attr-defined]
    return explored
