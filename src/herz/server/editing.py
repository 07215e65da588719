"""Single keys set in a text, so that everything else in it stays as its author wrote it: comments, order, quotes.

An edit is tried on the text, and the text is read again: it must hold exactly what was meant, or nothing is changed and
its author is asked to edit it by hand (anchors, several documents in one file, and the like).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from herz.errors import HerzError, UsageError
from herz.model.key import Path, join, split
from herz.model.tree import ABSENT, Tree, differences, find, put, remove, spelled
from herz.release.content import Content, LayerText
from herz.server.edit_lines import edit_env, edit_properties, edit_toml
from herz.server.edit_yaml import Uneditable, edit_json, edit_yaml
from herz.server.problems import Problem
from herz.server.reading import decoded

_EDITORS = {
    "yaml": edit_yaml,
    "json": edit_json,
    "toml": edit_toml,
    "properties": edit_properties,
    "env": edit_env,
}
_TEXTUAL = frozenset({"properties", "env"})
"""Formats in which every value is text."""
_SMALL = 64 * 1024
"""Bytes, times keys, that are edited on the event loop; more in a thread."""


async def edited(content: Content, changes: Mapping[str, Any], layer: str | None = None) -> Content:
    """`content` with every key of `changes` set, or deleted where its value is None.

    `layer` names the layer to write to; without it a key is set in the highest layer that has it, a new one in the
    last. `UsageError` for a key or a layer that is none, a `Problem` 422 where the text cannot be edited so.
    """
    if sum(len(one.text) for one in content.layers) * len(changes) <= _SMALL:
        return edited_at_once(content, changes, layer)
    return await asyncio.to_thread(edited_at_once, content, changes, layer)


def edited_at_once(content: Content, changes: Mapping[str, Any], layer: str | None = None) -> Content:
    """The same, without giving way to others meanwhile."""
    layers = list(content.layers)
    for key, value in changes.items():
        path = split(key)
        index = _index(layers, path, layer)
        layers[index] = _set(layers[index], path, value)
    return Content(layers=tuple(layers))


def _index(layers: list[LayerText], path: Path, layer: str | None) -> int:
    if layer is not None:
        for index, one in enumerate(layers):
            if one.name == layer:
                return index
        raise UsageError(f"there is no layer {layer!r}", remedy=f"there are {', '.join(one.name for one in layers)}")
    for index in range(len(layers) - 1, -1, -1):
        if find(decoded(layers[index]).tree, path) is not ABSENT:
            return index
    return len(layers) - 1


def _set(layer: LayerText, path: Path, value: Any) -> LayerText:
    tree = decoded(layer).tree
    path = spelled(tree, path)
    if value is None and find(tree, path) is ABSENT:
        return layer
    meant = _text(value) if layer.format in _TEXTUAL and value is not None else value
    expected: Tree = remove(tree, path) if value is None else put(tree, path, meant)
    try:
        made = msgspec.structs.replace(layer, text=_EDITORS[layer.format](layer.text, path, meant))
        # A table that is left empty reads as nothing, and as an empty table; both are meant.
        if not any(map(_counts, differences(decoded(made).tree, expected))):
            return made
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
