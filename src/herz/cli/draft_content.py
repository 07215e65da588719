"""What a draft is made of: from the words of a command line, from files, and from what is there already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from herz.cli.editing import format_of
from herz.cli.set import assignment
from herz.cli.values import checked
from herz.client import Draft, Namespace
from herz.errors import ConfigurationError, SourceDenied, UsageError
from herz.formats.decode import decode
from herz.formats.decode import format_of as decoded_format
from herz.model.tree import thaw
from herz.release.content import Content, LayerText

LAYER: Final = "application.yml"
"""What the first layer is called when nothing names it."""


async def begun(pay: Namespace) -> tuple[Draft, Content]:
    """The draft and its content; where there is none, the content that is live.

    `SourceDenied` where secrets are masked in it: nobody can begin from that.
    """
    draft = await pay.draft()
    content = draft.content
    if not draft.revision:
        live = (await pay.channel()).stable.release
        if live is None:
            return draft, Content()
        draft, content = Draft(base=live.number), await pay.content(live.number)
    if content.masked:
        raise SourceDenied(
            "it cannot be edited: secrets are masked in what this token may see",
            where=str(pay),
            remedy=f"use a token with {pay.app}:edit",
        )
    return draft, content


def assignments(changes: Sequence[str], unset: Sequence[str]) -> dict[str, Any]:
    """Key → value as YAML reads it, None for what is to be deleted. `UsageError` for what is neither."""
    found: dict[str, Any] = {}
    for key, text in map(assignment, changes):
        if key in found:
            raise UsageError(f"{key} is written twice in this change", remedy="name it once")
        found[key] = _value(key, text)
    for key in unset:
        if checked(key) in found:
            raise UsageError(f"{key} is written and deleted in one change", remedy="name it once")
        found[key] = None
    if not found:
        raise UsageError("nothing to change", remedy="write KEY=VALUE, or --unset KEY")
    return found


def _value(key: str, text: str) -> Any:
    if not text.strip():
        return text
    try:
        tree = decode(f"value: {text}\n".encode(), "yaml", name=key).tree
    except ConfigurationError:
        return text  # `a: b` and `[x` are texts as well
    if list(tree) != ["value"]:
        return text
    value = thaw(tree["value"])
    if value is None:
        raise UsageError(f"{key} has no value", remedy=f"--unset {key} deletes it; '\"null\"' is text")
    if not _carried(value):
        raise UsageError(f"{key}: {text} is no number that JSON carries", remedy="herz draft edit writes it")
    return value


def _carried(value: Any) -> bool:
    """Whether the value arrives as it is: JSON has no infinity."""
    if isinstance(value, dict):
        return all(map(_carried, value.values()))
    if isinstance(value, list):
        return all(map(_carried, value))
    return not isinstance(value, float) or math.isfinite(value)


def replaced(content: Content, layers: Sequence[LayerText]) -> Content:
    """`content` with `layers` in the place of those of the same names, new ones behind the others."""
    fresh = {layer.name: layer for layer in layers}
    if len(fresh) < len(layers):
        raise UsageError("two files are called the same", remedy="give each layer a name of its own")
    kept_ones = [fresh.pop(layer.name, layer) for layer in content.layers]
    return Content(layers=(*kept_ones, *fresh.values()))


def chosen(content: Content, name: str | None) -> LayerText:
    """The layer to edit: the one by that name, empty where it is new, else the only one."""
    if name is not None:
        return next((one for one in content.layers if one.name == name), LayerText(name=name, text=""))
    if len(content.layers) > 1:
        names = ", ".join(layer.name for layer in content.layers)
        raise UsageError(f"which layer? The draft has {names}", remedy="pass --layer NAME")
    return content.layers[0] if content.layers else LayerText(name=LAYER, text="")


def layer_of(content: Content, name: str) -> LayerText:
    """The layer by that name. `UsageError` when there is none."""
    for layer in content.layers:
        if layer.name == name:
            return layer
    names = ", ".join(layer.name for layer in content.layers) or "none"
    raise UsageError(f"the draft has no layer {name!r}", remedy=f"it has {names}")


def layer_in(name: str) -> LayerText:
    """The layer that a file is; its name is the file's, without folders."""
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: {error.reason}", remedy="convert it, for instance by iconv") from error
    return LayerText(name=path.name, text=text, format=format_of(name))


def schema_in(name: str) -> dict[str, Any]:
    """The JSON Schema in a file, written in JSON, YAML or TOML."""
    format = decoded_format(name)
    if format is None:
        raise UsageError(f"the name of {name} tells no format", remedy="let it end in .json or .yml")
    found = thaw(decode(Path(name).read_bytes(), format, name=name).tree)
    return dict(found)
