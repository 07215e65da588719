"""Who sees secrets: whoever may write them, and the instances that are to run them. Everybody else reads them masked.

* The scope `edit` shows the drafts and releases of its application whole.
* The scope `report` shows what an instance of its application is told to run or to build now, and nothing else.
* No other scope shows a secret: not `read`, and not `release`, `rollout` or `approve`.

A content has no application of its own: the same may lie in several. So whoever asks by its digest sees it whole only
where something of an application of theirs refers to it at the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from herz.release.content import Content
from herz.release.report import AskKind
from herz.server.access import Caller
from herz.server.drafts import draft_of
from herz.server.hub import Hub, Namespace
from herz.server.masking import masked_content
from herz.server.plane import Plane
from herz.server.problems import not_found
from herz.server.reading import size_of
from herz.server.sized import Sized
from herz.server.stream import contents_of
from herz.server.tokens import Scope
from herz.store.plane import draft_key, place

_KEPT: Final = 8 * 1024 * 1024
"""Characters of masked contents that are kept."""
_SMALLEST: Final = 1_000
_SEEING: Final = frozenset({Scope.EDIT, Scope.REPORT, Scope.ADMIN})
_CURRENT_S: Final = 2.0
"""Seconds in which what this server knows of the channels may become current."""


class Sight:
    """Decides it for one server, and makes what the others read."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._masked: Sized[Content, Content] = Sized(_KEPT, lambda content: _SMALLEST + size_of(content))

    async def of_draft(self, caller: Caller, app: str, content: Content) -> Content:
        """The content of a draft of `app`, as `caller` may read it."""
        return content if caller.may(Scope.EDIT, app) else await self.masked(content)

    async def of_release(self, caller: Caller, app: str, namespace: str, digest: str, content: Content) -> Content:
        """The content of a release, as `caller` may read it."""
        if caller.may(Scope.EDIT, app):
            return content
        if caller.may(Scope.REPORT, app) and await self._told(digest, lambda there: _is(there, app, namespace)):
            return content
        return await self.masked(content)

    async def of_content(self, caller: Caller, digest: str, content: Content) -> Content:
        """The content at `digest`, as `caller` may read it, wherever it belongs."""
        if caller.may(Scope.EDIT, None) or await self._edits(caller, digest):
            return content
        scopes = {grant.scope for grant in caller.grants}
        if scopes & _SEEING and await self._told(
            digest, lambda there: any(caller.may(scope, there.app) for scope in (Scope.EDIT, Scope.REPORT))
        ):
            return content
        return await self.masked(content)

    async def masked(self, content: Content) -> Content:
        """`content` as anybody may read it; `content` itself where there is no secret in it."""
        found = self._masked.get(content)
        if found is None:
            found = await asyncio.to_thread(masked_content, content)
            self._masked.put(content, found)
        return found

    async def check_own(self, app: str, namespace: str, digest: str) -> None:
        """A `Problem` 404 unless a content is that of the draft, of a pointer or of a recent release of a namespace.

        Whoever may ask instances to build something has no sight of another application's by that.
        """
        desk = self._plane.desk
        if await self._drafted(app, namespace, digest):
            return
        channel, _ = await desk.channel(app, namespace)
        pointers = (channel.stable, *channel.cohorts.values())
        if any(digest in contents_of(pointer) for pointer in pointers):
            return
        if await desk.has_released(app, namespace, digest):
            return
        raise not_found(
            f"{place(app, namespace)} has no draft and no release of this content",
            remedy="take the digest of its draft, or of one of its releases: herz release list",
        )

    async def _edits(self, caller: Caller, digest: str) -> bool:
        """Whether it is of a draft that the caller may write, or was put aside by a reset of one."""
        apps = {grant.app for grant in caller.grants if grant.app != "*" and caller.may(Scope.EDIT, grant.app)}
        for app in sorted(apps):
            for namespace in await self._plane.desk.namespaces(app):
                if await self._drafted(app, namespace, digest):
                    return True
        return False

    async def _drafted(self, app: str, namespace: str, digest: str) -> bool:
        entry = await self._plane.store.get(draft_key(app, namespace))
        draft = None if entry is None else draft_of(entry)
        return draft is not None and digest in (draft.digest, draft.kept)

    async def _told(self, digest: str, mine: Callable[[Namespace], bool]) -> bool:
        """Whether instances of a namespace that is `mine` are told of it; this server may have to catch up for that."""
        hub = self._plane.find(Hub)
        if hub is None:
            return False

        def told() -> bool:
            return any(digest in _told_in(there) for there in hub.namespaces.values() if mine(there))

        if told():
            return True
        revision = (await self._plane.store.status()).revision
        return revision > hub.revision and await hub.reached(revision, _CURRENT_S) and told()


def _told_in(there: Namespace) -> Iterator[str]:
    for pointer in (there.channel.stable, *there.channel.cohorts.values()):
        yield from contents_of(pointer)
    for ask in there.asks.open:
        if ask.kind is AskKind.BUILD and ask.digest is not None:
            yield ask.digest


def _is(there: Namespace, app: str, namespace: str) -> bool:
    return (there.app, there.name) == (app, namespace)
