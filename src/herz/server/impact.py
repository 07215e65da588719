"""Blast radius: what a release would change before it is one; which instances, and which of their objects.

Told from the dependency graphs that instances have left. A value that refers to a changed key (`${db.host}`) changes
with it. What a graph does not tell (an instance without one) is listed, not guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec import field

from herz.errors import DocumentMalformed, UsageError
from herz.model.key import Path, relaxed, split
from herz.model.tree import Tree, leaves
from herz.release.content import Content
from herz.release.difference import KeyDifference, differences
from herz.release.record import Record, decode
from herz.release.report import Ask, AskKind, Graph
from herz.server.asks import Asking
from herz.server.contents import Contents
from herz.server.hub import Hub, Namespace
from herz.server.problems import not_found
from herz.server.reading import Reading, Readings
from herz.store.base import Store
from herz.store.plane import graph_key

BUILD_S: Final = 30.0
"""Seconds that an instance may take for a dry build."""
_REFERENCE: Final = re.compile(r"\$\{([^}:${]+)")


class Touched(Record, frozen=True, kw_only=True):
    """One instance that would change: from which release, and what of it would be replaced (None: it is not known)."""

    instance: str
    release: int | None = None
    properties: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None


class Built(Record, frozen=True, kw_only=True):
    """How a dry build went on one instance: it is not in use."""

    instance: str
    error: str | None = None
    fingerprint: str | None = None
    rebuilt: tuple[str, ...] = ()
    unbuilt: tuple[str, ...] = ()


class Impact(Record, frozen=True, kw_only=True):
    """What would change. `objects` and `properties` say on how many instances each would be replaced.

    `changed` is against what the stable pointer says; `unknown` counts the instances that have left no graph.
    """

    digest: str
    changed: tuple[KeyDifference, ...] = ()
    instances: tuple[Touched, ...] = ()
    objects: dict[str, int] = field(default_factory=dict)
    properties: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    rehearsed: Built | None = None


class Impacts:
    """Tells impacts of contents of a store."""

    def __init__(self, store: Store, hub: Hub, contents: Contents, readings: Readings, asking: Asking) -> None:
        self._store, self._hub, self._contents, self._asking = store, hub, contents, asking
        self._readings = readings

    async def of(self, app: str, namespace: str, digest: str, dry_build: str | None = None) -> Impact:
        """What the content `digest` would change now; with `dry_build` that instance builds it meanwhile."""
        there = self._hub.namespace(app, namespace)
        if dry_build is not None and dry_build not in there.reports:
            raise not_found(f"no instance {dry_build} of {app}/{namespace} is connected", remedy="list: herz fleet")
        wanted = await self._readings.of(await self._contents.read(digest))
        stable = there.channel.stable.release
        before = await self._reading(None if stable is None else stable.digest)
        changed = differences(before.tree, wanted.tree, before_at=before.locate, after_at=wanted.locate)
        touched = await self._touched(there, digest, wanted)
        return Impact(
            digest=digest,
            changed=changed,
            instances=tuple(touched),
            objects=_counted(one.objects or () for one in touched),
            properties=_counted(one.properties or () for one in touched),
            unknown=sum(one.objects is None for one in touched),
            rehearsed=None if dry_build is None else await self._built(there, digest, dry_build),
        )

    async def _reading(self, digest: str | None) -> Reading:
        return await self._readings.of(Content() if digest is None else await self._contents.read(digest))

    async def _touched(self, there: Namespace, digest: str, wanted: Reading) -> list[Touched]:
        paths: dict[str | None, tuple[Path, ...]] = {}
        graphs: dict[str, Graph | None] = {}
        known: dict[tuple[str | None, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        found: list[Touched] = []
        for name in sorted(there.reports):
            release = there.pointer(name).release
            base = None if release is None else release.digest
            if base == digest:
                continue
            if base not in paths:
                paths[base] = changed_paths((await self._reading(base)).tree, wanted.tree)
            if not paths[base]:
                continue
            number = None if release is None else release.number
            address = there.reports[name].value.graph
            if address is not None and address not in graphs:
                graphs[address] = await self.graph(address)
            graph = None if address is None else graphs[address]
            if graph is None or address is None:
                found.append(Touched(instance=name, release=number))
                continue
            if (base, address) not in known:
                known[base, address] = rebuilt(graph, paths[base])
            properties, objects = known[base, address]
            found.append(Touched(instance=name, release=number, properties=properties, objects=objects))
        return found

    async def graph(self, address: str) -> Graph | None:
        """The dependency graph at an address; None where there is none that can be read."""
        try:
            entry = await self._store.get(graph_key(address))
            return None if entry is None else decode(entry.value, Graph, f"{entry.key}@{entry.mod_revision}")
        except (DocumentMalformed, UsageError):  # an instance may name whatever it likes
            return None

    async def _built(self, there: Namespace, digest: str, instance: str) -> Built:
        ask = Ask(nonce="", kind=AskKind.BUILD, instances=(instance,), digest=digest)
        answers = await self._asking.ask(there.app, there.name, ask, (instance,), BUILD_S)
        answer = answers.get(instance)
        if answer is None:
            return Built(instance=instance, error=f"it did not answer within {BUILD_S:g} s")
        if answer.rehearsed is None:
            return Built(instance=instance, error="it did not say how the build went")
        return Built(
            instance=instance,
            error=answer.rehearsed.error,
            fingerprint=answer.rehearsed.fingerprint,
            rebuilt=answer.rebuilt,
            unbuilt=answer.rehearsed.unbuilt,
        )


def changed_paths(before: Tree, after: Tree) -> tuple[Path, ...]:
    """The keys whose meaning changes: those that differ, and those that refer to one that does, however indirectly."""
    changed = Paths(split(one.key) for one in differences(before, after, by_meaning=True))
    references = {
        path: [split(name) for name in _REFERENCE.findall(value)]
        for path, value in leaves(after)
        if isinstance(value, str) and "${" in value
    }
    while True:
        more = [path for path, names in references.items() if path not in changed and any(map(changed.meet, names))]
        if not more:
            return tuple(changed)
        changed.add(more)


def rebuilt(graph: Graph, changed: Collection[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The properties that one of the changed keys lies in, and the objects built from them, however indirectly."""
    paths = Paths(changed)
    replaced = {name for name, prefix in graph.properties.items() if paths.touch(prefix)}
    properties = tuple(sorted(replaced))
    objects: set[str] = set()
    while True:
        more = {
            name
            for name, needs in graph.objects.items()
            if name not in objects and any(need in replaced or need in objects for need in needs)
        }
        if not more:
            return properties, tuple(sorted(objects))
        objects |= more


class Paths:
    """Keys, however they are spelled."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths: set[Path] = set()
        self._above: set[Path] = set()
        self.add(paths)

    def add(self, paths: Iterable[Path]) -> None:
        """More of them."""
        for path in map(_spelled, paths):
            self._paths.add(path)
            self._above.update(path[:length] for length in range(len(path)))

    def __contains__(self, path: Path) -> bool:
        return _spelled(path) in self._paths

    def __iter__(self) -> Iterator[Path]:
        return iter(sorted(self._paths))

    def meet(self, path: Path) -> bool:
        """Whether one of them is `path`, lies under it, or above."""
        path = _spelled(path)
        return path in self._above or any(path[:length] in self._paths for length in range(len(path) + 1))

    def touch(self, prefix: str) -> bool:
        """Whether one of them concerns what is bound at `prefix`; what is no key is bound nowhere."""
        try:
            return self.meet(split(prefix) if prefix else ())
        except UsageError:  # an instance may say whatever it likes
            return False


def _spelled(path: Path) -> Path:
    return tuple(relaxed(segment) for segment in path)


def _counted(names: Iterable[Collection[str]]) -> dict[str, int]:
    counted = Counter(name for some in names for name in some)
    return dict(sorted(counted.items()))
