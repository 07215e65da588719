"""What the system allows: inotify's limits, and file systems that tell no changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from herz.cli.doctor.examination import Examination, underlying
from herz.cli.doctor.finding import Finding
from herz.sources.store import StoreSource

PROC: Final = Path("/proc")
NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs"}
    | {"fuse.s3fs", "lustre", "ocfs2", "gfs2", "beegfs", "virtiofs"}
)
"""File systems on which another machine's changes send no events and on which SQLite's WAL cannot be shared."""
SCARCE: Final = 0.8
"""The part of the limit that one process may need before it is told."""


def check(examination: Examination, proc: Path = PROC) -> Iterator[Finding]:
    """Limits that are too low for what is watched, and files or stores that lie on a network file system."""
    if sys.platform != "linux":
        return
    yield from _inotify(examination, proc)
    yield from _network(examination, proc)


def _inotify(examination: Examination, proc: Path) -> Iterator[Finding]:
    if not examination.settings.watch_enabled or not examination.files():
        return
    watched = set(examination.paths())
    watched |= {folder for _, found in examination.scans() for folder in found.folders}
    watched |= {os.path.dirname(path) for path in watched}
    limits = proc / "sys/fs/inotify"
    for name, needed, what in (
        ("max_user_watches", len(watched), f"{len(watched)} watches for the files and folders"),
        ("max_user_instances", len(examination.feeds), f"{len(examination.feeds)} instances, one for each source"),
    ):
        try:
            limit = int((limits / name).read_text())
        except (OSError, ValueError):
            continue
        if needed > limit * SCARCE:
            yield Finding(
                "few-inotify-watches",
                "warning",
                f"fs.inotify.{name} is {limit}, and this configuration needs {what}; where none is left, a change is "
                f"seen only by the check every {examination.settings.watch_interval_s:g} s",
                str(limits / name),
                f"sysctl fs.inotify.{name}={max(limit * 4, needed * 4)}",
            )


def _network(examination: Examination, proc: Path) -> Iterator[Finding]:
    mounts = mounted(proc)
    told: set[str] = set()
    for path in examination.paths():
        kind, point = kind_of(os.path.realpath(path), mounts)
        if kind in NETWORK and point not in told:
            told.add(point)
            yield Finding(
                "network-file-system",
                "note",
                f"{point} is {kind}: changes that another machine makes there send no event, and are seen by the check "
                f"every {examination.settings.watch_interval_s:g} s",
                path,
                "lower herz.config.watch.interval if that is too slow",
            )
    for feed in examination.feeds:
        source = underlying(feed)
        if isinstance(source, StoreSource) and (store := getattr(source.store, "path", None)) is not None:
            kind, point = kind_of(os.path.realpath(store), mounts)
            if kind in NETWORK:
                yield Finding(
                    "store-on-network",
                    "error",
                    f"the store lies on {point}, which is {kind}: SQLite's WAL needs shared memory, and two machines "
                    "would damage it",
                    str(store),
                    "move it to a local disk",
                )


def mounted(proc: Path = PROC) -> list[tuple[str, str]]:
    """Mount points with their kinds of file system, see proc(5), `/proc/PID/mountinfo`."""
    found: list[tuple[str, str]] = []
    try:
        lines = (proc / "self/mountinfo").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) > 4 and after:
            found.append((_unescaped(fields[4]), after.split()[0]))
    return found


def kind_of(path: str, mounts: list[tuple[str, str]]) -> tuple[str, str]:
    """The kind of file system that `path` lies on, and where that is mounted; empty when that is not known."""
    best = ("", "")
    for point, kind in mounts:
        below = point if point.endswith("/") else point + "/"
        if (path == point or path.startswith(below)) and len(point) >= len(best[1]):
            best = (kind, point)
    return best


def _unescaped(text: str) -> str:
    for escaped, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, letter)
    return text
