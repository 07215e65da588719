"""How one key became what it is: its values over releases, read back from one release along those it was made from."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

import msgspec

from herz.model.key import Path, relaxed
from herz.model.tree import ABSENT, find, identical
from herz.release.channel import Release
from herz.server.origins import Shown, shown
from herz.server.plane import Plane
from herz.server.problems import Problem
from herz.server.reading import SMALL
from herz.server.sized import Sized

LIMIT_S: Final = 0.4
"""Seconds that are spent on reading back."""
MOST: Final = 200
"""Releases that are looked at."""
KEPT: Final = 20_000


class Found(NamedTuple):
    """What a key was in one content: its value and where that was written."""

    value: Any
    place: str | None

    @property
    def layer(self) -> str | None:
        """The layer that it was written in: lines move without a meaning."""
        return None if self.place is None else self.place.rpartition(":")[0] or self.place


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A value of the key, from `release`, in which it became so, up to the release `until`."""

    release: Release
    until: int
    value: Shown
    place: str | None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The values of a key, the newest first. Not `whole`: those of releases older than `oldest` were not looked at."""

    steps: tuple[Step, ...] = ()
    looked: int = 0
    oldest: int = 0
    whole: bool = True


class Pasts:
    """What keys were in contents that were looked at before; a content never changes."""

    def __init__(self) -> None:
        self._known: Sized[tuple[str, Path], Found] = Sized(KEPT, lambda _: 1)

    async def history(
        self, plane: Plane, start: Release, path: Path, *, most: int = MOST, limit_s: float = LIMIT_S
    ) -> History:
        """The values of `path` from `start` back, as far as `most` releases and `limit_s` seconds carry."""
        simple = tuple(map(relaxed, path))
        over = time.monotonic() + limit_s
        steps: list[Step] = []
        newest, present = start, await self._at(plane, start.digest, path, simple)
        became, looked = start, 1
        release = await _before(plane, start)
        while release is not None and looked < most and time.monotonic() < over:
            found = await self._at(plane, release.digest, path, simple)
            looked += 1
            if _same(found, present):
                became = release
            else:
                steps.append(_step(became, newest, path, present))
                newest = became = release
                present = found
            release = await _before(plane, release)
        steps.append(_step(became, newest, path, present))
        return History(steps=tuple(steps), looked=looked, oldest=became.number, whole=release is None)

    async def _at(self, plane: Plane, digest: str, path: Path, simple: Path) -> Found:
        known = self._known.get((digest, simple))
        if known is None:
            reading = await plane.desk.readings.of(await plane.contents.read(digest))
            value = find(reading.tree, path)
            place = None
            if value is not ABSENT:  # the first place of a large text takes a while to tell
                large = reading.size > SMALL
                place = await asyncio.to_thread(reading.locate, path) if large else reading.locate(path)
            known = Found(value, place)
            self._known.put((digest, simple), known)
        return known


async def _before(plane: Plane, release: Release) -> Release | None:
    """The release that this one was made from; that before it where nothing tells."""
    number = release.number - 1 if release.parent is None else release.parent
    if not 0 < number < release.number:
        return None
    try:
        return await plane.desk.release(release.app, release.namespace, number)
    except Problem as problem:
        if problem.status == 404:
            return None
        raise


def _same(one: Found, other: Found) -> bool:
    return one.layer == other.layer and identical(one.value, other.value)


def _step(release: Release, until: Release, path: Path, found: Found) -> Step:
    return Step(release=release, until=until.number, value=shown(path, found.value), place=found.place)
