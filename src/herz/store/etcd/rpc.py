"""One connection to one etcd member: remote calls and streams over grpc, which only this module imports.

What comes back is etcd's messages, or `CallFailed`; what a failure means is `failures`' to say.

A connection is never shared with another one of this process: grpc would otherwise join channels with
equal settings, and a watch that is told to start over would meet the same dead socket.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import ssl
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

# grpc's own handlers of a fork give up while a call is open, as a watch always is, and may then take the parent
# down with the child: it lost its watch in 4 of 25 forks with them, in none without. A child never touches grpc here.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio

from herz.errors import SourceUnavailable, StoreError
from herz.store.etcd.messages import METHODS, Method
from herz.store.etcd.reasons import reason
from herz.tls.material import TlsMaterial

Metadata = tuple[tuple[str, str], ...]

_END: Final = grpc.aio.EOF


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits of a connection, in seconds.

    `dial_s` bounds the connecting, `request_s` one call. A connection with an open stream is pinged every
    `keepalive_s`, and is broken when the ping is not answered within `ping_s`. An etcd server closes connections
    that ping more often than its `--grpc-keepalive-min-time`, 5 s by default.
    """

    dial_s: float = 3.0
    request_s: float = 5.0
    keepalive_s: float = 10.0
    ping_s: float = 3.0


_ENDING_S: Final = 1.0
"""How long grpc's threads may go on after the last connection was closed; they take some 50 ms."""

_open: Final[weakref.WeakSet[Connection]] = weakref.WeakSet()
_closed_at: Final = [-math.inf]
_inherited: Final = [False]
"""Whether this process was forked while grpc was at work in its parent: its threads are not here, its state is."""


def _after_fork() -> None:
    for connection in _open:
        # To let go of it would stop threads that are not here, and hang, be it when the child exits.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    _inherited[0] |= bool(_open) or time.monotonic() - _closed_at[0] < _ENDING_S


os.register_at_fork(after_in_child=_after_fork)


class CallFailed(Exception):
    """A remote call ended in a grpc status. `sent` is False when the request surely never left."""

    def __init__(self, code: str, details: str, endpoint: str, *, sent: bool = True) -> None:
        self.code, self.details, self.endpoint, self.sent = code, details, endpoint, sent
        super().__init__(f"{code}: {details} ({endpoint})")

    @property
    def too_large(self) -> bool:
        """Whether an answer was larger than `receive_bytes`."""
        return self.code == "RESOURCE_EXHAUSTED" and "larger than max" in self.details


class Connection:
    """One HTTP/2 connection to `endpoint` (`host:port`), made on the running event loop.

    With `tls` it is encrypted and the server is checked against `tls.ca`, or the machine's authorities; there is
    no way back to plain text. `server_name` is the name that the certificate must carry instead of the host's.
    Messages larger than `receive_bytes` are refused (RESOURCE_EXHAUSTED); -1 takes all.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        tls: TlsMaterial | None = None,
        server_name: str | None = None,
        timing: Timing,
        receive_bytes: int = -1,
    ) -> None:
        if _inherited[0]:
            raise StoreError(
                "this process was forked while a connection to etcd was open, which grpc does not survive",
                where=f"process {os.getpid()}",
                remedy="start Herz in the child (gunicorn: without --preload, or in post_fork), or close it in time",
            )
        _open.add(self)
        self.endpoint = endpoint
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self._timing = timing
        self._calls: dict[str, Any] = {}
        self._active = 0
        self._retired = False
        options = _options(timing, receive_bytes)
        if tls is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=options)
        else:
            if server_name:
                options.append(("grpc.ssl_target_name_override", server_name))
            self._channel = grpc.aio.secure_channel(endpoint, _credentials(tls), options=options)

    def __repr__(self) -> str:
        return f"Connection({self.endpoint!r})"

    @property
    def usable(self) -> bool:
        """Whether it is connected, belongs to this loop and process, and was not given up."""
        return (
            not self._retired
            and self._channel is not None
            and self.process == os.getpid()
            and self.loop is asyncio.get_running_loop()
            and self._channel.get_state() is grpc.ChannelConnectivity.READY
        )

    async def dial(self) -> None:
        """Connect. `CallFailed` with the reason when that fails, or takes longer than `dial_s`; nothing was sent."""
        try:
            async with asyncio.timeout(self._timing.dial_s):
                state = self._channel.get_state(try_to_connect=True)
                while state is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        raise CallFailed("UNAVAILABLE", await self._why(), self.endpoint, sent=False)
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
        except TimeoutError:
            raise CallFailed(
                "DEADLINE_EXCEEDED", f"no connection within {self._timing.dial_s:g} s", self.endpoint, sent=False
            ) from None

    async def _why(self) -> str:
        """Why the channel cannot connect: only a call is told."""
        try:
            await self.call("Maintenance.Status", METHODS["Maintenance.Status"].request())
        except CallFailed as failure:
            return failure.details
        return "the connection comes and goes"

    async def call(self, name: str, request: Any, *, metadata: Metadata = (), timeout_s: float | None = None) -> Any:
        """The answer to one request of the method `name`; `CallFailed` otherwise."""
        method = METHODS[name]
        call = self._calls.get(name)
        if self._channel is None:
            raise CallFailed("CANCELLED", "the connection was closed", self.endpoint, sent=False)
        if call is None:
            call = self._calls[name] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        self._active += 1
        try:
            return await call(
                request, timeout=self._timing.request_s if timeout_s is None else timeout_s, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            raise CallFailed(error.code().name, reason(error.details() or ""), self.endpoint) from error
        except grpc.aio.UsageError as error:  # the channel was closed meanwhile
            raise CallFailed("CANCELLED", str(error), self.endpoint) from error
        except asyncio.CancelledError:
            if _to_be_cancelled():
                raise
            # A closed channel cancels its calls, and must not end the tasks that wait for them, for ever.
            raise CallFailed("CANCELLED", "the connection was closed", self.endpoint) from None
        finally:
            self._active -= 1
            if self._retired and not self._active:
                await self.close()

    def stream(self, name: str, *, metadata: Metadata = (), timeout_s: float | None = None) -> Stream:
        """A stream of the method `name`, in both directions."""
        method: Method = METHODS[name]
        call = self._channel.stream_stream(method.path, request_serializer=method.request.SerializeToString)
        return Stream(call(metadata=metadata, timeout=timeout_s), method.response.FromString, self.endpoint)

    async def retire(self) -> None:
        """Give it up: calls under way may end, new ones find it unusable, and the last one closes it."""
        self._retired = True
        if not self._active:
            await self.close()

    async def close(self) -> None:
        """Close it now; what is under way fails. In another loop or process it is only forgotten."""
        self._retired = True
        if self._channel is not None and self.process == os.getpid() and self.loop is asyncio.get_running_loop():
            channel, self._channel = self._channel, None  # grpc ends its threads with its last object
            self._calls.clear()
            _open.discard(self)
            await channel.close()
            _closed_at[0] = time.monotonic()


class Stream:
    """Messages in both directions, until one side ends it. Reading one message at a time holds back the server."""

    def __init__(self, call: Any, decoded: Callable[[bytes], Any], endpoint: str) -> None:
        self._call, self._decoded = call, decoded
        self.endpoint = endpoint
        self.read_bytes = 0
        """How large the message read last was: to ask a message for its size encodes it again."""

    async def write(self, message: Any) -> None:
        """Send a message; `CallFailed` when the stream has ended."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            raise await self._failure() from None

    async def read(self) -> Any:
        """The next message; `CallFailed` when there is none any more. Cancelling it ends the stream."""
        try:
            data = await self._call.read()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):
            raise await self._failure() from None
        except asyncio.CancelledError:
            if _to_be_cancelled():
                raise
            raise await self._failure() from None
        if data is _END:
            raise await self._failure()
        self.read_bytes = len(data)
        return self._decoded(data)

    async def _failure(self) -> CallFailed:
        try:
            code, details = (await self._call.code()).name, await self._call.details()
        except (asyncio.CancelledError, grpc.aio.UsageError):
            if _to_be_cancelled():
                raise
            code, details = "CANCELLED", ""
        if code == "OK":
            code, details = "UNAVAILABLE", "the server ended the stream"
        return CallFailed(code, reason(details or ""), self.endpoint)

    def cancel(self) -> None:
        """End it now."""
        self._call.cancel()


def _to_be_cancelled() -> bool:
    """Whether somebody cancels this very task; else a cancellation has come out of what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _options(timing: Timing, receive_bytes: int) -> list[tuple[str, int | str]]:
    dial_ms, ping_ms = int(timing.dial_s * 1000), int(timing.ping_s * 1000)
    return [
        ("grpc.use_local_subchannel_pool", 1),  # a socket of its own
        ("grpc.max_receive_message_length", receive_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),  # a write must not be repeated behind our back
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", dial_ms),
        ("grpc.keepalive_time_ms", int(timing.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", ping_ms),
        ("grpc.http2.ping_timeout_ms", ping_ms),  # what bounds a silent connection: the one above does not
        ("grpc.http2.max_pings_without_data", 0),  # no limit
    ]


def _credentials(tls: TlsMaterial) -> Any:
    """Read anew for every connection, so that a renewed certificate is taken."""
    ca = tls.ca or ssl.get_default_verify_paths().cafile
    return grpc.ssl_channel_credentials(
        root_certificates=_read(ca),
        private_key=_read(tls.key),
        certificate_chain=_read(tls.cert),
    )


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SourceUnavailable(
            f"TLS material cannot be read: {error.strerror}", where=path, remedy="put the PEM file there"
        ) from error
