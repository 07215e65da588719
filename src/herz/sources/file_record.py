"""What a source of files has handed on last, and what became of everything found since: taken, or refused.

Nothing here looks at a file system: `file_look` finds, and says what counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from herz.errors import EmptiedSource, HerzError, SourceUnavailable
from herz.formats.fault import Limits
from herz.model.document import Batch, Document, Event, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.sources.base import Failed, Item
from herz.sources.file_parts import Held, Observation, Part, blank, emptied, part_of, woven
from herz.sources.file_patterns import Member, Scan, display
from herz.sources.file_reading import Reading


class FileRecord:
    """The files as they were handed on last (`held`), and the faults that stand.

    `refused` is what was found and not taken, by path: for a fault, and for what came together with one. `accepted`
    are the files whose emptiness is taken as meant. `superseded` was held before; whoever hands on drops it afterwards,
    for giving megabytes back to the system takes a third of a millisecond.
    """

    def __init__(self, origin: Origin, *, optional: bool, limits: Limits, cwd: str) -> None:
        self._origin, self._optional, self._limits, self._cwd = origin, optional, limits, cwd
        self.held: Held | None = None
        self.superseded: Held | None = None
        self.revision: Revision = 0
        self.faults: dict[str, Failed] = {}
        self.refused: dict[str, Observation] = {}
        self.accepted: frozenset[str] = frozenset()

    def accept(self) -> tuple[str, ...]:
        """Let the next `take` take emptiness that was refused; the places that this is about."""
        refused = [path for path, failed in self.faults.items() if isinstance(failed.error, EmptiedSource)]
        self.accepted = frozenset(refused)
        for path in refused:
            self.refused.pop(path, None)
        return tuple(sorted({self.faults[path].place for path in refused}))

    def out_of_order(self, scan: Scan) -> bool:
        """Whether a file that was briefly away is back, and others came in between: then ranks are wrong."""
        assert self.held is not None  # noqa: S101 - `look` has begun
        held = [part.member.path for part in self.held.parts]
        return held != (order := [member.path for member in scan.members]) and sorted(held) == sorted(order)

    def in_order(self, scan: Scan) -> Item:
        """What is held, in merge order: a new revision."""
        assert self.held is not None  # noqa: S101 - asked about before
        known = {part.member.path: part for part in self.held.parts}
        return self._commit(known, {member.path: member for member in scan.members}, {}, self.revision + 1)

    def begin(self, counted: dict[str, Observation], scan: Scan) -> list[Item]:
        """The first document, all files together; raises what makes it impossible."""
        if scan.absent and not self._optional:
            raise SourceUnavailable(
                "there is no such file" if len(scan.absent) == 1 else "there are no such files",
                where=", ".join(self.place(path) for path in scan.absent),
                remedy="create it, correct the path, or mark the source as optional",
            )
        parts: list[Part] = []
        for member in scan.members:
            observation = counted.get(member.path)
            if isinstance(observation, HerzError):
                raise observation
            if observation is not None:
                parts.append(self._decoded(member, observation, 1, None, yielding=False)[0])
        self.revision = 1
        self.held = self._holding(parts)
        return []

    def take(self, counted: dict[str, Observation], scan: Scan) -> list[Item]:
        """Take all of `counted`, or none of it when one cannot be used."""
        assert self.held is not None  # noqa: S101 - `look` has begun
        if self.faults.keys() <= counted.keys():  # nothing else is at fault: what had to wait for that goes with it
            counted = {**self.refused, **counted}
        known = {part.member.path: part for part in self.held.parts}
        members = {member.path: member for member in woven(scan.members, [part.member for part in self.held.parts])}
        revision = self.revision + 1
        fresh: dict[str, tuple[Part, tuple[Event, ...]] | None] = {}
        problems: dict[str, HerzError] = {}
        for path, observation in counted.items():
            try:
                if isinstance(observation, HerzError):
                    raise observation
                if observation is None:
                    self._removal(known[path], scan)
                    fresh[path] = None
                    continue
                before = known.get(path)
                if blank(observation.data) and not self.was_blank(path) and path not in self.accepted:
                    raise emptied(self.place(path), "the file is suddenly blank")
                fresh[path] = self._decoded(members[path], observation, revision, before)
            except HerzError as error:
                problems[path] = error
        if problems:
            return self._refuse(counted, problems, revision)
        self.accepted = frozenset()
        for path in counted:
            self.faults.pop(path, None)
            self.refused.pop(path, None)
        if not fresh:
            self.revision += 1  # a fault is over: who waits for this revision has seen that, and not the fault's own
            return [Progress(self.revision)]
        return [self._commit(known, members, fresh, revision)]

    def _decoded(
        self, member: Member, reading: Reading, revision: Revision, before: Part | None, *, yielding: bool = True
    ) -> tuple[Part, tuple[Event, ...]]:
        return part_of(member, self.place(member.path), reading, revision, before, self._limits, yielding=yielding)

    def _commit(
        self,
        known: dict[str, Part],
        members: dict[str, Member],
        fresh: dict[str, tuple[Part, tuple[Event, ...]] | None],
        revision: Revision,
    ) -> Item:
        before = list(known)
        parts: list[Part] = []
        for path in members:
            made = fresh[path] if path in fresh else ((known[path], ()) if path in known else None)
            if made is not None:
                parts.append(made[0])
        self.revision = revision
        self.superseded, self.held = self.held, self._holding(parts)
        if [part.member.path for part in parts] == before and len(fresh) == 1:
            ((path, made),) = fresh.items()
            events = made[1] if made is not None else ()
            return Batch(revision, events, self.held.document, before.index(path))
        return Reset(self.held.document)

    def _holding(self, parts: Sequence[Part]) -> Held:
        documents = tuple(part.document for part in parts)
        references = any(document.references for document in documents)
        whole = Document(self._origin, self.revision, references=references, parts=documents)
        return Held(tuple(parts), whole)

    def _removal(self, part: Part, scan: Scan) -> None:
        """Nothing, when this part may go; `EmptiedSource` when its going looks like an accident."""
        if self._optional or part.member.path in self.accepted:
            return
        if not part.member.root:
            raise emptied(part.place, "the file is gone")
        root = part.member.root
        if not any(root in (member.root, member.path) for member in scan.members):
            raise emptied(self.place(root), "all its files are gone")

    def _refuse(
        self, counted: dict[str, Observation], problems: dict[str, HerzError], revision: Revision
    ) -> list[Item]:
        assert self.held is not None  # noqa: S101 - there is something to keep
        self.revision = revision
        self.refused.update(counted)
        for path in counted.keys() - problems.keys():
            self.faults.pop(path, None)  # no longer at fault itself, it only waits for what came with it
        items: dict[str, Item] = {}
        for path, error in problems.items():
            found = self.held.find(path)
            place = error.where or self.place(path)
            self.faults[path] = Failed(revision, error, place, found[0] if found is not None else None)
            items.setdefault(str(error), self.faults[path])
        return list(items.values())

    def folder_fault(self, error: HerzError, folder: str | None) -> list[Item]:
        """A folder that cannot be listed: what was in it stays in force."""
        if self.held is None:
            raise error
        known = self.faults.get("")
        if known is not None and str(known.error) == str(error):
            return []
        self.revision += 1
        self.faults[""] = Failed(self.revision, error, folder or self._origin.name)
        return [self.faults[""]]

    def was_blank(self, path: str) -> bool:
        """Whether nothing is held of the file, or an empty document."""
        found = self.held.find(path) if self.held is not None else None
        return found is None or not found[1].decoded.tree

    def place(self, path: str) -> str:
        """How messages name `path`."""
        return display(path, self._cwd)
