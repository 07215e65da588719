"""The API of namespaces as a whole, of contents, and of the server's own health."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import FromPath, PathParameter

from herz import __version__
from herz.errors import HerzError
from herz.release.channel import Channel
from herz.release.record import Record, encode
from herz.server import api_admin, api_approvals, api_drafts, api_releases
from herz.server.access import Caller, known, requires
from herz.server.plane import PLACE, Part, Plane
from herz.server.problems import answers
from herz.server.releases import Namespaces, Overview
from herz.server.seeing import Sight
from herz.server.tokens import Scope

logger = logging.getLogger("herz")

_ALIVE_S: Final = 3.0
"""For how long the store may be silent before health says so."""


class Health(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How the server is: `UP`, `DOWN` when its store does not answer, `CLOSING`."""

    status: str
    server: str
    version: str
    store: dict[str, Any]


@get("/apps", guards=[known], responses=answers(), summary="Applications and their namespaces", tags=["namespaces"])
async def apps(plane: NamedDependency[Plane], caller: NamedDependency[Caller]) -> tuple[Namespaces, ...]:
    """Every application that the caller may read."""
    return tuple(one for one in await plane.desk.apps() if caller.may(Scope.READ, one.app))


@get(
    PLACE,
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="How a namespace stands",
    tags=["namespaces"],
)
async def overview(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]) -> Overview:
    """The newest release, the channel, the draft without its content, how many instances, the rollout in flight."""
    return await plane.desk.overview(app, namespace)


@get(
    f"{PLACE}/channel",
    guards=[requires(Scope.READ)],
    responses=answers(),
    summary="Who runs which release",
    tags=["namespaces"],
)
async def channel(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]) -> Channel:
    """All pointers of the namespace; an empty channel where nothing was published."""
    return (await plane.desk.channel(app, namespace))[0]


@get(
    "/content/{digest:str}",
    guards=[known],
    responses=answers(404),
    summary="A content by its digest",
    tags=["contents"],
)
async def content(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    digest: Annotated[
        str,
        PathParameter(description="`sha256:<hex>`", examples=[Example(value="sha256:" + "0" * 64)]),
    ],
) -> Response[bytes]:
    """All layers of a content, for whoever knows its digest.

    Secrets are masked, and `masked` is true then: but for those who may edit the draft that it belongs to, and for the
    instances that are told of it. It never changes, so `If-None-Match` is answered by 304; what is masked has another
    tag than what is whole, and nobody on the way keeps either.
    """
    found = await plane.contents.read(digest)
    shown = await plane.of(Sight).of_content(caller, f"sha256:{digest.removeprefix('sha256:')}", found)
    body = encode(shown)
    tag = f'"masked-{sha256(body).hexdigest()}"' if shown.masked else f'"{digest}"'
    headers = {"etag": tag, "cache-control": "no-store", "vary": "authorization"}
    if request.headers.get("if-none-match") == tag:
        return Response(b"", status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@get("/openapi.json", summary="This document", tags=["server"], opt={"open": True})
async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """OpenAPI 3.1."""
    return Response(
        msgspec.json.encode(request.app.openapi_schema.to_schema()), media_type="application/vnd.oai.openapi+json"
    )


@get("/health", summary="Whether the server works", tags=["server"], opt={"open": True}, include_in_schema=True)
async def health(plane: NamedDependency[Plane]) -> Response[Health]:
    """200 while the store answers, 503 otherwise."""
    store: dict[str, Any] = {}
    status = "CLOSING" if plane.closing.is_set() else "UP"
    try:
        async with asyncio.timeout(_ALIVE_S):
            found = await plane.store.status()
        store = {"identity": found.identity, "revision": found.revision, "size_bytes": found.size_bytes}
    except TimeoutError:
        status, store = "DOWN", {"what": f"it was silent for {_ALIVE_S:g} s"}
    except HerzError as error:
        status, store = "DOWN", {"what": error.what, "remedy": error.remedy}
    body = Health(status=status, server=plane.settings.name, version=__version__, store=store)
    return Response(body, status_code=200 if status == "UP" else 503)


def part(plane: Plane) -> Part:
    """The routes of drafts, releases, contents, audit log and tokens; and the collection of contents."""
    plane.offer(Sight(plane))

    async def collect() -> None:
        every_s = max(1.0, plane.settings.collect_after_s / 4)
        while True:
            try:
                found = await plane.contents.collect()
                if found.contents or found.chunks:
                    logger.info("collected %d contents and %d chunks", found.contents, found.chunks)
            except HerzError as error:
                logger.warning("contents are not collected: %s", error)
            await asyncio.sleep(every_s)

    return Part(
        api=[
            apps,
            overview,
            channel,
            content,
            openapi,
            *api_drafts.HANDLERS,
            *api_releases.HANDLERS,
            *api_approvals.HANDLERS,
            *api_admin.HANDLERS,
        ],
        routes=[health],
        duties={"collect": collect},
    )
