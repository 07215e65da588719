"""Endpoints: what the actuator answers, for any server interface.

    GET  /health  /health/liveness  /health/readiness  /info
    POST /refresh  /accept
    GET  /env  /env/KEY  /configprops  /sources  /watch  /scope  /changes  /metrics

Paths are relative to the mount point, compared exactly and never normalised: `//refresh`, `/refresh/` and
`/x/../refresh` are not `/refresh`. An endpoint that is not exposed answers as one that does not exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from herz.actuator import views, watching
from herz.actuator.accepting import Accepting
from herz.actuator.exposure import Exposure
from herz.actuator.health import PROBES, health, probe
from herz.actuator.refreshing import Outcome, Refreshing
from herz.actuator.response import Response, answer, problem
from herz.actuator.shown import Shown, plain
from herz.app.herz import Herz
from herz.errors import HerzError, NotRunning, SourceError, UsageError
from herz.settings import Settings

logger = logging.getLogger("herz")

ACTIONS: Final = frozenset({"refresh", "accept"})
"""What is asked for by POST, and takes its time."""

NAMES: Final = ACTIONS | {"health", "info", "env", "configprops", "sources", "watch", "scope", "changes", "metrics"}
"""What `management.endpoints.web.exposure.include` may list; health includes its probes."""

QUERY: Final = 4096
"""Characters of a query string that are looked at."""

_READING: Final = ("GET", "HEAD")

View = Callable[[Herz, str, Mapping[str, str]], Response]
_VIEWS: Final[Mapping[str, View]] = {
    "info": lambda herz, rest, query: views.info(herz),
    "env": views.env,
    "configprops": lambda herz, rest, query: views.configprops(herz),
    "sources": lambda herz, rest, query: views.sources(herz),
    "watch": lambda herz, rest, query: watching.watch(herz),
    "scope": lambda herz, rest, query: views.scope(herz),
    "changes": lambda herz, rest, query: views.changes(herz, query),
    "metrics": lambda herz, rest, query: watching.metrics(herz),
}


@dataclass(frozen=True, slots=True)
class Call:
    """A request that an exposed endpoint will answer. `rest` is what follows its name in the path."""

    name: str
    rest: str
    method: str
    query: Mapping[str, str]
    settings: Settings

    @property
    def details(self) -> str:
        """`always`, `never` or `when-authorized`; the last one needs an answer from `Access`."""
        if self.rest:
            return "never"
        return {"health": self.settings.health_details, "refresh": self.settings.refresh_details}.get(
            self.name, "never"
        )

    @property
    def waits(self) -> bool:
        """Whether answering takes so long that a loop should not do it: all but health render the configuration."""
        return self.name != "health"


class Endpoints:
    """The endpoints of one `Herz`: `call` finds who is asked, `answer` answers; `act` does so without blocking."""

    def __init__(self, herz: Herz) -> None:
        self._herz = herz
        self._exposure = Exposure(herz, NAMES)
        self.refreshing = Refreshing(herz)
        self.accepting = Accepting(herz)

    def call(self, method: str, path: str, query: str) -> Call | Response:
        """Who is to answer, or the answer if nobody is: 404, or 405 with what is allowed."""
        name, slash, rest = path.removeprefix("/").partition("/")
        if not path.startswith("/") or name not in NAMES:
            return problem(404)
        settings = self._exposure.settings
        if not self._exposure.exposes(name, settings):
            return problem(404)
        if slash and not (rest and name == "env") and not (rest in PROBES and name == "health"):
            return problem(404)
        allowed = ("POST",) if name in ACTIONS else _READING
        if method not in allowed:
            return problem(405, further={"allow": ", ".join(allowed)})
        return Call(name, rest, method, _parameters(query), settings)

    def answer(self, call: Call, details: bool) -> Response:
        """The answer of an exposed endpoint; blocks while an action runs. Whatever fails, a response is made."""
        if call.name == "refresh":
            return self._guarded(lambda: self._refreshed(self.refreshing.wait(), details))
        if call.name == "accept":
            return self._guarded(lambda: self._accepted(call))
        found = self._guarded(lambda: self._view(call, details))
        return found.without_body() if call.method == "HEAD" else found

    async def act(self, call: Call, details: bool) -> Response:
        """The answer of one of `ACTIONS`, without blocking the loop."""
        return await self.accept(call) if call.name == "accept" else await self.refresh(details)

    async def refresh(self, details: bool) -> Response:
        """The answer of `/refresh`, without blocking the loop."""
        try:
            outcome = await self.refreshing.await_()
        except Exception as error:
            return self._failed(error)
        return self._guarded(lambda: self._refreshed(outcome, details))

    async def accept(self, call: Call) -> Response:
        """The answer of `/accept`, without blocking the loop."""
        try:
            places = await self.accepting.await_(_source_of(call))
        except Exception as error:
            return self._guarded(partial(self._refused, None, error))
        return self._guarded(lambda: answer(self._shown(places)))

    def _view(self, call: Call, details: bool) -> Response:
        herz = self._herz
        if call.name == "health":
            return probe(herz, call.rest) if call.rest else health(herz, details)
        if not herz.state.running:
            raise NotRunning("Herz is not running")
        return _VIEWS[call.name](herz, call.rest, call.query)

    # --- refresh ------------------------------------------------------------------------------

    def _refreshed(self, outcome: Outcome, details: bool) -> Response:
        if outcome.error is not None:
            return self._refused(outcome, outcome.error)
        if not details:
            return answer(list(outcome.changed))  # Spring Cloud's shape
        herz = self._herz
        shown = Shown(herz.scope.current)
        return answer(
            {
                "changed": list(outcome.changed),
                "generation": shown.snapshot.generation,
                "fingerprint": shown.snapshot.fingerprint,
                "rebuilt": list(outcome.rebuilt),
                "kept": list(outcome.kept),
                "duration_ms": round(outcome.duration_ms, 3),
                "sources": plain([asdict(row) for row in herz.health().sources], shown.text),
            }
        )

    # --- accept -------------------------------------------------------------------------------

    def _accepted(self, call: Call) -> Response:
        try:
            return answer(self._shown(self.accepting.wait(_source_of(call))))
        except HerzError as error:
            return self._refused(None, error)

    def _shown(self, places: tuple[str, ...]) -> list[str]:
        text = Shown(self._herz.scope.current).text
        return [text(place) for place in places]

    # --- failures -----------------------------------------------------------------------------

    def _refused(self, outcome: Outcome | None, error: BaseException) -> Response:
        """What was refused, where, and what to do: the last good configuration goes on serving."""
        if isinstance(error, NotRunning) or not isinstance(error, HerzError):
            return self._failed(error)
        running = self._herz.scope.current
        text = Shown(running).text
        status, kind, title = 422, "refused", "The configuration was refused"
        frozen = self._herz.runtime.updater.frozen if outcome is None else outcome.frozen
        if frozen and isinstance(error, UsageError):
            status, kind, title = 409, "frozen", "The configuration is frozen"
        elif isinstance(error, SourceError):
            status, kind, title = 503, "source-unavailable", "A source cannot be read"
        elif isinstance(error, UsageError) and outcome is None:
            status, kind, title = 400, "source", "No such source"
        elif isinstance(error, UsageError):
            status, kind, title = 409, "conflict", "A refresh is not possible now"
        return problem(
            status,
            kind,
            title,
            detail=text(str(error)),
            what=text(error.what),
            where=None if error.where is None else text(error.where),
            remedy=None if error.remedy is None else text(error.remedy),
            changed=None if outcome is None else list(outcome.changed),
            generation=running.number or None,
        )

    def _guarded(self, make: Callable[[], Response]) -> Response:
        try:
            return make()
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: BaseException) -> Response:
        if isinstance(error, NotRunning) or not self._herz.state.running:
            return problem(503, "not-running", "Herz is not running", detail="it has not started yet, or was stopped")
        if isinstance(error, TimeoutError):
            return problem(504, "slow", "It takes too long", detail="it goes on; ask health how it ends")
        logger.error("the actuator failed", exc_info=error)
        return problem(500, "failed", "The actuator failed", detail="the application's log says why")


def _source_of(call: Call) -> str | None:
    return call.query.get("source") or None


def respond(herz: Herz, method: str, path: str, query: str = "", authorized: bool = False) -> Response:
    """One request answered in one call, for interfaces that are neither ASGI nor WSGI. Blocks while an action runs."""
    endpoints = Endpoints(herz)
    call = endpoints.call(method, path, query)
    return call if isinstance(call, Response) else endpoints.answer(call, shows(call, lambda: authorized))


def shows(call: Call, allowed: Callable[[], bool]) -> bool:
    """Whether the answer carries details; `allowed` is only asked where the configuration wants it to be."""
    return call.details == "always" or (call.details == "when-authorized" and allowed())


def _parameters(query: str) -> Mapping[str, str]:
    """The parameters of a query string, the last of each name; none of a query that nobody would write."""
    try:
        return dict(parse_qsl(query[:QUERY], keep_blank_values=True, max_num_fields=16))
    except ValueError:
        return {}


def below(path: str, *mounts: str) -> str:
    """`path` below the first of `mounts` that it lies under, else `path` as it is."""
    for mount in mounts:
        stem = mount.rstrip("/")
        if stem and (path == stem or path.startswith(f"{stem}/")):
            return path[len(stem) :]
    return path
