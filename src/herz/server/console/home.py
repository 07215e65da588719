"""The overview: what is unhealthy, what is in flight, how every namespace stands, and what was done last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromQuery
from litestar.response import Redirect

from herz.release.channel import Channel, Release
from herz.release.report import Status
from herz.release.rollout import Rollout
from herz.server.access import Caller
from herz.server.audit import AuditEntry
from herz.server.console.changes import Changes
from herz.server.console.language import COOKIE, LANGUAGES
from herz.server.console.pages import page
from herz.server.door.answers import page_of, posted
from herz.server.door.entering import LIVE, enters
from herz.server.drafts import Draft
from herz.server.glance import glances
from herz.server.hub import Hub, Namespace
from herz.server.instances import agrees
from herz.server.plane import Plane
from herz.server.releases import Namespaces
from herz.server.tokens import Scope

SHOWN: Final = 50
"""Namespaces of one overview; more are found by the list's filter."""
LAST: Final = 12
"""Deeds that are listed."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of a namespace, counted: those as they should be, those that failed, and those on their way."""

    total: int
    agree: int
    failed: int

    @property
    def moving(self) -> int:
        """Instances that do not run yet, or no longer, what they are to run."""
        return self.total - self.agree - self.failed

    @classmethod
    def of(cls, namespace: Namespace) -> Fleet:
        """The instances that report at the moment."""
        failed = agree = 0
        for name, report in namespace.reports.items():
            if report.value.status is Status.FAILED:
                failed += 1
            elif agrees(report.value, namespace.pointer(name)):
                agree += 1
        return cls(total=len(namespace.reports), agree=agree, failed=failed)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One namespace of the overview."""

    app: str
    namespace: str
    channel: Channel
    fleet: Fleet
    newest: Release | None
    draft: Draft | None
    rollout: Rollout | None


@get("/", guards=[enters(None)])
async def home(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    q: FromQuery[str] = "",
) -> Response[str]:
    """What an engineer looks at first."""
    names = [
        (one.app, namespace)
        for one in await plane.of(Applications).all(fresh=LIVE not in request.headers)
        if caller.may(Scope.READ, one.app)
        for namespace in one.namespaces
        if q.lower() in f"{one.app}/{namespace}".lower()
    ]
    rows = await _rows(plane, names[:SHOWN])
    of = [f"{app}/{namespace}" for app, namespace in names[:SHOWN]]
    return page(
        request,
        "home.html",
        topics=[*(f"{kind}:{one}" for one in of for kind in _KINDS), "apps", "audit", "server"],
        q=q,
        rows=rows,
        more=len(names) - len(rows),
        refused=sorted(plane.of(Hub).refused.items()) if caller.may(Scope.ADMIN, None) else [],
        deeds=await _deeds(plane) if caller.may(Scope.READ, None) else None,
        freshness=plane.of(Hub).freshness,
    )


_KINDS: Final = ("channel", "fleet", "rollouts")


async def _rows(plane: Plane, names: Sequence[tuple[str, str]]) -> list[Row]:
    hub = plane.of(Hub)
    return [
        Row(
            app=app,
            namespace=namespace,
            channel=hub.namespace(app, namespace).channel,
            fleet=Fleet.of(hub.namespace(app, namespace)),
            newest=glance.newest,
            draft=glance.draft,
            rollout=glance.rollout,
        )
        for (app, namespace), glance in zip(names, await glances(plane.store, names), strict=True)
    ]


class Applications:
    """Every application and its namespaces, read again when something of them was written."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._known: tuple[int, tuple[Namespaces, ...]] = (-1, ())

    async def all(self, *, fresh: bool) -> tuple[Namespaces, ...]:
        """All of them, in order; `fresh` shows what whoever asks has just written, told of or not."""
        seq, known = self._known
        changes = self._plane.of(Changes)
        if fresh or seq < 0 or not changes.standing or changes.since(seq, ("apps",)):
            now = changes.seq
            known = await self._plane.desk.apps()
            self._known = (now, known)
        return known


async def _deeds(plane: Plane) -> tuple[AuditEntry, ...]:
    head = await plane.audit.head()
    return tuple(reversed(await plane.audit.entries(after=max(0, head.number - LAST), limit=LAST)))


class Language(msgspec.Struct):
    """A language by its code, and the page to come back to."""

    language: str
    next: str = "/console/"


@post("/language", opt={"open": True})
async def language(
    request: Request[Any, Any, Any],
    data: Annotated[Language, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect:
    """Read the console in another language from now on."""
    posted(request)
    found = data.language if data.language in LANGUAGES else "en"
    kept = Cookie(key=COOKIE, value=found, path="/console", samesite="lax", httponly=True, max_age=365 * 86400)
    return Redirect(page_of(data.next), status_code=303, cookies=[kept])


PAGES: Final = (home, language)
