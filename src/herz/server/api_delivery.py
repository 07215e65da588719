"""The API of delivery: the route of streams, the metrics, and the part that all of it is to the server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ASGIApp

from herz.server.access import Caller, known, requires
from herz.server.api_instances import HANDLERS, Session
from herz.server.asks import Asking
from herz.server.continuity import Continuity
from herz.server.counts import Counts
from herz.server.delivery import Delivery
from herz.server.fleet import Fleet
from herz.server.hub import Hub
from herz.server.impact import Impacts
from herz.server.metrics import Metrics
from herz.server.plane import PLACE, Duty, Part, Plane
from herz.server.problems import answers
from herz.server.proving import Proving
from herz.server.shortcut import Shortcut
from herz.server.streaming import WAIT_S, Asked, Streaming
from herz.server.tokens import Scope as Right
from herz.server.work import Held, held_forever
from herz.store.plane import place

FRAMES: Final = ResponseSpec(
    data_container=str,
    description="Frames",
    media_type="application/x-ndjson",
    generate_examples=False,
)


@get(
    f"{PLACE}/stream",
    guards=[requires(Right.REPORT)],
    responses={200: FRAMES, **answers()},
    summary="Follow what an instance is to run",
    tags=["instances"],
)
async def stream(
    plane: NamedDependency[Plane],
    caller: NamedDependency[Caller],
    app: FromPath[str],
    namespace: FromPath[str],
    instance: FromQuery[str],
    have: Annotated[list[str] | None, QueryParameter(required=False, description="Digests of contents it has")] = None,
    after: Annotated[int, QueryParameter(required=False, ge=0, le=2**62, description="What it knows, by revision")] = 0,
    wait: Annotated[
        int | None, QueryParameter(required=False, ge=0, le=WAIT_S, description="Ask, rather than stay")
    ] = None,
    mark: Annotated[str | None, QueryParameter(required=False, description="What the last state called `mark`")] = None,
    session: Session = None,
) -> ASGIApp:
    """One JSON object a line: hello, then content, state and ask as they come, alive as proof, end before it closes.

    With `wait` the frames that there are, or the first that come within so many seconds, are the answer: a JSON array.
    """
    place(app, namespace)
    asked = Asked.checked(instance, have or (), after, wait, mark)
    return await plane.of(Streaming).opened((app, namespace), asked, caller, session)


def part(plane: Plane) -> Part:
    """Streams, reports, questions and metrics."""
    server = f"{plane.settings.name}-{secrets.token_hex(4)}"
    counts = Counts()
    hub = plane.offer(Hub(plane.store))
    delivery = plane.offer(
        Delivery(
            hub,
            plane.contents.read,
            plane.desk.has_released,
            server=server,
            proof_s=plane.settings.proof_s,
            counts=counts,
        )
    )
    proving = Proving(hub, delivery, plane.access.check)
    fleet = plane.offer(Fleet(plane.store, hub, delivery, plane.clock, counts, server=server))
    asking = plane.offer(Asking(plane.store, hub, plane.clock, counts))
    fleet.answered = asking.took
    metrics = plane.offer(Metrics(hub, delivery, fleet, counts))
    plane.offer(Streaming(hub, delivery, proving, Continuity(plane.store, hub)))
    plane.offer(Impacts(plane.store, hub, plane.contents, plane.desk.readings, asking))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async def end() -> None:
            await plane.closing.wait()
            delivery.close("this server is shutting down")

        async with hub.following(), fleet.running(), proving.running():
            tasks = [asyncio.create_task(end(), name="herz-closing")]
            for name, duty in plane.duties.items():
                work = held_forever(plane.store, name, _alone(duty))
                tasks.append(asyncio.create_task(work, name=f"herz-duty {name}"))
            for app in made_for:
                Shortcut.install(app, plane)
            try:
                yield
            finally:
                delivery.close("this server is shutting down")
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    made_for: list[Litestar] = []

    class Exposition(HTTPRouteHandler):
        """The route of metrics; it also learns for which application the parts are made."""

        def on_registration(self, app: Litestar) -> None:
            super().on_registration(app)
            made_for[:] = [app]

    @Exposition(
        "/metrics", http_method="GET", guards=[known], summary="Metrics for Prometheus", include_in_schema=False
    )
    async def exposition() -> Any:
        return metrics.response()

    return Part(
        api=[stream, *HANDLERS],
        routes=[exposition],
        running=[running],
        duties={"asks": asking.sweeping},
    )


def _alone(duty: Duty) -> Callable[[Held], Awaitable[None]]:
    async def work(_: Held) -> None:
        await duty()

    return work
