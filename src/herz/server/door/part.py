"""The door as a part of the server: its pages, what ends sessions, and the record of attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Router
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from herz.errors import HerzError, MissingExtra
from herz.server.console.part import problem_page
from herz.server.door import pages_login, pages_own, pages_users
from herz.server.door.cookies import renewing
from herz.server.door.door import Door
from herz.server.plane import Part, Plane
from herz.server.settings import Provider


def part(plane: Plane) -> Part:
    """Login, logout, welcome, what is one's own, and users. The console is made before it.

    These pages depend on the person, so none of them is rendered once for all who may the same (`Pages.known`).
    """
    door = plane.offer(Door.over(plane.store, plane.audit, plane.clock, plane.settings))
    plane.access.sessions = door.sessions
    handlers: list[ControllerRouterHandler] = [*pages_login.HANDLERS, *pages_own.HANDLERS, *pages_users.HANDLERS]
    running: list[Callable[[], AbstractAsyncContextManager[Any]]] = [door.attempts.recording]
    if plane.settings.provider is not None:
        handlers += _provider(plane, plane.settings.provider)
        running.append(lambda: _closed(plane))
    pages = Router(
        path="/console",
        route_handlers=handlers,
        middleware=[renewing],
        exception_handlers={HerzError: problem_page, HTTPException: problem_page, Exception: problem_page},
        include_in_schema=False,
    )
    return Part(routes=[pages], running=running, duties={"door": door.sweep})


def _provider(plane: Plane, provider: Provider) -> Sequence[ControllerRouterHandler]:
    """The pages that lead to the provider and back; `MissingExtra` where what speaks to it is not installed."""
    try:
        from herz.server.door import oidc, pages_provider
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"logging in by a provider needs {error.name}, which is not installed", remedy="pip install 'herz[oidc]'"
        ) from error
    plane.offer(oidc.Oidc(provider, plane.clock))
    return pages_provider.HANDLERS


@asynccontextmanager
async def _closed(plane: Plane) -> AsyncIterator[None]:
    from herz.server.door.oidc import Oidc

    try:
        yield
    finally:
        await plane.of(Oidc).close()
