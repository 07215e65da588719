"""Contents in a store: written in pieces, read whole and proved, collected when nothing refers to them any more.

A content is its manifest and the chunks that this names. What fits one transaction is written in one. A larger one is
announced first, by its manifest under `/herz/announced/`, so that the chunks of a writer that died can be found; then
come the chunks, then the manifest. Who refers to a content writes `holding(digest)` in the same transaction.

Collection and writing meet in two keys, and depend on no clock. Every manifest and every reference writes CHANGED, and
a collection deletes only while CHANGED is as it was when it looked around. Every deletion writes SWEPT, and a large
content gets its manifest only while SWEPT is as it was before its first chunk was looked at. The grace period only
saves writers from starting again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from hashlib import sha256
from typing import Final

from herz.errors import Conflict, HistoryBroken, UsageError
from herz.release.content import CHUNK_BYTES, DIMENSIONS, Content, Manifest, packed, unpacked
from herz.release.record import Record, encode
from herz.server.clock import Clock
from herz.server.masking import check_unmasked
from herz.server.problems import not_found
from herz.server.stored import stored
from herz.store.base import Compare, Delete, Entry, Get, Put, Store, Txn
from herz.store.plane import APPS, CONTENT, LIVE, ROLLOUTS, ROOT, checked_name, chunk_key, content_key

ANNOUNCED: Final = ROOT + "announced/"
CHANGED: Final = ROOT + "contents/changed"
SWEPT: Final = ROOT + "contents/swept"

LAYERS: Final = 100
"""Layers that a content may have."""
_WHOLE_BYTES: Final = 1024 * 1024
_WHOLE_CHUNKS: Final = 100
_CACHE_BYTES: Final = 64 * 1024 * 1024
_ATTEMPTS: Final = 20
_PAGE: Final = 500
_DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})")
_DIGEST_TEXT: Final = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


class Collected(Record, frozen=True, kw_only=True):
    """What a collection deleted."""

    contents: int = 0
    chunks: int = 0


class Contents:
    """The contents in a store; any number of servers write and collect at the same time.

    `grace_s` is for how long something unreferenced stays, since this process first saw it so.
    """

    def __init__(self, store: Store, clock: Clock, grace_s: float) -> None:
        self._store, self._clock, self._grace_s = store, clock, grace_s
        self._cache: OrderedDict[str, Content] = OrderedDict()
        self._cached_bytes = 0
        self._seen: dict[tuple[str, int], float] = {}

    async def write(self, content: Content) -> str:
        """Write `content` and answer its digest; nothing refers to it yet.

        `UsageError` when it is too large, a `Problem` 422 when it is masked.
        """
        _check(content)
        manifest, chunks = packed(content)
        size = sum(map(len, chunks.values()))
        if size <= _WHOLE_BYTES and len(chunks) <= _WHOLE_CHUNKS:
            puts = [Put(chunk_key(name), data) for name, data in chunks.items()]
            await self._store.txn(Txn(then=(*puts, *_manifest(manifest))))
        else:
            await self._write_large(manifest, chunks)
        self._remember(manifest.digest, content, size)
        return manifest.digest

    async def read(self, digest: str) -> Content:
        """The content of this digest, proved by it; a `Problem` 404 when there is none.

        `HistoryBroken` when it is damaged, with the layer at fault.
        """
        if not _DIGEST_TEXT.fullmatch(digest):
            raise UsageError(f"{digest[:100]!r} is no digest of a content", remedy="write sha256:<64 hex digits>")
        digest = f"sha256:{digest.removeprefix('sha256:')}"
        known = self._cache.get(digest)
        if known is not None:
            self._cache.move_to_end(digest)
            return known
        manifest = await self.manifest(digest)
        names = list(dict.fromkeys(name for layer in manifest.layers for name in layer.chunks))
        step = 2 if any(layer.bytes > CHUNK_BYTES // 4 for layer in manifest.layers) else 8
        chunks: dict[str, bytes] = {}
        for start in range(0, len(names), step):
            part = names[start : start + step]
            read = await self._store.txn(Txn(then=[Get(chunk_key(name)) for name in part]))
            chunks.update((name, found[0].value) for name, found in zip(part, read.results, strict=True) if found)
        content = unpacked(manifest, chunks, content_key(digest))
        self._remember(digest, content, sum(map(len, chunks.values())))
        return content

    async def manifest(self, digest: str) -> Manifest:
        """What the content of this digest is made of; a `Problem` 404 when there is none."""
        key = content_key(digest)
        entry = await self._store.get(key)
        if entry is None:
            raise not_found(f"there is no content {digest}", remedy="it was collected, or never written here")
        if sha256(entry.value).hexdigest() != digest.removeprefix("sha256:"):
            raise HistoryBroken(
                "the manifest of a content is not what its digest says",
                where=f"{key}@{entry.mod_revision}",
                remedy="release the content anew, or restore the store from a backup",
            )
        return stored(entry, Manifest)

    def holding(self, digest: str) -> tuple[Compare, Put]:
        """What a transaction that refers to a content must hold as well: that it is there, and stays."""
        return _exists(content_key(digest)), Put(CHANGED, b"")

    # --- writing what does not fit one transaction

    async def _write_large(self, manifest: Manifest, chunks: dict[str, bytes]) -> None:
        announced = _announced(manifest.digest)
        for _ in range(_ATTEMPTS):
            swept = await self._revision(SWEPT)
            await self._store.put(announced, encode(manifest))
            for name, data in chunks.items():
                key = chunk_key(name)
                if not (await self._store.txn(Txn((_exists(key),)))).succeeded:
                    await self._store.put(key, data)
            last = Txn((Compare.unchanged(SWEPT, swept),), (*_manifest(manifest), Delete(announced)))
            if (await self._store.txn(last)).succeeded:
                return
        raise Conflict("contents are being collected all the time", key=SWEPT, remedy="try again")

    async def _revision(self, key: str) -> int:
        entry = await self._store.get(key)
        return 0 if entry is None else entry.mod_revision

    # --- collecting

    async def collect(self) -> Collected:
        """Delete what nothing refers to and what was so for the grace period already.

        Whatever is referred to, or written, at the same time stays; when too much is going on, the rest is left to
        the next call. Two collections at the same time do no harm.
        """
        contents = chunks = 0
        for _ in range(_ATTEMPTS):
            changed = await self._revision(CHANGED)
            referred = await self._referred()
            manifests = [entry async for entry in self._entries(CONTENT)]
            waiting = [entry async for entry in self._entries(ANNOUNCED)]
            unreferred = [entry for entry in manifests if _name(entry) not in referred]
            self._forget([*unreferred, *waiting])
            old = [entry for entry in unreferred if self._old(entry)]
            if old:
                # Announced in the same transaction, so that a collection that dies here is finished by the next one.
                part = old[:50]
                moved = [Put(_announced(_name(entry)), entry.value) for entry in part]
                deletes = [Delete(entry.key) for entry in part]
                if await self._delete(changed, [*deletes, *moved]):
                    contents += len(part)
                    for entry in part:
                        self._drop(_name(entry))
                    for entry in [entry async for entry in self._entries(ANNOUNCED)]:
                        if _name(entry) in {_name(one) for one in part}:
                            self._seen[entry.key, entry.mod_revision] = self._clock.monotonic() - self._grace_s
                continue
            over = [entry for entry in waiting if self._old(entry)]
            if not over:
                break
            kept = _chunks([*manifests, *(entry for entry in waiting if entry not in over)])
            unused = sorted(_chunks(over) - kept)
            if await self._delete_all(changed, [Delete(chunk_key(name)) for name in unused]) and await self._delete_all(
                changed, [Delete(entry.key) for entry in over]
            ):
                chunks += len(unused)
        return Collected(contents=contents, chunks=chunks)

    async def _delete_all(self, changed: int, deletes: Sequence[Delete]) -> bool:
        for start in range(0, len(deletes), _WHOLE_CHUNKS):
            if not await self._delete(changed, deletes[start : start + _WHOLE_CHUNKS]):
                return False
        return True

    async def _delete(self, changed: int, operations: Sequence[Delete | Put]) -> bool:
        txn = Txn((Compare.unchanged(CHANGED, changed),), (*operations, Put(SWEPT, b"")))
        return (await self._store.txn(txn)).succeeded

    async def _referred(self) -> set[str]:
        """Every digest that a draft, a release, a channel, a question or a rollout names, and some that are none."""
        return {
            match.decode()
            for prefix in (APPS, LIVE, ROLLOUTS)
            async for entry in self._entries(prefix)
            for match in _DIGEST.findall(entry.value)
        }

    async def _entries(self, prefix: str) -> AsyncIterator[Entry]:
        after: str | None = None
        while True:
            page = await self._store.range(prefix, after=after, limit=_PAGE)
            for entry in page.entries:
                yield entry
            if not page.more:
                return
            after = page.entries[-1].key

    def _old(self, entry: Entry) -> bool:
        """Whether it was unreferenced for the grace period already; counted since this is first asked."""
        now = self._clock.monotonic()
        return now - self._seen.setdefault((entry.key, entry.mod_revision), now) >= self._grace_s

    def _forget(self, present: Iterable[Entry]) -> None:
        there = {(entry.key, entry.mod_revision) for entry in present}
        self._seen = {seen: since for seen, since in self._seen.items() if seen in there}

    # --- the cache: contents never change, so it cannot be wrong

    def _remember(self, digest: str, content: Content, size: int) -> None:
        if digest in self._cache or size > _CACHE_BYTES // 2:
            return
        self._cache[digest] = content
        self._cached_bytes += size
        while self._cached_bytes > _CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= _size(dropped)

    def _drop(self, name: str) -> None:
        dropped = self._cache.pop(f"sha256:{name}", None)
        if dropped is not None:
            self._cached_bytes -= _size(dropped)


def _check(content: Content) -> None:
    check_unmasked(content)
    if len(content.layers) > LAYERS:
        raise UsageError(f"{len(content.layers)} layers, at most {LAYERS} are taken", remedy="merge some of them")
    for layer in content.layers:
        checked_name(layer.name, "a layer")
        if layer.dimension not in DIMENSIONS:
            raise UsageError(
                f"layer {layer.name}: {layer.dimension!r} is no dimension", remedy=f"use one of {', '.join(DIMENSIONS)}"
            )


def _size(content: Content) -> int:
    return sum(len(layer.text.encode()) for layer in content.layers)


def _exists(key: str) -> Compare:
    return Compare(key, "create_revision", "!=", 0)


def _manifest(manifest: Manifest) -> tuple[Put, Put]:
    return Put(content_key(manifest.digest), encode(manifest)), Put(CHANGED, b"")


def _announced(digest: str) -> str:
    return ANNOUNCED + digest.removeprefix("sha256:")


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _chunks(entries: Iterable[Entry]) -> set[str]:
    manifests = (stored(entry, Manifest) for entry in entries)
    return {name for manifest in manifests for layer in manifest.layers for name in layer.chunks}
