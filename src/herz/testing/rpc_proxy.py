"""A gRPC proxy before an etcd member that shows every message to rules, which may change, hold, drop or add some.

    def late(frame):                       # a rule: what it returns goes on instead of the message
        if frame.method == "Lease.LeaseKeepAlive" and frame.direction == "down":
            return [Later(frame.message, 0.6)]
        return [frame.message]

    with RpcProxy(server.endpoint) as proxy:
        proxy.add(late)
        source = f"etcd://{proxy.address}/config/pay"

Without rules every byte, status and piece of metadata passes as it is. `herz.testing.rpc_rules` has rules for the
faults that matter. The proxy works in threads of its own, so it goes on while the event loop under test is blocked,
and it shares nothing with a client that uses `grpc.aio`. Needs the extra `etcd`. Plain text on both sides.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import grpc

from herz.store.etcd.messages import BY_PATH, METHODS
from herz.testing.processes import Port

CALLS: Final = 256
"""How many calls may be open at once."""
QUEUED: Final = 16
"""Answers of one call that wait for the client; then the server has to wait."""
FOR_EVER_S: Final = 1e9
"""grpc tells a call without a deadline as one of 292 billion years, and ends at once a call made with that."""
_UNLIMITED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_SERVER: Final = (
    *_UNLIMITED,
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
)
_CHANNEL: Final = (
    *_UNLIMITED,
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)
_NAMES: Final = {method.path: name for name, method in METHODS.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message on its way: "up" to the server or "down" to the client.

    `method` is etcd's name for the call, `Watch.Watch`, `KV.Range`; `call` numbers the calls, so that a rule can tell
    two streams apart; `message` is decoded and belongs to the rule, which may change it.
    """

    direction: Literal["up", "down"]
    method: str
    call: int
    message: Any


@dataclass(frozen=True, slots=True)
class Later:
    """The message, `delay_s` late; what follows in that direction of that call waits behind it."""

    message: Any
    delay_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A message for the client in answer to one that was on its way up; it ends a unary call."""

    message: Any


@dataclass(frozen=True, slots=True)
class Fail:
    """End the call with a status, e.g. `Fail("UNAVAILABLE", "gone")`; `code` is a name of `grpc.StatusCode`."""

    code: str
    details: str


@dataclass(frozen=True, slots=True)
class _End:
    """The call has ended well."""

    metadata: tuple[Any, ...] = ()


Rule = Callable[[Frame], Iterable[Any]]
"""What goes on instead of `frame.message`: messages, `Later`, `Answer`, `Fail`, in this order; nothing drops it.

Rules run one at a time in the whole proxy, whatever the call, so they may keep state.
"""


class RpcProxy:
    """Relays every call of etcd's API from `address` to `target`, both `host:port`, through `rules`.

    Several rules form a chain: what one lets through, the next one sees. `target` may be changed; new calls go there.
    An exception in a rule fails the call with INTERNAL, and is raised again by `close`.
    """

    def __init__(self, target: str, *, rules: Iterable[Rule] = ()) -> None:
        self.target = target
        self.calls = 0
        """How many calls were begun since the start."""
        self._rules: tuple[Rule, ...] = tuple(rules)
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        self._fault: Exception | None = None
        self._closed = threading.Event()
        self._port = Port()
        self._server = self._serve()

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`; the same for the proxy's whole life."""
        return self._port.address

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force, first to last."""
        return self._rules

    def add(self, rule: Rule) -> Rule:
        """Append a rule, which sees every message from now on; returns it, for `remove`."""
        with self._lock:
            self._rules = (*self._rules, rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Take a rule out, if it is there."""
        with self._lock:
            self._rules = tuple(each for each in self._rules if each is not rule)

    def clear(self) -> None:
        """Take every rule out."""
        with self._lock:
            self._rules = ()

    def restart(self, grace_s: float = 0.0) -> None:
        """Say GOAWAY, fail calls that are still open after `grace_s`, and serve again on the same port."""
        self._stop(grace_s)
        self._server = self._serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every call and stop; raises what a rule has raised. Calling it again does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._stop(0.0)
        for channel in self._channels.values():
            channel.close()
        self._port.close()
        if self._fault is not None:
            raise self._fault

    # --- relaying ---------------------------------------------------------------------------------

    def _serve(self) -> grpc.Server:
        self._threads = ThreadPoolExecutor(CALLS, thread_name_prefix="herz-rpc-proxy")
        everything: Any = _Everything(self)
        server = grpc.server(self._threads, handlers=(everything,), options=_SERVER)
        server.add_insecure_port(self._port.address)
        server.start()
        return server

    def _stop(self, grace_s: float) -> None:
        self._server.stop(grace_s).wait()
        self._threads.shutdown()

    def _channel(self) -> grpc.Channel:
        with self._lock:
            target = self.target
            if target not in self._channels:
                self._channels[target] = grpc.insecure_channel(target, options=_CHANNEL)
            return self._channels[target]

    def _begin(self) -> int:
        with self._lock:
            self.calls += 1
            return self.calls

    def _judge(self, direction: Literal["up", "down"], path: str, call: int, data: bytes) -> Iterator[Any]:
        # Bytes, Later, Answer and Fail, in which messages are bytes again.
        if not self._rules or path not in BY_PATH:
            return iter([data])
        method = BY_PATH[path]
        message = (method.request if direction == "up" else method.response).FromString(data)
        with self._lock:
            items: list[Any] = [message]
            try:
                for rule in self._rules:
                    items = [made for item in items for made in _applied(rule, direction, _NAMES[path], call, item)]
            except Exception as error:  # a test's own rule: told to the client at once and to the test at the end
                self._fault = self._fault or error
                items = [Fail("INTERNAL", f"a rule of the proxy raised {error!r}")]
        return (_encoded(item) for item in items)

    def relay(self, path: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One call, whatever its kind: on the wire a unary call is a stream of one message."""
        call = self._begin()
        unary = path in BY_PATH and not BY_PATH[path].server_streaming
        answers: queue.Queue[bytes | Fail | _End] = queue.Queue(QUEUED)
        ended = threading.Event()

        def put(item: bytes | Fail | _End) -> None:
            while not ended.is_set():
                try:
                    return answers.put(item, timeout=0.1)
                except queue.Full:
                    continue

        def going(direction: Literal["up", "down"], data: bytes) -> Iterator[bytes | Fail]:
            for item in self._judge(direction, path, call, data):
                if isinstance(item, Later):
                    ended.wait(item.delay_s)
                    item = item.message
                if isinstance(item, Answer):
                    put(item.message)
                    if unary:  # that was the only one, and the server is not asked
                        put(_End())
                        ended.wait()
                else:
                    yield item

        def upwards() -> Iterator[bytes]:
            try:
                for data in requests:
                    for item in going("up", data):
                        if isinstance(item, Fail):
                            put(item)
                            ended.wait()
                            return
                        yield item
            except Exception:  # grpc raises a bare Exception when the client has gone
                return

        metadata = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]
        left_s = context.time_remaining()
        if left_s is not None and left_s > FOR_EVER_S:
            left_s = None
        upstream = self._channel().stream_stream(path)(upwards(), metadata=metadata, timeout=left_s)

        def downwards() -> None:
            try:
                for data in upstream:
                    for item in going("down", data):
                        put(item)
                put(_End(tuple(upstream.trailing_metadata() or ())))
            except grpc.RpcError:
                put(Fail(upstream.code().name, upstream.details() or ""))

        def end() -> None:
            ended.set()
            upstream.cancel()
            with contextlib.suppress(queue.Full):  # then nobody waits for an answer
                answers.put_nowait(_End())

        if not context.add_callback(end):
            end()
            return
        threading.Thread(target=downwards, name=f"herz-rpc-proxy-call-{call}", daemon=True).start()
        try:
            while True:
                answer = answers.get()
                if ended.is_set():
                    return
                if isinstance(answer, _End):
                    context.set_trailing_metadata(answer.metadata)
                    return
                if isinstance(answer, Fail):
                    context.abort(grpc.StatusCode[answer.code], answer.details)  # raises
                else:
                    yield answer
        finally:
            end()


class _Everything:
    """A generic handler of grpc's that takes every call of every service, as streams of bytes."""

    def __init__(self, proxy: RpcProxy) -> None:
        self._proxy = proxy

    def service(self, details: Any) -> Any:
        path = details.method
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._proxy.relay(path, requests, context)
        )


def _applied(rule: Rule, direction: Literal["up", "down"], method: str, call: int, item: Any) -> Iterable[Any]:
    if isinstance(item, Answer | Fail):
        return [item]
    if isinstance(item, Later):
        made = rule(Frame(direction, method, call, item.message))
        return [each if isinstance(each, Later | Answer | Fail) else Later(each, item.delay_s) for each in made]
    return rule(Frame(direction, method, call, item))


def _encoded(item: Any) -> Any:
    if isinstance(item, Fail):
        return item
    if isinstance(item, Later):
        return Later(item.message.SerializeToString(), item.delay_s)
    if isinstance(item, Answer):
        return Answer(item.message.SerializeToString())
    return item.SerializeToString()
