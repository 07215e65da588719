"""What a source is: a place that holds configuration, read whole and followed in order.

The guarantees that every source gives:

* **Whole revisions.** What it hands on is all of one revision, never part of it.
* **Order.** Revisions only grow; a follower is handed each item once, in order.
* **No gap.** Entering `follow(after)` registers the watch first and compares with `after` then, so
  that nothing falls between a `read` and the watch.
* **One owner.** Whatever finds a change (the watch, the periodic check, `rescan`, `read`) goes
  through the source's one comparison with what was handed on last, so that no change is delivered twice.
* **Last good stays.** Content that cannot be used is handed on as `Failed`; the next usable content
  follows as a change against the last good document.

A source never reconnects by itself: the watch session above it does.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from herz.errors import HerzError
from herz.model.document import Batch, Document, Event, Progress, Reset, Revision
from herz.model.key import Path
from herz.model.meaning import Kind
from herz.model.origin import Origin

if TYPE_CHECKING:
    from herz.model.snapshot import Snapshot
    from herz.release.report import SourceState


@dataclass(frozen=True, slots=True)
class Failed:
    """What is in the source now cannot be used; the last good document stays in force.

    `place` is the file, key or variable at fault, `part` its index in the last good document's parts
    where it has one. `since` is the revision that brought it, where each key stands for itself and `revision` may be a
    later one, which has nothing to do with it. It stands until a later item: a `Batch`, `Reset` or `Progress` that is
    not followed by the same `Failed` again says that it is over.
    """

    revision: Revision
    error: HerzError
    place: str
    part: int | None = None
    since: Revision | None = None


class Prepare(NamedTuple):
    """Build the objects for `document` now and do not use them yet; None withdraws what was asked for before.

    When the same document comes as a `Batch` or `Reset` later, what was built for it is put in force. Until then it
    is kept current: after any other change it is built anew. With `keep` False it is built, told and let go of at once.
    `events` are the leaves in which its part `part`, and no other, differs from the document handed on last; None where
    that is not known. Preparing says nothing of a `Failed` that stands.
    """

    revision: Revision
    document: Document | None
    keep: bool = True
    events: tuple[Event, ...] | None = None
    part: int = 0


Item: TypeAlias = Batch | Progress | Reset | Failed | Prepare
"""What a follower is handed."""


@runtime_checkable
class Source(Protocol):
    """A place that holds configuration. All methods are called on one event loop."""

    @property
    def origin(self) -> Origin:
        """The place, by the name people know it by."""

    @property
    def local(self) -> bool:
        """Whether it belongs to this instance alone (environment, arguments), outside the release fingerprint."""

    @property
    def optional(self) -> bool:
        """Whether the application may start without it, and it may vanish on purpose."""

    async def read(self) -> Document:
        """Everything the place holds now, whole.

        `SourceUnavailable` when it is not there or does not answer, `SourceDenied` when it may not be
        read, `DocumentMalformed` (with place and line) when it is not usable. A change that a read
        finds is handed to followers as well; they tell it by its revision.
        """

    def follow(self, after: Revision) -> AbstractAsyncContextManager[AsyncIterator[Item]]:
        """The changes after revision `after`, which is the one of the document that the caller has.

        Entering registers the watch. A caller that has an older document than the source handed on
        last is given a `Reset` first. Cancelling a wait for the next item loses nothing. After a fork
        the child enters again.
        """

    async def rescan(self) -> Revision:
        """Look now, watched or not, and answer the revision that this look came to.

        Whatever differs is in every follower's stream when this returns; a look that finds nothing
        puts `Progress` there, at a new revision when it found a failure over. A caller that waits until
        its follower has handled that revision has seen the outcome, good or `Failed`.
        """


@dataclass(frozen=True, slots=True)
class Standing:
    """What a remote place says of itself, read linearizably, held against what the source handed on last.

    `identity` names the store and is new when the store is made anew. `revision` is its newest. `matches` says
    whether the place still tells the same story up to the revision handed on last: False when what we hold was never
    there, or is there no more without a later revision that says so; None when history does not reach back that far.
    `reason` says what does not match, for people.
    """

    identity: str
    revision: Revision
    matches: bool | None
    reason: str = ""


@runtime_checkable
class Remote(Protocol):
    """What a source in another place adds, so that the session above it can prove that a watch is current.

    After a reconnect the session enters `follow(after)` (so that the watch stands and what it brings waits), asks
    for the `standing`, and takes the first item only when that shows the same store, not behind, and the same
    content. A store that went back in time is read again and starts a new epoch.
    """

    @property
    def proof_s(self) -> float:
        """Seconds within which a healthy watch hands on an item, be it `Progress`; later than that it is stale."""

    async def standing(self, after: Revision) -> Standing:
        """Where the place stands, and whether it still matches what was handed on up to `after`; `SourceError`."""


class Rehearsal(NamedTuple):
    """How building `document` without using it went: what was built anew, what is only built on first use, or why not.

    `fingerprint` is that of the source's documents as they would be in force.
    """

    document: Document
    fingerprint: str = ""
    rebuilt: tuple[str, ...] = ()
    unbuilt: tuple[str, ...] = ()
    error: HerzError | None = None


def _unknown_kind(path: Path) -> Kind | None:
    return None


class Running(NamedTuple):
    """What this process runs of one source, at one moment.

    `document` is the source's that is in force, `fingerprint` covers it alone (its parts merged), as a release
    fingerprint does; `snapshot` is everything in force. `error` says why something newer is not in force; `applying`
    that something newer is being put in force. `rehearsal` is the last `Prepare` that stands, `dry` the last one that
    was not to be kept. `refused` is the document that `error` is about, where one was
    handed on. `kind_of` is what the program's models say of a key. `sources` tells all sources of the process.
    """

    document: Document
    fingerprint: str
    snapshot: Snapshot
    applying: bool = False
    error: HerzError | None = None
    rehearsal: Rehearsal | None = None
    dry: Rehearsal | None = None
    refused: Document | None = None
    kind_of: Callable[[Path], Kind | None] = _unknown_kind
    sources: Callable[[], tuple[SourceState, ...]] = tuple


@runtime_checkable
class Reporter(Protocol):
    """What a source adds that tells its place what this process runs of it, rather than what was fetched."""

    def attach(self, running: Callable[[], Running], graph: Callable[[], Mapping[str, Any]]) -> None:
        """From now on `running()` tells what is in force, and `graph()` which objects depend on what. On one loop."""

    def moved(self) -> None:
        """What runs may be another than before: something was put in force, refused or rehearsed. Must not block."""

    async def detach(self) -> None:
        """Nothing runs any more: withdraw what was reported. `running` is not called again."""


async def close_each(sources: Iterable[Source]) -> None:
    """Close those of `sources` that can be closed, the last one first; one that fails does not keep the others open.

    Cancelling this interrupts the closing that is under way, and no other. What failed last is raised.
    """
    async with AsyncExitStack() as closing:
        for source in sources:
            if (close := getattr(source, "close", None)) is not None:
                closing.push_async_callback(close)


class Stream(AsyncIterator[Item]):
    """What one follower is still to be handed, in order; `deliver` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._process = os.getpid()

    @property
    def lives(self) -> bool:
        """Whether the follower is of this process and its loop is open; a fork copies the parent's streams."""
        return self._process == os.getpid() and not self._loop.is_closed()

    def deliver(self, items: Iterable[Item]) -> None:
        """Append `items` and wake the follower."""
        self._items.extend(items)
        self.wake()

    def wake(self) -> None:
        """End the follower's wait, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # its loop is closed: nobody waits any more
            self._items.clear()

    async def idle(self) -> None:
        """Wait until something may have arrived."""
        await self._arrived.wait()

    async def __anext__(self) -> Item:
        while not self._items:
            self._arrived.clear()
            if not self._items:  # delivered by another thread just before the clear
                await self.idle()
        return self._items.popleft()
