"""Documents: what one source holds at one revision, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from herz.model.key import Path, split
from herz.model.origin import Origin
from herz.model.tree import ABSENT, Tree, put, remove

Revision: TypeAlias = int
"""A source's own count of its changes: the store's revision, or the number of readings of a file."""

Locator: TypeAlias = Callable[[Path], str]
"""Where in its place a path was written: `config/app.yml:12`, `/cfg/payments@812`, `env:APP__PORT`."""


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """What a place held at `revision`, as a tree; it never changes.

    `locator` answers where a path was written, computed when asked. `references` is False when the
    document is known to hold no `${`. A source that reads several places (a folder of files) hands on
    one document whose `parts`, lowest rank first, are merged like layers; its own tree is then empty.
    """

    origin: Origin
    revision: Revision
    tree: Tree = field(default_factory=dict, repr=False)
    locator: Locator | None = field(default=None, repr=False)
    references: bool = True
    parts: tuple[Document, ...] = ()

    def locate(self, key: str | Path) -> str:
        """Where `key` was written, as `place:line` or `key@revision`; the place alone when that is not known."""
        path = split(key) if isinstance(key, str) else key
        return self.origin.name if self.locator is None else self.locator(path)


class Event(NamedTuple):
    """One leaf that changed in a source; `ABSENT` before or after where there was or is none."""

    path: Path
    before: Any
    after: Any


class Batch(NamedTuple):
    """Everything that changed in one revision, never part of it, and the document that results.

    `part` is the index in `document.parts` that the events belong to, for a source of several places. `waits` says that
    something else in the place is still refused: what says so follows at once, and nothing is over in between.
    """

    revision: Revision
    events: tuple[Event, ...]
    document: Document
    part: int = 0
    waits: bool = False


class Progress(NamedTuple):
    """Nothing changed up to `revision`: the source is current. Not `current` is a sign of life only."""

    revision: Revision
    current: bool = True


class Reset(NamedTuple):
    """The source was read again as a whole: values in between are gone. `reason` says why.

    `rewound` says that the place went back in time, or is another one: a new epoch begins. `waits` as in `Batch`.
    """

    document: Document
    reason: str = ""
    rewound: bool = False
    waits: bool = False


def replay(tree: Tree, events: tuple[Event, ...]) -> Tree:
    """`tree` after `events`, removals before additions."""
    for path, _, after in events:
        if after is ABSENT:
            tree = remove(tree, path)
    for path, _, after in events:
        if after is not ABSENT:
            tree = put(tree, path, after)
    return tree


NO_EVENTS: Final[tuple[Event, ...]] = ()
