"""A content as it reads: its layers decoded and merged, with the place of every key and the release fingerprint.

References (`${…}`) stay as they are written: what they mean is decided at each instance, which has an environment and
local layers. So does the release fingerprint see them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from herz.formats.decode import Decoded, decode
from herz.merge.fingerprint import fingerprint_of
from herz.merge.overlay import merged
from herz.model.key import Path
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, Tree, find, is_table, spelled
from herz.release.content import Content, LayerText

SECRETS: Final = SecretKeys()
"""What counts as a secret wherever a release is read: Herz's own patterns, for everybody the same."""
_DECODERS: Final = {"env": "dotenv"}
SMALL: Final = 64 * 1024
"""Bytes that are decoded on the event loop; more in a thread, with pauses for others."""
_KEPT: Final = 16 * 1024 * 1024
"""Bytes of text whose readings are kept; in memory they are some five times as large."""


class Reading:
    """A content, decoded and merged; lowest layer first, the last one wins."""

    __slots__ = ("_fingerprint", "content", "layers", "size", "tree")

    def __init__(self, content: Content) -> None:
        self.content = content
        self.size = size_of(content)
        self.layers = tuple(decoded(layer) for layer in content.layers)
        self.tree: Tree = merged([layer.tree for layer in self.layers if layer.tree])
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """The release fingerprint, which every instance that runs this content computes as well."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self.tree, SECRETS)
        return self._fingerprint

    def locate(self, path: Path) -> str | None:
        """Where the value in force at `path` was written, as `layer:line`; None where there is none."""
        for layer in reversed(self.layers):
            if find(layer.tree, path) is not ABSENT:
                line = layer.locate(spelled(layer.tree, path))
                return layer.name if line is None else f"{layer.name}:{line}"
        return None

    def keys(self) -> int:
        """How many keys it has."""
        return sum(1 for _ in _leaves(self.tree))


async def reading_of(content: Content) -> Reading:
    """The reading of `content`, made in a thread where it is large; `DocumentMalformed` with the place otherwise."""
    return Reading(content) if size_of(content) <= SMALL else await asyncio.to_thread(_read, content)


class Readings:
    """The readings that were needed last, so that one content is decoded once for all that is done with it."""

    def __init__(self) -> None:
        self._known: OrderedDict[Content, Reading] = OrderedDict()
        self._size = 0

    async def of(self, content: Content) -> Reading:
        """The reading of `content`, made in a thread where it is large; `DocumentMalformed` when it is none."""
        known = self._known.get(content)
        if known is not None:
            self._known.move_to_end(content)
            return known
        size = size_of(content)
        made = await reading_of(content)
        if content not in self._known and size <= _KEPT:
            self._known[content] = made
            self._size += size
            while self._size > _KEPT:
                self._size -= size_of(self._known.popitem(last=False)[0])
        return made


def _read(content: Content) -> Reading:
    made = Reading(content)
    _ = made.fingerprint
    return made


def size_of(content: Content) -> int:
    """How long its texts are together."""
    return sum(len(layer.text) for layer in content.layers)


def decoded(layer: LayerText) -> Decoded:
    """One layer, decoded; its places are called by its name."""
    large = len(layer.text) > SMALL
    return decode(layer.text.encode(), _DECODERS.get(layer.format, layer.format), name=layer.name, yielding=large)


def _leaves(tree: Any) -> Iterator[None]:
    stack = [tree]
    while stack:
        for value in stack.pop().values():
            if is_table(value) and value:
                stack.append(value)
            else:
                yield None
