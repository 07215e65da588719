"""Two people's edits of one draft put together: mine as it is typed, with the keys that the other changed set in it.

What only the other changed is taken over; what both changed differently is as it was chosen. My comments, order and
everything else of my text stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from herz.errors import RevisionExpired
from herz.model.key import Path, join
from herz.model.tree import ABSENT, differences, find, thaw
from herz.release.channel import Release
from herz.release.content import Content
from herz.release.difference import merged
from herz.server.drafts import StoredDraft
from herz.server.editing import edited_at_once
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.reading import Reading
from herz.server.stored import stored
from herz.store.plane import draft_key, release_key

WORK: Final = 2_000_000
"""Keys that the other changed, times characters of text: each is set by reading the text once; some seconds in all."""


async def put_together(
    plane: Plane, app: str, namespace: str, mine: Content, *, seen: int, base: int | None, theirs: Collection[str]
) -> tuple[Content, int]:
    """My content with what the other changed, and the revision of theirs that is in it.

    `seen` is the revision that I began from, `base` the release where that is not known any more; `theirs` are the keys
    of which theirs is taken where both changed one. A `Problem` 422 where the text cannot be edited so.
    """
    draft = await plane.desk.drafts.get(app, namespace)
    before = await _before(plane, app, namespace, seen, base if base is not None else draft.base)
    old = await plane.desk.readings.of(before)
    other = await plane.desk.readings.of(draft.content or Content())
    own = await plane.desk.readings.of(mine)
    return await asyncio.to_thread(_together, old, other, own, theirs), draft.revision


async def _before(plane: Plane, app: str, namespace: str, seen: int, base: int | None) -> Content:
    try:
        if seen > 0:
            entry = await plane.store.get(draft_key(app, namespace), revision=seen)
            if entry is not None:
                return await plane.contents.read(stored(entry, StoredDraft).digest)
    except (RevisionExpired, Problem):
        pass  # compacted, or collected
    entry = None if base is None else await plane.store.get(release_key(app, namespace, base))
    return Content() if entry is None else await plane.contents.read(stored(entry, Release).digest)


def _together(before: Reading, theirs: Reading, mine: Reading, chosen: Collection[str]) -> Content:
    disputed = {one.key for one in merged(before.tree, theirs.tree, mine.tree).conflicts}
    gone: dict[str, Path] = {}
    new: dict[str | None, dict[str, Any]] = {}
    for path, _, value in differences(before.tree, theirs.tree):
        above = next((key for depth in range(1, len(path) + 1) if (key := join(path[:depth])) in disputed), None)
        if above is not None and above not in chosen:
            continue
        if value is ABSENT:
            gone[join(path)] = path
        elif value is None:
            raise _uneditable(path)
        else:
            new.setdefault(_layer(theirs, path, mine.content), {})[join(path)] = thaw(value)
    if (len(gone) + sum(map(len, new.values()))) * mine.size > WORK:
        raise Problem(
            422,
            "not-editable",
            "they changed too many keys to set each of them in your text",
            remedy="take theirs and do your change again, or keep yours",
        )
    content = mine.content
    for _ in content.layers:  # once for each that may have a key
        reading = Reading(content)
        left = {key: None for key, path in gone.items() if find(reading.tree, path) is not ABSENT}
        if not left:
            break
        content = edited_at_once(reading, left)
    for layer, changes in new.items():
        content = edited_at_once(Reading(content), changes, layer)
    return content


def _uneditable(path: Path) -> Problem:
    return Problem(
        422,
        "not-editable",
        f"{join(path)} became null, which cannot be put together by itself",
        where=join(path),
        remedy="write it into the text yourself, then keep yours",
    )


def _layer(theirs: Reading, path: Path, mine: Content) -> str | None:
    """The layer that they wrote the key in, where mine has one of that name."""
    names = {layer.name for layer in mine.layers}
    for layer in reversed(theirs.layers):
        if find(layer.tree, path) is not ABSENT and layer.name in names:
            return layer.name
    return None
