"""One key set in a text of lines: properties, env and TOML. What is behind a value on its line goes with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from herz.formats.decode import decode
from herz.model.key import Path, join
from herz.server.edit_yaml import Uneditable

_PROPERTY = re.compile(r"\s*((?:[^\\=: \t\f]|\\.)*[ \t]*[=:]?[ \t]*)")
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")


def edit_properties(text: str, path: Path, value: str | None) -> str:
    """`text` with `value`, which is text, at `path`; None deletes."""

    def written(old: str | None) -> str:
        found = _PROPERTY.match(old) if old else None
        name = found[1] if found else ""
        key = re.sub(r"([\\ =:#!])", r"\\\1", join(path))
        escaped = (value or "").replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
        if escaped.startswith(" "):
            escaped = "\\" + escaped
        return (name if "=" in name or ":" in name else f"{key}=") + escaped

    return _edit(text, "properties", path, value, written, continued=True)


def edit_env(text: str, path: Path, value: str | None) -> str:
    """The same for an env file."""

    def written(old: str | None) -> str:
        name = old.partition("=")[0] if old else "__".join(path).upper().replace("-", "_")
        meant = value or ""
        if re.fullmatch(r"[A-Za-z0-9_./:@%+,-]*", meant):
            return f"{name}={meant}"
        return f'{name}="' + meant.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    return _edit(text, "dotenv", path, value, written)


def edit_toml(text: str, path: Path, value: Any) -> str:
    """The same for TOML; a new key is put under the header of its table, or on top."""

    def written(old: str | None) -> str:
        name = old.partition("=")[0].rstrip() if old else ".".join(map(_toml_key, path))
        return f"{name} = {_toml(value)}"

    lines = text.splitlines(keepends=True)
    if value is None or decode(text.encode(), "toml", name="").locate(path) is not None:
        return _edit(text, "toml", path, value, written)
    for depth in range(len(path) - 1, 0, -1):
        header = ".".join(map(_toml_key, path[:depth]))
        for index, line in enumerate(lines):
            found = _HEADER.match(line)
            if found and found[1].strip() == header:
                entry = f"{'.'.join(map(_toml_key, path[depth:]))} = {_toml(value)}\n"
                return "".join([*lines[: index + 1], entry, *lines[index + 1 :]])
    first = next((index for index, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    if first and not lines[first - 1].endswith("\n"):
        lines[first - 1] += "\n"
    return "".join([*lines[:first], written(None) + "\n", *lines[first:]])


def _edit(
    text: str,
    format: str,
    path: Path,
    value: Any,
    written: Callable[[str | None], str],
    *,
    continued: bool = False,
) -> str:
    lines = text.split("\n")
    number = decode(text.encode(), format, name="").locate(path)
    if number is None:
        if value is None:
            raise Uneditable("a table has no line of its own")
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}{written(None)}\n"
    first = last = number - 1
    while continued and last + 1 < len(lines) and (len(lines[last]) - len(lines[last].rstrip("\\"))) % 2:
        last += 1
    new = [] if value is None else [written(lines[first])]
    return "\n".join([*lines[:first], *new, *lines[last + 1 :]])


def _toml_key(segment: str) -> str:
    return segment if re.fullmatch(r"[A-Za-z0-9_-]+", segment) else json.dumps(segment, ensure_ascii=False)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if value is None:
        raise Uneditable("TOML has no null")
    return json.dumps(value, ensure_ascii=False)
