"""The control plane as an ASGI application: the parts of the server, put together.

A part is a function `part(plane) -> Part` in its own module; `create_app` takes them in order, and what one offers the
later ones can use. Handlers get `plane: Plane` and `caller: Caller` as arguments by name, and every one of them has a
guard: `guards=[requires(Scope.RELEASE)]`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.config.response_cache import ResponseCacheConfig
from litestar.datastructures import ResponseHeader, State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from herz import __version__
from herz.errors import HerzError
from herz.server.access import Caller
from herz.server.api import part as central
from herz.server.clock import Clock, SystemClock
from herz.server.plane import API, MakePart, Part, Plane
from herz.server.problems import problem_response
from herz.server.settings import BODY_BYTES, ServerSettings
from herz.store.base import Store

__all__ = ["API", "MakePart", "Part", "Plane", "create_app"]


def create_app(
    store: Store,
    settings: ServerSettings | None = None,
    *,
    parts: Sequence[MakePart] = (),
    clock: Clock | None = None,
) -> Litestar:
    """The application over `store`; `app.state.plane` is its `Plane`. Call it where the event loop runs.

    The caller closes the store, after the application's lifespan has ended.
    """
    plane = Plane.over(store, settings or ServerSettings(), clock or SystemClock())
    made = [make(plane) for make in (central, *parts)]
    for part in made:
        plane.duties.update(part.duties)
    running = [start for part in made for start in part.running]
    return Litestar(
        route_handlers=[
            Router(path=API, route_handlers=[handler for part in made for handler in part.api]),
            *(handler for part in made for handler in part.routes),
        ],
        dependencies={
            "plane": Provide(_plane, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
        },
        exception_handlers={
            HerzError: problem_response,
            HTTPException: _problems(made),
            Exception: problem_response,
        },
        lifespan=[_lifespan(running)],
        state=State({"plane": plane}),
        openapi_config=_openapi(),
        request_max_body_size=BODY_BYTES,
        response_headers=[
            ResponseHeader(name="cache-control", value="no-store", documentation_only=False),
            ResponseHeader(name="x-content-type-options", value="nosniff"),
        ],
        logging_config=None,
        response_cache_config=ResponseCacheConfig(),
    )


def _plane(state: State) -> Plane:
    found: Plane = state.plane
    return found


def _caller(request: Request[Any, Any, Any]) -> Caller:
    found: Caller = request.state.caller
    return found


def _problems(made: Sequence[Part]) -> Callable[[Request[Any, Any, Any], Exception], Response[Any]]:
    """How errors are told: each part's way below its path, else as problems."""
    ways = [(f"{path}/", way) for part in made for path, way in part.problems.items()]

    def told(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        way = next((way for path, way in ways if f"{request.url.path}/".startswith(path)), problem_response)
        return way(request, error)

    return told


def _lifespan(
    running: Sequence[Callable[[], AbstractAsyncContextManager[Any]]],
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for start in running:
                await stack.enter_async_context(start())
            yield

    return lifespan


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Herz",
        use_handler_docstrings=True,
        version=__version__,
        description="Releases of configuration, who runs them, and rollouts with proof. Errors are RFC 9457 problems "
        "(`application/problem+json`) with `what`, `where` and `remedy`.",
        path=f"{API}/openapi",
        render_plugins=[JsonRenderPlugin()],  # the others are pages that load scripts from elsewhere
        components=Components(
            security_schemes={
                "token": SecurityScheme(type="http", scheme="bearer", description="A token, as `herz_…`.")
            }
        ),
        security=[{}, {"token": []}],
    )
