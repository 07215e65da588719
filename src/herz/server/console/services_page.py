"""The service registry of the server's own store: who offers which service, at which address."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from herz.discovery.instance import ROOT, Instance, decoded
from herz.errors import DocumentMalformed, HerzError
from herz.model.document import Revision
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.plane import Plane
from herz.server.problems import body_of
from herz.store.base import Entry

READ_MOST: Final = 20_000
"""Registrations that are read for the page."""
SHOWN: Final = 200
"""Registrations that the page shows; more are found by the filter."""
_PAGE: Final = 1_000
_LENGTH: Final = 500


class Registered(NamedTuple):
    """One registration; `lease` is what it hangs on, None where it stays until it is deleted."""

    instance: Instance
    lease: int | None

    @property
    def drained(self) -> bool:
        """Whether it is registered and gets no traffic."""
        return self.instance.weight == 0

    def holds(self, part: str) -> bool:
        """Whether its names, address or metadata have this part, in any case."""
        one = self.instance
        texts = (f"{one.service}/{one.name}", one.address, *(f"{name}={text}" for name, text in one.metadata.items()))
        return any(part in text.casefold() for text in texts)


class Service(NamedTuple):
    """A service and those of its registrations that are shown."""

    name: str
    registered: tuple[Registered, ...]

    @property
    def drained(self) -> int:
        """How many get no traffic."""
        return sum(one.drained for one in self.registered)


class Seen(NamedTuple):
    """The registry as of one revision: by key, and what could not be understood. `whole` unless there was more."""

    at: datetime
    revision: Revision
    registered: tuple[Registered, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    whole: bool = True


class Registry:
    """Reads the registry; what was read last stays for when the store does not answer."""

    def __init__(self, plane: Plane) -> None:
        self.last: Seen | None = None
        self._plane = plane

    async def read(self) -> Seen:
        """All services now."""
        entries: list[Entry] = []
        revision: Revision | None = None
        after: str | None = None
        while True:
            found = await self._plane.store.range(ROOT, revision=revision, after=after, limit=_PAGE)
            entries += found.entries
            revision = found.revision
            if not found.more or len(entries) >= READ_MOST:
                break
            after = found.entries[-1].key
        self.last = _seen(self._plane.clock.now(), revision, entries, whole=not found.more)
        return self.last


def _seen(at: datetime, revision: Revision, entries: Iterable[Entry], *, whole: bool) -> Seen:
    registered: list[Registered] = []
    refused: list[tuple[str, str]] = []
    for entry in entries:
        try:
            registered.append(Registered(decoded(entry), entry.lease))
        except DocumentMalformed as error:
            refused.append((entry.key, error.what))
    return Seen(at, revision, tuple(registered), tuple(refused), whole)


def grouped(registered: Iterable[Registered]) -> tuple[Service, ...]:
    """The services of these, in the order of their names, as their keys are."""
    found: dict[str, list[Registered]] = {}
    for one in registered:
        found.setdefault(one.instance.service, []).append(one)
    return tuple(Service(name, tuple(found[name])) for name in sorted(found))


@get("/services", guards=[enters(None)])
async def services(
    request: Request[Any, Any, Any], plane: NamedDependency[Plane], q: FromQuery[str] = ""
) -> Response[str]:
    """What is registered now; while the store does not answer, what was registered when it last did."""
    registry = plane.find(Registry) or plane.offer(Registry(plane))
    problem: HerzError | None = None
    try:
        seen = await registry.read()
    except HerzError as error:
        if registry.last is None:
            raise
        seen, problem = registry.last, error
    part = q[:_LENGTH].casefold().strip()
    found = [one for one in seen.registered if one.holds(part)] if part else seen.registered
    return page(
        request,
        "services.html",
        topics=("services",),
        q=q[:_LENGTH],
        seen=seen,
        problem=None if problem is None else body_of(problem)[0],
        services=grouped(found[:SHOWN]),
        shown=len(found[:SHOWN]),
        count=len({one.instance.service for one in seen.registered}),
        more=len(found) - len(found[:SHOWN]),
        drained=sum(one.drained for one in seen.registered),
    )


PAGES: Final = (services,)
