"""The blocking twin of `ControlPlane`: the same methods, which wait, for scripts and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from herz.client.namespace import Namespace
from herz.client.plane import ControlPlane
from herz.errors import NotRunning
from herz.release.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

P = ParamSpec("P")
T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, so that the twin works inside a running loop's thread as well."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="herz-control-plane", daemon=True)
            self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; an interrupted wait cancels it."""
        if self._loop is None:
            coroutine.close()
            raise NotRunning(
                "the control plane's client is closed", remedy="use it inside `with ControlPlane.blocking(…)`"
            )
        waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    def stop(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _waiting(
    method: Callable[Concatenate[Namespace, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingNamespace, P], T]:
    """The method of the same name that waits."""

    @wraps(method)
    def waits(self: BlockingNamespace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._namespace, *args, **kwargs))

    return waits


def _plane_waiting(
    method: Callable[Concatenate[ControlPlane, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingControlPlane, P], T]:
    """The method of the same name that waits."""

    @wraps(method)
    def waits(self: BlockingControlPlane, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._plane, *args, **kwargs))

    return waits


class BlockingNamespace:
    """`Namespace`, whose methods wait for what they answer."""

    def __init__(self, loop: _Loop, namespace: Namespace) -> None:
        self.app, self.name = namespace.app, namespace.name
        self._loop, self._namespace = loop, namespace

    def __str__(self) -> str:
        return str(self._namespace)

    overview = _waiting(Namespace.overview)
    draft = _waiting(Namespace.draft)
    write_draft = _waiting(Namespace.write_draft)
    set = _waiting(Namespace.set)
    reset_draft = _waiting(Namespace.reset_draft)
    validate = _waiting(Namespace.validate)
    difference = _waiting(Namespace.difference)
    schema = _waiting(Namespace.schema)
    set_schema = _waiting(Namespace.set_schema)
    delete_schema = _waiting(Namespace.delete_schema)
    release = _waiting(Namespace.release)
    releases = _waiting(Namespace.releases)
    find_release = _waiting(Namespace.find_release)
    content = _waiting(Namespace.content)
    compare = _waiting(Namespace.compare)
    publish = _waiting(Namespace.publish)
    rollback = _waiting(Namespace.rollback)
    publications = _waiting(Namespace.publications)
    channel = _waiting(Namespace.channel)
    policy = _waiting(Namespace.policy)
    set_policy = _waiting(Namespace.set_policy)
    delete_policy = _waiting(Namespace.delete_policy)
    approvals = _waiting(Namespace.approvals)
    approve = _waiting(Namespace.approve)
    withdraw_approval = _waiting(Namespace.withdraw_approval)
    instances = _waiting(Namespace.instances)
    instance = _waiting(Namespace.instance)
    ask = _waiting(Namespace.ask)
    verify_atomicity = _waiting(Namespace.verify_atomicity)
    verify = _waiting(Namespace.verify)
    impact = _waiting(Namespace.impact)
    start_rollout = _waiting(Namespace.start_rollout)
    rollouts = _waiting(Namespace.rollouts)
    rollout = _waiting(Namespace.rollout)
    rollout_roster = _waiting(Namespace.rollout_roster)
    pause = _waiting(Namespace.pause)
    resume = _waiting(Namespace.resume)
    promote = _waiting(Namespace.promote)
    abort = _waiting(Namespace.abort)
    force = _waiting(Namespace.force)

    def rollout_events(self, rollout: str) -> Iterator[Rollout]:
        """`Namespace.rollout_events`, one after the other."""
        events = self._namespace.rollout_events(rollout)
        try:
            while (event := self._loop.run(_next(events))) is not None:
                yield event
        finally:
            self._loop.run(_end(events))


class BlockingControlPlane:
    """`ControlPlane`, whose methods wait for what they answer. Used inside `with`; any thread may call."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._loop = _Loop()

    @property
    def url(self) -> str:
        """The address that is asked."""
        return self._plane.url

    def __enter__(self) -> Self:
        self._loop.start()
        try:
            self._loop.run(self._plane.__aenter__())
        except BaseException:
            self._loop.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calling it again does nothing."""
        try:
            self._loop.run(self._plane.aclose())
        except NotRunning:
            return
        finally:
            self._loop.stop()

    def namespace(self, app: str, namespace: str | None = None) -> BlockingNamespace:
        """The namespace of an application, "default" unless named: `namespace("pay")`, `namespace("pay/eu")`."""
        return BlockingNamespace(self._loop, self._plane.namespace(app, namespace))

    health = _plane_waiting(ControlPlane.health)
    apps = _plane_waiting(ControlPlane.apps)
    audit = _plane_waiting(ControlPlane.audit)
    verify_audit = _plane_waiting(ControlPlane.verify_audit)
    tokens = _plane_waiting(ControlPlane.tokens)
    create_token = _plane_waiting(ControlPlane.create_token)
    revoke_token = _plane_waiting(ControlPlane.revoke_token)


async def _next(events: AsyncIterator[Rollout]) -> Rollout | None:
    return await anext(events, None)


async def _end(events: AsyncIterator[Rollout]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
