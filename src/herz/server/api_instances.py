"""The API of instances: what they run, what they say of themselves, questions to them, and what would change them."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from herz.errors import UsageError
from herz.release.record import Record
from herz.release.report import Answer, Ask, AskKind, Graph, Report, Status
from herz.server.access import Caller, known, require, requires
from herz.server.asks import WINDOW_S, Asking
from herz.server.fleet import REPORT_BYTES, Fleet, require_somewhere
from herz.server.hub import Hub
from herz.server.impact import Impact, Impacts
from herz.server.instances import Instance, instance_of, instances_of
from herz.server.plane import PLACE, Plane
from herz.server.problems import answers, not_found
from herz.server.seeing import Sight
from herz.server.tokens import Scope as Right
from herz.store.plane import checked_instance, checked_name, place

PAGE_MOST: Final = 10_000
KEYS: Final = 1_000
"""Keys that a question may name, and instances, and cohorts."""

Session = Annotated[
    str | None,
    HeaderParameter(name="X-Herz-Stream", required=False, max_length=64, description="What hello calls `stream`"),
]


class ImpactBody(Record, frozen=True, kw_only=True):
    """Of which release, by default of the draft; and which instance is to build it without using it."""

    release: int | None = None
    dry_build: str | None = None


class AskBody(Record, frozen=True, kw_only=True):
    """A question, and for how many seconds answers are waited for. `sources` asks for those and their sessions."""

    kind: AskKind = AskKind.PROBE
    cohorts: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    digest: str | None = None
    sources: bool = False
    window_s: float = 2.0


@get(
    f"{PLACE}/instances",
    guards=[requires(Right.READ)],
    responses=answers(),
    summary="What every instance runs",
    tags=["instances"],
)
async def instances(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    cohort: FromQuery[str | None] = None,
    status: FromQuery[Status | None] = None,
    patch_id: FromQuery[str | None] = None,
    release: Annotated[int | None, QueryParameter(required=False, description="Those that run this release")] = None,
    label: Annotated[
        list[str] | None, QueryParameter(required=False, description="`zone=eu`; all of them hold")
    ] = None,
    differs: Annotated[bool | None, QueryParameter(required=False, description="Those not as they should be")] = None,
    after: Annotated[str, QueryParameter(required=False, description="Only names behind this one")] = "",
    limit: Annotated[int, QueryParameter(required=False, ge=1, le=PAGE_MOST)] = PAGE_MOST,
) -> list[Instance]:
    """The newest report of each instance that is connected or was a moment ago, ordered by name."""
    place(app, namespace)
    labels = dict(_label(text) for text in label or ())
    found = instances_of(
        plane.of(Hub).namespace(app, namespace),
        cohort=cohort,
        status=status,
        patch_id=patch_id,
        release=release,
        labels=labels,
        differs=differs,
        after=after,
    )
    return [one for one, _ in zip(found, range(limit), strict=False)]


@get(
    f"{PLACE}/instances/{{instance:str}}",
    guards=[requires(Right.READ)],
    responses=answers(404),
    summary="What one instance runs",
    tags=["instances"],
)
async def instance(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], instance: FromPath[str]
) -> Instance:
    """Its newest report; 404 when none is connected by this name, nor was a moment ago."""
    place(app, namespace)
    there = plane.of(Hub).namespace(app, namespace)
    report = there.reports.get(checked_instance(instance))
    if report is None:
        raise not_found(f"no instance {instance} of {app}/{namespace} is connected", remedy="list them: herz fleet")
    return instance_of(there, report.value)


@put(
    f"{PLACE}/instances/{{instance:str}}/report",
    guards=[requires(Right.REPORT)],
    responses=answers(409, 413),
    status_code=204,
    request_max_body_size=REPORT_BYTES,
    summary="Say what an instance runs",
    tags=["instances"],
)
async def put_report(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    instance: FromPath[str],
    data: JSONBody[Report],
    session: Session = None,
) -> None:
    """Taken only from the instance itself: `X-Herz-Stream` names the stream that it has open at this server."""
    plane.of(Fleet).report((app, namespace), instance, session, data)


@put(
    f"{PLACE}/asks/{{nonce:str}}/answers/{{instance:str}}",
    guards=[requires(Right.REPORT)],
    responses=answers(409, 410, 413),
    status_code=204,
    request_max_body_size=REPORT_BYTES,
    summary="Answer a question",
    tags=["instances"],
)
async def put_answer(
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    nonce: FromPath[str],
    instance: FromPath[str],
    data: JSONBody[Answer],
    session: Session = None,
) -> None:
    """Taken from the instance itself, and only while the question stands."""
    plane.of(Fleet).answer((app, namespace), checked_name(nonce, "a question"), instance, session, data)


@put(
    "/graphs/{digest:str}",
    guards=[known],
    responses=answers(413),
    status_code=204,
    request_max_body_size=REPORT_BYTES,
    summary="Keep a dependency graph",
    tags=["instances"],
)
async def put_graph(
    plane: NamedDependency[Plane], caller: NamedDependency[Caller], digest: FromPath[str], data: JSONBody[Graph]
) -> None:
    """What a program's objects are built from, for telling what a release will rebuild."""
    require_somewhere(caller, Right.REPORT)
    await plane.of(Fleet).graph(digest, data)


@post(
    f"{PLACE}/asks",
    guards=[requires(Right.RELEASE)],
    responses=answers(404, 409),
    status_code=200,
    summary="Ask instances",
    tags=["instances"],
)
async def post_ask(
    plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str], data: JSONBody[AskBody]
) -> list[Answer]:
    """What those answer within `window_s` seconds whom the question concerns, ordered by name.

    404 for a `digest` of which the namespace has no draft and no recent release.
    """
    place(app, namespace)
    if max(len(data.cohorts), len(data.instances), len(data.keys)) > KEYS:
        raise UsageError(f"a question names more than {KEYS:,} of something", remedy="ask in parts")
    if not 0 < data.window_s <= WINDOW_S:
        raise UsageError(f"window_s={data.window_s:g}", remedy=f"wait for up to {WINDOW_S:g} seconds")
    if data.kind is AskKind.BUILD and data.digest is None:
        raise UsageError("a question to build names no content", remedy="say which by its digest")
    if data.digest is not None:
        await plane.of(Sight).check_own(app, namespace, data.digest)
    ask = Ask(
        nonce="",
        kind=data.kind,
        cohorts=data.cohorts,
        instances=data.instances,
        keys=data.keys,
        digest=data.digest,
        sources=data.sources,
    )
    there = plane.of(Hub).namespace(app, namespace)
    expected = [name for name in there.reports if ask.concerns(name, there.cohort(name))]
    found = await plane.of(Asking).ask(app, namespace, ask, expected, data.window_s)
    return [found[name] for name in sorted(found)]


@post(
    f"{PLACE}/impact",
    guards=[requires(Right.READ)],
    responses=answers(404, 422),
    status_code=200,
    summary="What a release would change",
    tags=["instances"],
)
async def post_impact(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    data: JSONBody[ImpactBody],
) -> Impact:
    """Keys, instances and their objects, before it is released. A dry build needs the scope `release`."""
    place(app, namespace)
    if data.dry_build is not None:
        require(caller, Right.RELEASE, app)
        checked_instance(data.dry_build)
    if data.release is None:
        digest = (await plane.desk.drafts.get(app, namespace)).digest
    else:
        digest = (await plane.desk.release(app, namespace, data.release)).digest
    return await plane.of(Impacts).of(app, namespace, digest, data.dry_build)


HANDLERS: Final = (instances, instance, put_report, put_answer, put_graph, post_ask, post_impact)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"label={text[:100]!r}", remedy="write label=zone=eu")
    return name, value
