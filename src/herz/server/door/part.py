"""The door as a part of the server: its pages, what ends sessions, and the record of attempts."""

from __future__ import annotations

from litestar import Router
from litestar.exceptions import HTTPException

from herz.errors import HerzError
from herz.server.console.part import known_page, problem_page
from herz.server.door import pages_login, pages_own, pages_users
from herz.server.door.cookies import renewing
from herz.server.door.door import Door
from herz.server.plane import Part, Plane


def part(plane: Plane) -> Part:
    """Login, logout, welcome, what is one's own, and users. The console is made before it."""
    door = plane.offer(Door.over(plane.store, plane.audit, plane.clock, plane.settings))
    plane.access.sessions = door.sessions
    pages = Router(
        path="/console",
        route_handlers=[*pages_login.HANDLERS, *pages_own.HANDLERS, *pages_users.HANDLERS],
        middleware=[renewing],
        before_request=known_page,
        exception_handlers={HerzError: problem_page, HTTPException: problem_page, Exception: problem_page},
        include_in_schema=False,
    )
    return Part(routes=[pages], running=[door.attempts.recording], duties={"door": door.sweep})
