"""Drafts: what the next release of a namespace will hold, edited by several people at once without losing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from herz.errors import HerzError, RevisionExpired, UsageError
from herz.release.approval import joined
from herz.release.channel import Channel, Release
from herz.release.content import Content, LayerText
from herz.release.difference import KeyDifference, differences, merged
from herz.release.record import Record, encode
from herz.server.audit import Audit, By
from herz.server.clock import Clock
from herz.server.contents import Contents
from herz.server.editing import edited
from herz.server.masking import check_unmasked_values
from herz.server.problems import Problem, not_found
from herz.server.reading import SMALL, Reading, Readings
from herz.server.schemas import Schemas
from herz.server.stored import revision_of, stored
from herz.server.validation import Validation, validated
from herz.store.base import Compare, Delete, Entry, Put, Store, Txn
from herz.store.plane import channel_key, draft_key, place, release_key

T = TypeVar("T")

FIRST_LAYER: Final = "application"
"""The layer that keys go to when a draft has none yet."""
_ATTEMPTS: Final = 50
_MESSAGE_LENGTH: Final = 4000
_AUTHORS_MOST: Final = 200


class StoredDraft(Record, frozen=True, kw_only=True):
    """A draft as it is stored: the address of its content. `kept` is the content that a reset put aside.

    `authors` is everybody who wrote it since its content was last live (None: an older version wrote it).
    """

    digest: str
    author: str
    time: datetime
    base: int | None = None
    message: str = ""
    kept: str | None = None
    authors: tuple[str, ...] | None = None


class Draft(Record, frozen=True, kw_only=True):
    """A draft. `revision` is the store's at which it was last written; `base` the release that it was begun from.

    `author` wrote it last; `authors` is everybody who wrote what in it was never live. `content` is None where only the
    facts are asked for.
    """

    revision: int
    digest: str
    author: str
    time: datetime
    base: int | None = None
    message: str = ""
    kept: str | None = None
    authors: tuple[str, ...] = ()
    content: Content | None = None


class Drafts:
    """The drafts in a store. Every write is compared with the revision that it was made on."""

    def __init__(
        self,
        store: Store,
        contents: Contents,
        readings: Readings,
        audit: Audit,
        clock: Clock,
        schemas: Schemas,
    ) -> None:
        self._store, self._contents, self._audit, self._clock = store, contents, audit, clock
        self._readings, self._schemas = readings, schemas

    async def facts(self, app: str, namespace: str) -> Draft | None:
        """The draft without its content; None when there is none."""
        entry = await self._store.get(draft_key(app, namespace))
        return None if entry is None else draft_of(entry)

    async def get(self, app: str, namespace: str) -> Draft:
        """The draft with its content; a `Problem` 404 when there is none."""
        entry = await self._store.get(draft_key(app, namespace))
        if entry is None:
            raise not_found(
                f"{place(app, namespace)} has no draft", remedy="write one; it begins from what is live: herz draft"
            )
        found = draft_of(entry)
        return draft_of(entry, await self._contents.read(found.digest))

    async def write(
        self,
        app: str,
        namespace: str,
        content: Content,
        *,
        by: By,
        expect: int | None,
        base: int | None = None,
        message: str = "",
    ) -> Draft:
        """Replace the draft; how it is then.

        `expect` is the revision that the change was made on, 0 where there was no draft; another one is a `Problem` 409
        with the three-way difference. Without it whatever is there is replaced, and stays readable as `kept`.
        """
        key = draft_key(app, namespace)
        message = checked_message(message, required=False)
        digest = await self._contents.write(content)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(key)
            present = None if entry is None else draft_of(entry)
            if expect is not None and (0 if present is None else present.revision) != expect:
                raise await self._conflict(app, namespace, expect, present, content, base)
            if base is None:
                base = await self._base(app, namespace, present)
            else:
                await self._check_base(app, namespace, base)
            kept = present.digest if present is not None and expect is None and present.digest != digest else None
            made = StoredDraft(
                digest=digest,
                author=by.actor,
                time=self._clock.now(),
                base=base,
                message=message,
                kept=kept,
                authors=await self._authors(app, namespace, present, by),
            )
            held, touched = self._contents.holding(digest)
            result = await self._audit.commit(
                Txn((Compare.unchanged(key, revision_of(entry)), held), (Put(key, encode(made)), touched)),
                by,
                "draft.written",
                place(app, namespace),
                message=message,
                details={"digest": digest, "replaced": None if present is None else present.digest, "base": base},
            )
            if result.succeeded:
                return Draft(revision=result.revision, content=content, **_facts(made))
            digest = await self._contents.write(content)  # where the content was collected meanwhile
        raise busy(app, namespace)

    async def set(
        self,
        app: str,
        namespace: str,
        changes: Mapping[str, Any],
        *,
        by: By,
        layer: str | None = None,
        expect: int | None = None,
        message: str = "",
    ) -> Draft:
        """Change single keys of the draft, None deletes one; how it is then.

        What else stands in the text stays as it is. Without a draft it begins from what is live. `layer` names the
        layer to write to; without it each key goes to the highest one that has it, a new key to the last one. Without
        `expect` the keys are set in whatever is there.
        """
        if not changes:
            raise UsageError("no key is named", remedy="write changes: {key: value}")
        check_unmasked_values(changes)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(draft_key(app, namespace))
            present = None if entry is None else draft_of(entry)
            if present is not None:
                content, base = await self._contents.read(present.digest), present.base
            else:
                content, base = await self.live(app, namespace)
            if not content.layers:
                content = Content(layers=(LayerText(name=layer or FIRST_LAYER, text=""),))
            changed = await edited(await self._readings.of(content), changes, layer)
            if expect is not None and revision_of(entry) != expect:
                raise await self._conflict(app, namespace, expect, present, changed, base)
            try:
                return await self.write(
                    app, namespace, changed, by=by, expect=revision_of(entry), base=base, message=message
                )
            except Problem as problem:
                if problem.status != 409 or expect is not None:
                    raise
        raise busy(app, namespace)

    async def delete(self, app: str, namespace: str, *, by: By, expect: int | None = None) -> None:
        """Throw the draft away; the next one begins from what is live."""
        key = draft_key(app, namespace)
        for _ in range(_ATTEMPTS):
            entry = await self._store.get(key)
            if entry is None:
                raise not_found(f"{place(app, namespace)} has no draft")
            if expect is not None and entry.mod_revision != expect:
                raise Problem(
                    409,
                    "conflict",
                    f"the draft is at revision {entry.mod_revision}, not {expect}",
                    remedy="look at what was changed, then decide again",
                    expected=expect,
                    actual=entry.mod_revision,
                )
            result = await self._audit.commit(
                Txn((Compare.unchanged(key, entry.mod_revision),), (Delete(key),)),
                by,
                "draft.deleted",
                place(app, namespace),
                details={"digest": draft_of(entry).digest},
            )
            if result.succeeded:
                return
        raise busy(app, namespace)

    async def validate(self, app: str, namespace: str) -> Validation:
        """Every reason why the draft cannot be released."""
        draft = await self.get(app, namespace)
        schema = await self._schemas.get(app, namespace)
        return await validated(draft.content or Content(), self._readings, schema, keys=self._schemas.keys)

    async def difference(self, app: str, namespace: str) -> tuple[KeyDifference, ...]:
        """What the draft changes against what is live, key by key, with places; secrets are masked."""
        draft = await self.get(app, namespace)
        live, _ = await self.live(app, namespace)
        return await compared(self._readings, live, draft.content or Content())

    async def live(self, app: str, namespace: str) -> tuple[Content, int | None]:
        """What the stable pointer says, and the number of that release; nothing where nothing was released."""
        entry = await self._store.get(channel_key(app, namespace))
        if entry is None:
            return Content(), None
        release = stored(entry, Channel).stable.release
        return (Content(), None) if release is None else (await self._contents.read(release.digest), release.number)

    async def _authors(self, app: str, namespace: str, present: Draft | None, by: By) -> tuple[str, ...]:
        """Who wrote the draft once `by` has: nobody else where it begins from nothing, or from what is live."""
        if present is None or not present.authors:
            return (by.actor,)
        entry = await self._store.get(channel_key(app, namespace))
        live = None if entry is None else stored(entry, Channel).stable.release
        authors = joined(() if live is not None and live.digest == present.digest else present.authors, by.actor)
        if len(authors) > _AUTHORS_MOST:
            raise UsageError(
                f"more than {_AUTHORS_MOST} people wrote this draft", remedy="release it, or throw it away"
            )
        return authors

    # --- whoever was slower

    async def _base(self, app: str, namespace: str, present: Draft | None) -> int | None:
        if present is not None:
            return present.base
        entry = await self._store.get(channel_key(app, namespace))
        release = None if entry is None else stored(entry, Channel).stable.release
        return None if release is None else release.number

    async def _check_base(self, app: str, namespace: str, base: int) -> None:
        if await self._store.get(release_key(app, namespace, base)) is None:
            raise UsageError(f"there is no release {base} of {place(app, namespace)}", remedy="name one that exists")

    async def _conflict(
        self, app: str, namespace: str, expect: int, present: Draft | None, yours: Content, base: int | None
    ) -> Problem:
        """The problem of whoever was slower: what is there now, and how both differ from what was there before."""
        members: dict[str, Any] = {"expected": expect, "actual": 0 if present is None else present.revision}
        if present is not None:
            try:
                theirs = await self._contents.read(present.digest)
                members["theirs"] = _shown(present)
                before = await self._before(app, namespace, expect, base if base is not None else present.base)
                members |= await three_way(self._readings, before, theirs, yours)
            except HerzError as error:  # a text that does not decode has no keys to compare
                members["difference_failed"] = str(error)
        there = "there is no draft any more" if present is None else f"the draft is at revision {present.revision}"
        return Problem(
            409,
            "conflict",
            f"somebody else was quicker: {there}, not {expect}; nothing was written",
            where=draft_key(app, namespace),
            remedy="look at the difference, and write again with expect set to the revision that is there now",
            **members,
        )

    async def _before(self, app: str, namespace: str, expect: int, base: int | None) -> Content:
        """What both began from: the draft as of `expect` where history still has it, else the release `base`."""
        try:
            if expect > 0:
                entry = await self._store.get(draft_key(app, namespace), revision=expect)
                if entry is not None:
                    return await self._contents.read(draft_of(entry).digest)
        except (RevisionExpired, Problem):
            pass  # compacted, or collected
        if base is None:
            return Content()
        found = await self._store.get(release_key(app, namespace, base))
        return Content() if found is None else await self._contents.read(stored(found, Release).digest)


async def compared(readings: Readings, before: Content, after: Content) -> tuple[KeyDifference, ...]:
    """Every key that differs between two contents."""
    old, new = await readings.of(before), await readings.of(after)
    return await _apart((old, new), lambda: _changed(old, new))


async def three_way(readings: Readings, base: Content, theirs: Content, yours: Content) -> dict[str, Any]:
    """`difference`: the keys in conflict. `changed`: all that they changed, so that it can be taken over."""
    old, their, your = [await readings.of(content) for content in (base, theirs, yours)]

    def outcome() -> dict[str, Any]:
        found = merged(old.tree, their.tree, your.tree, theirs_at=their.locate, yours_at=your.locate)
        return {"difference": list(found.conflicts), "changed": list(_changed(old, their))}

    return await _apart((old, their, your), outcome)


def _changed(old: Reading, new: Reading) -> tuple[KeyDifference, ...]:
    return differences(old.tree, new.tree, before_at=old.locate, after_at=new.locate)


async def _apart(readings: Sequence[Reading], compute: Callable[[], T]) -> T:
    """What `compute` gives, in a thread where that takes long: places are found by reading a text once more."""
    small = sum(reading.size for reading in readings) <= SMALL
    return compute() if small else await asyncio.to_thread(compute)


def checked_message(message: str, *, required: bool) -> str:
    """`message` itself; `UsageError` when it is missing or no text."""
    if required and not message.strip():
        raise UsageError("a message is needed", remedy="say why: this is what people read in the history")
    if len(message) > _MESSAGE_LENGTH:
        raise UsageError(f"a message of {len(message):,} characters, at most {_MESSAGE_LENGTH:,} are taken")
    return message


def busy(app: str, namespace: str) -> Problem:
    """Nobody gets through, which lasts only for moments."""
    return Problem(409, "conflict", f"{place(app, namespace)} is changed by others all the time", remedy="try again")


def draft_of(entry: Entry, content: Content | None = None) -> Draft:
    """The draft that an entry holds."""
    return Draft(revision=entry.mod_revision, content=content, **_facts(stored(entry, StoredDraft)))


def _facts(draft: StoredDraft) -> dict[str, Any]:
    facts = {name: getattr(draft, name) for name in ("digest", "author", "time", "base", "message", "kept")}
    return {**facts, "authors": (draft.author,) if draft.authors is None else draft.authors}


def _shown(draft: Draft) -> dict[str, Any]:
    return {
        "revision": draft.revision,
        "digest": draft.digest,
        "author": draft.author,
        "message": draft.message,
        "time": draft.time.isoformat(),
        "base": draft.base,
    }
