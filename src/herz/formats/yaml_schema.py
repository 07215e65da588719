"""The YAML 1.2 core schema (section 10.3.2 of the specification): what a plain scalar means.

So `NO`, `on` and `y` are text, `010` is ten, `1e3` is a number, `1:30` and dates are text, `1_000` is text.
"""

from __future__ import annotations

import re
from typing import Final

from herz.formats.fault import Fault
from herz.model.number import number

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NOT_A_NUMBER: Final = frozenset({".nan", ".NaN", ".NAN"})
_STARTS: Final = frozenset("~nNtTfF.+-0123456789")
_TAGS: Final = "tag:yaml.org,2002:"


def plain_scalar(text: str, line: int) -> str | float | bool | None:
    """What the plain scalar `text` means. `Fault` when it is a number out of range."""
    if text and text[0] not in _STARTS:
        return text
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    try:
        if _INTEGER.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text):
            return number(text)
    except ValueError:  # beyond a double, or more digits than the interpreter converts
        raise Fault("a number is out of range", line, remedy="write it as text, in quotes") from None
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if text in _NOT_A_NUMBER:
        return float("nan")
    return text


def tagged_scalar(tag: str, text: str, line: int) -> str | float | bool | None:
    """What `text` means under a tag of the core schema. `Fault` for any other tag and for text that does not fit."""
    if tag in ("!", _TAGS + "str"):
        return text
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)
    }  # fmt: skip
    accepted = kinds.get(tag.removeprefix(_TAGS)) if tag.startswith(_TAGS) else None
    if accepted is None:
        raise unknown_tag(line)
    value = plain_scalar(text, line)
    if type(value) not in accepted and not isinstance(value, float):
        raise Fault(f"the text is no {tag.removeprefix(_TAGS)}, as its tag says", line, remedy="correct it or its tag")
    if "float" in tag and isinstance(value, int):
        return number(text)
    if isinstance(value, float) and "float" not in tag:
        raise Fault(f"the text is no {tag.removeprefix(_TAGS)}, as its tag says", line, remedy="correct it or its tag")
    return value


def unknown_tag(line: int) -> Fault:
    """A tag outside the core schema, which could only be read by running code for it.

    It is not quoted: it may be a password that begins with an exclamation mark, without quotes.
    """
    return Fault(
        "a tag is not known",
        line,
        remedy="remove it, only YAML's core tags are read; put a text that begins with ! in quotes",
    )
