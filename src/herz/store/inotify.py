"""Being told by the kernel that files have changed, where it does that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def on_write(file: Path, wake: Callable[[], None]) -> Callable[[], None] | None:
    """Call `wake` on the running loop whenever `file` is written, touched, made, replaced or removed.

    It may be called without need and once for several events. `file` need not exist yet, its folder must.
    Returns what stops it, or None where there is no inotify or none is left: then poll.
    """
    try:
        from asyncinotify import Inotify, Mask
    except (ImportError, OSError, AttributeError):  # the package loads the C library when it is imported
        return None
    loop = asyncio.get_running_loop()
    try:
        inotify = Inotify()
    except OSError:  # the user's instances are used up (fs.inotify.max_user_instances)
        return None

    def arm() -> None:
        # The file may be a new one under the old name. Adding the same file twice changes nothing.
        with suppress(OSError):
            inotify.add_watch(file, Mask.MODIFY | Mask.ATTRIB)

    def read() -> None:
        with suppress(BlockingIOError):
            os.read(inotify.fd, 65536)
        arm()
        wake()

    try:
        # The folder tells of new files only: what others in it write is no business of ours.
        inotify.add_watch(file.parent, Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.ONLYDIR)
    except OSError:
        inotify.close()
        return None
    arm()
    loop.add_reader(inotify.fd, read)

    def stop() -> None:
        loop.remove_reader(inotify.fd)
        inotify.close()

    return stop
