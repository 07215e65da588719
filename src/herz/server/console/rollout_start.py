"""The form that begins a rollout: what it would do is shown while it is filled in, by the same plan that drives it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from herz.errors import HerzError, UsageError
from herz.release.approval import ApprovalState
from herz.release.channel import Release
from herz.release.cohort import selected
from herz.release.member import Member
from herz.release.plan import Plan
from herz.server.access import Caller
from herz.server.console.pages import page
from herz.server.console.rollout_form import WishForm
from herz.server.door.entering import enters
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import Problem, body_of
from herz.server.rollouts.book import CHECKS, Book
from herz.server.rollouts.observing import members_of
from herz.server.rollouts.standing import Rollouts
from herz.server.tokens import Scope

VALUES: Final = 12
"""Values of a label that are offered one by one; of more, one is typed."""
LABELS: Final = 12
"""Labels that are offered."""
TYPED: Final = 200
"""Values that are suggested of what is typed."""


class Facet(NamedTuple):
    """A label that instances have: its values, each with how many have it."""

    name: str
    values: tuple[tuple[str, int], ...]

    @property
    def many(self) -> bool:
        """Whether there are too many to show each."""
        return len(self.values) > VALUES


class Step(NamedTuple):
    """A batch to be: how many it adds, how many have the release then, of how many."""

    number: int
    adds: int
    reached: int


class Preview(NamedTuple):
    """What a plan does to the instances that match at the moment; `problem` where it is no plan."""

    matching: int
    reporting: int
    with_patch: int
    steps: tuple[Step, ...] = ()
    bake_s: float = 0.0
    problem: dict[str, Any] | None = None


@get("/apps/{app:str}/{namespace:str}/rollouts/new", guards=[enters(Scope.ROLLOUT)])
async def new(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]
) -> Response[str]:
    """The form, filled in as the query says."""
    return await _form(request, plane, app, namespace, WishForm(request.query_params.multi_items()))


@post("/apps/{app:str}/{namespace:str}/rollouts/new", guards=[enters(Scope.ROLLOUT)])
async def start(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
) -> Response[Any]:
    """Begin the rollout, and go to its page; what is wrong with it is told above the form, which stays as it is."""
    form = WishForm((await request.form()).multi_items())
    try:
        wish = form.wish()
        plane.of(Rollouts).check(wish)
        begun = await plane.of(Book).start(app, namespace, wish, caller.by)
    except HerzError as error:
        body, _ = body_of(error)
        if body["status"] >= 500 and body["status"] != 507:
            raise
        return await _form(request, plane, app, namespace, form, body)
    return Redirect(f"{request.url.path.rpartition('/')[0]}/{begun.id}", status_code=303)


async def _form(
    request: Request[Any, Any, Any],
    plane: Plane,
    app: str,
    namespace: str,
    form: WishForm,
    problem: dict[str, Any] | None = None,
) -> Response[str]:
    there = plane.of(Hub).namespace(app, namespace)
    members = [member for member in members_of(there) if member.report is not None]
    releases = await plane.desk.releases(app, namespace)
    stable = there.channel.stable.release
    chosen, approval = await _chosen(plane, app, namespace, form, releases, None if stable is None else stable.number)
    return page(
        request,
        "rollout_new.html",
        topics=[f"{kind}:{app}/{namespace}" for kind in ("fleet", "rollouts", "releases", "channel", "draft")],
        status=200 if problem is None else problem["status"],
        problem=problem,
        form=form,
        releases=releases,
        chosen=chosen,
        stable=stable,
        flying=await plane.of(Book).in_flight(app, namespace),
        approval=approval,
        facets=facets(members),
        patches=sorted({member.report.patch_id for member in members if member.report and member.report.patch_id}),
        deployers=plane.of(Rollouts).deployers,
        preview=previewed(form, members, form.text("patch_id") or (chosen.patch_id if chosen else None)),
        checks=CHECKS,
    )


async def _chosen(
    plane: Plane, app: str, namespace: str, form: WishForm, releases: Sequence[Release], stable: int | None
) -> tuple[Release | None, ApprovalState | None]:
    """The release that is to be rolled out, by default the newest that is not stable, and how its approval stands."""
    asked = form.text("release").removeprefix("@")
    if not asked:
        found = next((one for one in releases if one.number != stable), None)
    else:
        found = next((one for one in releases if str(one.number) == asked), None)
    try:
        if found is None and asked.isdecimal():
            found = await plane.desk.release(app, namespace, int(asked[:12]))
        return found, None if found is None else await plane.desk.approvals.state(app, namespace, found.number)
    except (Problem, UsageError):
        return found, None


def facets(members: Iterable[Member]) -> tuple[Facet, ...]:
    """The labels that instances report, those with few values first. A value with `|` cannot be selected."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for member in members:
        for name, value in member.labels.items():
            if value and "|" not in value:
                found[name][value] += 1
    ordered = sorted(found.items(), key=lambda one: (len(one[1]) > VALUES, one[0]))
    return tuple(
        Facet(name, tuple(sorted(values.items(), key=lambda one: (-one[1], one[0]))[:TYPED]))
        for name, values in ordered[:LABELS]
    )


def previewed(form: WishForm, members: Sequence[Member], patch_id: str | None) -> Preview:
    """What the plan in the form would do now."""
    matching = [member for member in members if selected(member.labels, form.selector)]
    ready = sum(one.report is not None and one.report.patch_id == patch_id for one in matching) if patch_id else 0
    try:
        plan = form.plan()
    except UsageError as error:
        return Preview(len(matching), len(members), ready, problem=body_of(error)[0])
    return Preview(len(matching), len(members), ready, steps_of(plan, len(matching)), plan.bake_s)


def steps_of(plan: Plan, total: int) -> tuple[Step, ...]:
    """The batches of `plan` over `total` instances."""
    sizes = plan.sizes(total)
    return tuple(
        Step(number, size - before, size)
        for number, (before, size) in enumerate(zip((0, *sizes), sizes, strict=False), 1)
    )


PAGES: Final = (new, start)
