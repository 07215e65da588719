"""What the command line prints: text for people, JSON for programs, never a secret unless asked."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from typing import Any, Final, TextIO

from herz.model.number import WrittenFloat, integral
from herz.model.secret import MASK, Secret
from herz.model.tree import ABSENT, is_table

_PLAIN_TEXT: Final = re.compile(r"[A-Za-z_/•$][^\x00-\x1f\x7f:#\"'\\]*(?:(?<! )[:#](?! )[^\x00-\x1f\x7f:#\"'\\]+)*")
_MEASURE: Final = re.compile(r"[0-9]+(?:ns|us|ms|s|m|h|d|w|[kmgt]i?b)", re.IGNORECASE)
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_COLOURS: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in a colour, where the stream is a terminal and NO_COLOR (https://no-color.org) is not set."""
    stream = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def plain(value: Any, *, reveal: bool = False) -> Any:
    """`value` as JSON can hold it: secrets masked or revealed, exact integers, dates and infinities as text."""
    if isinstance(value, Secret):
        return value.reveal() if reveal else MASK
    if is_table(value) or isinstance(value, dict):
        return {str(name): plain(inner, reveal=reveal) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, reveal=reveal) for inner in value]
    if isinstance(value, WrittenFloat):
        whole = integral(value)
        return float(value) if whole is None else whole
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """`value`, already plain, as JSON text."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print one JSON document; with `lines` on one line, at once."""
    print(as_json(value, indent=None if lines else 2), flush=lines)


def scalar(value: Any) -> str:
    """A plain scalar as YAML writes it: text that would be read as something else is quoted."""
    if isinstance(value, str) and (_MEASURE.fullmatch(value) or _reads_as_text(value)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _reads_as_text(value: str) -> bool:
    return bool(_PLAIN_TEXT.fullmatch(value)) and value.lower() not in _WORDS and value == value.strip()


def in_line(text: str) -> str:
    """The text of a stored value in a line: quoted only where it would not be seen, or not be one line."""
    return text if text.isprintable() and text == text.strip() and text else json.dumps(text, ensure_ascii=False)


def as_yaml(value: Any, indent: str = "") -> str:
    """A plain value as YAML, tables in the order of their keys."""
    if isinstance(value, dict):
        if not value:
            return f"{indent}{{}}"
        return "\n".join(_entry(f"{indent}{scalar(name)}:", inner, indent) for name, inner in sorted(value.items()))
    if isinstance(value, list):
        if not value:
            return f"{indent}[]"
        return "\n".join(_element(inner, indent) for inner in value)
    return f"{indent}{scalar(value)}"


def _entry(start: str, value: Any, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return f"{start}\n{as_yaml(value, indent + '  ')}"
    return f"{start} {as_yaml(value)}"


def _element(value: Any, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return f"{indent}- {as_yaml(value, indent + '  ').lstrip()}"
    return f"{indent}- {as_yaml(value)}"


def shown(value: Any) -> str:
    """One value in a line of text: `(none)` where there is none."""
    if value is ABSENT:
        return "(none)"
    value = plain(value)
    return as_json(value, indent=None) if isinstance(value, (dict, list)) else scalar(value)


def before_and_after(before: Any, after: Any) -> dict[str, Any]:
    """A change for JSON; a side on which there is no such key is left out, for null is a value."""
    sides = {"before": before, "after": after}
    return {side: plain(value) for side, value in sides.items() if value is not ABSENT}


def change_line(key: str, before: Any, after: Any, cause: str = "") -> str:
    """A change in a line of text: `+` added, `-` removed, `~` changed."""
    if before is ABSENT:
        line = paint(f"+ {key}: {shown(after)}", "green")
    elif after is ABSENT:
        line = paint(f"- {key}: {shown(before)}", "red")
    else:
        line = f"{paint('~', 'yellow')} {key}: {shown(before)} → {shown(after)}"
    return f"{line}  {paint(cause, 'dim')}" if cause else line
