"""The draft of a namespace: the page that it is edited in, what that asks for while somebody types, and saving it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery, JSONBody
from litestar.response import Redirect

from herz.errors import HerzError
from herz.release.approval import ApprovalState
from herz.release.content import DIMENSIONS, Content, LayerText
from herz.server.access import Caller, require
from herz.server.api_drafts import DraftBody
from herz.server.console.confirming import confirmed
from herz.server.console.pages import page
from herz.server.console.shown import ROWS, Table, disputes, table
from herz.server.door.entering import enters
from herz.server.drafts import Draft
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import Problem, body_of
from herz.server.rollouts.book import Book
from herz.server.settings import CONTENT_BODY_BYTES
from herz.server.tokens import Scope
from herz.server.validation import Validation, validated
from herz.store.plane import DEFAULT_NAMESPACE, place

DRAFT: Final = "/apps/{app:str}/{namespace:str}/draft"
EAGER: Final = 1024 * 1024
"""Bytes of a content that a page compares and validates by itself; more when it is asked to."""
FORMATS: Final = ("yaml", "json", "toml", "properties", "env")


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances run another content than the draft's, of how many."""

    other: int
    total: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a draft stands: what it would change, what is wrong with it, and what keeps it from being released.

    `changes` and `validation` are None where they were not computed, for the content is large; `unread` says why they
    could not be.
    """

    draft: Draft | None
    live: int | None
    size: int = 0
    changes: Table | None = None
    validation: Validation | None = None
    unread: str | None = None
    approval: ApprovalState | None = None
    flight: str | None = None
    reach: Reach = Reach(other=0, total=0)

    @property
    def released(self) -> bool:
        """Whether nothing in it is new."""
        return self.changes is not None and not self.changes.count and self.live is not None


@get("/new", guards=[enters(None)])
async def new(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    app: FromQuery[str] = "",
    namespace: FromQuery[str] = DEFAULT_NAMESPACE,
) -> Response[Any]:
    """The way to the first draft of an application: its name is checked."""
    problem = None
    if app:
        try:
            place(app, namespace or DEFAULT_NAMESPACE)
            require(caller, Scope.EDIT, app)
            return Redirect(f"/console/apps/{app}/{namespace or DEFAULT_NAMESPACE}/draft", status_code=303)
        except HerzError as error:
            problem, _ = body_of(error)
    status = 200 if problem is None else problem["status"]
    return page(request, "draft_new.html", status=status, name=app, within=namespace, problem=problem)


@get([DRAFT, *(f"{DRAFT}/{deed}" for deed in ("release", "delete", "approve"))], guards=[enters(Scope.READ)])
async def draft(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    whole: FromQuery[bool] = False,
) -> Response[str]:
    """The editor, and how the draft stands; also where a deed was refused, for the page asks for itself again."""
    return await draft_page(request, plane, app, namespace, whole=whole)


async def draft_page(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    *,
    whole: bool = False,
    problem: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
) -> Response[str]:
    """The draft's page; with a `problem` on top, and what was typed into the `form` of its release."""
    of = f"{app}/{namespace}"
    return page(
        request,
        "draft.html",
        topics=[f"{kind}:{of}" for kind in ("draft", "channel", "releases", "rollouts")],
        status=200 if problem is None else problem["status"],
        standing=await standing(plane, app, namespace, whole=whole),
        schema=await plane.desk.schemas.get(app, namespace) is not None,
        formats=FORMATS,
        dimensions=DIMENSIONS,
        problem=problem,
        form=form or {},
    )


async def standing(plane: Plane, app: str, namespace: str, *, whole: bool = False) -> Standing:
    """How the draft of a namespace stands; `whole` takes the time that a large one needs."""
    found = await plane.desk.drafts.facts(app, namespace)
    channel, _ = await plane.desk.channel(app, namespace)
    live = None if channel.stable.release is None else channel.stable.release.number
    if found is None:
        return Standing(draft=None, live=live)
    there = plane.of(Hub).namespace(app, namespace)
    runs = [there.pointer(name).release for name in there.reports]
    rollout = await plane.of(Book).in_flight(app, namespace)
    facts: dict[str, Any] = {
        "draft": found,
        "live": live,
        "size": await size_of(plane, found.digest),
        "approval": await plane.desk.approvals.of_draft(app, namespace, found),
        "flight": None if rollout is None else rollout.id,
        "reach": Reach(other=sum(ref is None or ref.digest != found.digest for ref in runs), total=len(runs)),
    }
    if whole or facts["size"] <= EAGER:
        facts["validation"] = await plane.desk.drafts.validate(app, namespace)
        try:
            facts["changes"] = table(await plane.desk.drafts.difference(app, namespace))
        except HerzError as error:  # a text that does not decode has no keys
            facts["unread"] = str(error)
    return Standing(**facts)


async def size_of(plane: Plane, digest: str) -> int:
    """How many bytes a content has, without reading it."""
    return sum(layer.bytes for layer in (await plane.contents.manifest(digest)).layers)


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """The layers that somebody begins from: of the draft, else of what is live. `revision` 0 is no draft."""

    layers: tuple[LayerText, ...]
    revision: int
    base: int | None
    digest: str = ""
    author: str | None = None


@get(f"{DRAFT}/text", guards=[enters(Scope.EDIT)])
async def text(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]) -> Response[bytes]:
    """What is edited, as it stands: only for those who may edit it."""
    found = await plane.desk.drafts.facts(app, namespace)
    if found is not None:
        content, base = await plane.contents.read(found.digest), found.base
    else:
        content, base = await plane.desk.drafts.live(app, namespace)
    return as_json(
        Text(
            layers=content.layers,
            revision=0 if found is None else found.revision,
            base=base,
            digest="" if found is None else found.digest,
            author=None if found is None else found.author,
        )
    )


@post(
    DRAFT,
    guards=[enters(Scope.EDIT)],
    request_max_body_size=CONTENT_BODY_BYTES,
)
async def save(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[DraftBody],
) -> Response[Any]:
    """Save what was typed, compared with the revision that it was begun on; a conflict is a part of the page."""
    try:
        made = await plane.desk.drafts.write(
            app,
            namespace,
            data.content,
            by=caller.by,
            expect=data.expect or 0,
            base=data.base,
            message=data.message,
        )
    except Problem as problem:
        if problem.status != 409 or "actual" not in problem.members:
            raise
        return conflict(request, problem)
    return as_json({"revision": made.revision, "base": made.base, "digest": made.digest})


def conflict(request: Request[Any, Any, Any], problem: Problem) -> Response[str]:
    """What somebody else did meanwhile, for the editor to show beside what was typed."""
    members = problem.members
    return page(
        request,
        "draft_conflict.html",
        status=409,
        problem=body_of(problem)[0],
        actual=members["actual"],
        theirs=members.get("theirs"),
        disputes=disputes(found := members.get("difference", ())),
        more=max(0, len(found) - ROWS),
        changed=table(members.get("changed", ())),
        failed=members.get("difference_failed"),
    )


class Throwing(msgspec.Struct, kw_only=True):
    """That a draft is thrown away: its application's name, and the revision that was seen."""

    confirm: str
    expect: int


@post(f"{DRAFT}/delete", guards=[enters(Scope.EDIT)])
async def delete(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: Annotated[Throwing, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Throw the draft away; the next one begins from what is live."""
    try:
        confirmed(data.confirm, app)
        await plane.desk.drafts.delete(app, namespace, by=caller.by, expect=data.expect)
    except HerzError as error:
        return await draft_page(request, plane, app, namespace, problem=body_of(error)[0])
    return Redirect(f"/console/apps/{app}/{namespace}/draft", status_code=303)


def as_json(value: Any) -> Response[bytes]:
    """An answer for the scripts of a page."""
    return Response(
        msgspec.json.encode(value),
        status_code=200,
        media_type="application/json",
        headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
    )


async def judged(plane: Plane, app: str, namespace: str, content: Content) -> Validation:
    """What keeps a content from being released, without its being saved."""
    schema = await plane.desk.schemas.get(app, namespace)
    return await validated(content, plane.desk.readings, schema, keys=plane.desk.schemas.keys)


PAGES: Final = (new, draft, text, save, delete)
