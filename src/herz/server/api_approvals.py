"""The API of policies and approvals: what must be agreed to before it is live, and who agrees."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from herz.release.approval import APPROVALS_MOST, ApprovalState, Policy, Publication, person
from herz.release.record import Record
from herz.server.access import Caller, require, requires
from herz.server.api_releases import Number
from herz.server.plane import PLACE, Plane
from herz.server.problems import answers, not_found
from herz.server.tokens import Scope
from herz.store.plane import place

Of = Annotated[int | None, QueryParameter(ge=1, lt=10**10, description="The number of a release; the draft without it")]
Digest = Annotated[
    str,
    Meta(pattern=r"^sha256:[0-9a-f]{64}$", description="The address of the content that was looked at"),
]
DigestSeen = Annotated[
    str, QueryParameter(pattern=r"^sha256:[0-9a-f]{64}$", description="The address of the content that was approved")
]
Approver = Annotated[
    str | None, QueryParameter(min_length=1, max_length=200, description="Whose; one's own without it")
]
Why = Annotated[str, QueryParameter(max_length=4000, description="Why")]
Layer = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$", description="A layer's name, or `*`")]


class PolicyBody(Record, frozen=True, kw_only=True):
    """The layers whose change needs approval, `*` for all, and by how many people."""

    layers: Annotated[tuple[Layer, ...], Meta(min_length=1, max_length=100)]
    approvals: Annotated[int, Meta(ge=1, le=APPROVALS_MOST)] = 1


class ApprovalBody(Record, frozen=True, kw_only=True):
    """What is approved: a release, the draft where `release` is null, whose content has the address `digest`."""

    digest: Digest
    release: Number | None = None
    message: Annotated[str, Meta(max_length=4000)] = ""


@get(
    f"{PLACE}/policy",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="What needs approval",
    tags=["approvals"],
)
async def get_policy(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]) -> Policy:
    """The layers whose change needs approval before it is live, and by how many."""
    found = await plane.desk.policies.get(app, namespace)
    if found is None:
        raise not_found(f"{place(app, namespace)} has no policy: nothing needs approval")
    return found


@put(
    f"{PLACE}/policy",
    guards=[requires(Scope.ADMIN)],
    responses=answers(507),
    status_code=204,
    summary="Ask for approval",
    tags=["approvals"],
)
async def put_policy(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[PolicyBody],
) -> None:
    """From now on a change of these layers becomes live only when people who wrote none of it have approved it."""
    await plane.desk.policies.put(app, namespace, Policy(layers=data.layers, approvals=data.approvals), by=caller.by)


@delete(
    f"{PLACE}/policy",
    guards=[requires(Scope.ADMIN)],
    responses=answers(404, 507),
    summary="Ask for no approval",
    tags=["approvals"],
)
async def delete_policy(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], app: FromPath[str], namespace: FromPath[str]
) -> None:
    """Nothing needs approval any more."""
    await plane.desk.policies.delete(app, namespace, by=caller.by)


@get(
    f"{PLACE}/approvals",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="How it stands with approval",
    tags=["approvals"],
)
async def approvals(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], release: Of = None
) -> ApprovalState:
    """Of a release or the draft: what it changes that needs approval, who wrote it, who approves, and what counts."""
    return await plane.desk.approvals.state(app, namespace, release)


@post(
    f"{PLACE}/approvals",
    guards=[requires(Scope.APPROVE)],
    responses=answers(404, 409, 507),
    status_code=200,
    summary="Approve",
    tags=["approvals"],
)
async def give_approval(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[ApprovalBody],
) -> ApprovalState:
    """A release or the draft. 409 where `digest` is not its content any more, 403 for whoever wrote some of it."""
    return await plane.desk.approvals.give(
        app, namespace, data.release, digest=data.digest, by=caller.by, message=data.message
    )


@delete(
    f"{PLACE}/approvals",
    guards=[requires(Scope.APPROVE)],
    responses=answers(404, 409, 507),
    summary="Take an approval back",
    tags=["approvals"],
)
async def withdraw_approval(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    digest: DigestSeen,
    approver: Approver = None,
    message: Why = "",
) -> None:
    """One's own; that of somebody else with scope `admin`. What is live already stays so."""
    if approver is not None and person(approver) != person(caller.name):
        require(caller, Scope.ADMIN, app)
    await plane.desk.approvals.withdraw(app, namespace, digest, by=caller.by, approver=approver, message=message)


@get(
    f"{PLACE}/releases/{{number:int}}/publications",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="When a release became live",
    tags=["releases"],
)
async def publications(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], number: FromPath[int]
) -> tuple[Publication, ...]:
    """By whom, approved by whom, by which rollout, and whether by force; in order, the first 500."""
    await plane.desk.release(app, namespace, number)
    return await plane.desk.approvals.publications(app, namespace, number)


HANDLERS: Final = (
    get_policy,
    put_policy,
    delete_policy,
    approvals,
    give_approval,
    withdraw_approval,
    publications,
)
