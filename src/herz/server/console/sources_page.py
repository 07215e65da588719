"""Sources and watch sessions: this server's own, its duties, and those of every instance that is asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from herz.errors import HerzError
from herz.model.credentials import without_credentials
from herz.release.report import SourceState
from herz.server.access import Caller
from herz.server.console.changes import Changes
from herz.server.console.pages import Pages, page
from herz.server.console.source_asks import MOST, WINDOW_S, Replies, asks_of, candidates
from herz.server.door.entering import enters
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.tokens import Scope
from herz.store.base import Entry
from herz.store.plane import DUTIES, place
from herz.watch.session import HISTORY, Session
from herz.watch.told import state_of

_LONG: Final = timedelta(days=3650)
_LENGTH: Final = 500
_LISTED: Final = 200
"""Namespaces that the page lists; more are found by their names."""


class Owner(msgspec.Struct, frozen=True):
    """Who holds a duty, as it is written under the lease."""

    host: str = ""
    pid: int = 0


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """Work that one server does for all; `owner` is None while nobody does."""

    name: str
    owner: Owner | None = None
    lease: int | None = None
    revision: int | None = None
    here: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace whose instances can be asked."""

    app: str
    namespace: str
    instances: int


def ago(now: datetime) -> Callable[[float], datetime]:
    """The moment so many seconds before `now`; what comes from an instance may be any number."""

    def moment(seconds: float) -> datetime:
        return now - min(_LONG, timedelta(seconds=min(max(seconds, 0.0), 1e9)))

    return moment


@get("/sources", guards=[enters(None)])
async def sources(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    q: FromQuery[str] = "",
) -> Response[str]:
    """The server's own sessions and duties, for those who may see every application; and where instances are asked."""
    plane.of(Pages).forget(request)  # ages change without a topic: this page is made anew each time
    request.state.kept = None
    server = caller.may(Scope.READ, None)
    duties, problem = await _duties(plane) if server else ((), None)
    hub = plane.of(Hub)
    places = [
        Place(app=one.app, namespace=one.name, instances=len(one.reports))
        for one in sorted(hub.namespaces.values(), key=lambda one: (one.app, one.name))
        if caller.may(Scope.READ, one.app) and q.casefold() in f"{one.app}/{one.name}".casefold()
    ]
    return page(
        request,
        "sources.html",
        topics=("server",),
        sessions=tuple(map(_own, (*hub.sessions, *plane.of(Changes).sessions))) if server else None,
        revision=hub.revision,
        identity=hub.identity,
        current=hub.freshness.current,
        reason=hub.freshness.reason,
        epoch=hub.epoch,
        duties=duties,
        duties_problem=problem,
        places=places[:_LISTED],
        more=len(places) - len(places[:_LISTED]),
        q=q[:_LENGTH],
        ago=ago(plane.clock.now()),
    )


def _own(session: Session) -> SourceState:
    state = state_of(session, HISTORY)
    steps = tuple(
        msgspec.structs.replace(step, reason=None if step.reason is None else without_credentials(step.reason))
        for step in state.steps
    )
    error = None if state.error is None else without_credentials(state.error)
    return msgspec.structs.replace(state, kind="", error=error, steps=steps)


async def _duties(plane: Plane) -> tuple[tuple[Duty, ...], str | None]:
    """What is done once for all servers, and by whom; and why that cannot be told, if it cannot."""
    try:
        held = {entry.key.removeprefix(DUTIES): entry for entry in (await plane.store.range(DUTIES, limit=500)).entries}
    except HerzError as error:
        return (), without_credentials(str(error))
    names = sorted({*plane.duties, *held})
    return tuple(_duty(name, held.get(name)) for name in names), None


def _duty(name: str, entry: Entry | None) -> Duty:
    if entry is None:
        return Duty(name=name)
    try:
        owner = msgspec.json.decode(entry.value, type=Owner)
    except (msgspec.DecodeError, UnicodeDecodeError):
        owner = Owner()
    here = (owner.host, owner.pid) == (socket.gethostname(), os.getpid())
    return Duty(name=name, owner=owner, lease=entry.lease, revision=entry.create_revision, here=here)


@get("/apps/{app:str}/{namespace:str}/sources", guards=[enters(Scope.READ)])
async def instances(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    q: FromQuery[str] = "",
    skip: FromQuery[int] = 0,
    ask: FromQuery[str] = "",
) -> Response[str]:
    """The sources of a namespace's instances. Without `ask` nobody is asked: the page does so once it is open."""
    place(app, namespace)
    names = candidates(plane, app, namespace, q[:_LENGTH])
    skip = min(max(skip, 0), max(0, len(names) - 1))
    chosen = tuple(names[skip : skip + MOST])
    replies: Replies | None = None
    problem: HerzError | None = None
    if ask:
        try:
            replies = await asks_of(plane).ask(app, namespace, chosen)
        except HerzError as error:  # in its place in the page, which has asked by itself
            problem = error
    return page(
        request,
        "app_sources.html",
        total=len(names),
        all=len(plane.of(Hub).namespace(app, namespace).reports),
        chosen=len(chosen),
        skip=skip,
        most=MOST,
        window_s=WINDOW_S,
        q=q[:_LENGTH],
        replies=replies,
        problem=None if problem is None else body_of(problem)[0],
        ago=ago(plane.clock.now() if replies is None else replies.at),
    )


PAGES: Final = (sources, instances)
