"""Files that are loaded but not watched, so that a change to them does nothing by itself."""

from __future__ import annotations

from collections.abc import Iterator

from herz.cli.doctor.examination import Examination, exposes
from herz.cli.doctor.finding import Finding


def check(examination: Examination) -> Iterator[Finding]:
    """Each file that `herz.config.watch.paths` does not cover, with the entry to add; and watching that is off."""
    refresh = exposes(examination.settings, "refresh")
    if not examination.settings.watch_enabled:
        if examination.files():
            yield Finding(
                "watching-disabled",
                "note" if refresh else "warning",
                "no file is watched: herz.config.watch.enabled is false"
                + ("" if refresh else ", and /actuator/refresh is not exposed either, so no change ever arrives"),
                examination.composition.locate(("herz", "config", "watch", "enabled")),
                "set herz.config.watch.enabled: true"
                + ("; or go on with POST /actuator/refresh after each change" if refresh else ""),
            )
        return
    for source in examination.files():
        for place in source.uncovered():
            yield Finding(
                "not-watched",
                "warning",
                f"{place} is loaded but not watched: no entry of herz.config.watch.paths covers it, "
                "so a change to it does nothing by itself",
                place,
                f"add {source.entry_for(place)} to herz.config.watch.paths"
                + ("; or POST /actuator/refresh after each change" if refresh else ""),
            )
