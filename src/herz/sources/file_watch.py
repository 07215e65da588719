"""What the operating system tells of files: events of folders, of the links that lead there, of the files.

Folders are watched and not files alone, for editors and deployments put a new file under the old name. A
file counts as complete when its writer closes it or a rename brings it (`CLOSE_WRITE`, `MOVED_TO`),
never when it appears or grows: whoever reads then, reads half of it.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

_MOST_LINKS: Final = 40  # as the kernel's ELOOP


@dataclass(slots=True)
class Signals:
    """What was heard since the last look.

    `ready`: places (folder and name, both resolved) where a writer has closed a file or a rename has put
    one; `writing`: files that have been opened or changed since and not closed; `names`: the set of
    files may be another; `everything`: events were lost, anything may have changed.
    """

    ready: set[str] = field(default_factory=set)
    writing: set[str] = field(default_factory=set)
    names: bool = False
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.ready or self.names or self.everything)


@dataclass(frozen=True, slots=True)
class Trace:
    """How a path leads to its file: the resolved places of each link on the way and of the file itself.

    `real` is where it ends, None when it does not; then the last place is the first that is missing.
    """

    places: tuple[str, ...]
    real: str | None

    def folders(self) -> set[str]:
        """The folders in which an event can make the path lead elsewhere."""
        return {os.path.dirname(place) for place in self.places}


def trace(path: str) -> Trace:
    """Follow `path`, absolute, link by link."""
    todo = path.split(os.sep)[::-1]
    current, links = os.sep, 0
    places: list[str] = []
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            current = os.path.dirname(current)
            continue
        here = os.path.join(current, name)
        try:
            mode = os.lstat(here).st_mode
        except OSError:
            return Trace((*places, here), None)
        if stat.S_ISLNK(mode):
            links += 1
            places.append(here)
            try:
                target = os.readlink(here)
            except OSError:
                return Trace(tuple(places), None)
            if links > _MOST_LINKS:
                return Trace(tuple(places), None)
            if os.path.isabs(target):
                current = os.sep
            todo += target.split(os.sep)[::-1]
            continue
        if not any(segment not in ("", ".") for segment in todo) and not stat.S_ISDIR(mode):
            places.append(here)
        current = here
    return Trace(tuple(places), current)


class Watch(Protocol):
    """One follower's ear; it belongs to the process and the loop that opened it."""

    tells_completion: bool
    """Whether it hears that a writer has finished; else a content counts when two readings found it equal."""

    def aim(self, traces: Iterable[Trace], folders: Iterable[str]) -> bool:
        """Listen where `traces` lead and in `folders`; True when a folder is new, so that one must look again."""

    def arm(self) -> None:
        """Call `wake` once, as soon as there is something to take. On the loop."""

    def take(self, into: Signals) -> None:
        """Add what was heard to `into`, without waiting."""

    def close(self) -> None:
        """Stop listening and give the descriptor back."""


def open_watch(wake: Callable[[], None]) -> Watch | None:
    """The best ear there is, which calls `wake` on the running loop when there is something to `take`.

    None where the system has none left (inotify instances are limited); then only the periodic check is there.
    """
    try:
        return InotifyWatch(wake) if sys.platform == "linux" else WatchfilesWatch(wake)
    except (OSError, ImportError):
        return None


class InotifyWatch:
    """Events by inotify(7): of the folders, and of the files themselves for writes through other names.

    A hard link or a bind mount leads to the same file from another folder, whose events the folder we
    watch does not get.
    """

    tells_completion = True

    def __init__(self, wake: Callable[[], None]) -> None:
        from asyncinotify import Inotify, Mask

        self._mask: Any = Mask
        self._loop = asyncio.get_running_loop()
        self._inotify = Inotify(cache_size=64, sync_timeout=0)
        # By path: the watch, and the inode it was put on; by watch descriptor: the path.
        self._watched: dict[str, tuple[Any, tuple[int, int]]] = {}
        self._paths: dict[int, str] = {}
        self._folders: set[str] = set()
        self._listed: set[str] = set()
        self._places: set[str] = set()
        self._in_folder = (
            Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.CREATE | Mask.DELETE | Mask.ATTRIB
            | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
        )  # fmt: skip
        self._of_file = Mask.CLOSE_WRITE | Mask.MODIFY
        self._gone = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED
        self._wake = wake

    def aim(self, traces: Iterable[Trace], folders: Iterable[str]) -> bool:
        """Listen in the folders of every link and file, in `folders` and the links to them, and at the files."""
        self._listed = set()
        wanted: set[str] = set()
        places: set[str] = set()
        files: set[str] = set()
        for found in traces:
            places.update(found.places)
            wanted |= found.folders()
            if found.real is not None and found.places and found.places[-1] == found.real:
                files.add(found.real)
        for folder in folders:
            led = trace(folder)
            places.update(led.places)
            wanted |= led.folders()
            if led.real is not None:
                wanted.add(led.real)
                self._listed.add(led.real)
        self._places, self._folders = places, wanted
        for path in self._watched.keys() - wanted - files:
            self._drop(path)
        fresh = False
        for path in wanted:
            fresh |= self._add(path, self._in_folder)
        for path in files - wanted:
            self._add(path, self._of_file)
        return fresh

    def arm(self) -> None:
        """Listen to the descriptor until it is readable: once, for it stays so until it is read, maybe in a thread."""
        self._loop.add_reader(self._inotify.fd, self._readable)

    def _readable(self) -> None:
        self._loop.remove_reader(self._inotify.fd)
        self._wake()

    def take(self, into: Signals) -> None:
        """Read what is queued; events of other files in the folders are left out."""
        while True:
            try:
                event = self._inotify.sync_get()
            except BlockingIOError:
                return
            if event is None:
                return
            self._note(event, into)

    def close(self) -> None:
        """Close the descriptor; the kernel drops the watches with it."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    def _note(self, event: Any, into: Signals) -> None:
        mask, events = event.mask, self._mask
        if mask & events.Q_OVERFLOW:
            into.everything = True
            into.writing.clear()
            return
        watched = self._paths.get(event.watch.wd) if event.watch is not None else None
        if watched is None:
            return
        if event.name is None:
            if mask & self._gone:
                # Forget it, so that the next aim watches what is there under this path by then.
                self._drop(watched, gone=bool(mask & events.IGNORED))
                into.names = True
            elif watched in self._folders:
                into.names |= bool(mask & events.ATTRIB)
            elif mask & events.CLOSE_WRITE:
                into.writing.discard(watched)
                into.ready.add(watched)
            elif mask & events.MODIFY:
                into.writing.add(watched)
            return
        place = os.path.join(watched, str(event.name))
        if place not in self._places and watched not in self._listed:
            return
        if mask & (events.CLOSE_WRITE | events.MOVED_TO):
            into.writing.discard(place)
            into.ready.add(place)
            # A close may be of a file whose creation was not understood as ours yet.
            into.names |= bool(mask & events.MOVED_TO) or place not in self._places
        elif mask & events.CREATE:
            into.names = True
            try:
                found = os.lstat(place)
            except OSError:
                return
            if stat.S_ISLNK(found.st_mode):
                into.ready.add(place)  # a link is made whole
            elif stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                into.writing.add(place)  # whoever created it has it open, and will close it
        else:
            into.names = True
            if mask & (events.DELETE | events.MOVED_FROM):
                into.writing.discard(place)

    def _add(self, path: str, mask: Any) -> bool:
        try:
            found = os.stat(path)
            inode = (found.st_dev, found.st_ino)
            known = self._watched.get(path)
            if known is not None and known[1] == inode:
                return False
            if known is not None:
                self._drop(path)
            watch = self._inotify.add_watch(path, mask)
        except OSError:  # gone again, not readable, or no watches left: the periodic check remains
            return False
        # One inode has one watch: a hard link to a file that is watched already shares its descriptor.
        self._watched[path] = (watch, inode)
        self._paths[watch.wd] = path
        return True

    def _drop(self, path: str, *, gone: bool = False) -> None:
        known = self._watched.pop(path, None)
        if known is None:
            return
        wd = known[0].wd
        if self._paths.get(wd) == path:
            del self._paths[wd]
            if not gone:
                try:
                    self._inotify.rm_watch(known[0])
                except OSError:  # the kernel has dropped it with its inode
                    return


class WatchfilesWatch:
    """Events by `watchfiles`, where there is no inotify: that something changed, not that it is complete."""

    tells_completion = False

    def __init__(self, wake: Callable[[], None]) -> None:
        from watchfiles import awatch

        self._awatch: Any = awatch
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._folders: frozenset[tuple[str, int]] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._changed = False

    def aim(self, traces: Iterable[Trace], folders: Iterable[str]) -> bool:
        """Listen in the folders of every link and file, and in `folders`."""
        wanted = set()
        for found in traces:
            wanted |= found.folders()
        for folder in folders:
            led = trace(folder)
            wanted |= led.folders() | ({led.real} if led.real is not None else set())
        # With the inode: a folder that was replaced by a rename has to be listened to anew.
        present = frozenset((folder, os.stat(folder).st_ino) for folder in wanted if os.path.isdir(folder))
        if present == self._folders:
            return False
        self._folders = present
        self._loop.call_soon_threadsafe(self._restart)
        return True

    def arm(self) -> None:
        """Wake for what came during the last look; the listening task wakes for the rest."""
        if self._changed:
            self._wake()

    def take(self, into: Signals) -> None:
        """Say that something changed."""
        if self._changed:
            self._changed = False
            into.names = True

    def close(self) -> None:
        """End the listening task."""
        if self._task is not None and not self._loop.is_closed():
            self._task.cancel()

    def _restart(self) -> None:
        self.close()
        self._task = self._loop.create_task(self._listen([folder for folder, _ in self._folders]))
        # What changed before the new folders were heard is looked for once they are.
        self._loop.call_later(0.1, self._noticed)

    def _noticed(self) -> None:
        self._changed = True
        self._wake()

    async def _listen(self, folders: list[str]) -> None:
        heard = self._awatch(*folders, recursive=False, debounce=20, step=5, rust_timeout=200, watch_filter=None)
        async for _ in heard:
            self._noticed()
