"""One key set in a YAML or JSON text, by the marks that the parser gives: nothing else of the text is touched."""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

import yaml

from herz.errors import UsageError
from herz.model.key import Path, join, relaxed, split

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+%@-]*(?:[ :][A-Za-z0-9_./+%@-]+)*|\d+(?:ns|us|ms|s|m|h|d)")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

Pair: TypeAlias = tuple[yaml.Node, yaml.Node]


class Uneditable(Exception):
    """The text is written in a way in which one key cannot be set by itself."""


def edit_yaml(text: str, path: Path, value: Any) -> str:
    """`text` with `value` at `path`; None deletes."""
    return _edit(text, path, value, as_json=False)


def edit_json(text: str, path: Path, value: Any) -> str:
    """The same for JSON, which is flow style throughout."""
    return _edit(text if text.strip() else "{}\n", path, value, as_json=True)


def _edit(text: str, path: Path, value: Any, *, as_json: bool) -> str:
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise Uneditable(str(error)) from error
    if root is None or (isinstance(root, yaml.ScalarNode) and root.value == ""):
        return text if value is None else _ended(text) + _block(path, value, 0)
    if not isinstance(root, yaml.MappingNode):
        raise Uneditable("the text is no table")
    trail, rest = _descended(root, path)
    if value is None:
        return _without(text, trail)
    if not rest:
        return _replaced(text, trail[-1][1], value, as_json)
    parent = trail[-1][1][1] if trail else root
    if not isinstance(parent, yaml.MappingNode) or not (parent.value or parent.flow_style):
        return _replaced(text, trail[-1][1], _nested(rest, value), as_json)
    return _inserted(text, parent, rest, value, as_json)


def _descended(root: yaml.MappingNode, path: Path) -> tuple[list[tuple[yaml.MappingNode, Pair]], Path]:
    """The tables on the way, each with its entry that leads on, and what of the path is not there."""
    trail: list[tuple[yaml.MappingNode, Pair]] = []
    node: yaml.Node = root
    rest = path
    while rest and isinstance(node, yaml.MappingNode):
        for pair in node.value:
            segments = _segments(pair[0])
            if segments and tuple(map(relaxed, rest[: len(segments)])) == tuple(map(relaxed, segments)):
                trail.append((node, pair))
                node, rest = pair[1], rest[len(segments) :]
                break
        else:
            break
    return trail, rest


def _segments(key: yaml.Node) -> Path:
    try:
        return split(key.value) if isinstance(key, yaml.ScalarNode) and key.value else ()
    except UsageError:
        return (key.value,)


# --- replacing


def _replaced(text: str, pair: Pair, value: Any, as_json: bool) -> str:
    key, node = pair
    new = _flow(value, as_json)
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    literal = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    start, end = node.start_mark.index, _end(node)
    if block or start == end:
        after_colon = text.index(":", key.end_mark.index) + 1
        if start == end:  # `key:` with nothing behind it
            return f"{text[:after_colon]} {new}{text[after_colon:]}"
        return f"{text[:after_colon]} {new}\n{text[_line_end(text, end) :]}"
    if literal:
        return f"{text[:start]}{new}\n{text[end:]}"
    return f"{text[:start]}{new}{text[end:]}"


def _end(node: yaml.Node) -> int:
    """Where what the node says ends; a block's own mark takes in the comments behind it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1]) or int(node.value[-1][0].end_mark.index)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _line_end(text: str, at: int) -> int:
    """The beginning of the next line, seen from `at`; `at` itself where a line begins there."""
    if at and text[at - 1] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


# --- inserting


def _inserted(text: str, parent: yaml.MappingNode, rest: Path, value: Any, as_json: bool) -> str:
    if not parent.flow_style:
        indent = int(parent.value[0][0].start_mark.column)
        at = _line_end(text, max(_end(parent.value[-1][1]), parent.value[-1][0].end_mark.index))
        return f"{_ended(text[:at])}{_block(rest, value, indent)}{text[at:]}"
    entry = f"{json.dumps(join(rest[:1]), ensure_ascii=False)}: {_flow(_nested(rest[1:], value), as_json)}"
    if not parent.value:
        at = int(parent.start_mark.index) + 1
        return f"{text[:at]}{entry}{text[at:]}"
    last_key, last = parent.value[-1]
    at = int(last.end_mark.index)
    line = text[text.rfind("\n", 0, last_key.start_mark.index) + 1 : last_key.start_mark.index]
    gap = f"\n{line}" if not line.strip() and "\n" in text[: last_key.start_mark.index] else " "
    return f"{text[:at]},{gap}{entry}{text[at:]}"


def _block(path: Path, value: Any, indent: int) -> str:
    lines = [f"{' ' * (indent + 2 * depth)}{_key(segment)}:" for depth, segment in enumerate(path)]
    return "\n".join(lines) + f" {_flow(value, False)}\n"


def _key(segment: str) -> str:
    plain = join((segment,))
    return plain if _is_plain(plain) else json.dumps(plain, ensure_ascii=False)


def _nested(path: Path, value: Any) -> Any:
    for segment in reversed(path):
        value = {join((segment,)): value}  # a dot within a segment is quoted
    return value


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


# --- deleting


def _without(text: str, trail: list[tuple[yaml.MappingNode, Pair]]) -> str:
    while len(trail) > 1 and len(trail[-1][0].value) == 1:  # the table would be empty: it goes as well
        trail = trail[:-1]
    parent, (key, node) = trail[-1]
    start, end = int(key.start_mark.index), max(_end(node), int(key.end_mark.index))
    if parent.flow_style:
        before, behind = text[:start], text[end:]
        if behind.lstrip().startswith(","):
            return before + behind.lstrip()[1:].lstrip()
        return before.rstrip().removesuffix(",") + behind
    begin = text.rfind("\n", 0, start) + 1
    if text[begin:start].strip():
        raise Uneditable("the key shares its line")
    return text[:begin] + text[_line_end(text, end) :]


# --- writing values


def _flow(value: Any, as_json: bool) -> str:
    if isinstance(value, str) and not as_json and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and text.lower() not in _WORDS and ": " not in text
