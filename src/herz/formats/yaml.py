"""YAML 1.2: a fast decoder for what it is sure to read as the reference reader does, and the reference for the rest.

The fast decoder (ryaml) is used only when the text holds nothing that the two read differently, found by
comparing them on random documents. Whatever it refuses is read again by the reference, which describes the fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, cast

import ryaml

from herz.formats.fault import Fault, Limits
from herz.formats.numbered import numbered
from herz.formats.pace import Pause
from herz.formats.pieces import Piece, Runs, Uncut, assembled
from herz.formats.settle import Unsettled, settle
from herz.formats.written import LineTable, build, plain
from herz.formats.yaml_compose import written

_CONTROL: Final = bytes(code for code in range(32) if code not in b"\n\r") + b"\x7f"
_WORD: Final = rb"""(?:[A-Za-z0-9_./][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*|"[^"\\\n]*"|'[^'\n]*')"""
_KEY: Final = rb"""(?:[A-Za-z_][A-Za-z0-9_.-]*|"[^"\\\n]*"|'[^'\n]*'):[ ]+"""
_LIST_REST: Final = rb"[ ]*(?:%b(?:[ ]*,[ ]*%b)*)?[ ]*\]" % (_WORD, _WORD)
_TABLE_REST: Final = rb"[ ]*(?:%b%b(?:[ ]*,[ ]*%b%b)*)?[ ]*\}" % (_KEY, _WORD, _KEY, _WORD)
_FLOW_TABLE: Final = re.compile(rb"\{(?:(?<=[\s\[{,:?-]\{)|(?<=^\{))")
_UNUSUAL: Final = re.compile("[\x80-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# Each pattern begins with one letter, which the regular expression engine finds by memchr: 3 ms on 2 MB, not 40.
# Patterns may match more than they mean to (inside of text in quotes, say): the reference reads that piece then.
_TOKEN: Final = rb"%b(?:(?<=[\s\[{,:?-]%b)|(?<=^%b))"  # a mark where a token may begin
_ODD_MARKS: Final = tuple(
    (mark[-1:], re.compile(_TOKEN % (mark, mark, mark) + rest))
    for mark, rest in (
        (rb"&", rb"\S"),  # anchors
        (rb"\*", rb"\S"),  # aliases
        (rb"!", rb""),  # tags
        (rb"\?", rb"(?:\s|$)"),  # explicit keys
        (rb"\|", rb"[-+0-9]*[ ]*(?:#[^\n]*)?(?:\n|$)"),  # block scalars
        (rb">", rb"[-+0-9]*[ ]*(?:#[^\n]*)?(?:\n|$)"),
        (rb"\[", rb"(?!%b[ ]*(?:[,\]}\n]|$))" % _LIST_REST),  # lists and tables in flow style that are not simple
        (rb"\{", rb"(?!%b[ ]*(?:[,\]}\n]|$))" % _TABLE_REST),
    )
)
# Numbers that ryaml reads otherwise (010, +0x1, 0b1), that a double may not hold, or that are none (.inf).
_ODD_NUMBER: Final = (
    rb"(?=[-+._0-9])[-+._]*+"
    rb"(?:0[0-9]|[0-9](?:[0-9]{15}|[0-9.]*+[_eExXoObB])|(?<=_)[0-9]|(?<=_[-+.])[0-9]|(?<=\.)[iInN])"
)
_ODD_NUMBERS: Final = tuple(re.compile(rb"%b *%b" % (before, _ODD_NUMBER)) for before in (b":", b"- ", rb"\[", b","))
_ODD_LINE: Final = re.compile(rb"\n(?:---|\.\.\.|%%| *%b|[ ?:-]{400})" % _ODD_NUMBER)
_OPENING: Final = re.compile(rb"(?:[ ]*+(?:#[^\n]*+)?+\r?+\n)*+(---)[ ]*+\r?\n")
MARKER: Final = re.compile(rb"(?:\A|[\n\r])(?:---|\.\.\.|%)")
"""A line that starts or ends a document, or may."""


def decode(data: bytes, limits: Limits) -> dict[str, Any]:
    """The tree of a YAML document. Raises `Fault`."""
    return read(data, limits)[0]


def read(data: bytes, limits: Limits) -> tuple[dict[str, Any], bool]:
    """As `decode`; and whether every table is sure to have its entries in the order of the text, none expanded."""
    raw = quick(without_header(data))
    if raw is not None:
        try:
            return raw, settle(raw, limits).in_order
        except Unsettled:
            pass
    return build(written(data.decode(), limits), limits)[0], False


def members(data: bytes, limits: Limits) -> dict[str, Any]:
    """The members that some lines of a document hold, not yet settled; `Uncut` when they are no table by themselves."""
    found = quick(data)
    if found is not None:
        return found
    if MARKER.search(data):
        raise Uncut
    try:
        return cast(dict[str, Any], plain(written(data.decode(), limits), limits, 1))
    except Fault:
        raise Uncut from None


def reload(data: bytes, limits: Limits, pieces: Iterable[Piece], pause: Pause) -> tuple[dict[str, Any], bool, Runs]:
    """As `read`, from the document's `pieces`, so that no call takes long; and where they are.

    `Uncut` or `Unsettled` when that is not to be had, or not without a fault.
    """
    raw, runs = assembled(pieces, pause)
    return raw, settle(raw, limits, pause=pause).in_order, runs


def without_header(data: bytes) -> bytes:
    """`data` with the line `---` that may open a document turned into a comment; every byte keeps its place."""
    match = _OPENING.match(data)
    return data if match is None else b"%b#--%b" % (data[: match.start(1)], data[match.end(1) :])


def quick(data: bytes) -> dict[str, Any] | None:
    """The root table as the fast decoder reads it; None when it cannot, or may read it differently."""
    if not similar(data):
        return None
    try:
        raw = ryaml.loads(data.decode())  # type: ignore[attr-defined]
    except (ValueError, TypeError, RecursionError):
        return None
    return raw if type(raw) is dict else None


def similar(data: bytes) -> bool:
    """Whether both decoders read `data` alike, if they read it.

    Not so: control characters, YAML 1.1's line breaks, tabs, anchors, tags (ryaml: tables),
    merge keys, explicit keys, block scalars (differ when empty), flow style beyond simple lists and tables on
    one line, several documents, surrogate escapes, `1_000`, `010` (ryaml: text), `0b1`, `+0x1`, numbers
    that a double may not hold, and nesting by hundreds of columns.
    """
    if len(data.translate(None, _CONTROL)) != len(data):
        return False
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return False
    if not data.isascii() and _UNUSUAL.search(data.decode()):
        return False
    if any(mark in data and pattern.search(data) for mark, pattern in _ODD_MARKS):
        return False
    if (
        b"<<" in data
        or b"\\ud" in data
        or b"\\uD" in data
        or data.startswith(b"%")
        or _ODD_LINE.search(data)
        or _ODD_LINE.match(b"\n" + data[:500])
    ):
        return False
    return not any(pattern.search(data) for pattern in _ODD_NUMBERS)


def lines(data: bytes, limits: Limits, tree: dict[str, Any] | None = None) -> LineTable:
    """The line of every key of a document that `decode` took; `tree` is what `read` made of it, if that is in order."""
    plain_text = without_header(data)
    if not _FLOW_TABLE.search(data) and similar(plain_text):
        in_order = True
        if tree is None:
            tree, in_order = read(data, limits)
        if in_order:
            # Without flow style and block scalars every key is on a line of its own, in front of a colon.
            numbers = [
                number
                for number, line in enumerate(plain_text.split(b"\n"), 1)
                if (b": " in line or line.rstrip().endswith(b":")) and not line.lstrip().startswith(b"#")
            ]
            found = numbered(tree, numbers)
            if found is not None:
                return found
    return build(written(data.decode(), limits), limits)[1]
