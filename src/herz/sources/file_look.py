"""One look at all files of a source: what differs from what was handed on last, and whether it counts yet.

This is the only place that compares, whoever asks: the watch, the periodic check, a rescan, a read.
It runs in one thread at a time and does not wait: what cannot be decided yet has a time at which to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from herz.errors import HerzError
from herz.formats.decode import format_of
from herz.formats.fault import Limits
from herz.formats.pace import uncollected
from herz.model.document import Revision
from herz.model.origin import Origin
from herz.sources.base import Failed, Item
from herz.sources.file_parts import Held, Observation, blank, token, woven
from herz.sources.file_patterns import FilePattern, Member, Scan, scan
from herz.sources.file_reading import Reading, Signature, read_whole, recent, signature_of, unreadable
from herz.sources.file_record import FileRecord
from herz.sources.file_watch import Signals, Trace, Watch, trace

SETTLE_S: Final = 0.02
"""Seconds between two equal readings, where something was heard and the system cannot tell a writer."""

WHOLE_S: Final = 0.5
"""The same where what was heard does not tell either whether the writer has finished: a pause in a write is shorter."""

_BUSY_LONGEST_S: Final = 0.25
_PATIENCE_S: Final = 30.0
_PATIENCE_AT_START_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """Why one looks: `forced` (watched or not), a periodic `check` (`thorough`: byte by byte), something `heard`."""

    forced: bool = False
    check: bool = False
    thorough: bool = False
    heard: bool = False
    names: bool = False


class Ear(Protocol):
    """A follower's watch, and what it heard since the last look."""

    watch: Watch | None
    signals: Signals


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A finding that counts if it is found again at `due`."""

    found: object
    since: float
    due: float
    heard: bool = False
    ready: bool = False


class _Why(NamedTuple):
    """Why a file is looked at: an event came, the file is complete, a link to it was moved, somebody asks."""

    heard: bool
    ready: bool
    moved: bool
    forced: bool


def _hear(ear: Ear, into: Signals) -> None:
    """Move what `ear` heard to `into`; which files are being written stays known to the ear."""
    own = ear.signals
    if ear.watch is not None:
        ear.watch.take(own)
    if into is not own:
        into.ready |= own.ready
        into.writing |= own.writing
        into.names |= own.names
        into.everything |= own.everything
        own.ready, own.names, own.everything = set(), False, False


class FileLook:
    """Compares the files of a source with what was handed on last, and hands on what counts."""

    def __init__(
        self,
        origin: Origin,
        patterns: Sequence[FilePattern],
        *,
        profiles: Sequence[str],
        optional: bool,
        covers: Callable[[str], bool],
        limits: Limits,
        cwd: str,
        check_s: float,
        grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._origin, self._patterns, self._profiles = origin, tuple(patterns), profiles
        self._covers, self._limits = covers, limits
        self._check_s, self._grace_s, self._clock = check_s, grace_s, clock
        self._record = FileRecord(origin, optional=optional, limits=limits, cwd=cwd)
        self.scan = Scan()
        self._waiting: dict[str, _Waiting] = {}
        self._busy_since: dict[str, float] = {}
        # What stat said when a file was read last, whatever came of it.
        self._signatures: dict[str, Signature | None] = {}
        self._traces: dict[str, Trace] = {}
        self._settle_s = SETTLE_S
        # What could not be made the first document: its files by what stat says, and why.
        self._unusable: tuple[dict[str, Signature | None], HerzError] | None = None

    def due(self, *, forced: bool = False) -> float | None:
        """When to look again at what could not be decided; None when nothing waits."""
        waiting = self._waiting.items()
        return min((entry.due for path, entry in waiting if forced or self._covers(path)), default=None)

    @property
    def held(self) -> Held | None:
        """What was handed on last; None before the first reading."""
        return self._record.held

    @property
    def revision(self) -> Revision:
        """That of what was handed on last, a fault included."""
        return self._record.revision

    @property
    def faults(self) -> dict[str, Failed]:
        """The faults that stand, by path."""
        return self._record.faults

    def accept(self) -> tuple[str, ...]:
        """Let the next look take emptiness that was refused; the places that this is about."""
        return self._record.accept()

    def release(self) -> None:
        """Let go of what was held before the last change."""
        self._record.superseded = None

    def prepare(self) -> None:
        """Find out about what is held now what the first change would have to. May run beside a look."""
        held = self.held
        for part in () if held is None else held.parts:
            with uncollected():
                part.decoded.prepare()

    def look(self, look: Look, ears: Sequence[Ear]) -> list[Item]:
        """What to hand on: at most one `Batch` or `Reset`, and each new fault."""
        signals = Signals()
        for ear in ears:
            _hear(ear, signals)
        told = all(ear.watch is None or ear.watch.tells_completion for ear in ears)
        self._settle_s = SETTLE_S if told or look.forced else WHOLE_S
        full = look.forced or look.check or look.names or signals.names or signals.everything or self.held is None
        if full:
            try:
                self._scan_and_aim(ears)
            except OSError as error:
                return self._record.folder_fault(unreadable(error, error.filename or self._origin.name), error.filename)
            self.faults.pop("", None)
        self._raise_if_known()
        heard = look.heard or look.forced or bool(signals)
        counted: dict[str, Observation] = {}
        standing = len(self.faults)
        for member in self._candidates(look.forced):
            path = member.path
            ready, moved = self._readiness(path, signals)
            if not (ready or self._suspect(path, full, look)):
                continue
            observation = self._observe(member)
            if self._same(path, observation):
                continue
            known = self._waiting.get(path)
            why = _Why(
                heard=heard or (known is not None and known.heard),
                ready=ready or (known is not None and known.ready),
                moved=moved,
                forced=look.forced,
            )
            if self._counts(path, observation, self._delay(path, observation, why, signals), why):
                counted[path] = observation
        for ear in ears:  # a file that was opened again while we read it is not complete
            _hear(ear, ear.signals)
            self._withdraw(counted, ear.signals.writing)
        if self.held is None:
            return [] if self._waiting else self._begin(counted)
        if counted or standing > len(self.faults):
            return self._record.take(counted, self.scan)
        return [self._record.in_order(self.scan)] if full and self._record.out_of_order(self.scan) else []

    def _raise_if_known(self) -> None:
        """Raise again what made the first document impossible, where no file is another: who tries often only stats."""
        if self.held is None and self._unusable is not None:
            known, error = self._unusable
            if known == {member.path: signature_of(member.path) for member in self.scan.members}:
                raise error.with_traceback(None)
            self._unusable = None

    def _begin(self, counted: dict[str, Observation]) -> list[Item]:
        try:
            return self._record.begin(counted, self.scan)
        except HerzError as error:
            seen = {member.path: self._signatures.get(member.path) for member in self.scan.members}
            if seen and all(seen.values()):  # else one changed just now, and may again without a sign
                self._unusable = seen, error
            raise

    # --- what is there -------------------------------------------------------------------------

    def _scan_and_aim(self, ears: Sequence[Ear]) -> None:
        """Find the files and listen where they are; again while folders are new, for they were not heard until now."""
        for _ in range(16):
            self.scan = scan(self._patterns, profiles=self._profiles, known=_known)
            wanted = {member.path for member in self.scan.members}.union(self.scan.wanted)
            if self.held is not None:
                wanted.update(part.member.path for part in self.held.parts)
            self._traces = {path: trace(path) for path in wanted}
            covered = [found for path, found in self._traces.items() if self._covers(path)]
            aimed = [ear.watch.aim(covered, self.scan.folders) for ear in ears if ear.watch is not None]
            if not any(aimed):
                return

    def _candidates(self, forced: bool) -> Iterable[Member]:
        """Every file that is or was there, in merge order; those that are not watched only if forced."""
        kept = [part.member for part in self.held.parts] if self.held is not None else []
        members = [member for member in woven(self.scan.members, kept) if forced or self._covers(member.path)]
        here = {member.path for member in members}
        for path in [path for path in self._waiting if path not in here and (forced or self._covers(path))]:
            del self._waiting[path]
        for path in [path for path in self._record.refused if path not in here and (forced or self._covers(path))]:
            # A file that never was good has gone again, and its fault with it.
            del self._record.refused[path]
            self.faults.pop(path, None)
        return members

    def _readiness(self, path: str, signals: Signals) -> tuple[bool, bool]:
        """Whether a writer has finished the file or a link to it, and whether a link on the way was replaced."""
        if not signals.ready:
            return False, False
        places = self._traces[path].places if path in self._traces else ()
        moved = any(place in signals.ready for place in places[:-1])
        return moved or bool(places and places[-1] in signals.ready), moved

    def _suspect(self, path: str, full: bool, look: Look) -> bool:
        """Whether the file has to be read although nothing says that it is complete."""
        if path in self._waiting or path in self._record.accepted or look.forced or look.thorough:
            return True
        return full and (path not in self._signatures or signature_of(path) != self._signatures[path])

    def _observe(self, member: Member) -> Observation:
        path = member.path
        before = signature_of(path)
        try:
            observation = read_whole(path, max_bytes=self._limits.max_bytes, place=self._record.place(path))
        except HerzError as error:
            self._signatures[path] = before
            return error
        self._signatures[path] = None if observation is None else observation.signature
        if observation is not None and recent(observation.signature):
            del self._signatures[path]  # read it again at the next check
        return observation

    def _same(self, path: str, observation: Observation) -> bool:
        """Whether this was handed on already, as content or as a fault."""
        found = self.held.find(path) if self.held is not None else None
        if found is not None and isinstance(observation, Reading) and observation.data == found[1].data:
            self._forget(path)
            self.faults.pop(path, None)
            self._record.refused.pop(path, None)
            return True
        if path in self._record.refused and token(self._record.refused[path]) == token(observation):
            self._forget(path)
            return True
        if observation is None and found is None:
            self._forget(path)
            return True
        return False

    # --- whether it counts ---------------------------------------------------------------------

    def _delay(self, path: str, observation: Observation, why: _Why, signals: Signals) -> float | None:
        """Seconds for which this must be found unchanged before it counts; None: it is being written."""
        soon = min(self._settle_s, self._check_s) if why.heard else self._check_s
        if path in self._record.accepted or (why.moved and not isinstance(observation, Reading)):
            return 0.0
        if isinstance(observation, HerzError):
            return 0.0 if why.ready or self.held is None else soon
        if observation is None:
            return SETTLE_S if why.forced else self._grace_s
        writing = bool(observation.busy) or self._being_written(path, observation, signals)
        if not writing:
            self._busy_since.pop(path, None)
        elif not self._impatient(path):
            return None
        if blank(observation.data) and not self._record.was_blank(path):
            return SETTLE_S if why.forced else self._grace_s
        if self.held is None or (not writing and (why.ready or (why.heard and observation.busy is False))):
            return 0.0
        if observation.busy is None and self.held.find(path) is None:
            return max(soon, self._grace_s)  # new, and maybe begun before its folder was heard: there is no hurry
        return soon

    def _being_written(self, path: str, observation: Reading, signals: Signals) -> bool:
        """What the events say, where the system does not tell whether somebody has the file open."""
        led = self._traces.get(path)
        return observation.busy is None and led is not None and led.real in signals.writing

    def _impatient(self, path: str) -> bool:
        """Whether the file has been open for writing so long that we go by equal readings: a log, a memory map."""
        since = self._busy_since.setdefault(path, self._clock())
        patience = _PATIENCE_AT_START_S if self.held is None else _PATIENCE_S
        return self._clock() - since >= patience

    def _counts(self, path: str, observation: Observation, delay: float | None, why: _Why) -> bool:
        now = self._clock()
        if delay is None:
            pause = min(max(now - self._busy_since[path], 0.001), _BUSY_LONGEST_S)
            self._waiting[path] = _Waiting(object(), now, now + pause, why.heard, why.ready)
            return False
        waiting = self._waiting.get(path)
        found = token(observation)
        since, due = now, now + delay
        if waiting is not None and waiting.found == found:
            since, due = waiting.since, min(waiting.due, waiting.since + delay)
        if now >= due:
            self._forget(path)
            return True
        self._waiting[path] = _Waiting(found, since, due, why.heard, why.ready)
        return False

    def _withdraw(self, counted: dict[str, Observation], writing: set[str]) -> None:
        for path in list(counted):
            observation, led = counted[path], self._traces.get(path)
            if (
                isinstance(observation, Reading)
                and observation.busy is None
                and led is not None
                and led.real in writing
            ):
                del counted[path]
                now = self._clock()
                self._waiting[path] = _Waiting(object(), now, now + SETTLE_S, heard=True)

    def _forget(self, path: str) -> None:
        self._waiting.pop(path, None)
        self._busy_since.pop(path, None)


def _known(name: str) -> bool:
    return format_of(name) is not None
