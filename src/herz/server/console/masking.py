"""Texts of layers as anybody may read them: values of secret keys are masked where they stand, line by line.

What is masked is decided from what the text means, and written where the parser saw it. A secret that stands elsewhere
as well, behind an anchor or in a comment, is masked there, too. When in doubt more is masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from herz.errors import HerzError, UsageError
from herz.formats.decode import Decoded, decode
from herz.model.key import Path, split
from herz.model.secret import MASK, Secret
from herz.model.tree import leaves
from herz.release.content import LayerText
from herz.server.reading import SECRETS, decoded

READ_MOST: Final = 256 * 1024
"""Characters of a layer that a page shows; who needs more fetches it."""
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HARMLESS: Final = frozenset({"tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"})
_COMMENTED: Final = re.compile(r"""([#!;]|//)(.*?)([\w.-]+)(["']?\s*[:=]\s*)(["']?[^"'\n]+)""")
_NAMED: Final = re.compile(r"[^:=]*[:=]\s*")
_TELLING: Final = 4
"""A secret of fewer characters is masked where its key stands only: it would be found everywhere."""


def masked(layer: LayerText) -> str | None:
    """The text of `layer` without its secrets; None where it is too large, or cannot be read and so not be masked."""
    if len(layer.text) > READ_MOST:
        return None
    try:
        known = decoded(layer)
    except HerzError:
        return None
    secrets = dict(_secrets(known))
    text: str | None = layer.text
    if not secrets:
        return _commented(layer.text)
    if layer.format in ("yaml", "json"):
        try:
            text = _by_marks(layer.text)
        except (yaml.YAMLError, RecursionError):
            text = _by_lines(known, secrets)
    else:
        text = _by_lines(known, secrets)
    for line in {line.strip() for values in secrets.values() for value in values for line in value.split("\n")}:
        if text is not None and len(line) >= _TELLING:
            text = text.replace(line, MASK)
    return None if text is None else _commented(text)


def _secrets(known: Decoded) -> Iterator[tuple[Path, list[str]]]:
    for path, value in leaves(known.tree):
        found = [secret.reveal() for secret in _wrapped(SECRETS.hidden(path, value))]
        if found:
            yield path, found


def _wrapped(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _wrapped(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _wrapped(inner)


def _by_marks(text: str) -> str:
    spans: dict[tuple[int, int], str] = {}
    for root in yaml.compose_all(text, Loader=_LOADER):
        _mark(root, (), False, spans, 0)
    for (start, end), new in sorted(spans.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _mark(node: yaml.Node, path: Path, secret: bool, spans: dict[tuple[int, int], str], depth: int) -> None:
    if depth > 200:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, *_segments(key))
            _mark(value, inner, secret or SECRETS.holds(inner), spans, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _mark(value, path, secret, spans, depth + 1)
    elif secret and node.tag not in _HARMLESS:
        block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        span = int(node.start_mark.index), int(node.end_mark.index)
        if span[0] < span[1]:
            spans[span] = f"{MASK}\n" if block else MASK


def _segments(key: yaml.Node) -> Path:
    try:
        return split(key.value) if isinstance(key, yaml.ScalarNode) and key.value else ()
    except UsageError:
        return (key.value,)


def _by_lines(known: Decoded, secrets: Mapping[Path, list[str]]) -> str | None:
    """Line by line: what is behind a secret key, and all that its value takes up; None where it stands nowhere."""
    lines = known.data.decode().split("\n")
    shown = list(lines)
    starts = {number for path, _ in leaves(known.tree) if (number := known.locate(path)) is not None}
    for path, values in secrets.items():
        number = known.locate(path)
        if number is None or number > len(lines):
            return None
        name = _NAMED.match(lines[number - 1])
        shown[number - 1] = (name[0] if name else "") + MASK
        if not _whole(lines[number - 1], known.format, values):
            while number < len(lines) and number + 1 not in starts:
                shown[number] = MASK if lines[number].strip() else ""
                number += 1
    return "\n".join(shown)


def _whole(line: str, format: str, values: list[str]) -> bool:
    """Whether a line by itself says all of a value; one that goes on says something else, or nothing."""
    try:
        alone = decode(line.strip().encode(), format, name="")
    except HerzError:
        return False
    said = [value if isinstance(value, str) else str(value) for _, value in leaves(alone.tree)]
    return all(value in said for value in values)


def _commented(text: str) -> str:
    """Comments that look like a secret's line are masked as one."""

    def mask(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}{found[3]}{found[4]}{MASK}" if SECRETS.names(found[3]) else found[0]

    return _COMMENTED.sub(mask, text)
