"""Incremental decoding: a changed document costs its changed pieces.

The pieces that hold the bytes that differ are decoded in their old and their new form; their difference is
applied to the tree. This is done only where it is sure to give what a full decoding gives; wherever it is
not (a new key that merges with something elsewhere, a table that becomes empty), `None` is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from herz.formats.difference import Edit
from herz.formats.pace import Pause, onward
from herz.formats.pieces import LARGE, Run, Runs, Uncut
from herz.formats.written import segments
from herz.model.document import Event
from herz.model.key import Path
from herz.model.tree import ABSENT, Tree, differences, is_table, lookup, put, remove, spelling

Decoder: TypeAlias = Callable[[bytes, Run, int], tuple[dict[str, Any], list[str]]]
"""(bytes, where they are, size of the document) → the members settled, their names as written. `Uncut` when unsure."""


class Redecoded(NamedTuple):
    """The new tree, the leaf events (removals first), and the new runs; None when they have to be found again."""

    tree: Tree
    events: tuple[Event, ...]
    runs: Runs | None


def redecoded(
    tree: Tree, old: bytes, new: bytes, edit: Edit, runs: Runs, decoder: Decoder, pause: Pause = onward
) -> Redecoded | None:
    """What `new` makes of `tree` and `runs`, which are those of `old`; None when it has to be decoded in full."""
    start, end = edit.start, edit.end
    found = runs.around(start, end)
    if found is None:
        return None
    first, last = found
    begin, stop, path, indent = runs[first]
    stop = runs[last].end
    growth = len(new) - len(old)
    size = stop - begin + growth
    if size > 4 * LARGE or stop - begin > 4 * LARGE:
        return None
    pause()
    try:
        before, names = decoder(old[begin:stop], Run(begin, stop, path, indent), len(old))
        pause()
        after, new_names = decoder(new[begin : begin + size], Run(begin, begin + size, path, indent), len(new))
    except Uncut:
        return None
    pause()
    present = set(names)
    if any(lookup(tree, (*path, *segments(name))) is not ABSENT for name in new_names if name not in present):
        return None  # written twice, or merged with a table that is written elsewhere
    changed = _applied(tree, before, after, path)
    if changed is None:
        return None
    moved = runs.joined(first, last, growth) if size <= LARGE else None
    return Redecoded(*changed, moved)


def _applied(
    tree: Tree, before: dict[str, Any], after: dict[str, Any], path: Path
) -> tuple[Tree, tuple[Event, ...]] | None:
    """`tree` with what differs between two forms of some members of its table `path`, and the events."""
    events = [Event((*path, *at), old, new) for at, old, new in differences(before, after)]
    if any(is_table(event.before) or is_table(event.after) for event in events):
        return None
    events.sort(key=_is_addition)
    for event in events:
        if event.after is ABSENT:
            if len(lookup(tree, event.path[:-1])) == 1:
                return None  # the table goes as well, or stays empty if it is written elsewhere too
            tree = remove(tree, event.path)
        else:
            if event.before is ABSENT and not _has_room(tree, event.path):
                return None
            tree = put(tree, event.path, event.after)
    return tree, tuple(events)


def _is_addition(event: Event) -> bool:
    return event.after is not ABSENT


def _has_room(tree: Tree, path: Path) -> bool:
    """Whether `path` can be added: nothing is there, no value stands in its way, no name is spelled differently."""
    node: Any = tree
    for segment in path:
        if not is_table(node):
            return False
        if segment not in node:
            return spelling(node, segment) is None
        node = node[segment]
    return False
