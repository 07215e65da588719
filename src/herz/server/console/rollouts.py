"""The rollouts of a namespace, and one of them live: its batches, what is proved, what is watched, and its orders."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect

from herz.errors import HerzError, UsageError
from herz.release.cohort import selected
from herz.release.rollout import Phase, Rollout, abort, force, pause, promote, resume
from herz.release.rollout_step import Step
from herz.server.access import Caller, require
from herz.server.console import rollout_start, rollout_verify
from herz.server.console.pages import page
from herz.server.console.rollout_batches import ROWS, rows_of, shown, views_of
from herz.server.console.rollout_chart import charts_of
from herz.server.console.rollout_timeline import Timelines
from herz.server.door.entering import enters
from herz.server.hub import Hub
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.server.rollouts.book import Book
from herz.server.rollouts.observing import members_of
from herz.server.rollouts.rosters import Rosters
from herz.server.tokens import Scope

LISTED: Final = 25
"""Rollouts of one page of the list."""
FEW: Final = 20
"""Instances of a batch that are listed without being asked for."""


class Ordered(msgspec.Struct, kw_only=True):
    """A form that orders something of a rollout; `confirm` is its name, typed, where the order cannot be taken back."""

    order: str
    message: str = ""
    confirm: str = ""


@get("/apps/{app:str}/{namespace:str}/rollouts", guards=[enters(Scope.READ)])
async def rollouts(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    before: FromQuery[str] = "",
) -> Response[str]:
    """The rollouts, the newest first."""
    number = int(before) if before.isdecimal() and 0 < len(before) <= 10 else None
    found = await plane.of(Book).all(app, namespace, before=number, limit=LISTED + 1)
    flying = found[0] if found and number is None and not found[0].over else None
    return page(
        request,
        "rollouts.html",
        topics=(f"rollouts:{app}/{namespace}",),
        rollouts=found[:LISTED],
        flying=flying,
        before=number,
        older=int(found[LISTED - 1].id.removeprefix("r")) if len(found) > LISTED else None,
    )


@get("/apps/{app:str}/{namespace:str}/rollouts/{rollout:str}", guards=[enters(Scope.READ)])
async def rollout(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: FromPath[str],
    step: FromQuery[str] = "",
    batch: FromQuery[str] = "",
    q: FromQuery[str] = "",
) -> Response[str]:
    """One rollout, as it stands."""
    found = (await plane.of(Book).find(app, namespace, rollout)).value
    return await _shown(request, plane, found, step=step, batch=batch, q=q)


@post("/apps/{app:str}/{namespace:str}/rollouts/{rollout:str}", guards=[enters(Scope.READ)])
async def order(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    rollout: FromPath[str],
    data: Annotated[Ordered, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Pause, resume, promote, abort or force it; whoever reads the page afterwards sees what has come of it."""
    scope = Scope.APPROVE if data.order == "force" else Scope.ROLLOUT
    require(caller, scope, app)
    book = plane.of(Book)
    try:
        await _ordered(plane, caller, await _found(book, app, namespace, rollout), data)
    except HerzError as error:
        body, _ = body_of(error)
        if body["status"] in (404, 503):
            raise
        found = (await book.find(app, namespace, rollout)).value
        return await _shown(request, plane, found, problem=body, status=body["status"])
    return Redirect(request.url.path, status_code=303)


async def _found(book: Book, app: str, namespace: str, rollout: str) -> Rollout:
    return (await book.find(app, namespace, rollout)).value


async def _ordered(plane: Plane, caller: Caller, found: Rollout, data: Ordered) -> None:
    """Write the order; `UsageError` for one that is not understood, or not confirmed."""
    by, message = caller.by.actor, data.message.strip()
    if len(message) > 4000:
        raise UsageError(f"a message of {len(message):,} characters", remedy="say it in 4,000")
    if data.order in ("abort", "force"):
        if data.confirm.strip() != found.id:
            raise UsageError(
                f"{data.confirm.strip()[:100]!r} was typed, the rollout is called {found.id}; nothing was changed",
                remedy=f"type {found.id} to confirm",
            )
        if not message:
            raise UsageError("nobody said why; nothing was changed", remedy="say why, for whoever reads the history")

    def change(rollout: Rollout) -> Rollout:
        now = plane.clock.now()
        match data.order:
            case "pause":
                return pause(rollout, by, now, message)
            case "resume":
                return resume(rollout, by, now, message)
            case "promote":
                return promote(rollout, by, now, message)
            case "promote-all":
                return promote(rollout, by, now, message, all_batches=True)
            case "abort":
                return abort(rollout, by, now, message)
            case "force":
                return force(rollout, by, now, message)
        raise UsageError(f"{data.order[:100]!r} is no order", remedy="use the buttons of the page")

    action = f"rollout.{data.order.removesuffix('-all')}"
    forced = data.order == "force"
    await plane.of(Book).order(
        found.app, found.namespace, found.id, change, action, caller.by, message=message, forced=forced
    )


async def _shown(
    request: Request[Any, Any, Any],
    plane: Plane,
    found: Rollout,
    *,
    step: str = "",
    batch: str = "",
    q: str = "",
    problem: dict[str, Any] | None = None,
    status: int = 200,
) -> Response[str]:
    namespace = plane.of(Hub).namespace(found.app, found.namespace)
    members = tuple(members_of(namespace))
    roster, seen = await plane.of(Rosters).of(found)
    rows = rows_of(found, seen)
    matching = sum(one.report is not None and selected(one.labels, found.selector) for one in members)
    views = views_of(found, rows, matching)
    number = int(batch) if batch.isdecimal() and len(batch) < 5 else None
    asked = bool(step or q or number is not None)
    left = shown(rows, step=step, words=q, batch=number)
    timelines = plane.find(Timelines) or plane.offer(Timelines(plane.audit))
    of = f"{found.app}/{found.namespace}"
    return page(
        request,
        "rollout.html",
        topics=(f"rollouts:{of}", f"fleet:{of}", f"channel:{of}"),
        status=status,
        problem=problem,
        rollout=found,
        views=views,
        behind=_behind(found, rows),
        rows=left[:ROWS],
        more=len(left) - ROWS,
        counts=Counter(row.step.value for row in rows),
        total=len(rows),
        roster=roster,
        open_rows=asked or len(rows) <= FEW,
        steps=[one.value for one in Step],
        step=step,
        batch=number,
        q=q,
        charts=charts_of(found),
        entries=await timelines.of(found),
        until=_until(found),
    )


def _behind(found: Rollout, rows: list[Any]) -> list[Any]:
    """Those that failed, and those whom the phase still waits for: named where people look first."""
    waited = {
        Phase.DEPLOYING: {Step.ASSIGNED},
        Phase.PREPARING: {Step.PREPARING},
        Phase.COMMITTING: {Step.COMMITTED},
        Phase.ROLLING_BACK: {Step.RETURNING},
    }.get(found.phase, set())
    return [
        row
        for row in rows
        if row.error is not None or (found.phase.forward and row.step is Step.AWAY) or row.step in waited
    ]


def _until(found: Rollout) -> Any:
    """When the phase ends at the latest, or baking at the earliest; None where no clock runs."""
    plan = found.plan
    window_s = {
        Phase.DEPLOYING: plan.deploy_s,
        Phase.PREPARING: plan.prepare_s,
        Phase.COMMITTING: plan.commit_s,
        Phase.VERIFYING: plan.verify_s,
        Phase.BAKING: plan.bake_s,
        Phase.PROMOTING: plan.commit_s,
        Phase.ROLLING_BACK: plan.commit_s,
    }.get(found.phase)
    held = found.paused is not None and found.phase in (Phase.DEPLOYING, Phase.PREPARING, Phase.BAKING)
    return None if window_s is None or held else found.since + timedelta(seconds=window_s)


PAGES: Final = (rollouts, rollout, order, *rollout_start.PAGES, *rollout_verify.PAGES)
