"""Searching the audit log: newest first, a bounded part at a time, and whatever breaks the chain on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from herz.release.record import encode
from herz.server.audit import ENTRIES, NOTHING, AuditEntry, checked, key_of
from herz.store.base import Entry, Store

PAGE: Final = 500
"""Entries that are read at once."""
SCAN: Final = 5_000
"""Entries that one search looks at; it can go on where it ended."""
SHOWN: Final = 50
"""Entries that one search finds at most."""
APART: Final = timedelta(days=1)
"""What the clocks of two servers may be apart: entries are in order, their times need not be."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. Texts are parts of what must stand there, in any case; empty ones ask for nothing."""

    actor: str = ""
    action: str = ""
    target: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    forced: bool = False

    @property
    def everything(self) -> bool:
        """Whether every entry is meant."""
        return self == Wanted()

    def holds(self, entry: AuditEntry) -> bool:
        """Whether `entry` is looked for."""
        return (
            (entry.forced or not self.forced)
            and _within(self.actor, entry.actor)
            and _within(self.action, entry.action)
            and _within(self.target, entry.target)
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
            and (not self.text or _within(self.text, encode(entry).decode()))
        )


def _within(part: str, text: str) -> bool:
    return not part or part.casefold() in text.casefold()


class Line(NamedTuple):
    """An entry by its number: None where it is missing or cannot be read. `fault` says why the chain breaks here."""

    number: int
    entry: AuditEntry | None
    fault: str | None = None

    @property
    def details(self) -> str:
        """Its details as text for people, nothing where there are none."""
        if self.entry is None or not self.entry.details:
            return ""
        return msgspec.json.format(msgspec.json.encode(self.entry.details), indent=2).decode()


class Found(NamedTuple):
    """The newest entries that are looked for, newest first, down to entry `back_to`; `more` when there are earlier."""

    lines: tuple[Line, ...]
    back_to: int
    more: bool


async def search(
    store: Store, wanted: Wanted, before: int, *, shown: int = SHOWN, scan: int = SCAN, page: int = PAGE
) -> Found:
    """Entries below number `before`. What is missing or cannot be read is always among them."""
    lines: list[Line] = []
    at = before
    end = max(1, before - scan)
    while at > end and len(lines) < shown:
        low = max(end, at - page)
        found, old = await _lines(store, low, at, wanted)
        for line in reversed(found):
            lines.append(line)
            if len(lines) == shown:
                low = line.number
                break
        at = low
        if old and len(lines) < shown:
            return Found(tuple(lines), at, False)
    return Found(tuple(lines), at, at > 1)


async def _lines(store: Store, low: int, high: int, wanted: Wanted) -> tuple[list[Line], bool]:
    """What is wanted of the entries from `low` to below `high`; and whether all of them are too old."""
    first = max(0, low - 2)  # the one before tells whether the first continues it
    read = await store.range(ENTRIES, after=key_of(first), limit=high - first - 1)
    found: list[Line] = []
    expected, previous = first + 1, NOTHING if first == 0 else None
    newest: datetime | None = None
    for one in read.entries:
        number = _number(one)
        if number >= high:
            break
        found += _gap(max(expected, low), number)
        if number != expected:
            previous = None
        entry, fault = checked(one, number, previous)
        previous, expected = None if entry is None else entry.hash, number + 1
        if entry is not None:
            newest = entry.time if newest is None else max(newest, entry.time)
        if number >= low and (entry is None or fault is not None or wanted.holds(entry)):
            found.append(Line(number, entry, fault))
    found += _gap(max(expected, low), high)
    old = wanted.since is not None and newest is not None and newest < wanted.since - APART
    return found, old


def _gap(low: int, high: int) -> Iterator[Line]:
    for number in range(low, high):
        yield Line(number, None, f"entry {number} is missing")


def _number(one: Entry) -> int:
    rest = one.key.removeprefix(ENTRIES)
    return int(rest) if rest.isdecimal() else 0


async def exported(store: Store, wanted: Wanted, until: int) -> AsyncIterator[bytes]:
    """What is wanted of the entries up to number `until` as lines of JSON, oldest first.

    An entry that is missing or cannot be read is a line with its `number` and `fault`.
    """
    for low in range(1, until + 1, PAGE):
        high = min(low + PAGE, until + 1)
        found, _ = await _lines(store, low, high, wanted)
        if found and all(line.entry is None for line in found):
            rest = await store.range(ENTRIES, after=key_of(low - 1), limit=1)
            if not rest.entries:  # the head tells of more than there is
                yield _told(found[0]._replace(fault=f"the log ends before entry {low}"))
                return
        if found:
            yield b"".join(map(_told, found))


def _told(line: Line) -> bytes:
    if line.entry is None:
        return msgspec.json.encode({"number": line.number, "fault": line.fault}) + b"\n"
    return encode(line.entry) + b"\n"
