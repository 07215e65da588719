"""Differences between the keys of two trees, and the three-way merge that keeps what two people changed at once.

Trees are those of `herz.model.tree`: nested tables, lists are leaves. Where a key was written is asked of a locator.
Values leave here as they may be shown: those of secret keys are masked, and still tell that they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from herz.model.document import Event, replay
from herz.model.key import Path, join
from herz.model.meaning import same
from herz.model.number import WrittenFloat, integral
from herz.model.secret import MASK, Secret, SecretKeys
from herz.model.tree import ABSENT, Tree, identical, is_table, lookup
from herz.model.tree import differences as leaves_that_differ
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
    shown = _Shown(secret)
    found = sorted(leaves_that_differ(before, after), key=lambda change: change[0])
    return tuple(
        KeyDifference(
            key=join(path),
            before=shown(path, old),
            after=shown(path, new),
            before_at=_located(before_at, path, old),
            after_at=_located(after_at, path, new),
            added=old is ABSENT,
            removed=new is ABSENT,
            secret=shown.hides(path),
        )
        for path, old, new in found
        if not (by_meaning and same(old, new))
    )


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
    differently is a conflict. So is a table that one side made a value while the other changed keys under it.
    """
    shown = _Shown(secret)
    their_changes = {path: new for path, _, new in leaves_that_differ(base, theirs)}
    your_changes = {path: new for path, _, new in leaves_that_differ(base, yours)}
    collided = _collisions(their_changes, your_changes) | _collisions(your_changes, their_changes)
    disputed: dict[Path, None] = {}
    taken: list[tuple[Path, Any]] = []
    for path, new in sorted(your_changes.items(), key=lambda change: change[0]):
        above = next((path[:depth] for depth in range(1, len(path) + 1) if path[:depth] in collided), None)
        if above is not None:
            disputed[above] = None
        elif path not in their_changes:
            taken.append((path, new))
        elif not identical(their_changes[path], new):
            disputed[path] = None
    conflicts = tuple(
        MergeConflict(
            key=join(path),
            base=shown(path, lookup(base, path)),
            theirs=shown(path, lookup(theirs, path)),
            yours=shown(path, lookup(yours, path)),
            theirs_at=_located(theirs_at, path, lookup(theirs, path)),
            yours_at=_located(yours_at, path, lookup(yours, path)),
            secret=shown.hides(path),
        )
        for path in disputed
    )
    return Merged(replay(theirs, tuple(Event(path, ABSENT, new) for path, new in taken)), conflicts)


def _collisions(changes: Mapping[Path, Any], others: Mapping[Path, Any]) -> set[Path]:
    """Where `changes` put a value and `others` put one below."""
    above = {path[:depth] for path, new in others.items() if new is not ABSENT for depth in range(1, len(path))}
    return {path for path, new in changes.items() if new is not ABSENT and path in above}


def _located(located: Located | None, path: Path, value: Any) -> str | None:
    return None if located is None or value is ABSENT else located(path)


class _Shown:
    """Values as they may be shown, and as JSON takes them."""

    def __init__(self, secret: IsSecret | None) -> None:
        self.hides: Final[IsSecret] = SecretKeys().holds if secret is None else secret

    def __call__(self, path: Path, value: Any) -> Any:
        if value is ABSENT or value is None:
            return None
        if is_table(value):
            return {name: self((*path, name), inner) for name, inner in value.items()}
        if isinstance(value, Secret) or self.hides(path):
            return MASK
        if isinstance(value, list):
            return [self(path, inner) for inner in value]
        if isinstance(value, WrittenFloat):
            return integral(value) or float(value)
        return value
