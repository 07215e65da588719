"""The last-good copy: whether it would help if the sources were down now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.live.last_good import LastGood, without_secrets
from herz.merge.overlay import merged
from herz.model.tree import differences


def check(examination: Examination) -> Iterator[Finding]:
    """A copy that cannot be written, is damaged, may be read by others, or is older than what the sources hold."""
    if examination.settings.last_good is None:
        return
    path = Path(examination.settings.last_good)
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if not os.access(folder, os.W_OK):
        yield Finding(
            "last-good-not-writable",
            "warning",
            f"the last-good copy cannot be written: {folder} is not writable by this user",
            str(path),
            f"grant write access to {folder}, or set herz.config.last-good to another place",
        )
    if not path.exists():
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            "last-good-readable", "warning", f"the last-good copy's mode is {mode:o}", str(path), f"chmod 600 {path}"
        )
    fault = LastGood(path).check()
    if fault is not None:
        yield Finding(
            "last-good-damaged",
            "warning",
            f"the last-good copy {fault}; it is not used if the sources are down at a start",
            str(path),
            "remove it; the running service writes it anew with the next change",
        )
        return
    yield from _stale(examination, path)


def _stale(examination: Examination, path: Path) -> Iterator[Finding]:
    copy = LastGood(path)
    secrets = examination.composition.secrets
    behind: list[str] = []
    for feed in examination.feeds:
        if feed.source.local or feed.accepted.origin != feed.source.origin:
            continue
        held = copy.document(feed.source.origin)
        parts = feed.accepted.parts or (feed.accepted,)
        now = merged([without_secrets(part.tree, secrets) for part in parts])
        before = {} if held is None else merged([part.tree for part in held.parts])
        if any(differences(before, now)):
            behind.append(feed.name)
    if behind:
        age_s = time.time() - path.stat().st_mtime
        yield Finding(
            "last-good-stale",
            "note",
            f"the last-good copy, {age_s:.0f} s old, is not what {', '.join(behind)} holds now",
            str(path),
            "nothing, while no service runs; else look at its health, for it has not taken the present state",
        )
