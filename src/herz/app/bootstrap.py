"""Bootstrap: from what a user wrote to feeds that have been read, Herz's own settings among what they say."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from herz.app.feed import Feed, layers_of
from herz.app.wanted import Wanted
from herz.errors import ConfigLoadError, HerzError, SourceUnavailable
from herz.formats.fault import Limits
from herz.live.last_good import LastGood
from herz.merge.composition import Composition, locate
from herz.merge.overlay import merged, trees_of
from herz.model.document import Document
from herz.model.key import split
from herz.model.layer import Layer
from herz.model.secret import SecretKeys
from herz.model.tree import Tree
from herz.settings import Settings, read_settings
from herz.sources.arguments import ArgumentSource
from herz.sources.base import Remote, Source, close_each
from herz.sources.environment import EnvironmentSource
from herz.sources.file_patterns import WatchPaths
from herz.sources.urls import SourceContext, masked, source_for

logger = logging.getLogger("herz")

ROUNDS: Final = 8
"""How often settings may change what is read before the bootstrap gives up."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the bootstrap found: feeds with their documents, settings, and the first composition."""

    feeds: tuple[Feed, ...]
    settings: Settings
    composition: Composition
    last_good: LastGood | None


async def load(wanted: Wanted, clock: Callable[[], float], *, make: Callable[..., Source] = source_for) -> Loaded:
    """Read every source, and again as often as what was read names further ones.

    `make(spec, context=context)` makes the sources, anew in each round.

    `ConfigLoadError`, the cause chained, when a source that is not optional cannot be used and no
    last-good copy stands in.
    """
    settings = Settings(profiles=_profiles(wanted), last_good=wanted.last_good)
    for _ in range(ROUNDS):
        own: list[Source] = []
        try:
            loaded = await _round(wanted, settings, clock, partial(_made, own, make))
        except BaseException:
            await close_each(own)
            raise
        if loaded.settings == settings:
            return loaded
        await close_each(own)
        settings = loaded.settings
    raise ConfigLoadError(
        f"herz.config.import still names new sources after {ROUNDS} rounds",
        remedy="look for a file that imports itself",
    )


def _made(own: list[Source], make: Callable[..., Source], spec: Any, *, context: SourceContext) -> Source:
    """The source of `spec`; what was not given as a source is ours to close, and noted in `own`."""
    source = make(spec, context=context)
    if source is not spec:
        own.append(source)
    return source


async def _round(wanted: Wanted, settings: Settings, clock: Callable[[], float], make: Callable[..., Source]) -> Loaded:
    """What the sources that `settings` name hold, with the settings that this in turn says."""
    context = _context(wanted, settings)
    last_good = LastGood(Path(settings.last_good)) if settings.last_good else None
    feeds = [await _feed(spec, context, make, last_good, clock) for spec in _specs(wanted, settings)]
    layers = layers_of(feeds, [feed.accepted for feed in feeds])
    secrets = SecretKeys((*wanted.secret_patterns, *settings.secret_patterns))
    try:
        found = _settings(wanted, merged(trees_of(layers)), layers)
        composition = Composition.of(layers, environment=wanted.environment, secrets=secrets)
    except HerzError as error:
        raise _not_loaded(error, error.remedy) from error
    return Loaded(tuple(feeds), found, composition, last_good)


def _specs(wanted: Wanted, settings: Settings) -> list[Any]:
    """The sources, lowest rank first: as given, then what they import, then environment and command line."""
    return [
        *wanted.specs,
        *settings.imports,
        EnvironmentSource(wanted.environment, prefix=wanted.environment_prefix),
        *([ArgumentSource(wanted.arguments)] if wanted.arguments else []),
    ]


def _profiles(wanted: Wanted) -> tuple[str, ...]:
    if wanted.profiles is not None:
        return wanted.profiles
    named = wanted.environment.get("HERZ_PROFILES", "")
    return tuple(name.strip() for name in named.split(",") if name.strip())


def _settings(wanted: Wanted, tree: Tree, layers: Sequence[Layer]) -> Settings:
    found = read_settings(tree, lambda key: locate(layers, split(key)))
    return replace(
        found,
        profiles=_profiles(wanted) or found.profiles,
        last_good=wanted.last_good or found.last_good,
    )


def _context(wanted: Wanted, settings: Settings) -> SourceContext:
    bases = wanted.base_folders or (os.getcwd(),)
    return SourceContext(
        base_folders=bases,
        profiles=settings.profiles,
        limits=replace(Limits(), max_bytes=settings.max_bytes, max_depth=settings.max_depth),
        watch=WatchPaths(enabled=settings.watch_enabled, paths=settings.watch_paths, base_folders=bases),
        check_s=settings.watch_interval_s,
        environment=wanted.environment,
    )


async def _feed(
    spec: Any,
    context: SourceContext,
    make: Callable[..., Source],
    last_good: LastGood | None,
    clock: Callable[[], float],
) -> Feed:
    try:
        source = make(spec, context=context)
    except HerzError as error:
        raise ConfigLoadError(f"a source cannot be used: {error}") from error
    name = masked(source.origin.name)
    try:
        document = await source.read()
        rewound = last_good is not None and isinstance(source, Remote) and _went_back(name, document, last_good)
        return Feed(name, source, document, handled=document.revision, seen_s=clock(), rewound=rewound)
    except HerzError as error:
        if source.optional and isinstance(error, SourceUnavailable):
            return Feed(name, source, Document(source.origin, 0), seen_s=clock(), unread=True)
        copy = last_good.document(source.origin) if last_good is not None else None
        if copy is not None and last_good is not None:
            age_s = last_good.age_s()
            told = "%s; starting with the last-good copy of revision %s, %.0f s old"
            logger.warning(told, error, copy.revision, age_s)
            return Feed(name, source, copy, handled=-1, seen_s=clock() - age_s, from_last_good=True)
        remedy = error.remedy or "mend it"
        if isinstance(error, SourceUnavailable):
            written = masked(spec) if isinstance(spec, str) else name
            remedy += f"; or write optional:{written} if the application can start without it"
        raise _not_loaded(error, remedy) from error


def _went_back(name: str, document: Document, last_good: LastGood) -> bool:
    """Whether the place is behind the copy that an earlier life of this process has left; it is told loudly then."""
    copy = last_good.document(document.origin)
    if copy is None or copy.revision <= document.revision:
        return False
    logger.critical(
        "%s: REWOUND: it is at revision %s, and the last-good copy of an earlier start has %s; a new epoch begins. "
        "Was a backup restored?",
        name,
        document.revision,
        copy.revision,
    )
    return True


def _not_loaded(error: HerzError, remedy: str | None) -> ConfigLoadError:
    return ConfigLoadError(f"the configuration cannot be loaded: {error.what}", where=error.where, remedy=remedy)
