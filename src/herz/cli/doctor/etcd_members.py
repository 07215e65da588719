"""The members of an etcd cluster side by side: who lags, who went back, who says something else.

A member answers `Maintenance.Status` from what it has applied itself, without asking the others. So every member is
asked twice: one that, the second time, still is behind what another had the first time, lags. A revision is compared
together with the term, for after a partition or with an old log it is the term that tells which is the later one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from herz.cli.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Member:
    """What one endpoint answered; `error` is why it did not, and then all else is empty.

    `leader` is the id of the member that it takes for the leader, 0 for none. `alarms` are its own words.
    """

    endpoint: str
    error: str | None = None
    cluster: int = 0
    id: int = 0
    version: str = ""
    revision: int = 0
    term: int = 0
    index: int = 0
    applied_index: int = 0
    leader: int = 0
    learner: bool = False
    size_bytes: int = 0
    alarms: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.error is None and self.leader == self.id != 0

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, ids as hexadecimal text as etcdctl writes them."""
        found = {**asdict(self), "leads": self.leads, "alarms": list(self.alarms)}
        return found | {name: f"{found[name]:x}" for name in ("cluster", "id", "leader")}


@dataclass(frozen=True, slots=True)
class Asked:
    """The members asked once and again; `known` is the highest revision that was in force here, 0 when not known."""

    first: tuple[Member, ...]
    second: tuple[Member, ...]
    known: int = 0

    @property
    def members(self) -> tuple[Member, ...]:
        """The members as they answered last."""
        return self.second

    @property
    def answered(self) -> list[Member]:
        """Those that answered."""
        return [member for member in self.second if member.error is None]

    def behind(self, member: Member) -> int:
        """By how many revisions a member lags behind what another had the first time; 0 when it does not."""
        had = max((one.revision for one in self.first if one.error is None), default=0)
        return max(0, had - member.revision) if member.error is None else 0


def member_findings(asked: Asked) -> Iterator[Finding]:
    """Everything that the answers tell."""
    for member in asked.members:
        if member.error is not None:
            yield Finding(
                "etcd-member-unreachable",
                "error",
                f"{member.endpoint} does not answer: {member.error}",
                member.endpoint,
                "start it, or mend the address, the certificates or the password",
            )
    yield from _clusters(asked)
    yield from _leaders(asked)
    yield from _revisions(asked)
    for member in asked.answered:
        for alarm in member.alarms:
            yield Finding(
                "etcd-alarm",
                "error",
                f"{member.endpoint} says: {alarm}",
                member.endpoint,
                "see etcdctl alarm list; NOSPACE: compact, defragment, disarm; CORRUPT: replace the member",
            )
    versions = Counter(member.version for member in asked.answered)
    if len(versions) > 1:
        yield Finding(
            "etcd-versions-differ",
            "note",
            f"the members run {', '.join(sorted(versions))}",
            "the cluster",
            "finish the upgrade: the features of the oldest hold for all",
        )


def _clusters(asked: Asked) -> Iterator[Finding]:
    clusters = Counter(member.cluster for member in asked.answered)
    if len(clusters) > 1:
        usual = clusters.most_common(1)[0][0]
        for member in asked.answered:
            if member.cluster != usual:
                yield Finding(
                    "etcd-other-cluster",
                    "error",
                    f"{member.endpoint} belongs to cluster {member.cluster:x}, the others to {usual:x}: "
                    "its revisions have nothing to do with theirs",
                    member.endpoint,
                    "take it out of the endpoints",
                )


def _leaders(asked: Asked) -> Iterator[Finding]:
    newest = max((member.term for member in asked.answered), default=0)
    for member in asked.answered:
        if not member.leader:
            yield Finding(
                "etcd-no-leader",
                "error",
                f"{member.endpoint} knows no leader (term {member.term}): it takes no writes, and what it reads is old",
                member.endpoint,
                "look at its connection to its peers; more than half of the members must reach each other",
            )
        elif member.term < newest:
            yield Finding(
                "etcd-old-term",
                "warning",
                f"{member.endpoint} is in term {member.term} and follows {member.leader:x}, another is in term "
                f"{newest}: it is cut off, or replays an old log",
                member.endpoint,
                "look at its connection to its peers, and at its data folder if it was brought back",
            )


def _revisions(asked: Asked) -> Iterator[Finding]:
    before = {member.endpoint: member for member in asked.first if member.error is None}
    highest = max((member.revision for member in asked.answered), default=0)
    for member in asked.answered:
        had = before.get(member.endpoint)
        if had is not None and member.revision < had.revision:
            yield Finding(
                "etcd-revision-went-back",
                "error",
                f"{member.endpoint} was at revision {had.revision} (term {had.term}), and a moment later at "
                f"{member.revision} (term {member.term})",
                member.endpoint,
                "it was restored, or replays an old log: stop it, and let it join anew",
            )
        elif behind := asked.behind(member):
            yield Finding(
                "etcd-member-lags",
                "warning",
                f"{member.endpoint} is {behind} revisions behind: {member.revision} (term {member.term})",
                member.endpoint,
                "look at its disk and its connection to the leader; a watch that it serves is as late",
            )
    if asked.known > highest > 0:
        yield Finding(
            "etcd-revision-went-back",
            "error",
            f"the cluster is at revision {highest}, but revision {asked.known} was in force here before: it was "
            "restored from a backup, or made anew",
            "the cluster",
            "restore the newer state, or restart the services so that they take this one",
        )


def table(asked: Asked) -> list[str]:
    """The members as lines of a table; what stands out is marked behind its row."""
    head = ("endpoint", "member", "version", "revision", "term", "index", "role", "size", "")
    rows = [head, *(_row(asked, member) for member in asked.members)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(asked: Asked, member: Member) -> tuple[str, ...]:
    if member.error is not None:
        return (member.endpoint, *("-" for _ in range(7)), f"← {member.error}")
    role = "leader" if member.leads else "learner" if member.learner else "follower" if member.leader else "none"
    behind = asked.behind(member)
    marks = [f"← {behind} behind"] if behind else []
    if member.index != member.applied_index:
        marks.append(f"applied {member.applied_index}")
    return (
        member.endpoint,
        f"{member.id:x}",
        member.version,
        str(member.revision),
        str(member.term),
        str(member.index),
        role,
        _size(member.size_bytes),
        ", ".join(marks),
    )


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB" if count < 1024 * 1024 else f"{count / (1024 * 1024):.1f} MiB"
