"""Loading configuration for one look at it: nothing is watched, built, or made on disk."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from herz.app.bootstrap import Loaded, load
from herz.app.models import Models
from herz.app.wanted import Wanted
from herz.cli.arguments import wanted_of
from herz.errors import HerzError
from herz.live.providers import Providers
from herz.merge.composition import Composition
from herz.merge.overlay import merged, trees_of
from herz.model.layer import Layer
from herz.model.secret import SecretKeys
from herz.model.snapshot import Snapshot
from herz.model.tree import Tree
from herz.sources.base import Source
from herz.sources.urls import OPTIONAL, SourceContext, source_for


def existing(spec: Any) -> Any:
    """`spec` for somebody who only looks: a store that is not there is not made."""
    if not isinstance(spec, str) or not spec.removeprefix(OPTIONAL).startswith("sqlite:"):
        return spec
    url, hash_, app = spec.partition("#")
    parts = urlsplit(url.removeprefix(OPTIONAL))
    if "create=" in parts.query or not app or not parts.path.strip("/"):
        return spec  # what is wrong with it is told as it was written
    return f"{url}{'&' if parts.query else '?'}create=false{hash_}{app}"


def make(spec: Any, *, context: SourceContext) -> Source:
    """The source that `spec` means, only to look."""
    return source_for(existing(spec), context=context)


def loaded(wanted: Wanted) -> Loaded:
    """Everything that `wanted` names, read once. `ConfigLoadError` when it cannot be."""

    async def once() -> Loaded:
        result = await load(wanted, time.monotonic, make=make)
        await close(feed.source for feed in result.feeds)
        return result

    return asyncio.run(once())


async def close(sources: Iterable[Any]) -> None:
    """Let go of what `sources` hold open."""
    for source in sources:
        holder = getattr(source, "store", source)
        if hasattr(holder, "close"):
            await holder.close()


def snapshot_of(arguments: argparse.Namespace) -> Snapshot:
    """The configuration that the command line means, merged."""
    result = loaded(wanted_of(arguments))
    revisions = {feed.name: feed.accepted.revision for feed in result.feeds}
    return Snapshot(result.composition, generation=1, revisions=revisions, epoch=0, binder=Models(Providers()))


async def written_in(spec: str, context: SourceContext) -> tuple[Tree, Composition]:
    """What one source alone holds, as written: its references are not resolved, for they may lead elsewhere."""
    source = make(spec, context=context)
    try:
        document = await source.read()
    finally:
        await close([source])
    layers = [
        Layer(part.origin.name, replace(part, references=False), rank, source.origin.name)
        for rank, part in enumerate(document.parts or (document,))
    ]
    return merged(trees_of(layers)), Composition.of(layers)


def secrets_known(arguments: argparse.Namespace) -> SecretKeys:
    """The secret keys by default and by `herz.secrets.patterns`, where there is configuration that can be loaded."""
    try:
        return loaded(wanted_of(arguments)).composition.secrets
    except HerzError:
        return SecretKeys()


def nearest(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` is probably meant to be."""
    found = get_close_matches(key, list(known), n=1, cutoff=0.7)
    return found[0] if found else None
