"""A subtree of ZooKeeper, read whole and kept current through one-shot watches, as one consistent cut after another.

Every znode is read with a watch for its data and one for its children. When a watch fires only what it is about is
read again. A session's events and answers come in the server's order, so that at the moment when the last outstanding
answer arrives and no watch has fired for anything read, all of it stood together at the server: a cut. Several znodes
changed in one transaction are therefore seen together, without a second reading and without a manifest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Self

from immutables import Map

from herz.errors import SourceUnavailable
from herz.sources.zookeeper_client import Connection, Happened, Stat
from herz.sources.zookeeper_tree import Cut, Family, Value, child
from herz.sources.zookeeper_url import Ensemble

WINDOW: Final = 256
"""Questions that wait for their answers at most; the server holds back clients that ask more at once."""
AUDIT: Final = 32
"""Znodes that are read again with each proof, besides what has changed."""


class _Changes(NamedTuple):
    paths: set[str] | None
    deleted: dict[str, int]

    def and_then(self, later: _Changes) -> _Changes:
        deleted = {**self.deleted, **later.deleted}
        if self.paths is None or later.paths is None:
            return _Changes(None, deleted)
        return _Changes(self.paths | later.paths, deleted)


class Mirror:
    """What one session has read of the subtree at `root`. `cut` is the latest consistent one."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.cut = Cut(root)
        self.connection: Connection
        self._values: Map[str, Value] = Map()
        self._families: Map[str, Family] = Map()
        self._changes = _Changes(None, {})
        """Since `cut`; and those that led to `cut` and are not taken yet:"""
        self._taken = _Changes(None, {})
        self._touched_values: set[str] = {root}
        self._touched_families: set[str] = {root}
        self._unsure_values: set[str] = set()
        self._unsure_families: set[str] = set()
        """Paths of which that has changed since it was read."""
        self._to_audit: list[str] = []
        self._questions: deque[Callable[[], None]] = deque()
        self._asked: set[str] = set()
        self._outstanding = 0
        self._answers = 0
        self._settled: set[asyncio.Future[Cut]] = set()
        self._stirred = asyncio.Event()

    @classmethod
    async def open(cls, ensemble: Ensemble, root: str) -> Self:
        """Connect; nothing is read yet. What `Connection.open` raises."""
        mirror = cls(root)
        mirror.connection = await Connection.open(ensemble, mirror._happened, mirror._stirred.set)
        return mirror

    @property
    def current(self) -> bool:
        """Whether `cut` is what the server has told last."""
        return self._outstanding == 0 and not self._touched_values and not self._touched_families

    @property
    def _over(self) -> bool:
        return self.connection.lost is not None

    async def settle(self) -> Cut:
        """Read what is not read yet or has changed, until there is a cut; `SourceError`.

        Each answer has its time limit. Cancelling loses nothing: what is still to be read stays so.
        """
        if self.connection.lost is not None:
            raise self.connection.lost
        if self.current:
            return self.cut
        settled: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()
        self._settled.add(settled)
        try:
            self._read_on()
            while True:
                answers = self._answers
                try:
                    return await self.connection.until(asyncio.shield(settled))
                except SourceUnavailable:
                    if self._over or answers == self._answers:
                        raise  # not one answer for that long
        finally:
            self._settled.discard(settled)
            settled.cancel()

    async def prove(self, *, fence: bool = False, audit: bool = False) -> Cut:
        """A cut that holds whatever was committed before this was called; with `fence` a majority says so.

        `audit` reads some znodes again, others each time: a server is silent about those that we may not read any more.
        """
        ask = self.connection.fence if fence else self.connection.sync
        if audit:
            if not self._to_audit:
                self._to_audit = list(self._values)
            self._touched_values.update(self._to_audit[-AUDIT:])
            del self._to_audit[-AUDIT:]
        zxid = await ask(self.root)
        cut = await self.settle()
        if zxid > cut.zxid:
            cut = Cut(cut.root, zxid, cut.values, cut.families)
            if self.current:
                self.cut = cut
        return cut

    async def stirred(self) -> None:
        """Wait until something has changed, or the session is lost."""
        while self.current and self.connection.lost is None:
            self._stirred.clear()
            await self._stirred.wait()

    def wake(self) -> None:
        """End a wait for `stirred` that somebody else polls around."""
        self._stirred.set()

    def take_changes(self) -> tuple[set[str] | None, dict[str, int]]:
        """What led to `cut` since this was last called: the paths that may differ, None at first, when any may.

        And the znodes that were deleted just as they had been read, by the mzxid of their data; others may have been
        written, or may have had children, once more before.
        """
        taken, self._taken = self._taken, _Changes(set(), {})
        return taken.paths, taken.deleted

    def _note(self, path: str) -> None:
        if self._changes.paths is not None:
            self._changes.paths.add(path)

    # --- what the session tells ---------------------------------------------------------------

    def _happened(self, event: Happened) -> None:
        unsure = event.path in self._unsure_values or event.path in self._unsure_families
        if event.gone and event.path in self._values and not unsure:
            self._changes.deleted[event.path] = self._values[event.path].mzxid
        if event.gone and event.path != self.root:
            self._drop(event.path)  # its parent's watch fires as well, and says whether it has come again
        else:
            if event.value:
                self._unsure_values.add(event.path)
                self._touched_values.add(event.path)
            if event.family:
                self._unsure_families.add(event.path)
                self._touched_families.add(event.path)
        self._stirred.set()
        if self._settled:
            self._read_on()

    def _read_on(self) -> None:
        """Ask for what is touched, at the end of what is being asked already."""
        for path in self._touched_values:
            self._questions.append(partial(self.connection.value, path, partial(self._answered, self._value, path)))
        for path in self._touched_families:
            self._questions.append(partial(self.connection.family, path, partial(self._answered, self._family, path)))
        self._outstanding += len(self._touched_values) + len(self._touched_families)
        self._touched_values.clear()
        self._touched_families.clear()
        self._pump()

    def _pump(self) -> None:
        while self._questions and self._outstanding - len(self._questions) < WINDOW:
            self._questions.popleft()()

    def _answered(self, take: Callable[[str, Any], None], path: str, found: Any, zxid: int) -> None:
        take(path, found)
        self._outstanding -= 1
        self._answers += 1
        if self._touched_values or self._touched_families:
            self._read_on()
        elif self._outstanding == 0:
            self.cut = Cut(self.root, zxid, self._values, self._families)
            self._taken, self._changes = self._taken.and_then(self._changes), _Changes(set(), {})
            for settled in self._settled:
                if not settled.done():
                    settled.set_result(self.cut)
        else:
            self._pump()

    def _value(self, path: str, found: tuple[bytes, Stat] | None) -> None:
        if found is None:
            self._missing(path)
            return
        self._unsure_values.discard(path)
        value = Value(found[0], found[1].czxid, found[1].mzxid, found[1].version)
        if self._values.get(path) != value:
            self._values = self._values.set(path, value)
            self._note(path)

    def _family(self, path: str, found: tuple[list[str], Stat] | None) -> None:
        if found is None:
            self._missing(path)
            return
        self._unsure_families.discard(path)
        names = frozenset(found[0])
        if path == "/":
            names -= {"zookeeper"}  # ZooKeeper's own
        known = self._families.get(path)
        for name in known.names - names if known is not None else ():
            self._drop(child(path, name))
        for name in names:
            below = child(path, name)
            if below not in self._values and below not in self._asked:
                self._asked.add(below)
                self._touched_values.add(below)
                self._touched_families.add(below)
        stat = found[1]
        self._families = self._families.set(path, Family(names, stat.czxid, stat.pzxid, stat.cversion))
        self._note(path)

    def _missing(self, path: str) -> None:
        self._drop(path)
        if path == self.root:
            self._outstanding += 1
            self.connection.existence(path, partial(self._answered, self._existence, path))

    def _existence(self, path: str, found: Stat | None) -> None:
        if found is not None:  # it has come since
            self._touched_values.add(path)
            self._touched_families.add(path)

    def _drop(self, path: str) -> None:
        waiting = [path]
        while waiting:
            gone = waiting.pop()
            self._asked.discard(gone)
            self._unsure_values.discard(gone)
            self._unsure_families.discard(gone)
            family = self._families.get(gone)
            if family is not None:
                self._families = self._families.delete(gone)
                waiting += (child(gone, name) for name in family.names)
            if gone in self._values:
                self._values = self._values.delete(gone)
            self._note(gone)
