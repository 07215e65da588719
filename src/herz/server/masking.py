"""Texts of layers as anybody may read them: values of secret keys are masked where they stand, line by line.

What is masked is decided from what the text means, and written where the parser saw it. A secret that stands elsewhere
as well, behind an anchor or in a comment, is masked there, too. When in doubt more is masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml
from msgspec import structs

from herz.errors import HerzError, UsageError
from herz.formats.decode import Decoded, decode
from herz.model.key import Path, split
from herz.model.secret import MASK, Secret
from herz.model.tree import leaves
from herz.release.content import Content, LayerText
from herz.server.problems import Problem
from herz.server.reading import SECRETS, decoded

READ_MOST: Final = 256 * 1024
"""Characters of a layer that is masked; of a longer one nothing is shown."""
TEXTS: Final = 512 * 1024
"""Characters of all layers of a content that are masked."""
_VALUES: Final = frozenset({"default", "const", "enum", "examples", "pattern"})
"""Keywords of a JSON Schema that say what a value is."""
_NAMED_SCHEMAS: Final = frozenset({"properties", "$defs", "definitions"})
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HARMLESS: Final = frozenset({"tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"})
_COMMENT: Final = re.compile(r"[#!;]|//")
_WORD: Final = re.compile(r"[\w.-]+")
_ASSIGNED: Final = re.compile(r"""["']?\s*[:=]\s*""")
_VALUE: Final = re.compile(r"""(["'])((?:[^"'\\]|\\.|(?!\1)["'])*)|.+""")
_BEHIND: Final = re.compile(r"\s#")
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
    if not secrets and not (layer.format == "yaml" and "&" in layer.text):
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


def masked_texts(content: Content) -> tuple[str | None, ...]:
    """The texts of its layers without their secrets; None for what cannot be masked, or is too much to be."""
    found: list[str | None] = []
    left = TEXTS
    for layer in content.layers:
        text = masked(layer) if len(layer.text) <= left else None
        left -= len(text or "")
        found.append(text)
    return tuple(found)


def masked_content(content: Content) -> Content:
    """`content` as anybody may read it: `content` itself where there is no secret in it, else one marked as masked."""
    texts = masked_texts(content)
    if all(text == layer.text for text, layer in zip(texts, content.layers, strict=True)):
        return content
    layers = (
        structs.replace(layer, text=text or "", withheld=text is None)
        for layer, text in zip(content.layers, texts, strict=True)
    )
    return Content(layers=tuple(layers), masked=True)


def masked_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema as anybody may read it: what it says that a secret is, or is unless it is given, is masked."""
    return {name: _keyword(name, inner, False) for name, inner in schema.items()}


def _keyword(name: str, value: Any, secret: bool) -> Any:
    if name in _VALUES:
        return _values(value, secret)
    if name in _NAMED_SCHEMAS and isinstance(value, dict):
        return {key: _schema(inner, secret or SECRETS.names(key)) for key, inner in value.items()}
    return _schema(value, secret)


def _schema(value: Any, secret: bool) -> Any:
    if isinstance(value, list):
        return [_schema(inner, secret) for inner in value]
    if isinstance(value, dict):
        return {name: _keyword(name, inner, secret) for name, inner in value.items()}
    return value


def _values(value: Any, secret: bool) -> Any:
    if isinstance(value, list):
        return [_values(inner, secret) for inner in value]
    if isinstance(value, dict):
        return {name: _values(inner, secret or SECRETS.names(name)) for name, inner in value.items()}
    return MASK if secret and value is not None and not isinstance(value, bool) else value


def check_unmasked(content: Content) -> None:
    """Refuse what was masked on its way out: a `Problem` 422 with the place of the first `••••`.

    Written back it would put dots in the place of secrets.
    """
    for layer in content.layers:
        line = layer.text[: layer.text.find(MASK)].count("\n") + 1 if MASK in layer.text else None
        if layer.withheld or line is not None:
            raise _masked(layer.name if line is None else f"{layer.name}:{line}")
    if content.masked:
        raise _masked(None)


def check_unmasked_values(changes: Mapping[str, Any]) -> None:
    """The same for single keys."""
    for key, value in changes.items():
        if MASK in msgspec.json.encode(value).decode():
            raise _masked(key)


def _masked(where: str | None) -> Problem:
    return Problem(
        422,
        "masked",
        f"secrets are masked in this ({MASK}), and would be lost; nothing was written",
        title="Masked, not the content itself",
        where=where,
        remedy="begin from the whole content, which the scope edit shows; set single keys; or write the secrets anew",
    )


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
        _mark(text, root, (), False, spans, 0)
    parts: list[str] = []
    at = 0
    for (start, end), new in sorted(spans.items()):
        if start >= at:
            parts += [text[at:start], new]
            at = end
    return "".join([*parts, text[at:]])


def _mark(text: str, node: yaml.Node, path: Path, secret: bool, spans: dict[tuple[int, int], str], depth: int) -> None:
    if depth > 200:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, *_segments(key))
            _mark(text, value, inner, secret or SECRETS.holds(inner), spans, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _mark(text, value, path, secret, spans, depth + 1)
    elif secret:
        block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        span = int(node.start_mark.index), int(node.end_mark.index)
        named = text[span[0] : span[1]].startswith(("&", "!"))  # it may be the secret, without quotes
        if span[0] < span[1] and (named or node.tag not in _HARMLESS):
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
    """Comments that look like a secret's line are masked as one, and those behind a secret."""
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    mark = _COMMENT.search(line)
    if mark is None:
        return line
    behind = _BEHIND.search(line, max(0, mark.start() - 1))
    parts: list[str] = []
    done = at = 0
    while (word := _WORD.search(line, at)) is not None:
        at = word.end()
        assigned = _ASSIGNED.match(line, at)
        if assigned is None or assigned.end() == len(line) or not SECRETS.names(word[0]):
            continue
        at = assigned.end()
        if line.startswith(MASK, at):
            at += len(MASK)
        elif word.start() >= mark.end() and (value := _VALUE.match(line, at)) is not None:
            parts += [line[done:at], value[1] or "", MASK]
            done = at = value.end()
        if word.start() < mark.start() and behind is not None:
            return "".join([*parts, line[done : behind.end()], f" {MASK}"])
    return "".join([*parts, line[done:]])
