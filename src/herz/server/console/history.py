"""Releases: their history, and one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from herz.release.approval import ApprovalState, Publication
from herz.release.channel import Channel, Release
from herz.release.content import Content
from herz.release.rollout import Rollout
from herz.server.console.drafting import EAGER, size_of
from herz.server.console.pages import page
from herz.server.console.shown import Table, table
from herz.server.door.entering import LIVE, enters
from herz.server.hub import Hub
from herz.server.masking import masked_texts
from herz.server.plane import Plane
from herz.server.rollouts.book import Book
from herz.server.tokens import Scope

RELEASES: Final = "/apps/{app:str}/{namespace:str}/releases"
PAGE: Final = 20
"""Releases of one page."""
_ROLLOUTS: Final = 50
"""Rollouts that are looked through for those of one release."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A release as it stands: whether everybody runs it, in which rollouts it is, and when it was live.

    `older`: what everybody runs is a later one, so that one goes back to this.
    """

    release: Release
    stable: bool
    rollouts: tuple[str, ...]
    published: tuple[Publication, ...]
    older: bool


@get([RELEASES, f"{RELEASES}/publish", f"{RELEASES}/rollback"], guards=[enters(Scope.READ)])
async def releases(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    before: FromQuery[int | None] = None,
) -> Response[str]:
    """The history, the newest first; also where a deed was refused, for the page asks for itself again."""
    return await releases_page(request, plane, app, namespace, before=before)


async def releases_page(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    *,
    before: int | None = None,
    problem: Mapping[str, Any] | None = None,
) -> Response[str]:
    """The history's page; with a `problem` on top."""
    of = f"{app}/{namespace}"
    found = await plane.desk.releases(app, namespace, before=before, limit=PAGE + 1)
    channel, _ = await plane.desk.channel(app, namespace)
    return page(
        request,
        "releases.html",
        topics=[f"{kind}:{of}" for kind in ("releases", "channel", "draft", "rollouts")],
        status=200 if problem is None else problem["status"],
        rows=await asyncio.gather(*(_row(plane, one, channel) for one in found[:PAGE])),
        further=found[PAGE - 1].number if len(found) > PAGE else None,
        before=before,
        draft=await plane.desk.drafts.facts(app, namespace),
        stable=channel.stable.release,
        flight=await plane.desk.in_flight(app, namespace),
        problem=problem,
    )


async def _row(plane: Plane, release: Release, channel: Channel) -> Row:
    stable = channel.stable.release
    moving = {
        pointer.rollout
        for pointer in (channel.stable, *channel.cohorts.values())
        for ref in (pointer.release, pointer.prepare)
        if pointer.rollout and ref is not None and ref.number == release.number
    }
    return Row(
        release=release,
        stable=stable is not None and stable.number == release.number,
        rollouts=tuple(sorted(one for one in moving if one)),
        published=await plane.desk.approvals.publications(release.app, release.namespace, release.number),
        older=stable is not None and release.number < stable.number,
    )


class LayerShown(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as it is read: its text without secrets, None where that is too long for a page."""

    name: str
    format: str
    dimension: str
    bytes: int
    text: str | None


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One release, and everything around it.

    `before` is the release that it is compared with, None for the first one; `changes` is None where there is no such
    one, or where they are too large.
    """

    row: Row
    layers: tuple[LayerShown, ...]
    before: int | None
    changes: Table | None
    runs: int
    rollouts: tuple[Rollout, ...]
    approval: ApprovalState


@get([f"{RELEASES}/{{number:int}}", f"{RELEASES}/{{number:int}}/approve"], guards=[enters(Scope.READ)])
async def one_release(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    number: FromPath[int],
) -> Response[str]:
    """A release: what it holds, what it changed, who runs it, and how it was rolled out."""
    return await release_page(request, plane, app, namespace, number)


async def release_page(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    number: int,
    *,
    problem: Mapping[str, Any] | None = None,
) -> Response[str]:
    """A release's page; with a `problem` on top."""
    release = await plane.desk.release(app, namespace, number)
    channel, _ = await plane.desk.channel(app, namespace)
    return page(
        request,
        "release.html",
        topics=[f"{kind}:{app}/{namespace}" for kind in ("channel", "rollouts", "fleet", "draft")],
        status=200 if problem is None else problem["status"],
        about=await _about(plane, release, channel, facts_only=LIVE in request.headers),
        draft=await plane.desk.drafts.facts(app, namespace),
        stable=channel.stable.release,
        flight=await plane.desk.in_flight(app, namespace),
        problem=problem,
    )


async def _about(plane: Plane, release: Release, channel: Channel, *, facts_only: bool) -> About:
    """What is to be told of a release; with `facts_only` what changes, for what it holds never does."""
    app, namespace, number = release.app, release.namespace, release.number
    before = release.parent or (number - 1 or None)
    small = not facts_only and await size_of(plane, release.digest) <= EAGER
    content = await plane.contents.read(release.digest) if small else None
    changes = None
    if before is not None and content is not None:
        earlier = await plane.desk.release(app, namespace, before)
        if await size_of(plane, earlier.digest) <= EAGER:
            changes = table(await plane.desk.difference(app, namespace, before, number))
    reports = plane.of(Hub).namespace(app, namespace).reports.values()
    rollouts = await plane.of(Book).all(app, namespace, limit=_ROLLOUTS)
    return About(
        row=await _row(plane, release, channel),
        layers=await _large(plane, release.digest) if content is None else await asyncio.to_thread(_layers, content),
        before=before,
        changes=changes,
        runs=sum(one.value.config_version == number for one in reports),
        rollouts=tuple(one for one in rollouts if one.release.number == number),
        approval=await plane.desk.approvals.state(app, namespace, number),
    )


def _layers(content: Content) -> tuple[LayerShown, ...]:
    return tuple(
        LayerShown(
            name=layer.name,
            format=layer.format,
            dimension=layer.dimension,
            bytes=len(layer.text.encode()),
            text=text,
        )
        for layer, text in zip(content.layers, masked_texts(content), strict=True)
    )


async def _large(plane: Plane, digest: str) -> tuple[LayerShown, ...]:
    return tuple(
        LayerShown(name=one.name, format=one.format, dimension=one.dimension, bytes=one.bytes, text=None)
        for one in (await plane.contents.manifest(digest)).layers
    )


PAGES: Final = (releases, one_release)
