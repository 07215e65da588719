"""Rules for `RpcProxy`: what an etcd that misbehaves, or something between it and the client, may do to messages.

Each function makes a rule. Rules with `times` do their deed so often and are transparent afterwards; without it they
go on until they are removed. Randomness is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from herz.store.etcd.messages import message
from herz.testing.rpc_proxy import Answer, Fail, Frame, Later, Rule

WATCH = "Watch.Watch"


def replay_events(*, probability: float = 1.0, rng: random.Random | None = None) -> Rule:
    """Send watch responses that hold events twice, each with a probability."""
    rng = rng or random.Random(0)  # noqa: S311  for repeatable faults

    def rule(frame: Frame) -> Iterable[Any]:
        twice = _has_events(frame) and rng.random() < probability
        return [frame.message, _copy(frame.message)] if twice else [frame.message]

    return rule


def replay_old_events(*, every: int = 3) -> Rule:
    """After every `every` watch responses with events, send the first one of that stream once more."""
    first: dict[int, Any] = {}
    seen: dict[int, int] = {}

    def rule(frame: Frame) -> Iterable[Any]:
        if not _has_events(frame):
            return [frame.message]
        old = first.setdefault(frame.call, _copy(frame.message))
        seen[frame.call] = seen.get(frame.call, 0) + 1
        return [frame.message, _copy(old)] if seen[frame.call] % every == 0 else [frame.message]

    return rule


def reorder_events(*, times: int | None = None) -> Rule:
    """Swap two consecutive watch responses with events of one watch; the first waits for the second."""
    held: dict[tuple[int, int], Any] = {}
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if not _has_events(frame):
            return [frame.message]
        watch = frame.call, frame.message.watch_id
        if watch in held:
            return [frame.message, held.pop(watch)]
        if left.take():
            held[watch] = frame.message
            return []
        return [frame.message]

    return rule


def run_ahead(by: int = 1, *, every_header: bool = False) -> Rule:
    """Raise the revision in the headers of progress notifications, or in those of all watch responses."""

    def rule(frame: Frame) -> Iterable[Any]:
        if frame.method == WATCH and frame.direction == "down":
            response = frame.message
            if every_header or not (response.events or response.created or response.canceled):
                response.header.revision += by
        return [frame.message]

    return rule


def progress_before_events(*, times: int | None = None) -> Rule:
    """Send a progress notification for a revision just before the response that holds its events."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if not _has_events(frame) or not left.take():
            return [frame.message]
        progress = type(frame.message)(header=frame.message.header, watch_id=frame.message.watch_id)
        progress.header.revision = max(event.kv.mod_revision for event in frame.message.events)
        return [progress, frame.message]

    return rule


def delay(method: str, delay_s: float, *, direction: str = "down", times: int | None = None) -> Rule:
    """Let messages of a method arrive late: `delay("Lease.LeaseKeepAlive", 0.6)` for answers to keep-alives."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        late = frame.method == method and frame.direction == direction and left.take()
        return [Later(frame.message, delay_s) if late else frame.message]

    return rule


def delay_linearizable_reads(delay_s: float) -> Rule:
    """Let linearizable reads reach the server late; serializable ones pass."""

    def rule(frame: Frame) -> Iterable[Any]:
        late = frame.method == "KV.Range" and frame.direction == "up" and not frame.message.serializable
        return [Later(frame.message, delay_s) if late else frame.message]

    return rule


def refuse(
    method: str,
    code: str = "UNAVAILABLE",
    details: str = "etcdserver: leader changed",
    *,
    times: int | None = None,
) -> Rule:
    """Fail calls of a method when their first message arrives, before the server sees it."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        refused = frame.method == method and frame.direction == "up" and left.take()
        return [Fail(code, details) if refused else frame.message]

    return rule


def refuse_watch(
    *,
    code: str = "FAILED_PRECONDITION",
    details: str = "etcdserver: lease not found",
    times: int | None = 1,
) -> Rule:
    """Fail the stream when a watch is created."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        refused = _creates(frame) and left.take()
        return [Fail(code, details) if refused else frame.message]

    return rule


def refuse_watch_in_stream(reason: str, *, compact_revision: int = 0, times: int | None = 1) -> Rule:
    """Answer the creation of a watch with one that is created and canceled at once; the stream stays open."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if not _creates(frame) or not left.take():
            return [frame.message]
        response = message("WatchResponse")(
            watch_id=-1, created=True, canceled=True, cancel_reason=reason, compact_revision=compact_revision
        )
        return [Answer(response)]

    return rule


def cancel_watch(reason: str, *, compact_revision: int = 0, times: int | None = 1) -> Rule:
    """Replace the next watch response with events by a cancellation of that watch; the stream stays open."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if not _has_events(frame) or not left.take():
            return [frame.message]
        response = frame.message
        del response.events[:]
        response.fragment = False
        response.canceled, response.cancel_reason, response.compact_revision = True, reason, compact_revision
        return [response]

    return rule


def add_foreign_event(key: bytes, value: bytes = b"foreign", *, times: int | None = 1) -> Rule:
    """Add an event for a key that was not asked for to watch responses with events, of the same revision."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if _has_events(frame) and left.take():
            revision = frame.message.events[-1].kv.mod_revision
            added = frame.message.events.add().kv
            added.key, added.value, added.version = key, value, 1
            added.create_revision = added.mod_revision = revision
        return [frame.message]

    return rule


def add_foreign_key(key: bytes, value: bytes = b"foreign", *, times: int | None = 1) -> Rule:
    """Add a key that was not asked for to the answers of reads that have found some."""
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if frame.method == "KV.Range" and frame.direction == "down" and frame.message.kvs and left.take():
            added = frame.message.kvs.add()
            added.key, added.value, added.version = key, value, 1
            added.create_revision = added.mod_revision = 1
            frame.message.count += 1
        return [frame.message]

    return rule


def drop_fragments_tail(*, then_fail: bool = True, times: int | None = 1) -> Rule:
    """Let the first fragment of a fragmented watch response pass and drop the others.

    With `then_fail` the stream ends with UNAVAILABLE there, as a cut between fragments looks; otherwise it goes on as
    if nothing had happened, which no correct server does.
    """
    dropping: set[tuple[int, int]] = set()
    left = _Times(times)

    def rule(frame: Frame) -> Iterable[Any]:
        if frame.method != WATCH or frame.direction != "down":
            return [frame.message]
        watch = frame.call, frame.message.watch_id
        if watch in dropping:
            if not frame.message.fragment:
                dropping.discard(watch)
            return []
        if frame.message.fragment and left.take():
            dropping.add(watch)
            end = [Fail("UNAVAILABLE", "the stream was cut between fragments")] if then_fail else []
            return [frame.message, *end]
        return [frame.message]

    return rule


def only(condition: Callable[[Frame], bool], rule: Rule) -> Rule:
    """Apply a rule to the frames that meet a condition; the others pass."""

    def limited(frame: Frame) -> Iterable[Any]:
        return rule(frame) if condition(frame) else [frame.message]

    return limited


class _Times:
    """Counts down how often a rule still acts; None is for ever."""

    def __init__(self, times: int | None) -> None:
        self._left = times

    def take(self) -> bool:
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _has_events(frame: Frame) -> bool:
    return frame.method == WATCH and frame.direction == "down" and bool(frame.message.events)


def _creates(frame: Frame) -> bool:
    return frame.method == WATCH and frame.direction == "up" and frame.message.HasField("create_request")
