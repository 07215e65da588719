"""Files as a source: one, a folder, a glob, a `classpath:` location; read whole, watched, never torn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from herz.errors import SourceUnavailable
from herz.formats.fault import Limits
from herz.model.document import Document, Progress, Reset, Revision
from herz.model.origin import Origin
from herz.sources.base import Failed, Item, Stream
from herz.sources.file_look import FileLook, Look
from herz.sources.file_patterns import FilePattern, WatchPaths, display
from herz.sources.file_watch import Signals, Watch, open_watch

CHECK_S: Final = 5.0
"""Seconds between two periodic checks (`herz.config.watch.interval`)."""

_READ_PATIENCE_S: Final = 2.0
"""Seconds that a `read` waits at most for files to be complete; after one of them it takes what is there."""

_RESCAN_PATIENCE_S: Final = 0.5
"""Seconds that a `rescan` waits at most; what is complete later, the watch or the next rescan finds."""

_RELEASE_S: Final = 0.05
"""Seconds after which what a change superseded is let go of: by then the change is in force."""


class FileSource:
    """Files of any known format as one document with one part for each, lowest rank first.

    `patterns` are paths, folders (alone, not their subfolders), globs (`conf/*.yml`, `conf/**`),
    `classpath:/config/` or `file:/…`. Within one pattern files are merged by path, then the variants
    `name-<profile>.<ext>` of active `profiles` in their order, last wins; variants of other profiles
    are left out. In folders, files of unknown endings and hidden files (but `.env`) are left out.

    A change counts when its writer has closed the file, or renamed it into place. Several files that
    change at once (a Kubernetes `..data` swap) are one revision; if one of them cannot be used, none
    is taken. What is found later is taken with the last good content of whatever is still at fault.

    A file in a folder may be deleted, and an `optional` one; a single file, or all of a folder, that
    vanishes, and a file that is suddenly blank, is a `Failed` with `EmptiedSource` until it comes back
    or `accept` is called. `grace_s` is how long an absence must last: editors remove and write again.

    Every `check_s` seconds all files are compared by what stat says (and now and then byte by byte),
    which heals an event that was missed or never sent, as on network file systems: there a content
    counts when two checks found it equal.
    """

    local = False

    def __init__(
        self,
        *patterns: str | os.PathLike[str],
        profiles: Sequence[str] = (),
        base_folders: Sequence[str | os.PathLike[str]] = (),
        optional: bool = False,
        watch: WatchPaths | None = None,
        limits: Limits | None = None,
        check_s: float = CHECK_S,
        grace_s: float = 0.5,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[Callable[[], None]], Watch | None] = open_watch,
    ) -> None:
        cwd = os.getcwd()
        bases = [os.path.abspath(os.fspath(base)) for base in base_folders] or [cwd]
        self._watch_paths = watch if watch is not None else WatchPaths(base_folders=bases)
        self.optional = optional
        self.patterns = tuple(FilePattern.parse(spec, base_folders=bases, cwd=cwd) for spec in patterns)
        named = name or ", ".join(display(pattern.text, cwd) for pattern in self.patterns)
        self.origin = Origin(named, "file")
        self._files = FileLook(
            self.origin,
            self.patterns,
            profiles=tuple(profiles),
            optional=optional,
            covers=self._watch_paths.covers,
            limits=limits if limits is not None else Limits(),
            cwd=cwd,
            check_s=check_s,
            grace_s=grace_s,
            clock=clock,
        )
        self._check_s, self._clock, self._listen = check_s, clock, listen
        self._streams: list[_FileStream] = []
        self._serial: tuple[int, asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def read(self) -> Document:
        """All files as they are now.

        `SourceUnavailable` when a file that is not optional is missing or a pattern matches nothing,
        `SourceDenied`, `DocumentTooLarge`, `DocumentMalformed` when one cannot be used.
        """
        await self._settled(_READ_PATIENCE_S)
        if self._files.faults:
            raise next(iter(self._files.faults.values())).error
        return self._document()

    async def rescan(self) -> Revision:
        """Look at all files now, watched or not; what differs is in the followers' streams afterwards."""
        if not await self._settled(_RESCAN_PATIENCE_S):
            self._hand_on(self._standing() or [Progress(self._files.revision)])
        return self._files.revision

    @asynccontextmanager
    async def follow(self, after: Revision) -> AsyncIterator[AsyncIterator[Item]]:
        """The changes after `after`: the watch is registered, then the files are compared."""
        stream = _FileStream(self)
        try:
            async with self._lock():
                self._streams = [other for other in self._streams if other.lives]
                held = self._files.held
                if held is not None and held.document.revision != after:
                    stream.deliver([Reset(held.document, f"read again: revision {after} is not the last one")])
                stream.deliver(self._standing())
                self._streams.append(stream)
            if held is not None:
                await stream.look(Look(heard=True, names=True))
                stream.prepare()
            yield stream
        finally:
            if stream in self._streams:
                self._streams.remove(stream)
            await stream.finish()

    def accept(self) -> tuple[str, ...]:
        """Take the present emptiness as meant at the next look; the places that this is about."""
        return self._files.accept()

    def uncovered(self) -> tuple[str, ...]:
        """Files that are loaded but not watched, because `herz.config.watch.paths` does not cover them."""
        held = self._files.held
        parts = () if held is None else held.parts
        return tuple(part.place for part in parts if not self._watch_paths.covers(part.member.path))

    def inactive(self) -> tuple[str, ...]:
        """Files that were found and left out, for they are variants of profiles that are not active."""
        return tuple(display(path, os.getcwd()) for path in self._files.scan.inactive)

    def entry_for(self, place: str) -> str:
        """The entry to add to `herz.config.watch.paths` so that `place` is watched."""
        return self._watch_paths.entry_for(place)

    def _document(self) -> Document:
        held = self._files.held
        if held is None:  # nothing is there, and a `_settled` that ends without content has not seen it settle
            raise SourceUnavailable(
                "is being written for too long", where=self.origin.name, remedy="close the file, then try again"
            )
        return held.document

    def _standing(self) -> list[Item]:
        """The faults that last, as of the present revision."""
        unique = {id(failed.error): failed for failed in self._files.faults.values()}
        return [replace(failed, revision=self._files.revision) for failed in unique.values()]

    async def _settled(self, patience_s: float) -> bool:
        """Look until nothing waits for a second reading; whether followers were handed anything."""
        handed, until = False, self._clock() + patience_s
        while True:
            handed |= await self._look(Look(forced=True, names=True, heard=True), self._streams)
            due = self._files.due(forced=True)
            if due is None or due > until:
                break
            await asyncio.sleep(max(0.0, due - self._clock()))
        return handed

    async def _look(self, look: Look, streams: Sequence[_FileStream]) -> bool:
        """One look, to the end even if the caller is cancelled; whether followers were handed anything."""
        return await asyncio.shield(asyncio.ensure_future(self._look_whole(look, streams)))

    async def _look_whole(self, look: Look, streams: Sequence[_FileStream]) -> bool:
        async with self._lock():
            # In a thread: a network file system that hangs must not stop the loop's other sources.
            ears = [stream for stream in streams if stream.lives]
            items = await asyncio.to_thread(self._files.look, look, ears)
            if items:
                faults = self._standing() if not isinstance(items[0], Failed) else []
                items += faults
                self._hand_on(items)
                asyncio.get_running_loop().call_later(_RELEASE_S, self._files.release)
            return bool(items)

    def _hand_on(self, items: Sequence[Item]) -> None:
        for stream in self._streams:
            stream.deliver(items)

    def _lock(self) -> asyncio.Lock:
        """The lock of this loop in this process: a forked child must not wait for its parent's."""
        loop, process = asyncio.get_running_loop(), os.getpid()
        if self._serial is None or self._serial[0] != process or self._serial[1] is not loop:
            self._serial = (process, loop, asyncio.Lock())
        return self._serial[2]


class _FileStream(Stream):
    """One follower with its own watch; it looks when it is asked for the next item, so nothing piles up."""

    def __init__(self, source: FileSource) -> None:
        super().__init__()
        self._source = source
        self._looking: asyncio.Future[bool] | None = None
        self._preparing: asyncio.Future[None] | None = None
        self.signals = Signals()
        enabled = source._watch_paths.enabled
        self.watch = source._listen(self.heard) if enabled else None
        self._next_check = source._clock() + source._check_s if enabled else None
        self._checks = 0

    def heard(self) -> None:
        """The watch has something: end the wait. Called on the loop."""
        self._arrived.set()

    async def idle(self) -> None:
        """Wait for an event, the periodic check or a second reading; then look."""
        clock = self._source._clock
        if self.watch is not None:
            self.watch.arm()
        due = self._due()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - clock())):
                await self._arrived.wait()
        except TimeoutError:
            due = None  # it is due now
        if self._items:
            return
        checking = self._next_check is not None and clock() >= self._next_check
        if checking:
            self._next_check = clock() + self._source._check_s
            self._checks += 1
        if self._source._watch_paths.enabled:
            await self.look(Look(check=checking, thorough=checking and self._checks % 12 == 0))

    async def look(self, look: Look) -> None:
        """Look once; a look that was cancelled while waiting is waited for first."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._source._look_whole(look, [self]))
        await asyncio.shield(self._looking)

    def prepare(self) -> None:
        """Find out in the background what the first change would have to."""
        self._preparing = asyncio.ensure_future(asyncio.to_thread(self._source._files.prepare))

    async def finish(self) -> None:
        """End the watch, after what is under way."""
        if busy := [task for task in (self._looking, self._preparing) if task is not None and not task.done()]:
            await asyncio.wait(busy)
        if self.watch is not None:
            self.watch.close()

    def _due(self) -> float | None:
        if self.signals:  # heard while the last look was reading
            return 0.0
        times = [time for time in (self._next_check, self._source._files.due()) if time is not None]
        return min(times, default=None)
