"""One session with a ZooKeeper ensemble, for asyncio: answers and watch events, in the order the server sent them.

ZooKeeper orders what it sends to one session: the event of a watch arrives before any later answer that was read
after the change. That is what a consistent reading of many znodes rests on (`herz.sources.zookeeper_tree`), so that
order is kept all the way: kazoo's own worker threads, one for events and one for answers, would lose it. kazoo would
also reconnect by itself, dropping its watches; a `Connection` ends with the first loss instead.

This is the only module that imports kazoo.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, BadVersionError, NoAuthError, NoNodeError, RolledBackError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import EventType, KazooState, KeeperState
from kazoo.retry import KazooRetry

from herz.errors import HerzError, SourceDenied, SourceUnavailable
from herz.sources.zookeeper_url import Ensemble
from herz.tls.context import client_context

T = TypeVar("T")

CLOSE_S: Final = 1.0
"""Seconds that a close waits for the server's word; the session expires by itself otherwise."""


class Stat(NamedTuple):
    """What ZooKeeper notes of a znode; `cversion` counts children that were created or deleted."""

    czxid: int
    mzxid: int
    pzxid: int
    version: int
    cversion: int
    ctime: int


class Happened(NamedTuple):
    """A one-shot watch that fired: what of the znode at `path` is not what was read any more."""

    path: str
    value: bool
    family: bool
    gone: bool


class _Now:
    """A queue that runs what is put into it, on the thread that puts: kazoo's only reader thread keeps the order."""

    def put(self, call: Any) -> None:
        if callable(call):
            call()


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's threads without its workers; connections with our limits, our TLS, and the reason when there is none."""

    queue_impl = _Now

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self._ensemble = ensemble
        self._context = None if ensemble.tls is None else client_context(ensemble.tls)
        self.link: Callable[[Any], None] | None = None
        self.reason: str | None = None

    def start(self) -> None:
        self._running = True

    def stop(self) -> None:
        self._running = False

    def async_result(self) -> Any:
        """A result that `link` hears of, from before it is asked for: never after a later event."""
        result = super().async_result()
        if self.link is not None:
            result.rawlink(self.link)
            self.link = None
        return result

    def create_connection(self, address: tuple[str, int], hostname: str | None = None, **_: Any) -> socket.socket:
        plain = None
        try:
            plain = socket.create_connection(address, self._ensemble.dial_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return plain
            return self._context.wrap_socket(plain, server_hostname=hostname)
        except OSError as error:
            if plain is not None:
                plain.close()
            self.reason = f"{hostname}:{address[1]}: {_said(error)}"
            raise


class _Heard(logging.Handler):
    """Keeps kazoo's last complaint, for our own error; nothing of it goes to the application's log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class Connection:
    """One session, from `open` to its first loss; `lost` says why, once it is. Used on one event loop.

    `heard` is called for every watch that fires, `ended` once when the session is lost. An answer is handed to `then`
    with the zxid that the server had reached; in the order the server sent answers and events. Nothing is asked again.
    """

    def __init__(self, ensemble: Ensemble, heard: Callable[[Happened], None], ended: Callable[[], None]) -> None:
        self.ensemble = ensemble
        self.lost: HerzError | None = None
        self.process = os.getpid()
        self._heard, self._ended = heard, ended
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closing = False
        self._handler = _Handler(ensemble)
        self._complaints = _Heard()
        logger = logging.Logger("herz.zookeeper", logging.WARNING)
        logger.addHandler(self._complaints)
        credentials = None if ensemble.user is None else f"{ensemble.user}:{ensemble.password or ''}"
        sasl = {"mechanism": "DIGEST-MD5", "username": ensemble.user, "password": ensemble.password or ""}
        self._client = KazooClient(
            hosts=ensemble.name,
            timeout=ensemble.session_s,
            handler=self._handler,
            auth_data=[("digest", credentials)] if credentials is not None and not ensemble.sasl else None,
            sasl_options=sasl if credentials is not None and ensemble.sasl else None,
            use_ssl=ensemble.tls is not None,
            connection_retry=KazooRetry(max_tries=-1, delay=0.05, backoff=1.5, max_delay=0.5, max_jitter=0.4),
            logger=logger,
        )
        self._client.add_listener(self._state_changed)

    @classmethod
    async def open(cls, ensemble: Ensemble, heard: Callable[[Happened], None], ended: Callable[[], None]) -> Self:
        """A session with one of the servers; all are tried, in random order, until the time for all of them is over.

        `SourceUnavailable` with the last server's reason, `SourceDenied` when it does not know us.
        """
        connection = cls(ensemble, heard, ended)
        try:
            async with asyncio.timeout(ensemble.dial_s * len(ensemble.hosts)):
                connection._client.start_async()
                await connection._opened
        except TimeoutError:
            await connection.close()
            reason = connection._handler.reason or connection._complaints.last
            raise SourceUnavailable(
                "no ZooKeeper server took us in" + (f": {reason}" if reason else ""),
                where=ensemble.name,
                remedy="start it, or mend the address",
            ) from None
        except BaseException:
            await connection.close()
            raise
        return connection

    # --- on kazoo's thread --------------------------------------------------------------------

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    def _state_changed(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self._post(self._connected)
        else:
            self._post(self._end, self._reason_of_loss(state, self._client.client_state))

    def _watched(self, event: Any) -> None:
        if event.type != EventType.NONE:  # a change of the session's state comes to the listener as well
            gone = event.type == EventType.DELETED
            child = event.type == EventType.CHILD
            self._post(self._happened, Happened(event.path, not child, event.type != EventType.CHANGED, gone))

    # --- on the loop --------------------------------------------------------------------------

    def _connected(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def _happened(self, event: Happened) -> None:
        if self.lost is None and not self._closing:
            self._heard(event)

    def _end(self, error: HerzError) -> None:
        if self.lost is not None or self._closing:
            return
        self.lost = error
        for future in (self._opened, *self._waiting):
            if not future.done():
                future.set_exception(error)
        self._ended()

    def _reason_of_loss(self, state: str, detail: str) -> HerzError:
        where = self.ensemble.name
        if detail == KeeperState.AUTH_FAILED:
            return SourceDenied(
                f"ZooKeeper does not take the password of {self.ensemble.user}",
                where=where,
                remedy="mend the credentials",
            )
        what = "the ZooKeeper session expired" if detail == KeeperState.EXPIRED_SESSION else "the connection was lost"
        reason = self._complaints.last
        return SourceUnavailable(
            f"{what}: {reason}" if reason and state == KazooState.SUSPENDED else what,
            where=where,
            remedy="a new one is opened by itself",
        )

    def _ask(self, ask: Callable[..., Any], path: str, then: Callable[[Any, int], None], **options: Any) -> None:
        def answered(result: Any) -> None:
            self._post(self._answered, path, then, result, self._client.last_zxid)

        self._handler.link = answered
        ask(path, **options)

    def _answered(self, path: str, then: Callable[[Any, int], None], result: Any, zxid: int) -> None:
        if self.lost is not None or self._closing:
            return
        error = result.exception
        if error is None:
            then(result.value, zxid)
        elif isinstance(error, NoNodeError):
            then(None, zxid)
        elif isinstance(error, NoAuthError | AuthFailedError):
            self._end(
                SourceDenied(
                    "ZooKeeper does not let us read it"
                    + ("" if self.ensemble.user else ", and no credentials are set"),
                    where=path,
                    remedy="mend its ACL, or the user and password in the URL",
                )
            )
        else:
            self._end(self._reason_of_loss(KazooState.LOST, self._client.client_state))

    def value(self, path: str, then: Callable[[tuple[bytes, Stat] | None, int], None]) -> None:
        """Read the data at `path`, and watch it; None, and not watched, when there is no such znode."""
        self._ask(
            self._client.get_async,
            path,
            lambda found, zxid: then(None if found is None else (found[0], _stat(found[1])), zxid),
            watch=self._watched,
        )

    def family(self, path: str, then: Callable[[tuple[list[str], Stat] | None, int], None]) -> None:
        """Read the names of the children of `path`, and watch them; None when there is no such znode."""
        self._ask(
            self._client.get_children_async,
            path,
            lambda found, zxid: then(None if found is None else (found[0], _stat(found[1])), zxid),
            watch=self._watched,
            include_data=True,
        )

    def existence(self, path: str, then: Callable[[Stat | None, int], None], *, watch: bool = True) -> None:
        """Look whether `path` is there, and watch that; needs no permission."""
        self._ask(
            self._client.exists_async,
            path,
            lambda found, zxid: then(None if found is None else _stat(found), zxid),
            **({"watch": self._watched} if watch else {}),
        )

    async def stat(self, path: str) -> Stat | None:
        """What ZooKeeper notes of `path`; None when it is not there."""
        found, _ = await self._awaited(lambda then: self.existence(path, then, watch=False))
        return found  # type: ignore[no-any-return]

    async def sync(self, path: str) -> int:
        """Wait until this server has what the leader has; the zxid. Events of all that was before have come then."""

        def ask(then: Callable[[Any, int], None]) -> None:
            def answered(result: Any) -> None:
                self._post(self._answered, path, then, result, self._client.last_zxid)

            self._client.sync_async(path).rawlink(answered)

        return (await self._awaited(ask))[1]

    async def fence(self, path: str) -> int:
        """A transaction that changes nothing and that a majority commits; its zxid, newer than all before.

        It is a version check that may fail, so that it needs no more than permission to read.
        """

        def ask(then: Callable[[Any, int], None]) -> None:
            def answered(result: Any) -> None:
                self._post(self._answered, path, then, result, self._client.last_zxid)

            transaction = self._client.transaction()
            transaction.check(path, 0)
            transaction.commit_async().rawlink(answered)

        outcome, zxid = await self._awaited(ask)
        refused = [one for one in outcome or () if isinstance(one, Exception)]
        if any(not isinstance(one, NoNodeError | BadVersionError | RolledBackError) for one in refused):
            raise SourceUnavailable(
                f"a majority cannot be asked: {type(refused[0]).__name__}",
                where=self.ensemble.name,
                remedy="look again",
            )
        return zxid

    async def _awaited(self, ask: Callable[[Callable[[Any, int], None]], None]) -> tuple[Any, int]:
        answer: asyncio.Future[tuple[Any, int]] = self._loop.create_future()

        def then(found: Any, zxid: int) -> None:
            if not answer.done():
                answer.set_result((found, zxid))

        if self.lost is None:
            ask(then)
        return await self.until(answer)

    async def until(self, answer: asyncio.Future[T]) -> T:
        """Wait for `answer`; raises what the session was lost by, or `SourceUnavailable` after `call_s`."""
        if self.lost is not None:
            raise self.lost
        self._waiting.add(answer)
        try:
            async with asyncio.timeout(self.ensemble.call_s):
                return await answer
        except TimeoutError:
            raise SourceUnavailable(
                f"no answer within {self.ensemble.call_s:g} s", where=self.ensemble.name, remedy="another is asked"
            ) from None
        finally:
            self._waiting.discard(answer)

    async def close(self) -> None:
        """End the session; its watches end with it. A server that does not answer is not waited for long."""
        self._closing = True
        if self.process != os.getpid():
            return  # the parent's
        done: asyncio.Future[None] = self._loop.create_future()

        def shut() -> None:
            with suppress(Exception):  # it may be half open, or the server silent: the session expires by itself
                self._client.stop()
            with suppress(Exception):
                self._client.close()
            self._post(lambda: None if done.done() else done.set_result(None))

        threading.Thread(target=shut, name="herz zookeeper close", daemon=True).start()
        if self.lost is None and self._opened.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await done


def _stat(stat: Any) -> Stat:
    return Stat(stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.cversion, stat.ctime)


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'the server does not speak it'}"
    return error.strerror or str(error) or type(error).__name__
