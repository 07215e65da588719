"""Single keys set in a text, so that everything else in it stays as its author wrote it: comments, order, quotes.

An edit is tried on the text, and the text is read again: it must hold exactly what was meant, or nothing is changed and
its author is asked to edit it by hand (anchors, several documents in one file, and the like).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from herz.errors import HerzError, UsageError
from herz.formats.decode import Decoded, redecode
from herz.model.key import Path, join, split
from herz.model.tree import ABSENT, Tree, differences, find, put, remove, spelled
from herz.release.content import Content, LayerText
from herz.server.edit_lines import edit_env, edit_properties, edit_toml
from herz.server.edit_yaml import Uneditable, edit_json, edit_yaml
from herz.server.problems import Problem
from herz.server.reading import SMALL, Reading

_EDITORS = {
    "yaml": edit_yaml,
    "json": edit_json,
    "toml": edit_toml,
    "properties": edit_properties,
    "env": edit_env,
}
_TEXTUAL = frozenset({"properties", "env"})
"""Formats in which every value is text."""


async def edited(reading: Reading, changes: Mapping[str, Any], layer: str | None = None) -> Content:
    """The content of `reading` with every key of `changes` set, or deleted where its value is None.

    `layer` names the layer to write to; without it a key is set in the highest layer that has it, a new one in the
    last. `UsageError` for a key or a layer that is none, a `Problem` 422 where the text cannot be edited so.
    """
    if reading.size * len(changes) <= SMALL:
        return edited_at_once(reading, changes, layer)
    return await asyncio.to_thread(edited_at_once, reading, changes, layer)


def edited_at_once(reading: Reading, changes: Mapping[str, Any], layer: str | None = None) -> Content:
    """The same, without giving way to others meanwhile."""
    layers = list(zip(reading.content.layers, reading.layers, strict=True))
    for key, value in changes.items():
        path = split(key)
        index = _index(layers, path, layer)
        layers[index] = _set(*layers[index], path, value)
    return Content(layers=tuple(text for text, _ in layers))


def _index(layers: Sequence[tuple[LayerText, Decoded]], path: Path, layer: str | None) -> int:
    if layer is not None:
        for index, (one, _) in enumerate(layers):
            if one.name == layer:
                return index
        raise UsageError(f"there is no layer {layer!r}", remedy=f"there are {', '.join(one.name for one, _ in layers)}")
    for index in range(len(layers) - 1, -1, -1):
        if find(layers[index][1].tree, path) is not ABSENT:
            return index
    return len(layers) - 1


def _set(layer: LayerText, known: Decoded, path: Path, value: Any) -> tuple[LayerText, Decoded]:
    tree = known.tree
    path = spelled(tree, path)
    if value is None and find(tree, path) is ABSENT:
        return layer, known
    meant = _text(value) if layer.format in _TEXTUAL and value is not None else value
    expected: Tree = remove(tree, path) if value is None else put(tree, path, meant)
    try:
        text = _EDITORS[layer.format](layer.text, path, meant)
        made, _ = redecode(known, text.encode())
        # A table that is left empty reads as nothing, and as an empty table; both are meant.
        if not any(map(_counts, differences(made.tree, expected))):
            return msgspec.structs.replace(layer, text=text), made
    except (Uneditable, HerzError):
        pass
    raise Problem(
        422,
        "not-editable",
        f"{join(path)} cannot be set in the text of layer {layer.name} without changing what is around it",
        where=layer.name,
        remedy="edit the text of the layer, and write the whole draft",
    ) from None


def _counts(difference: tuple[Path, Any, Any]) -> bool:
    _, before, after = difference
    return not ((before is ABSENT and after == {}) or (after is ABSENT and before == {}))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
