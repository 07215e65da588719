"""Dependency graphs for people: as a drawing of nodes and arrows, and as a list beside it.

Keys lead to the properties that bind them, those to the objects that are built from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from herz.model.key import Path, split
from herz.release.report import Graph
from herz.server.hub import Namespace
from herz.server.impact import Impacts, Paths, rebuilt

GRAPHS: Final = 50
"""Graphs that are looked at: as many programs share a namespace."""
NODES: Final = 60
"""Nodes of one kind that are drawn; more is no picture any more."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node: `kind` is key, properties, object or instances."""

    id: str
    kind: str
    label: str


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn; an edge is the ids of its ends."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing of a program: what it is built from, or the prefix that it binds."""

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    prefix: str = ""
    instances: int = 0


async def graphs_of(impacts: Impacts, there: Namespace, names: Iterable[str] | None = None) -> list[tuple[Graph, int]]:
    """The graphs of the instances named, of all by default, and how many have each; the most frequent first."""
    reports = there.reports
    wanted = reports if names is None else [name for name in names if name in reports]
    counted = Counter(address for name in wanted if (address := reports[name].value.graph) is not None)
    found = [(await impacts.graph(address), count) for address, count in counted.most_common(GRAPHS)]
    return [(graph, count) for graph, count in found if graph is not None]


def users_of(graphs: Iterable[tuple[Graph, int]], paths: Collection[Path]) -> list[Part]:
    """The properties that one of the keys lies in, and the objects built from them, with how many instances have it."""
    counted: Counter[tuple[str, str]] = Counter()
    facts: dict[tuple[str, str], Part] = {}
    for graph, count in graphs:
        properties, objects = rebuilt(graph, paths)
        for name in properties:
            counted["properties", name] += count
            facts["properties", name] = Part(name=name, kind="properties", prefix=graph.properties[name])
        for name in objects:
            counted["object", name] += count
            facts["object", name] = Part(name=name, kind="object", needs=graph.objects[name])
    found = [msgspec.structs.replace(facts[one], instances=count) for one, count in counted.items()]
    return sorted(found, key=lambda part: (part.kind != "properties", part.name))


def parts_of(graph: Graph) -> list[Part]:
    """Everything in a graph."""
    properties = [
        Part(name=name, kind="properties", prefix=prefix) for name, prefix in sorted(graph.properties.items())
    ]
    return properties + [Part(name=name, kind="object", needs=needs) for name, needs in sorted(graph.objects.items())]


def drawing(parts: Collection[Part], keys: Collection[str] = (), instances: bool = False) -> Drawing:
    """Parts and what leads to them; with the keys that their prefixes meet, and how many instances have each."""
    shown = [part for part in parts if part.kind == "properties"][:NODES]
    shown += [part for part in parts if part.kind == "object"][:NODES]
    ids = {part.name: f"{part.kind}:{part.name}" for part in shown}
    nodes = [Node(id=ids[part.name], kind=part.kind, label=_label(part)) for part in shown]
    edges: list[tuple[str, str]] = []
    used: dict[str, None] = {}
    for part in shown:
        if part.kind == "properties":
            met = [key for key in keys if Paths([split(key)]).touch(part.prefix)]
            used.update(dict.fromkeys(met))
            edges += [(f"key:{key}", ids[part.name]) for key in met]
        edges += [(ids[need], ids[part.name]) for need in part.needs if need in ids and need != part.name]
    nodes = [Node(id=f"key:{key}", kind="key", label=key) for key in used] + nodes
    if instances:
        leading = {end for end, _ in edges}
        for count in sorted({part.instances for part in shown if ids[part.name] not in leading}):
            nodes.append(Node(id=f"instances:{count}", kind="instances", label=str(count)))
        edges += [(ids[part.name], f"instances:{part.instances}") for part in shown if ids[part.name] not in leading]
    return Drawing(nodes=tuple(nodes), edges=tuple(edges))


def _label(part: Part) -> str:
    return f"{part.name}\n{part.prefix}" if part.prefix else part.name
