"""How many namespaces stand, at a glance: read by the hundred, in a few transactions instead of five reads for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from herz.release.channel import Release
from herz.release.rollout import Rollout
from herz.server.drafts import Draft, draft_of
from herz.server.releases import number_in
from herz.server.rollouts.book import Counter
from herz.server.stored import stored
from herz.store.base import Entry, Get, Store, Txn
from herz.store.plane import counter_key, draft_key, release_key, rollout_counter_key, rollout_key

R = TypeVar("R")

_TOGETHER: Final = 120
"""Keys that one transaction reads; stores take 128 operations."""
_RECORDS: Final = 20
"""Rollouts that one transaction reads: they may be large."""


class Glance(Struct, frozen=True, kw_only=True):
    """The newest release and rollout of a namespace, and its draft without the content."""

    newest: Release | None
    draft: Draft | None
    rollout: Rollout | None


async def glances(store: Store, names: Sequence[tuple[str, str]]) -> tuple[Glance, ...]:
    """How each namespace stands, in the order of `names`; they need not be of one revision."""
    keys = [key(*name) for name in names for key in (draft_key, counter_key, rollout_counter_key)]
    found = await _entries(store, keys, _TOGETHER)
    drafts, counters, counted = found[0::3], found[1::3], found[2::3]
    newest = [number_in(entry) for entry in counters]
    rollout = [0 if entry is None else stored(entry, Counter).newest for entry in counted]
    releases = iter(
        await _entries(
            store, [release_key(*name, number) for name, number in zip(names, newest, strict=True) if number], _TOGETHER
        )
    )
    records = iter(
        await _entries(
            store,
            [rollout_key(*name, f"r{number}") for name, number in zip(names, rollout, strict=True) if number],
            _RECORDS,
        )
    )
    return tuple(
        Glance(
            newest=_of(next(releases), Release) if newest[at] else None,
            draft=None if (entry := drafts[at]) is None else draft_of(entry),
            rollout=_of(next(records), Rollout) if rollout[at] else None,
        )
        for at in range(len(names))
    )


def _of(entry: Entry | None, kind: type[R]) -> R | None:
    return None if entry is None else stored(entry, kind)


async def _entries(store: Store, keys: Iterable[str], together: int) -> list[Entry | None]:
    wanted = list(keys)
    found: list[Entry | None] = []
    for start in range(0, len(wanted), together):
        read = await store.txn(Txn(then=[Get(key) for key in wanted[start : start + together]]))
        found += [entries[0] if entries else None for entries in read.results]
    return found
