"""The API of drafts and schemas."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, field, structs

from herz.release.content import Content
from herz.release.difference import KeyDifference
from herz.release.record import Record
from herz.server.access import Caller, requires
from herz.server.api_releases import Number, Revision
from herz.server.drafts import Draft
from herz.server.masking import masked_schema
from herz.server.plane import PLACE, Plane
from herz.server.problems import answers, not_found
from herz.server.seeing import Sight
from herz.server.settings import CONTENT_BODY_BYTES
from herz.server.tokens import Scope
from herz.server.validation import Validation
from herz.store.plane import place

Expect = Annotated[
    int | None, QueryParameter(ge=0, le=2**63 - 1, description="The revision of the draft that was seen")
]


class DraftBody(Record, frozen=True, kw_only=True):
    """A whole draft. `expect` is the revision that the change was made on, 0 where there was none.

    `base` is the number of the release that it began from.
    """

    content: Content
    expect: Revision | None = None
    base: Number | None = None
    message: Annotated[str, Meta(max_length=4000)] = ""


class SetBody(Record, frozen=True, kw_only=True):
    """Keys and what they are to be; null deletes one."""

    changes: dict[str, Any] = field(default_factory=dict)
    layer: str | None = None
    expect: Revision | None = None
    message: Annotated[str, Meta(max_length=4000)] = ""


@get(f"{PLACE}/draft", guards=[requires(Scope.READ)], responses=answers(404, 410), summary="The draft", tags=["drafts"])
async def get_draft(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], app: FromPath[str], namespace: FromPath[str]
) -> Draft:
    """The draft with its content; without the scope `edit` secrets are masked, and `content.masked` is true then."""
    found = await plane.desk.drafts.get(app, namespace)
    content = await plane.of(Sight).of_draft(caller, app, found.content or Content())
    return structs.replace(found, content=content)


@put(
    f"{PLACE}/draft",
    guards=[requires(Scope.EDIT)],
    responses=answers(409, 413, 422, 507),
    request_max_body_size=CONTENT_BODY_BYTES,
    summary="Replace the draft",
    tags=["drafts"],
)
async def put_draft(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[DraftBody],
) -> Draft:
    """Write the whole draft, compared with the revision that it was made on; 409 carries the three-way difference.

    422 for a content that was masked on its way out: the dots would take the place of its secrets.
    """
    return await plane.desk.drafts.write(
        app,
        namespace,
        data.content,
        by=caller.by,
        expect=data.expect,
        base=data.base,
        message=data.message,
    )


@delete(
    f"{PLACE}/draft",
    guards=[requires(Scope.EDIT)],
    responses=answers(404, 409, 507),
    summary="Throw the draft away",
    tags=["drafts"],
)
async def delete_draft(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    expect: Expect = None,
) -> None:
    """The next draft begins from what is live."""
    await plane.desk.drafts.delete(app, namespace, by=caller.by, expect=expect)


@post(
    f"{PLACE}/draft/set",
    guards=[requires(Scope.EDIT)],
    responses=answers(409, 413, 422, 507),
    status_code=200,
    summary="Set single keys of the draft",
    tags=["drafts"],
)
async def set_keys(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[SetBody],
) -> Draft:
    """Keys are set in the text, comments and other lines stay; a draft that does not exist begins from what is live."""
    return await plane.desk.drafts.set(
        app,
        namespace,
        data.changes,
        by=caller.by,
        layer=data.layer,
        expect=data.expect,
        message=data.message,
    )


@post(
    f"{PLACE}/draft/validate",
    guards=[requires(Scope.READ)],
    responses=answers(404, 410),
    status_code=200,
    summary="Whether the draft can be released",
    tags=["drafts"],
)
async def validate(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]) -> Validation:
    """Every reason why not, with key and place."""
    return await plane.desk.drafts.validate(app, namespace)


@get(
    f"{PLACE}/draft/difference",
    guards=[requires(Scope.READ)],
    responses=answers(404, 410, 422),
    summary="What the draft changes",
    tags=["drafts"],
)
async def draft_difference(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]
) -> tuple[KeyDifference, ...]:
    """Against what is live, key by key, with the place of both values; secrets are masked."""
    return await plane.desk.drafts.difference(app, namespace)


@get(f"{PLACE}/schema", guards=[requires(Scope.READ)], responses=answers(404), summary="The schema", tags=["drafts"])
async def get_schema(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], app: FromPath[str], namespace: FromPath[str]
) -> dict[str, Any]:
    """The JSON Schema that drafts are validated with; without the scope `edit` what it says of secrets is masked."""
    found = await plane.desk.schemas.get(app, namespace)
    if found is None:
        raise not_found(f"{place(app, namespace)} has no schema")
    return found if caller.may(Scope.EDIT, app) else masked_schema(found)


@put(
    f"{PLACE}/schema",
    guards=[requires(Scope.EDIT)],
    responses=answers(413, 422, 507),
    status_code=204,
    summary="Validate drafts with a schema",
    tags=["drafts"],
)
async def put_schema(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> None:
    """A JSON Schema; references to other documents are not followed."""
    await plane.desk.schemas.put(app, namespace, data, by=caller.by)


@delete(
    f"{PLACE}/schema",
    guards=[requires(Scope.EDIT)],
    responses=answers(404, 507),
    summary="Validate drafts with no schema",
    tags=["drafts"],
)
async def delete_schema(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], app: FromPath[str], namespace: FromPath[str]
) -> None:
    """Drafts only have to decode from now on."""
    await plane.desk.schemas.delete(app, namespace, by=caller.by)


HANDLERS: Final = (
    get_draft,
    put_draft,
    delete_draft,
    set_keys,
    validate,
    draft_difference,
    get_schema,
    put_schema,
    delete_schema,
)
