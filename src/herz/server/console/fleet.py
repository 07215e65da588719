"""The fleet of a namespace: every instance with what it runs, filtered as one types, exported; and one as a whole."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from herz.release.report import Graph
from herz.server.console import fleet_filter
from herz.server.console.addresses import addresses
from herz.server.console.application import known, page_of
from herz.server.console.fleet_export import as_csv, as_json
from herz.server.console.fleet_filter import ORDERS, STATES, Choices, Filter, Row
from herz.server.console.graphs import Drawing, drawing, parts_of
from herz.server.console.pages import page
from herz.server.door.entering import LIVE, enters
from herz.server.hub import Hub
from herz.server.impact import Impacts
from herz.server.plane import Plane
from herz.server.registered import skew_s
from herz.server.tokens import Scope
from herz.store.plane import checked_instance, place

SHOWN: Final = 100
"""Instances of one page."""
SKEW_S: Final = 5.0
"""Seconds that a clock may be off without a word."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The instances of one page: how many were found, and which these are."""

    rows: list[Row]
    total: int
    number: int

    @property
    def first(self) -> int:
        """The number of the first row, from 1."""
        return (self.number - 1) * SHOWN + 1

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + len(self.rows) - 1


@get("/apps/{app:str}/{namespace:str}/fleet", guards=[enters(Scope.READ)])
async def fleet(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]
) -> Response[str]:
    """The instances that the query asks for."""
    there, wanted = await known(plane, app, namespace), Filter.of(request)
    found = fleet_filter.found(there, wanted)
    scripted = LIVE in request.headers or "hx-request" in request.headers  # the form stays as it is then
    number = min(page_of(str(request.query_params.get("n") or "1")), max(1, -(-len(found.names) // SHOWN)))
    shown = found.names[(number - 1) * SHOWN : number * SHOWN]
    return page(
        request,
        "fleet.html",
        topics=[f"fleet:{app}/{namespace}", f"channel:{app}/{namespace}"],
        wanted=wanted,
        found=found,
        choices=Choices() if scripted else fleet_filter.choices(there),
        shown=Page(rows=list(fleet_filter.rows(there, shown)), total=len(found.names), number=number),
        at=addresses(request),
        states=STATES,
        orders=ORDERS,
    )


@get("/apps/{app:str}/{namespace:str}/fleet.csv", guards=[enters(Scope.READ)])
async def fleet_csv(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]
) -> Stream:
    """What the query asks for, all of it, as CSV."""
    of = place(app, namespace)
    there = plane.of(Hub).namespace(app, namespace)
    names = fleet_filter.found(there, Filter.of(request)).names
    return Stream(as_csv(there, names), media_type="text/csv; charset=utf-8", headers=_attached(of, "csv"))


@get("/apps/{app:str}/{namespace:str}/fleet.json", guards=[enters(Scope.READ)])
async def fleet_json(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], app: FromPath[str], namespace: FromPath[str]
) -> Stream:
    """What the query asks for, all of it, as the API has it."""
    of = place(app, namespace)
    there = plane.of(Hub).namespace(app, namespace)
    names = fleet_filter.found(there, Filter.of(request)).names
    return Stream(as_json(there, names), media_type="application/json", headers=_attached(of, "json"))


def _attached(of: str, ending: str) -> dict[str, str]:
    name = of.replace("/", "-")  # both parts are plain names
    return {"content-disposition": f'attachment; filename="fleet-{name}.{ending}"', "cache-control": "no-store"}


@get("/apps/{app:str}/{namespace:str}/fleet/{instance:str}", guards=[enters(Scope.READ)])
async def instance(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    instance: FromPath[str],
) -> Response[str]:
    """Everything that one instance says of itself. One that is not connected may come back: its page waits for it."""
    place(app, namespace)
    there = plane.of(Hub).namespace(app, namespace)
    row = next(fleet_filter.rows(there, [checked_instance(instance)]), None)
    graph = None if row is None or row.one.graph is None else await plane.of(Impacts).graph(row.one.graph)
    parts = parts_of(graph or Graph())
    skew = None if row is None else skew_s(row.one)
    return page(
        request,
        "instance.html",
        topics=[f"fleet:{app}/{namespace}", f"channel:{app}/{namespace}"],
        instance=instance,
        row=row,
        parts_of_it=parts,
        drawing=drawing(parts) if parts else Drawing(),
        skew=skew,
        skewed=skew is not None and abs(skew) > SKEW_S,
        heard=None if row is None else fleet_filter.heard(row.one),
        pointer=there.pointer(instance),
    )


PAGES: Final = (fleet, fleet_csv, fleet_json, instance)
