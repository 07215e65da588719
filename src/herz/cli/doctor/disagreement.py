"""Two sources that say different things about one key, so that changes to one of them do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.cli.output import shown
from herz.merge.composition import locate
from herz.merge.overlay import merged, trees_of
from herz.model.key import Path, join
from herz.model.layer import Layer
from herz.model.meaning import same
from herz.model.tree import ABSENT, find, is_table, leaves

MOST: Final = 20
"""Keys told one by one for two sources; the others are counted."""


def check(examination: Examination) -> Iterator[Finding]:
    """Each key that two shared sources set to different meanings, and which of them wins.

    A store above files is what a store is for, so that is a note. What the environment and the command line
    override is not told: they belong to this instance.
    """
    composition = examination.composition
    kind_of = examination.application.kind_of if examination.application is not None else (lambda path: None)
    shared = [
        [layer for layer in composition.layers if layer.source == feed.name]
        for feed in examination.feeds
        if not feed.source.local
    ]
    for index, low in enumerate(shared):
        for high in shared[index + 1 :]:
            low_tree, high_tree = merged(trees_of(low)), merged(trees_of(high))
            found = [
                (path, value, find(high_tree, path))
                for path, value in leaves(low_tree)
                if _differ(value, find(high_tree, path), kind_of(path))
            ]
            for path, value, winner in sorted(found, key=lambda one: one[0])[:MOST]:
                yield _finding(examination, low, high, path, value, winner)
            if len(found) > MOST:
                yield Finding(
                    "sources-disagree",
                    _severity(low, high),
                    f"{len(found) - MOST} more keys differ between {low[0].source} and {high[0].source}, which wins",
                    low[0].source,
                    f"see them all: herz diff {low[0].source} {high[0].source}",
                )


def _differ(low: Any, high: Any, kind: Any) -> bool:
    if high is ABSENT or (is_table(low) and is_table(high)):
        return False
    return not same(low, high, kind)


def _severity(low: list[Layer], high: list[Layer]) -> Any:
    kinds = low[0].document.origin.kind, high[0].document.origin.kind
    return "note" if kinds[0] == "file" and kinds[1] != "file" else "warning"


def _finding(
    examination: Examination, low: list[Layer], high: list[Layer], path: Path, value: Any, winner: Any
) -> Finding:
    hidden = examination.composition.hidden
    loser_place, winner_place = locate(low, path), locate(high, path)
    return Finding(
        "sources-disagree",
        _severity(low, high),
        f"{join(path)}: {high[0].source} says {shown(hidden(path, winner))} ({winner_place}) and wins over "
        f"{shown(hidden(path, value))}; a change there does nothing",
        loser_place,
        f"change it at {winner_place}, or take it out of one of the two",
    )
