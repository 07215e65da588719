"""`herz serve`: judge the addresses, open the store, decide who may come in, bind, serve, and end in order.

The order is the point. Nothing is bound before S13's guard has judged every address, and before it is certain that
nobody can come in without a token from outside of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from herz.errors import ConfigurationError
from herz.release.record import Record
from herz.server.access import loopback
from herz.server.app import create_app
from herz.server.audit import Audit, By
from herz.server.clock import SystemClock
from herz.server.door.door import Door
from herz.server.door.invitations import link
from herz.server.door.users import admins
from herz.server.listening import Serving
from herz.server.opening import open_store
from herz.server.parts import all_parts
from herz.server.plane import Plane
from herz.server.settings import Provider, ServerSettings, checked_public_url
from herz.server.tokens import Grant, Scope, Tokens
from herz.sources.urls import masked
from herz.store.base import Store
from herz.tls.address import Address, addresses
from herz.tls.guard import check_listen
from herz.tls.listener import Listener, listen
from herz.tls.material import Fault, Labels, TlsMaterial

logger = logging.getLogger("herz")

DEFAULT_LISTEN: Final = "http://127.0.0.1:4379"
LABELS: Final = Labels("--listen", "--cert", "--key", "--client-ca", "--client-ca")
BOOTSTRAP: Final = "bootstrap"
BOOTSTRAP_TIME: Final = timedelta(days=1)
"""For how long the first token is good: long enough to make the others."""
_EVERYTHING: Final = Grant(app="*", scope=Scope.ADMIN)
STORE_S: Final = 15.0
"""For how long the store may be silent at the start."""
SILENT_MS: Final = 60_000
"""For how long a client may acknowledge nothing of what was sent to it."""
YOUNG: Final = (20_000, 20, 50)
"""When the collector looks: streams and records make no cycles, and its visits cost a tenth of a probe of 1,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says. `client_ca` asks clients for a certificate that it has signed."""

    store: str
    listen: Sequence[str] = (DEFAULT_LISTEN,)
    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None
    require_tokens: bool = False
    name: str = "herz"
    user: str = "local"
    proof_s: float = 10.0
    public_url: str | None = None
    session_idle_s: float = 3600.0
    session_s: float = 12 * 3600.0
    provider: Provider | None = None


class Started(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What a server says of itself once it takes connections.

    `token` is the first one, and `admin_link` the address where the first user is made; both are told once.
    """

    listening: tuple[str, ...]
    store: str
    identity: str
    name: str
    open: bool
    token: str | None = None
    admin_link: str | None = None


async def serve(options: ServeOptions, tell: Callable[[Started], None], warn: Callable[[Fault], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second one does not wait for requests that are under way.

    `TlsError` or `ConfigurationError`, before anything is bound, when an address cannot be served as it promises, or
    could be used without a token from outside of this machine. `tell` is called once connections are taken.
    """
    material = TlsMaterial(
        cert=options.cert, key=options.key, ca=options.client_ca, client_auth=options.client_ca is not None
    )
    check_listen(options.listen, material, labels=LABELS)
    outside = [address for address in addresses(options.listen) if not address.loopback]
    store = open_store(options.store)
    listeners: tuple[Listener, ...] = ()
    try:
        tokens_needed = options.require_tokens or bool(outside)
        identity, there = await _opened(store)
        if outside and not (there.token or there.user) and not options.require_tokens:
            raise _unprotected(outside)
        listeners = listen(options.listen, material, labels=LABELS, tell=warn)
        for address in outside:
            if not address.secure:
                logger.warning("%s: tokens travel unencrypted, whoever is on the way can use them", address.url)
        token = await _first_token(store) if tokens_needed and not (there.token or there.user) else None
        settings = ServerSettings(
            name=options.name,
            open=not tokens_needed,
            user=options.user,
            proof_s=options.proof_s,
            public_url=checked_public_url(options.public_url),
            session_idle_s=options.session_idle_s,
            session_s=options.session_s,
            provider=options.provider,
        )
        for listener in listeners:
            _give_up_on_the_silent(listener.socket)
        app = create_app(store, settings, parts=all_parts())
        told = tuple(_told(listener) for listener in listeners)
        async with app.lifespan():
            serving = Serving(app, listeners)
            _stop_on_signals(app.state.plane, serving)
            running = asyncio.create_task(serving.run(), name="herz-serving")
            await _until(serving.started(), running)
            gc.freeze()  # what stands now stays: no collection need look at it again
            gc.set_threshold(*YOUNG)
            welcomed = tokens_needed and not (there.user or there.kept_token)
            door = app.state.plane.of(Door)
            tell(
                Started(
                    listening=told,
                    store=masked(options.store),
                    identity=identity,
                    name=options.name,
                    open=settings.open,
                    token=token,
                    admin_link=await _first_link(door, settings.public_url or _shown(told)) if welcomed else None,
                )
            )
            await running
    finally:
        for listener in listeners:
            listener.socket.close()
        await store.close()


def _give_up_on_the_silent(listening: socket.socket) -> None:
    """Have connections that acknowledge nothing end after `SILENT_MS`: what is buffered for them goes with them."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets take it over (tcp(7))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_MS)


class _Admins(NamedTuple):
    """Who may everything: whoever has a token, one that was made on purpose, or a user."""

    token: bool
    kept_token: bool
    user: bool


async def _opened(store: Store) -> tuple[str, _Admins]:
    """The identity of the store, and whether there is somebody who may everything."""
    clock = SystemClock()
    audit = Audit(store, clock)
    door = Door.over(store, audit, clock, ServerSettings())
    try:
        async with asyncio.timeout(STORE_S):
            identity = (await store.status()).identity
            tokens = await Tokens(store, audit, clock).all()
            found = admins((await door.rights.read())[0], await door.users.all())
    except TimeoutError as error:
        raise ConfigurationError(
            f"the store does not answer within {STORE_S:g} s", where="--store", remedy="see whether it runs"
        ) from error
    able = [one for one in tokens if _EVERYTHING in one.grants and not one.expired(clock.now())]
    return identity, _Admins(bool(able), any(one.name != BOOTSTRAP for one in able), bool(found))


def _unprotected(outside: Sequence[Address]) -> ConfigurationError:
    shown = ", ".join(address.url for address in outside)
    return ConfigurationError(
        f"{shown} can be reached from other machines, and there is no token: everybody could change everything",
        where="--listen",
        remedy="make a token first (herz token create NAME --grant '*:admin'), or start with --require-tokens, "
        "which prints one; or listen on 127.0.0.1",
    )


async def _first_token(store: Store) -> str:
    """A token for everything; it is made once all addresses are bound, for it is told only if the server starts."""
    clock = SystemClock()
    tokens = Tokens(store, Audit(store, clock), clock)
    text, _ = await tokens.create(BOOTSTRAP, (_EVERYTHING,), by=By("herz serve"), expires=clock.now() + BOOTSTRAP_TIME)
    return text


async def _first_link(door: Door, base: str) -> str:
    """Where the first admin chooses name and password. It is good for a day, and only until there is an admin."""
    return link(base, await door.invitations.create(None, by=By("herz serve")), None)


def _shown(told: Sequence[str]) -> str:
    """The address that a browser on this machine reaches, else the first one."""
    told = [url.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:") for url in told]
    return next((url for url in told if loopback(urlsplit(url).hostname or "")), told[0])


async def _until(ready: Coroutine[Any, Any, None], running: asyncio.Task[None]) -> None:
    """Wait for `ready`, or for what ends `running` before."""
    waiting = asyncio.create_task(ready)
    await asyncio.wait((waiting, running), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        await running


def _stop_on_signals(plane: Plane, serving: Serving) -> None:
    def stop() -> None:
        again = plane.closing.is_set()
        logger.info("stopping%s", ", without waiting for requests that are under way" if again else "")
        plane.closing.set()  # streams say `end` now
        serving.stop(now=again)

    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, ValueError):  # not on Windows, not outside of the main thread
            loop.add_signal_handler(one, stop)


def _told(listener: Listener) -> str:
    """The address as a client writes it, with the port that was chosen."""
    host = listener.address.host or "0.0.0.0"  # noqa: S104  told, not bound
    shown = f"[{host}]" if ":" in host else host
    return f"{listener.address.scheme}://{shown}:{listener.port}"
