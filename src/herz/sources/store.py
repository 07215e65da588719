"""A prefix of a revisioned key-value store as a source: the embedded SQLite store, etcd, and any other `Store`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import randrange
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from herz.errors import HistoryBroken, MissingExtra, RevisionExpired, UsageError
from herz.formats.pace import uncollected
from herz.model.document import Batch, Document, Progress, Revision
from herz.model.origin import Origin
from herz.sources.base import Item, Standing
from herz.sources.keyed import Keyed, printable
from herz.store.base import Changes, Entry, EventType, Store
from herz.store.base import Progress as StoreProgress
from herz.store.continuity import gap
from herz.store.names import config_prefix

PAGE: Final = 10_000
"""Entries asked for at a time."""


class StoreSource:
    """The configuration of one application in a store, followed revision by revision.

    `form` names the format of a document that lies at the prefix itself. `previous`: the store is asked for what each
    event replaced, which must be what is held; it sees a put that was lost right before its key's deletion as well, and
    costs an etcd server much.

    A revision with a value that cannot be used (not UTF-8, a malformed document, a key that is both
    value and table) is handed on as `Failed` and waits; later revisions are tried together with it
    first and then without it, so that one bad key never holds up later fixes.
    """

    local = False
    keyed = True

    def __init__(
        self,
        store: Store,
        prefix: str,
        *,
        name: str | None = None,
        kind: str = "store",
        optional: bool = False,
        form: str | None = None,
        previous: bool = False,
    ) -> None:
        self.store = store
        self.prefix = prefix
        self.optional = optional
        self.origin = Origin(name or prefix, kind)
        self._form = form
        self._previous = previous
        self._content = Keyed(self.origin, prefix, form=form)
        self._identity = ""
        self._document = Document(self.origin, -1)

    @property
    def proof_s(self) -> float:
        """What the store promises."""
        return self.store.proof_s

    @property
    def notices(self) -> tuple[str, ...]:
        """What the server lacks, for people: see the store."""
        return tuple(getattr(self.store, "notices", ()))

    @classmethod
    def from_url(cls, url: str, *, optional: bool = False, context: object = None) -> StoreSource:
        """The source that `sqlite:///herz.db#pay` or `etcd://host:2379/config/pay` names."""
        if url.startswith(("etcd:", "etcd+tls:")):
            return cls._from_etcd(url, optional)
        from herz.store.sqlite import SqliteStore

        parts = urlsplit(url)
        if parts.scheme != "sqlite":
            raise MissingExtra(
                f"no store for {parts.scheme}:// is installed", remedy="use sqlite:///file.db#application, or etcd://"
            )
        if parts.netloc or not parts.path.strip("/"):
            raise UsageError(
                f"{url} names no file", remedy="write sqlite:///relative.db#app or sqlite:////absolute.db#app"
            )
        if not parts.fragment:
            raise UsageError(f"{url} names no application", remedy=f"add it behind a #: {url}#app")
        path = unquote(parts.path[1:])
        create = parse_qs(parts.query).get("create", ["true"])[0] != "false"
        return cls(
            SqliteStore(path, create=create),
            config_prefix(parts.fragment),
            name=f"sqlite:{path}#{parts.fragment}",
            kind="sqlite",
            optional=optional,
        )

    @classmethod
    def _from_etcd(cls, url: str, optional: bool) -> StoreSource:
        from herz.store.etcd.address import EtcdAddress

        try:
            from herz.store.etcd.store import EtcdStore
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"etcd:// needs {error.name}, which is not installed", remedy="pip install 'herz[etcd]'"
            ) from error
        at = EtcdAddress.parse(url)
        store = EtcdStore(
            at.endpoints,
            tls=at.tls,
            server_name=at.server_name,
            username=at.username,
            password=at.password,
            dial_timeout_s=at.dial_timeout_s,
            proof_s=at.proof_s,
            first=randrange,
        )
        return cls(store, at.prefix, name=at.name, kind="etcd", optional=optional, form=at.form, previous=at.previous)

    async def read(self) -> Document:
        """All keys at one revision of the store.

        `DocumentMalformed` when one of them cannot be used, unless there was a good value of it before: that
        stays, and the next follower is told.
        """
        revision, entries = await self._entries()
        first = self._document.revision < 0
        content = Keyed(self.origin, self.prefix, form=self._form) if first else self._content
        with uncollected():
            refused = content.replace(entries)
        if first and refused is not None:
            raise refused.error
        self._content = content
        self._identity = (await self.store.status()).identity
        self._document = content.document(revision)
        return self._document

    async def _entries(self, revision: Revision | None = None) -> tuple[Revision, list[Entry]]:
        entries: list[Entry] = []
        while True:
            after = entries[-1].key if entries else None
            with uncollected():  # a page is many objects and no garbage
                page = await self.store.range(self.prefix, revision=revision, limit=PAGE, after=after)
            for entry in page.entries:
                if not entry.key.startswith(self.prefix):
                    raise self._broken(f"{entry.key} is not under {self.prefix}", f"{entry.key}@{entry.mod_revision}")
            entries += page.entries
            revision = page.revision
            if not page.more:
                return revision, entries

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """Every revision after `after` that touches the prefix; `RevisionExpired` when history does not reach back.

        `HistoryBroken` ends the stream when what comes does not continue what came before.
        """
        if after != self._document.revision:
            raise RevisionExpired(f"{self.origin}: revision {after} is not the one read last", remedy="read again")
        async with self.store.watch(self.prefix, after, previous=self._previous) as changes:
            yield self._items(changes)

    async def _items(self, changes: AsyncIterator[Changes | StoreProgress]) -> AsyncIterator[Item]:
        if self._content.refused is not None:
            yield self._content.failed(self._document.revision)
        async for change in changes:
            if isinstance(change, Changes):
                self._check(change)
                if (batch := self._applied(change)) is not None:
                    yield batch
                if self._content.refused is not None:
                    yield self._content.failed(change.revision)
            elif change.revision >= self._document.revision:
                self._document = replace(self._document, revision=change.revision)
                alive = Progress(change.revision, change.current)
                # What is refused stands; `Progress` would say that it is over.
                yield alive if self._content.refused is None else self._content.failed(change.revision)

    async def close(self) -> None:
        """Let go of the store."""
        await self.store.close()

    async def rescan(self) -> Revision:
        """The newest revision that touched the prefix, or the store's; the watch hands on everything up to it."""
        revision, entries = await self._entries()
        known = [self._content.known(entry.key) for entry in entries]
        if len(known) - known.count(None) < sum(1 for _ in self._content.entries()):
            return revision  # something was deleted, at a revision that only the watch tells
        different = [entry.mod_revision for entry, ours in zip(entries, known, strict=True) if entry != ours]
        return max(different, default=self._document.revision)

    def accept(self) -> tuple[str, ...]:
        """Take it as meant, at the next reading, that every key was deleted; what this is about."""
        return self._content.accept()

    # --- whether the store tells the same story -----------------------------------------------

    async def standing(self, after: Revision) -> Standing:
        """The store's identity and revision, and whether it holds at `after` what was handed on up to there."""
        identity = (await self.store.status()).identity
        try:
            await self.store.range(self.prefix, revision=after, limit=1)
            expired = False
        except RevisionExpired:  # compacted, or in the future of this store
            expired = True
        revision, entries = await self._entries(None if expired else after)
        newest = revision if expired else (await self.store.range(self.prefix, limit=1)).revision
        if self._document.revision >= 0 and identity != self._identity:
            return Standing(identity, newest, False, f"this is another store, {identity}, not {self._identity}")
        if (reason := self._contradiction(entries, after, whole=not expired)) is not None:
            return Standing(identity, newest, False, printable(reason))
        return Standing(identity, newest, None if expired else True)

    def _contradiction(self, entries: list[Entry], after: Revision, *, whole: bool) -> str | None:
        """How `entries` contradict what was handed on up to `after`; `whole` when they are of that very revision."""
        known = self._content.known
        for entry in entries:
            if entry.mod_revision <= after and known(entry.key) != entry:
                ours = known(entry.key)
                held = "no such key" if ours is None else f"revision {ours.mod_revision} of it"
                return f"{entry.key} is at revision {entry.mod_revision}, and was handed on as {held}"
        if whole and len(entries) != sum(1 for _ in self._content.entries()):
            there = {entry.key for entry in entries}
            missing = next(entry for entry in self._content.entries() if entry.key not in there)
            return f"{missing.key} was handed on with revision {missing.mod_revision}, and was never there"
        return None

    def _check(self, changes: Changes) -> None:
        """Refuse what cannot follow on what is held: each event names what it replaces, by creation and version."""
        if changes.revision <= self._document.revision:
            raise self._broken(f"revision {changes.revision} came again", f"{self.prefix}@{changes.revision}")
        for event in changes.events:
            entry = event.entry
            if not entry.key.startswith(self.prefix):
                raise self._broken(f"{entry.key} is not under {self.prefix}", f"{entry.key}@{changes.revision}")
            if (reason := gap(event, self._content.known(entry.key), changes.revision)) is not None:
                raise self._broken(reason, f"{entry.key}@{changes.revision}")

    def _broken(self, what: str, where: str) -> HistoryBroken:
        return HistoryBroken(
            f"{self.origin}: {printable(what)}",
            where=printable(where),
            remedy="nothing of it is applied; the store is compared with what is held",
        )

    def _applied(self, changes: Changes) -> Batch | None:
        """What could be taken of `changes`; the content says what could not."""
        events, refused = self._content.take(
            {event.entry.key: event.entry if event.type is EventType.PUT else None for event in changes.events}
        )
        if events is None:
            self._document = replace(self._document, revision=changes.revision)
            return None
        self._document = self._content.document(changes.revision)
        return Batch(changes.revision, events, self._document, waits=refused is not None)
