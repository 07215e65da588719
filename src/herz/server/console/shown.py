"""Values as pages show them: what cannot be seen is made visible, and what is too long is cut.

A value comes from people. Letters that turn the direction of a line, that take no room, or that command a terminal are
written as their numbers, so that what is read is what is there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from herz.release.difference import KeyDifference, MergeConflict

SHORT: Final = 200
"""Characters of a value that are seen at once."""
LONG: Final = 20_000
"""Characters that are seen when all is asked for; nobody reads more in a table."""
ROWS: Final = 300
"""Keys of one table."""
TOGETHER: Final = 200_000
"""Characters that the values of one table have together; those behind are cut."""
_OF_THREE: Final = 300
"""Characters of a value that two people changed differently."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cs", "Cn"})
_LOOKS_OTHERWISE: Final = re.compile(r'\s.*|.*\s|true|false|null|-?\d[\d.eE+-]*|["\[{].*|', re.DOTALL)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A value: `short` is its beginning, `whole` all where that is more, `more` counts what is not shown at all."""

    short: str
    whole: str | None = None
    more: int = 0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key that differs; None is a side that does not have it."""

    key: str
    before: Shown | None
    after: Shown | None
    before_at: str | None
    after_at: str | None
    secret: bool


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that differ, and how many more there are."""

    rows: tuple[Change, ...]
    more: int

    @property
    def count(self) -> int:
        """How many keys differ."""
        return len(self.rows) + self.more


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """One key that two people changed differently."""

    key: str
    base: Shown | None
    theirs: Shown | None
    yours: Shown | None
    theirs_at: str | None
    yours_at: str | None


def visible(text: str) -> str:
    """`text` with what cannot be seen written as its number: `⟨U+202E⟩`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _seen(letter) else f"⟨U+{ord(letter):04X}⟩" for letter in text)


def _seen(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in _HIDDEN


def shown(value: Any, most: int = LONG) -> Shown:
    """A plain value, at most so much of it; a text is quoted where it could be taken for something else."""
    text = value if isinstance(value, str) and not _LOOKS_OTHERWISE.fullmatch(value[:SHORT]) else _json(value)
    if len(text) <= SHORT:
        return Shown(short=visible(text))
    if most <= SHORT:
        return Shown(short=visible(text[:SHORT]), more=len(text) - SHORT)
    return Shown(short=visible(text[:SHORT]), whole=visible(text[:most]), more=max(0, len(text) - most))


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def table(changes: Sequence[KeyDifference], most: int = ROWS) -> Table:
    """Differences as a page lists them."""
    left = TOGETHER

    def side(value: Any, there: bool) -> Shown | None:
        nonlocal left
        if not there:
            return None
        made = shown(value, min(LONG, left))
        left -= len(made.whole or made.short)
        return made

    rows = tuple(
        Change(
            key=visible(one.key),
            before=side(one.before, not one.added),
            after=side(one.after, not one.removed),
            before_at=_place(one.before_at),
            after_at=_place(one.after_at),
            secret=one.secret,
        )
        for one in changes[:most]
    )
    return Table(rows=rows, more=len(changes) - len(rows))


def disputes(conflicts: Sequence[MergeConflict]) -> tuple[Dispute, ...]:
    """Conflicts as a page lists them, at most 300. `key` is as it is written: it is sent back."""
    return tuple(
        Dispute(
            key=one.key,
            base=None if one.base is None else shown(one.base, _OF_THREE),
            theirs=None if one.theirs_at is None else shown(one.theirs, _OF_THREE),
            yours=None if one.yours_at is None else shown(one.yours, _OF_THREE),
            theirs_at=_place(one.theirs_at),
            yours_at=_place(one.yours_at),
        )
        for one in conflicts[:ROWS]
    )


def _place(at: str | None) -> str | None:
    return None if at is None else visible(at)
