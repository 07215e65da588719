"""What an instance says of itself, made from what it runs: reports, overrides, explanations, its graph. No I/O."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs

from herz.model.credentials import without_credentials
from herz.model.document import Document
from herz.model.key import Path, join
from herz.model.layer import Layer
from herz.model.meaning import Kind, same
from herz.model.secret import MASK, Secret
from herz.model.snapshot import Snapshot
from herz.model.tree import ABSENT, is_table, leaves, lookup, spelled, spelling, thaw
from herz.release.channel import ReleaseRef
from herz.release.record import encode
from herz.release.report import Explained, Graph, Override, Rehearsed, Report, SourceState, Status
from herz.sources.base import Rehearsal, Running
from herz.sources.released_content import NOTHING, Library
from herz.sources.released_link import Told
from herz.sources.released_url import Address

OVERRIDES: Final = 100
"""Keys that a report names at most,"""
TEXT: Final = 512
"""characters of a value in it,"""
ERROR: Final = 2_000
"""and of an error."""
SOURCES: Final = 32
"""Sources that are told of, and"""
SOURCES_BYTES: Final = 96 * 1024
"""bytes within which the steps of their sessions fit."""
SHORTEST: Final = 4
"""Characters below which a secret is too common a text to be searched for."""
_NUMBER: Final = re.compile(r"@(\d+)$")


class Overrides:
    """The keys of a release that a higher layer decides otherwise; found again only when one of the layers changed."""

    def __init__(self) -> None:
        self._made_of: tuple[tuple[Document, ...], tuple[Document, ...]] | None = None
        self._found: tuple[Override, ...] = ()

    def of(self, running: Running, kind_of: Callable[[Path], Kind | None]) -> tuple[Override, ...]:
        """At most `OVERRIDES` of them, in the order of their keys; values as text, secrets masked."""
        layers = running.snapshot.composed.layers
        parts = running.document.parts
        ours = [at for at, layer in enumerate(layers) if layer.document in parts]
        above = layers[ours[-1] + 1 :] if ours else ()
        made_of = (parts, tuple(layer.document for layer in above))
        if self._made_of != made_of:
            self._made_of = made_of
            mine = [layers[at] for at in ours]
            self._found = tuple(_overrides(running.snapshot, mine, above, kind_of)) if mine and above else ()
        return self._found


def _overrides(
    snapshot: Snapshot, ours: Sequence[Layer], above: Sequence[Layer], kind_of: Callable[[Path], Kind | None]
) -> Iterator[Override]:
    found: dict[str, Override] = {}
    composed = snapshot.composed
    for layer in reversed(above):  # the highest decides
        for leaf, value in leaves(layer.document.tree):
            path = spelled(composed.tree, (*layer.mount, *leaf))
            for at, released, place in _released(ours, path):
                key = join(at)
                if key in found:
                    continue
                decided = value if at == path else lookup(composed.tree, at)
                if same(released, decided, kind_of(at)):
                    continue
                found[key] = Override(
                    key=key,
                    value=text(composed.hidden(at, thaw(decided))),
                    origin=layer.document.locate(leaf),
                    released=text(composed.hidden(at, thaw(released))),
                    released_at=place,
                )
                if len(found) >= OVERRIDES:
                    return iter(sorted(found.values(), key=_key))
    return iter(sorted(found.values(), key=_key))


def _key(one: Override) -> str:
    return one.key


def _released(ours: Sequence[Layer], path: Path) -> Iterator[tuple[Path, Any, str]]:
    """What the release sets at `path`, below it, or above it with a value: each with its place."""
    for layer in reversed(ours):
        tree: Any = layer.document.tree
        here: list[str] = []
        for segment in path:
            name = spelling(tree, segment) if is_table(tree) else None
            if name is None:
                break
            here.append(name)
            tree = tree[name]
        if len(here) == len(path) and is_table(tree):
            for below, value in leaves(tree, tuple(here)):
                yield (*path, *below[len(path) :]), value, layer.document.locate(below)
            continue
        if here and not is_table(tree):
            yield path[: len(here)], tree, layer.document.locate(tuple(here))
            return


def text(value: Any) -> str:
    """`value` for people, secrets masked, not longer than `TEXT`."""
    if isinstance(value, Secret):
        return MASK
    found = value if isinstance(value, str) else _plain(value)
    return found if len(found) <= TEXT else f"{found[:TEXT]}…"


def _plain(value: Any) -> str:
    return msgspec.json.encode(_shown(value)).decode()


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _shown(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(inner) for inner in value]
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, (bool, str, int)):
        return value
    return float(value) if isinstance(value, float) else str(value)


def explained(snapshot: Snapshot, keys: Sequence[str]) -> tuple[Explained, ...]:
    """Each of `keys`: its value here, and who says so."""
    found: list[Explained] = []
    for key in keys[:OVERRIDES]:
        one = snapshot.explain(key)
        found.append(
            Explained(
                key=key,
                value=None if one.value is ABSENT else text(one.value),
                origin=None if one.winner is None else one.winner.place,
                overrode=tuple(f"{text(loser.value)} ({loser.place})" for loser in one.losers),
            )
        )
    return tuple(found)


def graph_of(described: Mapping[str, Any]) -> tuple[str, Graph]:
    """The dependency graph in what a scope says of itself, and its address."""
    graph = Graph(
        properties={one["provides"]: one["prefix"] for one in described["properties"]},
        objects={one["provides"]: (*one["depends_on"], *one["handles"]) for one in described["scoped"]},
    )
    return f"sha256:{sha256(encode(graph)).hexdigest()}", graph


class Said(NamedTuple):
    """What a report is made of besides what runs."""

    address: Address
    instance: str
    told: Told
    time: datetime
    started: datetime
    graph: str | None


def rehearsed(ref: ReleaseRef, rehearsal: Rehearsal, error: str | None) -> Rehearsed:
    """How building `ref` went; `error` is why it failed, as it may be told."""
    return Rehearsed(
        number=ref.number,
        digest=ref.digest,
        fingerprint=rehearsal.fingerprint,
        unbuilt=rehearsal.unbuilt,
        error=error,
    )


class Failures:
    """Why something failed, as text that holds none of the secrets there are: what a factory raises may hold any.

    Errors stand for a while, and are told again with each report; the texts told last are kept.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[Exception, str]] = deque(maxlen=4)

    def text(self, error: Exception | None, snapshot: Snapshot, document: Document | None) -> str | None:
        """`error` without the secrets in force and those of `document`, cut to what fits a report."""
        if error is None:
            return None
        for known, told in self._told:
            if known is error:
                return told
        found = str(error)
        for secret in sorted(_secrets(snapshot, document), key=len, reverse=True):
            found = found.replace(secret, MASK)
        found = found if len(found) <= ERROR else f"{found[:ERROR]}…"
        self._told.append((error, found))
        return found


def _secrets(snapshot: Snapshot, document: Document | None) -> set[str]:
    """The texts that must not be told, of those that are long enough to be looked for."""
    composed = snapshot.composed
    found: set[str] = set()
    for path, value in leaves(composed.tree):
        _gather(composed.hidden(path, value), found)
    for part in () if document is None else document.parts or (document,):
        for path, value in leaves(part.tree):
            _gather(composed.secrets.hidden(path, value), found)
    return {secret for secret in found if len(secret) >= SHORTEST}


def _gather(value: Any, found: set[str]) -> None:
    if isinstance(value, Secret):
        found.add(value.reveal())
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _gather(inner, found)
    elif isinstance(value, Mapping):
        for inner in value.values():
            _gather(inner, found)


def told_of(states: Sequence[SourceState], snapshot: Snapshot) -> tuple[SourceState, ...]:
    """The sources as others may read them: no secret and no credentials, every text and the whole cut to what fits."""
    texts = [state.error or "" for state in states]
    texts += [step.reason or "" for state in states for step in state.steps]
    secrets = sorted(_secrets(snapshot, None), key=len, reverse=True) if any(texts) else []

    def shown(text: str | None, most: int) -> str | None:
        if text is None:
            return None
        for secret in secrets:
            text = text.replace(secret, MASK)
        text = without_credentials(text)
        return text if len(text) <= most else f"{text[:most]}…"

    def told(state: SourceState, steps: int) -> SourceState:
        return structs.replace(
            state,
            name=shown(state.name, TEXT) or "",
            error=shown(state.error, TEXT),
            steps=tuple(structs.replace(step, reason=shown(step.reason, TEXT)) for step in state.steps[:steps]),
        )

    found: tuple[SourceState, ...] = ()
    for steps in (len(max((state.steps for state in states), key=len, default=())), 4, 2, 0):
        found = tuple(told(state, steps) for state in states[:SOURCES])
        if len(msgspec.json.encode(found)) <= SOURCES_BYTES:
            break
    return found


def report_of(
    running: Running,
    said: Said,
    library: Library,
    overrides: Sequence[Override],
    prepared: Rehearsed | None,
    failures: Failures,
) -> Report:
    """The report of what runs: `FAILED` where something newer was refused, `APPLYING` until it runs what it is told."""
    released = library.of(running.document)
    ref = None if released is None else released.ref
    wanted = said.told.pointer.release
    error = running.error if _concerns(running, wanted, library) else None
    if error is not None:
        status = Status.FAILED
    elif (wanted is None and released is NOTHING) or (wanted is not None and ref is not None and _one(wanted, ref)):
        status = Status.APPLIED
    else:
        status = Status.APPLYING
    return Report(
        instance=said.instance,
        app=said.address.app,
        namespace=said.address.namespace,
        status=status,
        time=said.time,
        patch_id=said.address.identity.patch_id,
        config_version=_number(running.document) if ref is None else ref.number,
        digest=None if ref is None else ref.digest,
        fingerprint=running.fingerprint or None,
        effective=running.snapshot.fingerprint,
        generation=running.snapshot.generation,
        error=failures.text(error, running.snapshot, running.refused),
        labels=dict(said.address.identity.labels),
        overrides=tuple(overrides),
        rehearsed=prepared,
        cohort=said.told.cohort,
        graph=said.graph,
        target=None if wanted is None else wanted.number,
        started=said.started,
    )


def _concerns(running: Running, wanted: ReleaseRef | None, library: Library) -> bool:
    """Whether what was refused is what is wanted now, and not what was wanted before."""
    refused = None if running.refused is None else library.of(running.refused)
    return refused is None or refused.ref is None or wanted is None or _one(wanted, refused.ref)


def _one(wanted: ReleaseRef, ref: ReleaseRef) -> bool:
    return (wanted.number, wanted.digest) == (ref.number, ref.digest)


def _number(document: Document) -> int | None:
    """The number of a release that is known by the names of its parts only: from the copy on disk."""
    for part in document.parts:
        if (match := _NUMBER.search(part.origin.name)) is not None:
            return int(match[1])
    return None
