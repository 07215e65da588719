"""An application: who runs which release, how its fleet stands, and its configuration, key by key with its layer."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from herz.errors import UsageError
from herz.model.key import Path, split
from herz.release.channel import STABLE, Channel, Pointer, Release
from herz.server.console.addresses import addresses
from herz.server.console.home import Fleet
from herz.server.console.pages import page
from herz.server.door.entering import enters
from herz.server.hub import Hub, Namespace
from herz.server.origins import Contribution, Origins, OriginsOf, Shown, Written
from herz.server.plane import Plane
from herz.server.rollouts.book import Book
from herz.server.tokens import Scope
from herz.store.plane import place

SHOWN: Final = 200
"""Keys of one page."""
LARGE: Final = 2_000
"""Keys that are not looked through on the event loop."""


class Pointed(msgspec.Struct, frozen=True, kw_only=True):
    """A pointer of the channel: what its cohort runs and builds, and how many instances are in it."""

    cohort: str
    pointer: Pointer
    release: Release | None
    instances: int


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is in force: what it is, who says so, what that overrode, and how many instances override it."""

    key: str
    value: Shown
    winner: Contribution | None
    losers: list[Contribution]
    overridden: int


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one page, of all that were found."""

    rows: list[Any]
    total: int
    number: int

    @property
    def first(self) -> int:
        """The number of the first row, from 1."""
        return (self.number - 1) * SHOWN + 1

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + len(self.rows) - 1

    @property
    def more(self) -> int:
        """How many come behind it."""
        return self.total - self.last


@get("/apps/{app:str}/{namespace:str}", guards=[enters(Scope.READ)])
async def application(
    request: Request[Any, Any, Any],
    plane: NamedDependency[Plane],
    app: FromPath[str],
    namespace: FromPath[str],
    q: FromQuery[str] = "",
    layer: FromQuery[str] = "",
    view: FromQuery[str] = "merged",
    release: FromQuery[str] = "",
    n: FromQuery[str] = "1",
) -> Response[str]:
    """The configuration of the stable release, or of another one, key by key."""
    there = await known(plane, app, namespace)
    channel, _ = await plane.desk.channel(app, namespace)  # whoever has just released comes here
    pointers = await _pointers(plane, app, namespace, channel, there)
    wanted = await _wanted(plane, app, namespace, channel, release)
    newest = await plane.desk.releases(app, namespace, limit=1)
    facts: dict[str, Any] = {"found": None, "layers": (), "of_layer": None, "keys": 0}
    if wanted is not None:
        origins = await origins_of(plane, wanted.digest)
        in_layers = view == "layers" and bool(origins.layers)
        chosen = layer if layer in origins.layers else (origins.layers[-1] if in_layers else "")
        facts = {
            "found": await _of_layer(origins, chosen, q, n)
            if in_layers
            else await _merged(origins, there, chosen, q, n),
            "layers": tuple(reversed(origins.layers)),
            "of_layer": chosen,
            "keys": len(origins.paths),
        }
    of = f"{app}/{namespace}"
    return page(
        request,
        "application.html",
        topics=[f"channel:{of}", f"fleet:{of}", f"rollouts:{of}", f"draft:{of}"],
        newest=newest[0] if newest else None,
        draft=await plane.desk.drafts.facts(app, namespace),
        pointers=pointers,
        fleet=Fleet.of(there),
        rollout=await plane.of(Book).newest(app, namespace),
        wanted=wanted,
        q=q,
        at=addresses(request),
        view="layers" if view == "layers" else "merged",
        chosen_release=release,
        **facts,
    )


async def known(plane: Plane, app: str, namespace: str) -> Namespace:
    """What is known of a namespace at the moment; a `Problem` 404 when nothing was ever written there."""
    place(app, namespace)
    there = plane.of(Hub).namespace(app, namespace)
    if not there.channel_revision:
        await plane.desk.overview(app, namespace)
    return there


async def origins_of(plane: Plane, digest: str) -> Origins:
    """Where the keys of a content come from."""
    reading = await plane.desk.readings.of(await plane.contents.read(digest))
    return await plane.of(OriginsOf).of(reading)


async def _pointers(plane: Plane, app: str, namespace: str, channel: Channel, there: Namespace) -> list[Pointed]:
    counted = Counter(
        cohort if cohort in channel.cohorts else STABLE for cohort in (there.cohort(name) for name in there.reports)
    )
    found = []
    for cohort, pointer in [(STABLE, channel.stable), *sorted(channel.cohorts.items())]:
        ref = pointer.release
        release = None if ref is None else await plane.desk.release(app, namespace, ref.number)
        found.append(Pointed(cohort=cohort, pointer=pointer, release=release, instances=counted[cohort]))
    return found


async def _wanted(plane: Plane, app: str, namespace: str, channel: Channel, release: str) -> Release | None:
    if release:
        return await plane.desk.release(app, namespace, number_of(release))
    ref = channel.stable.release
    return None if ref is None else await plane.desk.release(app, namespace, ref.number)


def number_of(text: str) -> int:
    """The number of a release as people write it; `UsageError` when it is none."""
    digits = text.strip().removeprefix("@")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise UsageError(f"{text[:50]!r} is no number of a release", remedy="write 13 or @13")
    return int(digits)


def page_of(text: str) -> int:
    """The number of a page; the first where it is none."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else 1


async def _merged(origins: Origins, there: Namespace, layer: str, q: str, n: str) -> Slice:
    words = q.split()
    large = len(origins.paths) > LARGE and (words or layer)
    look = partial(origins.matching, words, layer or None)
    found = await asyncio.to_thread(look) if large else look()
    number = _within(page_of(n), len(found))
    overridden = overridden_keys(there, origins)
    rows = []
    for path in found[(number - 1) * SHOWN : number * SHOWN]:
        key, said = origins.key(path), origins.contributions(path)
        count = overridden.get(origins.simple(path), 0)
        winner = said[0] if said else None
        rows.append(Effective(key=key.key, value=key.value, winner=winner, losers=said[1:], overridden=count))
    return Slice(rows=rows, total=len(found), number=number)


async def _of_layer(origins: Origins, layer: str, q: str, n: str) -> Slice:
    look = partial(origins.written, layer, q.split())
    found = await asyncio.to_thread(look) if len(origins.paths) > LARGE else look()
    number = _within(page_of(n), len(found))
    rows: list[Written] = [origins.entry(layer, path) for path in found[(number - 1) * SHOWN : number * SHOWN]]
    return Slice(rows=rows, total=len(found), number=number)


def _within(number: int, count: int) -> int:
    return min(number, max(1, -(-count // SHOWN)))


def overridden_keys(there: Namespace, origins: Origins) -> Counter[Path]:
    """On how many instances each key is decided by another layer than the release's, as they report."""
    written = Counter(one.key for report in there.reports.values() for one in report.value.overrides)
    found: Counter[Path] = Counter()
    for key, count in written.items():
        path = path_of(key)
        if path is not None:
            found[origins.simple(path)] += count
    return found


def path_of(key: str) -> Path | None:
    """The path of a key that somebody wrote; None where it is none."""
    try:
        return split(key) if key else None
    except UsageError:
        return None


PAGES: Final = (application,)
