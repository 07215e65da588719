"""`POST /actuator/refresh` answers 404, because nothing exposes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from herz.cli.doctor.examination import Examination, exposes
from herz.cli.doctor.finding import Finding
from herz.model.key import split
from herz.model.tree import ABSENT, find

KEY: Final = "management.endpoints.web.exposure.include"


def check(examination: Examination) -> Iterator[Finding]:
    """That refresh is not exposed: a warning where it is the only way for a change to arrive, else a note."""
    settings = examination.settings
    if exposes(settings, "refresh"):
        return
    needed = not settings.watch_enabled or any(source.uncovered() for source in examination.files())
    if examination.url is not None and not needed:
        return  # the service itself is asked
    written = find(examination.composition.tree, split(KEY)) is not ABSENT
    exposed = ", ".join(sorted(settings.exposure)) or "nothing"
    yield Finding(
        "refresh-not-exposed",
        "warning" if needed else "note",
        f"POST /actuator/refresh answers 404: exposed is {exposed}"
        + ("" if written else " (the default)")
        + ("; it is the only way to take up what is not watched" if needed else ""),
        examination.composition.locate(split(KEY)) if written else KEY,
        f"to use it, set {KEY}: [{', '.join(sorted({*settings.exposure, 'refresh'}))}]",
    )
