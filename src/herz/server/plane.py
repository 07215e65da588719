"""The plane: what every part of the server is given, and what a part adds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

from litestar import Request, Response
from litestar.types import ControllerRouterHandler

from herz.server.access import Access
from herz.server.audit import Audit
from herz.server.clock import Clock
from herz.server.contents import Contents
from herz.server.desk import Desk
from herz.server.settings import ServerSettings
from herz.server.tokens import Tokens
from herz.store.base import Store

API: Final = "/api/v1"
PLACE: Final = "/apps/{app:str}/namespaces/{namespace:str}"
"""The path of a namespace below `API`; handlers take `app: str` and `namespace: str`."""

T = TypeVar("T")
Duty: TypeAlias = Callable[[], Awaitable[None]]
"""Work that must be done once, however many servers share the store. Runs until it is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a part of the server adds.

    `api` are route handlers below `/api/v1`, `routes` those below `/`. `running` are entered, in the order of the
    parts, before the first request and left after the last one. `duties` are done by the holder of the lease
    `/herz/duties/<name>`. `problems` are how errors below a path are told where no route is met, by the path.
    """

    api: Sequence[ControllerRouterHandler] = ()
    routes: Sequence[ControllerRouterHandler] = ()
    running: Sequence[Callable[[], AbstractAsyncContextManager[Any]]] = ()
    duties: Mapping[str, Duty] = field(default_factory=dict)
    problems: Mapping[str, Callable[[Request[Any, Any, Any], Exception], Response[Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """One server: its store, and everything that works on it.

    `closing` is set when the server has been told to stop: streams say `end` and close then. `duties` are those of all
    parts. What a part makes for others it offers by its class: `plane.offer(Hub(...))`, then `plane.of(Hub)`.
    """

    store: Store
    settings: ServerSettings
    clock: Clock
    audit: Audit
    tokens: Tokens
    access: Access
    contents: Contents
    desk: Desk
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    duties: dict[str, Duty] = field(default_factory=dict)
    _offered: dict[type, object] = field(default_factory=dict)

    @classmethod
    def over(cls, store: Store, settings: ServerSettings, clock: Clock) -> Plane:
        """The plane over a store. Call it where the event loop runs."""
        audit = Audit(store, clock)
        tokens = Tokens(store, audit, clock)
        contents = Contents(store, clock, settings.collect_after_s)
        return cls(
            store=store,
            settings=settings,
            clock=clock,
            audit=audit,
            tokens=tokens,
            access=Access(tokens, settings, clock),
            contents=contents,
            desk=Desk(store, contents, audit, clock, settings),
        )

    def offer(self, value: T) -> T:
        """Let other parts have `value`, by its class."""
        self._offered[type(value)] = value
        return value

    def of(self, kind: type[T]) -> T:
        """What another part offered; `KeyError` when none did."""
        return cast(T, self._offered[kind])

    def find(self, kind: type[T]) -> T | None:
        """What another part offered, None when none did."""
        return cast(T | None, self._offered.get(kind))


MakePart: TypeAlias = Callable[[Plane], Part]
"""Makes a part; called once, before the first request, in the order in which parts are listed."""
