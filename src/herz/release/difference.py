"""Differences between two texts' keys, and the three-way merge that keeps what two people changed at once.

Trees are those of `herz.model.tree`: nested tables, lists are leaves. Where a key was written is asked of a locator.
Values leave here as they may be shown: those of secret keys are masked, and still tell that they differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from herz.model.key import Path
from herz.model.tree import Tree
from herz.release.record import Record

Located: TypeAlias = Callable[[Path], str | None]
"""Where a path was written: `app.yml:12`."""
IsSecret: TypeAlias = Callable[[Path], bool]
"""Whether the value at a path must not be seen."""


class KeyDifference(Record, frozen=True, kw_only=True):
    """One key that differs. `before` and `after` are plain values, None where there is none: see `added`, `removed`."""

    key: str
    before: Any = None
    after: Any = None
    before_at: str | None = None
    after_at: str | None = None
    added: bool = False
    removed: bool = False
    secret: bool = False


class MergeConflict(Record, frozen=True, kw_only=True):
    """One key that two people changed differently from `base`; None where there is none."""

    key: str
    base: Any = None
    theirs: Any = None
    yours: Any = None
    theirs_at: str | None = None
    yours_at: str | None = None
    secret: bool = False


class Merged(NamedTuple):
    """The outcome of a three-way merge: `tree` holds theirs where there is a conflict."""

    tree: Tree
    conflicts: tuple[MergeConflict, ...]


def differences(
    before: Tree,
    after: Tree,
    *,
    before_at: Located | None = None,
    after_at: Located | None = None,
    secret: IsSecret | None = None,
    by_meaning: bool = False,
) -> tuple[KeyDifference, ...]:
    """Every key that differs, in key order. `by_meaning` leaves out those written differently that mean the same.

    `secret` tells which values are masked; None masks by Herz's own patterns.
    """
    raise NotImplementedError


def merged(
    base: Tree,
    theirs: Tree,
    yours: Tree,
    *,
    theirs_at: Located | None = None,
    yours_at: Located | None = None,
    secret: IsSecret | None = None,
) -> Merged:
    """What both changed since `base`, key by key.

    A key that one side changed is as that side left it; one that both changed alike is so; one that they changed
    differently is a conflict. A table that one side made a value while the other changed keys under it conflicts as
    well.
    """
    raise NotImplementedError
