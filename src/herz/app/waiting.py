"""Waiting until a revision is in force, or until it is known that it will not be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from herz.app.feed import Feed
from herz.app.runtime import Runtime
from herz.errors import ConfigurationError, HerzError, NotRunning, UsageError
from herz.model.document import Revision
from herz.model.snapshot import Snapshot

GLANCE_S: Final = 1.0
"""How often whoever waits looks whether Herz was stopped meanwhile."""


def wait(
    runtime: Runtime,
    wanted: Revision | Callable[[Snapshot], bool],
    timeout: float | None,
    source: str | None,
    runs: Callable[[], bool],
) -> Snapshot:
    """`Herz.wait_for` in the life of `runtime`, for as long as `runs` says that it lasts."""
    feeds = list(runtime.feeds)
    if callable(wanted):
        holds, final = wanted, None
    else:
        feed = _chosen(feeds, source)
        feeds, name, revision = [feed], feed.name, wanted

        def holds(snapshot: Snapshot) -> bool:
            # One that changed nothing of this source is in force as soon as it was handed on.
            return max(feed.handled, snapshot.revisions.get(name, -1)) >= revision

        final = revision
    updater = runtime.updater
    deadline = None if timeout is None else time.monotonic() + timeout
    with updater.published:
        while True:
            # A refusal first: a later revision may be in force without what was refused of this one.
            error = None if final is None else _refusal(feeds[0], final)
            if error is not None and isinstance(error, ConfigurationError):
                raise error.with_traceback(None)  # else it grew with each wait
            if error is None and holds(updater.snapshot):
                return updater.snapshot
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise _timed_out(updater.snapshot, timeout, feeds, frozen=updater.frozen)
            if not runs():
                raise NotRunning("Herz was stopped meanwhile")
            updater.published.wait(GLANCE_S if left is None else min(left, GLANCE_S))


def _chosen(feeds: list[Feed], source: str | None) -> Feed:
    """The feed whose revision is meant."""
    found = [feed for feed in feeds if (not feed.source.local if source is None else feed.name == source)]
    if len(found) != 1:
        names = ", ".join(feed.name for feed in feeds if source is not None or not feed.source.local)
        what = "which source's revision?" if source is None else f"no source is called {source!r}"
        raise UsageError(what, remedy=f"pass source=, one of {names}")
    return found[0]


def _refusal(feed: Feed, revision: Revision) -> HerzError | None:
    """Why `revision` is not in force, where it was looked at and refused."""
    refused, failure = feed.refused, feed.failure
    if refused is not None and (refused.revision == revision or feed.accepted.revision < revision <= refused.revision):
        return refused.error
    if failure is None:
        return None
    bad = feed.accepted.revision < revision <= failure.revision if failure.since is None else revision == failure.since
    return failure.error if bad else None


def _timed_out(snapshot: Snapshot, timeout: float | None, feeds: list[Feed], *, frozen: bool) -> TimeoutError:
    """What stands in the way, with the first refusal chained."""
    reasons, cause = ["the configuration is frozen"] if frozen else [], None
    for feed in feeds:
        refused, failure = feed.refused, feed.failure
        revision = refused.revision if refused is not None else None
        if revision is None and failure is not None:
            revision = failure.revision if failure.since is None else failure.since
        if (error := feed.error) is not None:
            cause = cause or error
            reasons.append(
                f"{feed.name}: {error}"
                if revision is None
                else f"{feed.name}: revision {revision} was refused: {error}"
            )
    fault = TimeoutError("; ".join([f"not in force after {timeout} s; {snapshot!r} is", *reasons]))
    fault.__cause__ = cause
    return fault
