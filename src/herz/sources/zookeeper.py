"""A path of a ZooKeeper ensemble as a source: its znodes are keys, as in any key-value place (`herz.sources.keyed`).

`/config/pay/db/pool` under the path `/config/pay` is `db.pool`; a znode whose name ends in `.yml`, `.json`, … holds a
document. A znode without data is a folder and no key.

**The contract is the latest state, and what is skipped says so.** ZooKeeper keeps no history: a one-shot watch tells
that something changed, not how often. What is handed on is one consistent state after the other, never an older one
after a newer. Where the counters of the znodes prove that every transaction between two states is known it is a
`Batch` for each; otherwise a `Reset` with a reason. Where every change matters, append sequential znodes.

Revisions are zxids. A lost session, or only its connection, ends the stream with `SourceUnavailable`: the session above
opens a new one, which reads everything again and goes on from there.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from herz.errors import EmptiedSource, HistoryBroken, RevisionExpired, SourceUnavailable
from herz.model.document import Batch, Document, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.sources.base import Item, Standing
from herz.sources.keyed import Keyed, Refused
from herz.sources.zookeeper_mirror import Mirror
from herz.sources.zookeeper_tree import Cut, Value, contradiction, parent, transactions
from herz.sources.zookeeper_url import Ensemble, place_of
from herz.store.base import Entry

PROOF_S: Final = 15.0
"""Within how many seconds a watch on which nothing changes hands on `Progress`, by default."""
PROOFS: Final = 3
"""How often in that time it asks."""


class ZookeeperSource:
    """The configuration under one path of an ensemble, read whole and followed from one consistent state to the next.

    What cannot be used (not UTF-8, a malformed document, a value that is a table as well, everything deleted at once)
    is handed on as `Failed` and waits, as `Keyed` tells. A path that is not there is `SourceUnavailable`, unless the
    source is `optional`: then it is empty. `form` is the format of the document that the znode at `path` itself
    holds.
    """

    local = False
    keyed = True

    def __init__(
        self,
        ensemble: Ensemble,
        path: str,
        *,
        form: str | None = None,
        optional: bool = False,
        proof_s: float = PROOF_S,
    ) -> None:
        self.ensemble = ensemble
        self.path = path
        self.optional = optional
        scheme = "zookeeper" if ensemble.tls is None else "zookeeper+tls"
        self.origin = Origin(f"{scheme}://{ensemble.name}{path}", "zookeeper")
        self._proof_s = proof_s
        self._form = form
        self._content = Keyed(self.origin, path, form=form)
        self._refused: Refused | None = None
        self._held: Cut | None = None
        """What was handed on last, usable or not."""
        self._document = Document(self.origin, -1)
        self._mirror: Mirror | None = None
        self._opening = asyncio.Lock()
        self._items: deque[Item] = deque()
        self._process = os.getpid()
        self._followed = False
        self._again = False

    @classmethod
    def from_url(cls, url: str, *, optional: bool = False, context: object = None) -> ZookeeperSource:
        """The source that `zookeeper://h1:2181,h2:2181/config/pay` names; see `herz.sources.zookeeper_url`."""
        place = place_of(url, PROOF_S)
        return cls(place.ensemble, place.path, form=place.form, optional=optional, proof_s=place.proof_s)

    @property
    def proof_s(self) -> float:
        """Within how many seconds a watch on which nothing changes hands on `Progress`."""
        return self._proof_s

    # --- reading ------------------------------------------------------------------------------

    async def read(self) -> Document:
        """All that was committed before, at one moment; the watches for what comes after stand then.

        `SourceUnavailable`, also when the path is not there; `SourceDenied`. `DocumentMalformed` when something in it
        cannot be used, unless there was a good value of it before: that stays, and the next follower is told.
        """
        self._forget_parent()
        mirror = await self._standing_mirror()
        try:
            cut = await mirror.prove()
            if self._followed:
                self._take(mirror, cut)
            else:
                self._replace(mirror, cut)
        except BaseException:
            if not self._followed:
                await self._drop()  # nobody may come again
            raise
        return self._document

    def _replace(self, mirror: Mirror, cut: Cut) -> None:
        first = self._held is None
        if first and not cut.there and not self.optional:
            raise SourceUnavailable(
                f"there is no znode {self.path}", where=self.ensemble.name, remedy="create it, or mend the path"
            )
        content = Keyed(self.origin, self.path, form=self._form) if first else self._content
        refused = content.replace(_entries(cut))
        if refused is not None and first:
            raise refused.error
        if refused is not None and self.optional and isinstance(refused.error, EmptiedSource):
            content.accept()
            refused = content.replace(())
        self._content, self._refused, self._held = content, refused, cut
        mirror.take_changes()
        self._items.clear()
        self._document = content.document(cut.zxid)

    async def _standing_mirror(self) -> Mirror:
        """The session that is open, or a new one that has read everything once."""
        async with self._opening:
            mirror = self._mirror
            if mirror is not None and mirror.connection.lost is not None:
                await self._drop()
                mirror = None
            if mirror is None:
                mirror = await Mirror.open(self.ensemble, self.path)
                self._mirror = mirror
                try:
                    await mirror.prove()  # one server of many: what the others have committed before is waited for
                except BaseException:
                    await self._drop()
                    raise
            return mirror

    async def _drop(self) -> None:
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            await mirror.connection.close()

    def _forget_parent(self) -> None:
        """In a forked child: the session and its thread, and what waits to be handed on, are the parent's."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._mirror, self._followed, self._opening = None, False, asyncio.Lock()
            self._items.clear()

    async def close(self) -> None:
        """End the session."""
        await self._drop()

    # --- following ----------------------------------------------------------------------------

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """What changes after `after`; `RevisionExpired` when that is not what was handed on last.

        One follower at a time. On entering, everything has been read with watches, anew in a new session.
        """
        self._forget_parent()
        if self._held is None or after != self._document.revision:
            raise RevisionExpired(f"{self.origin}: revision {after} is not the one read last", remedy="read again")
        await self._standing_mirror()
        stream = _Stream(self)
        self._followed = True
        if self._refused is not None:
            self._items.append(self._content.failed(after))
        try:
            yield stream
        except BaseException:
            await self._drop()  # whatever ended it, the next one begins with a session that is known to be good
            raise
        finally:
            self._followed = False
            self._items.clear()
            await stream.aclose()

    async def _next(self) -> Item:
        """The next item; the session's progress towards it is not lost when this is cancelled."""
        while not self._items:
            mirror = self._mirror
            if mirror is None:
                raise SourceUnavailable(f"{self.origin}: closed", remedy="follow it again")
            self._take(mirror, await mirror.settle())
            if self._items:
                break
            try:
                async with asyncio.timeout(self._proof_s / PROOFS):
                    await mirror.stirred()
            except TimeoutError:
                self._take(mirror, await mirror.prove(audit=True), report=True)
        return self._items.popleft()

    def _take(self, mirror: Mirror, cut: Cut, *, report: bool = False) -> None:
        """Queue what leads from what was handed on to `cut`; with `report`, `Progress` when nothing does."""
        held = self._held
        assert held is not None  # noqa: S101  nothing is followed before it was read
        before = len(self._items)
        if cut.values is not held.values or cut.families is not held.families:
            paths, deleted = mirror.take_changes()
            touched = held.differing(cut, paths)
            if touched:
                self._move(held, cut, touched, deleted)
            self._held = cut
        if self._again:
            self._again = False
            self._hand_on(max(cut.zxid, self._document.revision), {}, None)
        if report and len(self._items) == before:
            self._held = cut
            self._progress(cut.zxid)
        elif len(self._items) > before and self._refused is None:
            self._items.append(Progress(self._document.revision))  # what led here was read whole, and just now

    def _move(self, held: Cut, cut: Cut, touched: set[str], deleted: dict[str, int]) -> None:
        upto = self._document.revision
        if (reason := contradiction(held, cut, upto, touched)) is not None:
            raise HistoryBroken(f"{self.origin}: {reason}", remedy="it is compared with what is held, and read again")
        steps = transactions(held, cut, touched, deleted) if held.there and cut.there else None
        if steps is not None and all(zxid > upto for zxid, _ in steps):
            for zxid, paths in steps:
                self._hand_on(zxid, {path: _entry(path, cut.values.get(path)) for path in paths}, None)
        else:
            changed = {path: _entry(path, cut.values.get(path)) for path in touched}
            revision = max(upto + 1, cut.zxid)
            self._hand_on(revision, changed, "ZooKeeper keeps the latest state only: values in between may be gone")

    def _hand_on(self, revision: Revision, touched: dict[str, Entry | None], reason: str | None) -> None:
        """Take one revision. `reason` is why values in between may have been missed, if they may."""
        content = self._content
        touched = {key: entry for key, entry in touched.items() if content.known(key) != entry}
        events, refused = content.take(touched)
        if refused is not None and self.optional and isinstance(refused.error, EmptiedSource):
            content.accept()
            events, refused = content.take({})
        self._refused = refused
        if reason is not None and events is not None:
            self._document = content.document(revision)
            self._items.append(Reset(self._document, reason, waits=refused is not None))
        elif events:
            self._document = content.document(revision)
            self._items.append(Batch(revision, events, self._document, waits=refused is not None))
        else:
            self._progress(revision)
            return
        if refused is not None:
            self._items.append(self._content.failed(revision))

    def _progress(self, zxid: int) -> None:
        revision = max(zxid, self._document.revision)
        self._document = replace(self._document, revision=revision)
        # `Progress` would say that what is refused is over.
        self._items.append(Progress(revision) if self._refused is None else self._content.failed(revision))

    async def rescan(self) -> Revision:
        """Look now; the zxid up to which whatever differs is in the follower's stream."""
        mirror = await self._standing_mirror()
        # What waits to be accepted needs a revision that no follower has seen yet.
        cut = await mirror.prove(fence=self._again)
        if self._followed:
            self._take(mirror, cut, report=True)
            mirror.wake()
        return max(cut.zxid, self._document.revision)

    def accept(self) -> tuple[str, ...]:
        """Take it as meant, at the next look, that everything was deleted; what this is about."""
        accepted = self._content.accept()
        self._again = bool(accepted)
        return accepted

    # --- whether it tells the same story ------------------------------------------------------

    async def standing(self, after: Revision) -> Standing:
        """Whether the ensemble may have come from what was handed on up to `after`, by the counters of every znode.

        The server first waits for its leader. If that shows a contradiction a majority is asked as well, since a
        leader that was cut off does not know it for a moment.
        """
        mirror = await self._standing_mirror()
        reason: str | None = None
        for fence in (False, True):
            cut = await mirror.prove(fence=fence)
            reason = await self._contradiction(mirror, cut, after)
            if reason is None and cut.zxid >= after:
                break
        if self._held is None or after != self._document.revision:
            return Standing(await self._identity(mirror), cut.zxid, None, "nothing of it was handed on")
        return Standing(await self._identity(mirror), cut.zxid, reason is None, reason or "")

    async def _contradiction(self, mirror: Mirror, cut: Cut, after: Revision) -> str | None:
        held = self._held
        if held is None:
            return None
        if held.there and not cut.there:
            above = self.path
            while above != "/":
                above = parent(above)
                stat = await mirror.connection.stat(above)
                if stat is not None:
                    if stat.pzxid > after:
                        return None
                    break
            return f"{self.path} is gone, and nothing shows that it was deleted after transaction {after:#x}"
        return contradiction(held, cut, after)

    async def _identity(self, mirror: Mirror) -> str:
        """The birth of the topmost znode above the path: other in another ensemble, the same in a restored one."""
        stat = await mirror.connection.stat("/" + self.path.split("/")[1])
        return "" if stat is None else f"{stat.czxid:x}.{stat.ctime:x}"


class _Stream(AsyncIterator[Item]):
    """The follower's items; cancelling a wait for the next one loses nothing."""

    def __init__(self, source: ZookeeperSource) -> None:
        self._source = source
        self._next: asyncio.Task[Item] | None = None

    async def __anext__(self) -> Item:
        if self._next is None:
            self._next = asyncio.create_task(self._source._next(), name="herz zookeeper watch")
        item = await asyncio.shield(self._next)
        self._next = None
        return item

    async def aclose(self) -> None:
        """Stop waiting."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


def _entry(path: str, value: Value | None) -> Entry | None:
    """What `path` contributes as a key: nothing without data."""
    return (
        Entry(path, value.data, value.czxid, value.mzxid, value.version) if value is not None and value.data else None
    )


def _entries(cut: Cut) -> Iterable[Entry]:
    return (entry for path, value in cut.values.items() if (entry := _entry(path, value)) is not None)
