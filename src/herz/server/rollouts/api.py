"""The API of rollouts and proofs, the gates for other tools, and the part that all of it is to the server."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream
from msgspec.structs import replace

from herz.release.atomicity import Verdict
from herz.release.record import Record
from herz.release.rollout import Rollout, abort, force, pause, promote, resume
from herz.release.rollout_step import Step
from herz.release.roster import Roster
from herz.server.access import Caller, require, requires
from herz.server.plane import PLACE, Plane
from herz.server.problems import Problem, answers
from herz.server.rollouts.book import PAGE, Book, Wish
from herz.server.rollouts.events import events
from herz.server.rollouts.gates import Canary, Gates, Hook, Measurement, measurement
from herz.server.rollouts.proofs import Proofs, Question
from herz.server.rollouts.rosters import Rosters
from herz.server.rollouts.standing import Rollouts
from herz.server.tokens import Scope

Id = Annotated[str, PathParameter(description="The rollout, such as `r7`")]


Before = Annotated[int | None, QueryParameter(ge=1, le=10**10, description="Only rollouts below this number")]
Limit = Annotated[int, QueryParameter(ge=1, le=500, description="At most so many")]
After = Annotated[str, QueryParameter(required=False, max_length=256, description="Only names behind this one")]
Named = Annotated[int, QueryParameter(ge=1, le=10_000, description="At most so many")]
OfBatch = Annotated[int | None, QueryParameter(ge=1, le=10**10, description="Only those of this batch")]
OfStep = Annotated[Step | None, QueryParameter(required=False, description="Only those that have come so far")]
Well = Annotated[bool | None, QueryParameter(required=False, description="`false`: those to look at")]


class Message(Record, frozen=True, kw_only=True):
    """Why."""

    message: str = ""


class Promotion(Record, frozen=True, kw_only=True):
    """Why, and whether no later batch is baked either."""

    message: str = ""
    all_batches: bool = False


@post(
    f"{PLACE}/verify",
    guards=[requires(Scope.ROLLOUT)],
    responses=answers(404),
    status_code=200,
    summary="Prove what instances run",
    tags=["rollouts"],
)
async def verify(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[Question]
) -> Verdict:
    """A fresh question to the instances, between two readings of the channel. Who does not answer is not verified."""
    return await plane.of(Proofs).verify(app, namespace, data)


@post(
    f"{PLACE}/rollouts",
    guards=[requires(Scope.ROLLOUT)],
    responses=answers(404, 409, 507),
    summary="Begin a rollout",
    tags=["rollouts"],
)
async def start_rollout(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[Wish],
) -> Rollout:
    """Batch by batch, each prepared, committed at one write, and verified.

    409 while another one is in flight, or while the release is not approved; its promotion needs no approval again.
    """
    plane.of(Rollouts).check(data)
    return await plane.of(Book).start(app, namespace, data, caller.by)


@get(
    f"{PLACE}/rollouts",
    guards=[requires(Scope.READ)],
    responses=answers(),
    summary="Rollouts",
    tags=["rollouts"],
)
async def rollouts(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    before: Before = None,
    limit: Limit = PAGE,
) -> tuple[Rollout, ...]:
    """The newest first; page on with `before` set to the last number."""
    return await plane.of(Book).all(app, namespace, before=before, limit=limit)


@get(
    f"{PLACE}/rollouts/{{rollout:str}}",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="One rollout",
    tags=["rollouts"],
)
async def rollout(plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], rollout: Id) -> Rollout:
    """Its phase, batches, and the evidence of each."""
    return (await plane.of(Book).find(app, namespace, rollout)).value


@get(
    f"{PLACE}/rollouts/{{rollout:str}}/roster",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    summary="Who takes part in a rollout",
    tags=["rollouts"],
)
async def rollout_roster(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: Id,
    batch: OfBatch = None,
    step: OfStep = None,
    well: Well = None,
    after: After = "",
    limit: Named = 10_000,
) -> Roster:
    """How far each instance has come, when, and what it proved; once it is over, what was recorded of that.

    By name. `members` and `left_out` are of the whole rollout, whatever is asked for.
    """
    found = (await plane.of(Book).find(app, namespace, rollout)).value
    roster, _ = await plane.of(Rosters).of(found)
    wanted = (
        one
        for one in roster.participants
        if one.instance > after and batch in (None, one.batch) and step in (None, one.step) and well in (None, one.well)
    )
    return replace(roster, participants=tuple(islice(wanted, limit)))


@get(
    f"{PLACE}/rollouts/{{rollout:str}}/events",
    guards=[requires(Scope.READ)],
    responses=answers(404),
    media_type="application/x-ndjson",
    summary="What happens in a rollout",
    tags=["rollouts"],
)
async def rollout_events(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: Id,
) -> Stream:
    """Lines of JSON: `{"type": "rollout", "rollout": {…}}` for how it stands, then for each change; at last `end`."""
    begun = await plane.of(Book).find(app, namespace, rollout)
    lines = events(
        plane.store,
        app,
        namespace,
        begun,
        closing=plane.closing,
        check=lambda: plane.access.check(caller),
    )
    return Stream(lines, media_type="application/x-ndjson", headers={"cache-control": "no-store"})


def _order(name: str, change: Any, summary: str, doc: str) -> Any:
    async def handler(
        plane: NamedDependency[Plane],
        caller: NamedDependency[Caller],
        app: FromPath[str],
        namespace: FromPath[str],
        rollout: Id,
        data: JSONBody[Message | None] = None,
    ) -> Rollout:
        message = "" if data is None else data.message
        return await plane.of(Book).order(
            app,
            namespace,
            rollout,
            lambda found: change(found, caller.by.actor, plane.clock.now(), message),
            f"rollout.{name}",
            caller.by,
            message=message,
        )

    handler.__doc__ = doc
    handler.__name__ = f"{name}_rollout"
    return post(
        f"{PLACE}/rollouts/{{rollout:str}}/{name}",
        guards=[requires(Scope.ROLLOUT)],
        responses=answers(404, 409),
        status_code=200,
        summary=summary,
        tags=["rollouts"],
        operation_id=f"{name.title()}Rollout",
    )(handler)


pause_rollout = _order("pause", pause, "Pause a rollout", "No further step forward; what fails is still rolled back.")
resume_rollout = _order("resume", resume, "Resume a rollout", "Go on where it was paused; windows begin anew.")
abort_rollout = _order("abort", abort, "Abort a rollout", "Roll every batch back now.")


@post(
    f"{PLACE}/rollouts/{{rollout:str}}/promote",
    guards=[requires(Scope.ROLLOUT)],
    responses=answers(404, 409),
    status_code=200,
    summary="Bake no longer",
    tags=["rollouts"],
)
async def promote_rollout(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: Id,
    data: JSONBody[Promotion | None] = None,
) -> Rollout:
    """Go on without (further) baking, paused or not. Verification is never skipped."""
    data = data or Promotion()
    return await plane.of(Book).order(
        app,
        namespace,
        rollout,
        lambda found: promote(found, caller.by.actor, plane.clock.now(), data.message, all_batches=data.all_batches),
        "rollout.promote",
        caller.by,
        message=data.message,
    )


@post(
    f"{PLACE}/rollouts/{{rollout:str}}/force",
    guards=[requires(Scope.APPROVE)],
    responses=answers(404, 409),
    status_code=200,
    summary="Break the glass",
    tags=["rollouts"],
)
async def force_rollout(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: Id,
    data: JSONBody[Message],
) -> Rollout:
    """The release becomes stable for everybody without proof, loudly. A message is needed."""
    return await plane.of(Book).order(
        app,
        namespace,
        rollout,
        lambda found: force(found, caller.by.actor, plane.clock.now(), data.message),
        "rollout.force",
        caller.by,
        message=data.message,
        forced=True,
    )


@post(
    "/argo-rollouts/{app:str}/{namespace:str}",
    guards=[requires(Scope.ROLLOUT)],
    responses=answers(404),
    status_code=200,
    summary="A verdict as a metric of Argo Rollouts",
    tags=["gates"],
)
async def argo_rollouts(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[Question]
) -> Measurement:
    """For the provider `web`: `jsonPath: "{$.ok}"` and `successCondition: result == true`."""
    return measurement(await plane.of(Proofs).verify(app, namespace, data))


async def _named(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: tells callers by their header; Flagger has none, and names its token in the body."""
    plane: Plane = connection.app.state.plane
    by_header = connection.headers.get("authorization") is not None or plane.settings.open
    connection.state.caller = await plane.access.caller(connection) if by_header else None


@post(
    "/flagger/{hook:str}",
    guards=[_named],
    responses=answers(404, 409),
    status_code=200,
    summary="A webhook of Flagger",
    tags=["gates"],
)
async def flagger(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], hook: FromPath[Hook], data: JSONBody[Canary]
) -> Response[dict[str, Any]]:
    """2xx is a yes, 409 a no; for `rollback` a yes means that the canary is to be rolled back.

    `metadata` may hold `app`, `namespace`, `config_version`, `patch_id`, `cohorts`, `instances`, and `token`.
    """
    caller: Caller | None = request.state.caller
    if caller is None:
        token = data.metadata.get("token")
        if token is None:
            caller = await plane.access.caller(request)  # says that one is needed
        else:
            caller = await plane.access.bearer(f"Bearer {token}")
    require(caller, Scope.ROLLOUT, data.app)
    answer = await plane.of(Gates).flagger(hook, data)
    if not answer.go:
        raise Problem(409, "no", f"{hook.value}: {answer.reason}", remedy="look at the rollout; it is asked again")
    return Response({"ok": True, "reason": answer.reason})


HANDLERS: Final = (
    verify,
    start_rollout,
    rollouts,
    rollout,
    rollout_roster,
    rollout_events,
    pause_rollout,
    resume_rollout,
    promote_rollout,
    abort_rollout,
    force_rollout,
    argo_rollouts,
    flagger,
)
