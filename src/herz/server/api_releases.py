"""The API of releases: making them, reading them, and pointing the channel at them."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from herz.release.channel import Release
from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.record import Record
from herz.server.access import Caller, require, requires
from herz.server.desk import Moved
from herz.server.plane import PLACE, Plane
from herz.server.problems import answers
from herz.server.releases import PAGE, PAGE_MOST
from herz.server.seeing import Sight
from herz.server.tokens import Scope

_LAST: Final = 10**10
Before = Annotated[int | None, QueryParameter(ge=1, le=_LAST, description="Only releases below this number")]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MOST, description="At most so many")]


Message = Annotated[str, Meta(min_length=1, max_length=4000, description="Why; people read it in the history")]
Number = Annotated[int, Meta(ge=1, lt=_LAST, description="The number of a release")]
Revision = Annotated[int, Meta(ge=0, description="The revision of the draft that was seen")]


class ReleaseBody(Record, frozen=True, kw_only=True):
    """Why, for which program, and from which commit. `expect` is the draft's revision that was seen."""

    message: Message
    patch_id: str | None = None
    git_commit: str | None = None
    expect: Revision | None = None
    publish: bool = True
    force: bool = False


class RollbackBody(Record, frozen=True, kw_only=True):
    """Back to which release, and why. `expect` is the draft's revision that was seen."""

    to: Number
    message: Message
    expect: Revision | None = None


class PublishBody(Record, frozen=True, kw_only=True):
    """Which release everybody is to run, and why."""

    release: Number
    message: Message
    force: bool = False


@post(
    f"{PLACE}/releases",
    guards=[requires(Scope.RELEASE)],
    responses=answers(404, 409, 413, 422, 507),
    summary="Make the draft a release",
    tags=["releases"],
)
async def create_release(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[ReleaseBody],
) -> Release:
    """Immutable and numbered. Everybody runs it at once, unless `publish` is false: then it stays dormant.

    409 while a rollout is under way, or while a change that needs approval has none; `force` ends the rollout and
    passes the approval, is loud in the audit log, and needs the scope `approve` as well.
    """
    if data.force:
        require(caller, Scope.APPROVE, app)
    return await plane.desk.create(
        app,
        namespace,
        by=caller.by,
        message=data.message,
        patch_id=data.patch_id,
        git_commit=data.git_commit,
        expect=data.expect,
        publish=data.publish,
        force=data.force,
    )


@get(f"{PLACE}/releases", guards=[requires(Scope.READ)], responses=answers(), summary="Releases", tags=["releases"])
async def releases(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    before: Before = None,
    limit: Limit = PAGE,
) -> tuple[Release, ...]:
    """The newest first; page on with `before` set to the last number."""
    return await plane.desk.releases(app, namespace, before=before, limit=limit)


@get(
    f"{PLACE}/releases/{{number:int}}",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="One release",
    tags=["releases"],
)
async def release(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], number: FromPath[int]
) -> Release:
    """Who released what, when and why."""
    return await plane.desk.release(app, namespace, number)


@get(
    f"{PLACE}/releases/{{number:int}}/content",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="What a release holds",
    tags=["releases"],
)
async def release_content(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    number: FromPath[int],
) -> Content:
    """All its layers, as they were written; without the scope `edit` secrets are masked, and `masked` is true then.

    An instance's scope `report` shows the releases whole that instances are told to run now.
    """
    found = await plane.desk.release(app, namespace, number)
    content = await plane.contents.read(found.digest)
    return await plane.of(Sight).of_release(caller, app, namespace, found.digest, content)


@get(
    f"{PLACE}/releases/{{number:int}}/difference/{{after:int}}",
    guards=[requires(Scope.READ)],
    responses=answers(404, 422),
    summary="What differs between two releases",
    tags=["releases"],
)
async def release_difference(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    number: FromPath[int],
    after: FromPath[int],
) -> tuple[KeyDifference, ...]:
    """Key by key, with the place of both values; secrets are masked."""
    return await plane.desk.difference(app, namespace, number, after)


@post(
    f"{PLACE}/rollback",
    guards=[requires(Scope.RELEASE)],
    responses=answers(404, 409, 507),
    status_code=200,
    summary="Go back to a release",
    tags=["releases"],
)
async def rollback(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[RollbackBody],
) -> Moved:
    """Point the channel at it, and reset the draft to its content, in one write. 409 while a rollout is under way.

    What was live before needs no approval.
    """
    return await plane.desk.rollback(app, namespace, data.to, by=caller.by, message=data.message, expect=data.expect)


@post(
    f"{PLACE}/publish",
    guards=[requires(Scope.RELEASE)],
    responses=answers(404, 409, 507),
    status_code=200,
    summary="Let everybody run a release",
    tags=["releases"],
)
async def publish(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[PublishBody],
) -> Moved:
    """Point the channel at it.

    409 while a rollout is under way, or while it is not approved; `force` overrides both, loudly, and needs the scope
    `approve` as well.
    """
    if data.force:
        require(caller, Scope.APPROVE, app)
    return await plane.desk.publish(app, namespace, data.release, by=caller.by, message=data.message, force=data.force)


HANDLERS: Final = (
    create_release,
    releases,
    release,
    release_content,
    release_difference,
    rollback,
    publish,
)
