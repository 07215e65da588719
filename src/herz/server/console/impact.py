"""Blast radius: what the draft, or a release, would change before it is live: keys, instances, and their objects."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery

from herz.errors import ConfigurationError, HerzError
from herz.model.key import join, split
from herz.model.tree import EMPTY
from herz.release.channel import Release
from herz.release.difference import KeyDifference
from herz.server.console.application import known, number_of
from herz.server.console.graphs import Drawing, drawing, graphs_of, users_of
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.hub import Namespace
from herz.server.impact import Impact, Impacts, changed_paths
from herz.server.origins import Shown, shown
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.tokens import Scope
from herz.store.plane import checked_instance, place

LISTED: Final = 200
"""Keys and instances that are listed."""
DRAWN: Final = 30
"""Keys that are drawn."""
RELEASES: Final = 50
"""Releases to choose from."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What would be released: a release, or the draft (None)."""

    digest: str
    release: Release | None
    author: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A key that differs, with its values as they are shown."""

    key: str
    before: Shown
    after: Shown
    at: str
    secret: bool


class Wish(msgspec.Struct):
    """Which instance builds which release; none names the draft."""

    instance: str
    release: str = ""


@get("/apps/{app:str}/{namespace:str}/impact", guards=[enters(Scope.READ)])
async def impact(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    release: FromQuery[str] = "",
) -> Response[str]:
    """What would change, told from the graphs that instances have left."""
    return await _page(request, plane, app, namespace, release)


@post("/apps/{app:str}/{namespace:str}/impact/build", guards=[enters(Scope.RELEASE)], status_code=200)
async def build(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Wish, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[str]:
    """The same page, once an instance has built it without using it."""
    place(app, namespace)
    return await _page(request, plane, app, namespace, data.release, dry_build=checked_instance(data.instance))


async def _page(
    request: Request[Any, Any, Any], plane: Plane, app: str, namespace: str, release: str, dry_build: str | None = None
) -> Response[str]:
    there = await known(plane, app, namespace)
    subject = await _subject(plane, app, namespace, release)
    found: Impact | None = None
    problem: dict[str, Any] | None = None
    drawn = Drawing()
    if subject is not None:
        try:
            found = await plane.of(Impacts).of(app, namespace, subject.digest, dry_build)
            drawn = await _drawing(plane, there, found)
        except ConfigurationError as error:  # a draft need not be readable yet
            problem = body_of(error)[0]
        except HerzError as error:
            if dry_build is None:
                raise
            problem = body_of(error)[0]
    live = (await plane.desk.channel(app, namespace))[0].stable.release
    releases = await plane.desk.releases(app, namespace, limit=RELEASES)
    of = f"{app}/{namespace}"
    return page(
        request,
        "impact.html",
        status=200 if problem is None or dry_build is None else problem["status"],
        topics=[f"channel:{of}", f"fleet:{of}", f"draft:{of}", f"releases:{of}"],
        subject=subject,
        chosen=release,
        found=found,
        changed=[] if found is None else [_change(one) for one in found.changed[:LISTED]],
        problem=problem,
        drawing=drawn,
        stable=live,
        releases=[one for one in releases if live is None or one.number != live.number],
        connected=sorted(there.reports)[:LISTED],
        total=len(there.reports),
        built=None if found is None else found.rehearsed,
        listed=LISTED,
    )


async def _subject(plane: Plane, app: str, namespace: str, release: str) -> Subject | None:
    if release:
        one = await plane.desk.release(app, namespace, number_of(release))
        return Subject(digest=one.digest, release=one, author=one.author)
    draft = await plane.desk.drafts.facts(app, namespace)
    return None if draft is None else Subject(digest=draft.digest, release=None, author=draft.author)


def _change(one: KeyDifference) -> Change:
    path, absent = split(one.key), Shown("", "absent")
    return Change(
        key=one.key,
        before=absent if one.added else shown(path, one.before),
        after=absent if one.removed else shown(path, one.after),
        at=one.after_at or one.before_at or "",
        secret=one.secret,
    )


async def _drawing(plane: Plane, there: Namespace, found: Impact) -> Drawing:
    """Keys, the properties that they lie in, the objects built from them, and on how many instances."""
    if not found.changed:
        return Drawing()
    live = there.channel.stable.release
    readings, contents = plane.desk.readings, plane.contents
    before = EMPTY if live is None else (await readings.of(await contents.read(live.digest))).tree
    after = (await readings.of(await contents.read(found.digest))).tree
    paths = changed_paths(before, after)
    graphs = await graphs_of(plane.of(Impacts), there, [one.instance for one in found.instances])
    return drawing(users_of(graphs, paths), [join(path) for path in paths[:DRAWN]], instances=True)


PAGES: Final = (impact, build)
