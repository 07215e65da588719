"""What becomes of a draft and of releases: releasing, approving, publishing, going back."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from litestar.response import Redirect

from herz.errors import HerzError, UsageError
from herz.server.access import Caller, require
from herz.server.console.confirming import confirmed
from herz.server.console.drafting import DRAFT, draft_page
from herz.server.console.history import RELEASES, release_page, releases_page
from herz.server.door.entering import enters
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.tokens import Scope


class Releasing(msgspec.Struct, kw_only=True):
    """What the dialog of a release sends. `how` is all, gradual or dormant; all needs `confirm`."""

    expect: int
    message: str = ""
    patch_id: str = ""
    git_commit: str = ""
    how: str = "gradual"
    confirm: str = ""
    force: str = ""


@post(f"{DRAFT}/release", guards=[enters(Scope.RELEASE)])
async def release(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Releasing, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Make the draft a release: for everybody at once, to be rolled out, or for nobody yet."""
    try:
        if data.how not in ("all", "gradual", "dormant"):
            raise UsageError(f"{data.how[:100]!r} is no way to release", remedy="choose one of the dialog")
        force = data.how == "all" and bool(data.force)
        if data.how == "all":
            may_force(caller, app, force)
            confirmed(data.confirm, f"force {app}" if force else app)
        made = await plane.desk.create(
            app,
            namespace,
            by=caller.by,
            message=data.message,
            patch_id=data.patch_id.strip() or None,
            git_commit=data.git_commit.strip() or None,
            expect=data.expect,
            publish=data.how == "all",
            force=force,
        )
    except HerzError as error:
        typed = {name: getattr(data, name) for name in data.__struct_fields__}
        return await draft_page(request, plane, app, namespace, problem=body_of(error)[0], form=typed)
    base = f"/console/apps/{app}/{namespace}"
    there = f"/rollouts/new?release={made.number}" if data.how == "gradual" else f"/releases/{made.number}"
    return Redirect(base + there, status_code=303)


def may_force(caller: Caller, app: str, force: bool) -> None:
    """Nothing, or a `Problem` 403: to pass what others must agree to takes the right to approve as well."""
    if force:
        require(caller, Scope.APPROVE, app)


class Approving(msgspec.Struct, kw_only=True):
    """What is approved: the content that was looked at; with `withdraw`, one's own approval is taken back."""

    digest: str
    message: str = ""
    withdraw: str = ""


@post(f"{DRAFT}/approve", guards=[enters(Scope.APPROVE)])
async def approve_draft(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Approving, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Approve the draft that somebody else wrote, or take that back."""
    try:
        await _approve(plane, caller, app, namespace, None, data)
    except HerzError as error:
        return await draft_page(request, plane, app, namespace, problem=body_of(error)[0])
    return Redirect(f"/console/apps/{app}/{namespace}/draft", status_code=303)


@post(f"{RELEASES}/{{number:int}}/approve", guards=[enters(Scope.APPROVE)])
async def approve_release(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    number: FromPath[int],
    data: Annotated[Approving, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """The same for a release that is not live yet."""
    try:
        await _approve(plane, caller, app, namespace, number, data)
    except HerzError as error:
        return await release_page(request, plane, app, namespace, number, problem=body_of(error)[0])
    return Redirect(f"/console/apps/{app}/{namespace}/releases/{number}", status_code=303)


async def _approve(plane: Plane, caller: Caller, app: str, namespace: str, number: int | None, data: Approving) -> None:
    approvals = plane.desk.approvals
    if data.withdraw:
        await approvals.withdraw(app, namespace, data.digest, by=caller.by, message=data.message)
    else:
        await approvals.give(app, namespace, number, digest=data.digest, by=caller.by, message=data.message)


class Pointing(msgspec.Struct, kw_only=True):
    """Which release everybody is to run, and why. `expect` is the draft's revision, where that is reset."""

    release: int
    message: str = ""
    confirm: str = ""
    expect: str = ""
    force: str = ""


@post(f"{RELEASES}/publish", guards=[enters(Scope.RELEASE)])
async def publish(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Pointing, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Let everybody run a release at once."""
    try:
        force = bool(data.force)
        may_force(caller, app, force)
        confirmed(data.confirm, f"force {app}" if force else app)
        await plane.desk.publish(app, namespace, data.release, by=caller.by, message=data.message, force=force)
    except HerzError as error:
        return await releases_page(request, plane, app, namespace, problem=body_of(error)[0])
    return Redirect(f"/console/apps/{app}/{namespace}/releases", status_code=303)


@post(f"{RELEASES}/rollback", guards=[enters(Scope.RELEASE)])
async def rollback(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Pointing, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Let everybody run an older release again, and reset the draft to it."""
    try:
        confirmed(data.confirm, app)
        expect = int(data.expect) if data.expect.isdecimal() and len(data.expect) < 20 else None
        await plane.desk.rollback(app, namespace, data.release, by=caller.by, message=data.message, expect=expect)
    except HerzError as error:
        return await releases_page(request, plane, app, namespace, problem=body_of(error)[0])
    return Redirect(f"/console/apps/{app}/{namespace}/releases", status_code=303)


PAGES: Final = (release, approve_draft, approve_release, publish, rollback)
