"""Releases as documents: one part a layer, decoded again only where one differs from a release that is known."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import Final, NamedTuple

from herz.errors import HerzError
from herz.formats.decode import Decoded, decode, redecode
from herz.formats.fault import Limits
from herz.formats.pace import Pace, uncollected
from herz.model.document import Document, Event, Locator, Revision
from herz.model.key import Path
from herz.model.origin import Origin
from herz.model.tree import ABSENT, Tree, adopt, differences
from herz.release.channel import ReleaseRef
from herz.release.content import Content, LayerText

RELEASES: Final = 8
"""Releases that are kept decoded."""
LONG: Final = 256 * 1024
"""Characters of text above which a thread decodes it, so that questions are answered meanwhile."""
_FORMATS: Final = {"env": "dotenv"}

Events = tuple[Event, ...]


class Released(NamedTuple):
    """A release, decoded. `ref` is None for what was never released, and for nothing at all.

    `base` are the parts of the release that it was decoded from, `steps` the leaves in which each of its own differs
    from those, where that is known.
    """

    ref: ReleaseRef | None
    parts: tuple[Document, ...]
    shapes: tuple[tuple[str, str], ...] = ()
    decoded: tuple[Decoded, ...] = ()
    base: tuple[Document, ...] = ()
    steps: tuple[Events, ...] = ()

    def document(self, origin: Origin, revision: Revision) -> Document:
        """It as the source's document at `revision` of the store."""
        references = any(part.references for part in self.parts)
        return Document(origin, revision, references=references, parts=self.parts)


class Prepared(NamedTuple):
    """What is to be built ahead; `released` is None when it cannot even be read, and `error` says why."""

    ref: ReleaseRef
    released: Released | None
    error: HerzError | None = None


NOTHING: Final = Released(None, ())
"""What runs before the first release."""


class Library:
    """The releases of one namespace, called `place`, that were used last."""

    def __init__(self, origin: Origin, place: str, limits: Limits) -> None:
        self._origin, self._place, self._limits = origin, place, limits
        self._known: OrderedDict[tuple[int, str], Released] = OrderedDict()

    def of(self, document: Document) -> Released | None:
        """The release that `document` is; None when it is none of those that are known."""
        if not document.parts:
            return NOTHING if not document.tree else None
        for key, one in self._known.items():
            if one.parts == document.parts:
                self._known.move_to_end(key)
                return one
        return None

    def known(self, ref: ReleaseRef) -> Released | None:
        """The release `ref`, if it was used lately."""
        found = self._known.get((ref.number, ref.digest))
        if found is not None:
            self._known.move_to_end((ref.number, ref.digest))
        return found

    async def release(self, ref: ReleaseRef, content: Content, revision: Revision, label: str = "") -> Released:
        """The release `ref`, which holds `content`. `DocumentMalformed` with its place when it cannot be read."""
        found = self.known(ref)
        if found is not None:
            return found
        base = next(reversed(self._known.values()), NOTHING)
        label = label or str(ref.number)
        if sum(len(layer.text) for layer in content.layers) > LONG:
            found = await asyncio.to_thread(self._read, ref, content, revision, label, base)
        else:
            found = self._read(ref, content, revision, label, base)
        self._known[ref.number, ref.digest] = found
        while len(self._known) > RELEASES:
            self._known.popitem(last=False)
        return found

    def _read(self, ref: ReleaseRef, content: Content, revision: Revision, label: str, base: Released) -> Released:
        shapes = tuple((layer.name, layer.format) for layer in content.layers)
        before = dict(zip(base.shapes, base.decoded, strict=True))
        parts: list[Document] = []
        decoded: list[Decoded] = []
        steps: list[Events] = []
        for shape, layer in zip(shapes, content.layers, strict=True):
            name = f"{self._place}:{layer.name}@{label}"
            one, events = _decoded(name, layer, before.get(shape), self._limits)
            decoded.append(one)
            steps.append(events)
            parts.append(
                Document(
                    Origin(name, self._origin.kind), revision, one.tree, _locator(one, name), references=one.references
                )
            )
        same = shapes == base.shapes
        return Released(
            ref, tuple(parts), shapes, tuple(decoded), base.parts if same else (), tuple(steps) if same else ()
        )


def step(before: Released, after: Released) -> tuple[int, Events] | None:
    """Which part of `after` differs from `before`, and in which leaves; None when more than one does, or its layers."""
    if before.shapes != after.shapes or not after.parts:
        return None
    changed = [
        at for at, (old, new) in enumerate(zip(before.parts, after.parts, strict=True)) if old.tree is not new.tree
    ]
    if len(changed) > 1:
        return None
    if not changed:
        return 0, ()
    part = changed[0]
    if after.base and after.base == before.parts:
        return part, after.steps[part]
    if before.base and before.base == after.parts:
        return part, _inverted(before.steps[part])
    return part, tuple(
        Event(*one) for one in differences(before.parts[part].tree, after.parts[part].tree, pause=Pace())
    )


def _inverted(events: Events) -> Events:
    back = [Event(path, after, before) for path, before, after in events]
    back.sort(key=lambda event: event.after is not ABSENT)
    return tuple(back)


def _decoded(name: str, layer: LayerText, before: Decoded | None, limits: Limits) -> tuple[Decoded, Events]:
    data = layer.text.encode()
    with uncollected():
        if before is None or not before.tree:
            fresh = decode(data, _FORMATS.get(layer.format, layer.format), name=name, limits=limits, yielding=True)
            known: Tree = {} if before is None else before.tree
            return fresh, tuple(Event(*one) for one in differences(known, fresh.tree))
        fresh, events = redecode(replace(before, name=name), data)
        if events is None:
            assert isinstance(fresh.tree, dict)  # noqa: S101  a whole decoding makes dicts, and nobody has seen them yet
            events = tuple(Event(*one) for one in adopt(before.tree, fresh.tree, Pace()))
        return fresh, events


def _locator(decoded: Decoded, name: str) -> Locator:
    def locate(path: Path) -> str:
        line = decoded.locate(path)
        return name if line is None else f"{name}:{line}"

    return locate
