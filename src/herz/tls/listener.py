"""Listeners: all addresses are judged first, then all are bound, then all listen; or none."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from herz.errors import ConfigurationError
from herz.tls.address import Address, addresses
from herz.tls.context import server_context
from herz.tls.guard import check_listen
from herz.tls.material import Clock, Fault, Labels, TlsMaterial

BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens, and what to encrypt its connections with; None for plain text.

    For asyncio: `asyncio.start_server(serve, sock=listener.socket, ssl=listener.context)`.
    """

    address: Address
    socket: socket.socket
    context: ssl.SSLContext | None

    @property
    def port(self) -> int:
        """The port, also where 0 let the system choose one."""
        return int(self.socket.getsockname()[1])


def listen(
    urls: Sequence[str],
    material: TlsMaterial | None = None,
    *,
    labels: Labels | None = None,
    now: Clock = time.time,
    tell: Callable[[Fault], None] = lambda fault: None,
) -> tuple[Listener, ...]:
    """Sockets that listen at `urls`, in their order, each encrypted as its scheme says; the caller closes them.

    `TlsError` before anything is bound when one of them cannot be served as it promises, `ConfigurationError` when
    one cannot be bound; in both cases no socket stays open. `tell` hears each warning.
    """
    material, labels = material or TlsMaterial(), labels or Labels()
    for fault in check_listen(urls, material, labels=labels, now=now):
        tell(fault)
    found = addresses(urls)
    context = server_context(material) if any(address.secure for address in found) else None
    with ExitStack() as opened:
        listeners = [
            Listener(address, opened.enter_context(_bound(address, labels)), context if address.secure else None)
            for address in found
        ]
        for one in listeners:
            one.socket.listen(BACKLOG)
        opened.pop_all()
    return tuple(listeners)


def _bound(address: Address, labels: Labels) -> socket.socket:
    if address.socket or address.port is None:
        raise ConfigurationError(
            f"{address.url} has no port", where=labels.urls, remedy=f"write {address.scheme}://HOST:PORT"
        )
    made: socket.socket | None = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.setblocking(False)
    except OSError as error:
        if made is not None:
            made.close()
        raise ConfigurationError(
            f"cannot listen on {address.url}: {error.strerror or error}",
            where=labels.urls,
            remedy="end what listens there, or choose another address",
        ) from error
    return made
