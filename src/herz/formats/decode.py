"""Decoding: the bytes of a document to its tree, by its format, with positions when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import PurePath
from typing import Any, Final, Protocol, cast

from herz.errors import DocumentTooLarge, UsageError
from herz.formats.difference import Edit
from herz.formats.fault import DEFAULT, Fault, Limits, line_at
from herz.formats.incremental import redecoded
from herz.formats.pace import EDIT_S, Pace, Pause, onward
from herz.formats.pieces import LARGE, Piece, Run, Runs, Uncut
from herz.formats.settle import Unsettled
from herz.formats.text import Text
from herz.formats.written import Lines, LineTable
from herz.model.document import NO_EVENTS, Event
from herz.model.key import Path
from herz.model.tree import Tree

__all__ = ["DEFAULT", "FORMATS", "Decoded", "Limits", "decode", "format_of", "redecode"]

FORMATS: Final = ("yaml", "json", "toml", "properties", "dotenv")
_ENDINGS: Final = {
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".properties": "properties",
    ".env": "dotenv",
}
_CUTTABLE: Final = frozenset({"yaml", "json"})
_BOM: Final = b"\xef\xbb\xbf"


@lru_cache(maxsize=1024)
def format_of(filename: str) -> str | None:
    """The format that a file's name tells, None when it tells none: `app.yml`, `.env`, `.env.local`, `prod.env`."""
    name = PurePath(filename).name.lower()
    if name == ".env" or name.startswith(".env."):
        return "dotenv"
    return _ENDINGS.get(PurePath(name).suffix)


class _Format(Protocol):
    """What a format's module has."""

    def decode(self, data: bytes, limits: Limits) -> dict[str, Any]: ...
    def lines(self, data: bytes, limits: Limits) -> LineTable: ...


class _Cuttable(Protocol):
    """What those of large documents have as well."""

    def read(self, data: bytes, limits: Limits) -> tuple[dict[str, Any], bool]: ...
    def reload(
        self, data: bytes, limits: Limits, pieces: Iterable[Piece], pause: Pause
    ) -> tuple[dict[str, Any], bool, Runs]: ...
    def lines(self, data: bytes, limits: Limits, tree: dict[str, Any]) -> LineTable: ...


class _Notes:
    """What is known of a decoded document, or computed when it is first needed.

    `in_order` is the tree, where its tables are sure to have their entries in the order of the text.
    """

    __slots__ = ("in_order", "lines", "runs", "uncut")

    def __init__(self, runs: Runs | None = None, in_order: dict[str, Any] | None = None) -> None:
        self.in_order = in_order
        self.lines: Lines | None = None
        self.runs = runs
        self.uncut = False


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A document's bytes and the tree they hold; it never changes.

    `references` is whether `${` occurs in it.
    """

    tree: Tree = field(repr=False)
    references: bool
    name: str
    format: str
    _text: Text = field(repr=False)
    limits: Limits = field(default=DEFAULT, repr=False)
    _notes: _Notes = field(default_factory=_Notes, repr=False)

    @property
    def data(self) -> bytes:
        """The bytes without a byte order mark; those of a superseded document take some milliseconds."""
        return self._text.data

    def locate(self, path: Path) -> int | None:
        """The line, from 1, that the key `path` is written on; None when it is not in the document.

        The first call goes through the whole document, for positions cost more than values.
        """
        return self.lines().get(path)

    def lines(self) -> Lines:
        """The lines of all keys; computed once, when first asked for."""
        found = self._notes.lines
        if found is None:
            data, tree = self.data, self._notes.in_order
            if tree is not None:  # read already
                table = _cuttable(self.format).lines(data, self.limits, tree)
            else:
                table = _module(self.format).lines(data, self.limits) if data.strip() else {}
            found = self._notes.lines = Lines(table)
        return found

    def prepare(self) -> None:
        """Find the pieces of the document now, so that the first change need not: some 30 ms for 2 MB, with pauses."""
        _runs(self)


def decode(data: bytes, format: str, *, name: str, limits: Limits = DEFAULT, yielding: bool = False) -> Decoded:
    """The document that `data` holds.

    Raises `DocumentMalformed`, `DuplicateKey`, `KeyConflict` or `DocumentTooLarge`, with `name:line` as the
    place. A UTF-8 byte order mark is dropped; an empty document is an empty tree. `yielding` decodes piece
    by piece, with pauses in which other threads go first; it takes about twice as long.
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} is not known", remedy=f"use one of {', '.join(FORMATS)}")
    data = _admitted(data, name, limits)
    runs: Runs | None = None
    tree: dict[str, Any] | None = None
    in_order = False
    if format in _CUTTABLE and (yielding or format == "yaml") and len(data) > LARGE:
        try:
            tree, in_order, runs = _reloaded(data, format, limits, Pace() if yielding else onward)
        except (Uncut, Unsettled, Fault):
            tree = None  # read as a whole, it is either in order or described better
    if tree is None:
        try:
            if not data.strip():
                tree = {}
            elif format in _CUTTABLE:
                tree, in_order = _cuttable(format).read(data, limits)
            else:
                tree = _module(format).decode(data, limits)
        except Fault as fault:
            raise fault.error(name) from fault.__cause__
        except RecursionError:
            raise DocumentTooLarge(
                "nested too deep for the calling thread's stack", where=name, remedy="flatten the document"
            ) from None
    notes = _Notes(runs, tree if in_order else None)
    return Decoded(tree, _has_references(data), name, format, Text(data), limits, notes)


def redecode(previous: Decoded, data: bytes) -> tuple[Decoded, tuple[Event, ...] | None]:
    """The document that `data` holds now, and the leaves that changed, removals first.

    The result is what `decode` gives, and shares with `previous` what did not change. The events are None
    when the whole document had to be decoded: then compare the trees. Raises what `decode` raises.
    """
    pause = Pace(EDIT_S)
    data, old = _sized(data, previous.name, previous.limits), previous.data
    edit = Edit.between(old, data)
    if edit.start == len(old) == len(data):
        return previous, NO_EVENTS
    if not edit.keeps_text(old, data):
        _admitted(data, previous.name, previous.limits)  # says where
    runs = _runs(previous)
    if runs is not None:
        format, limits = previous.format, previous.limits

        def decoder(part: bytes, run: Run, size: int) -> tuple[dict[str, Any], list[str]]:
            return _members(format, part, run, size, limits)

        found = redecoded(previous.tree, old, data, edit, runs, decoder, pause)
        if found is not None:
            text = previous._text.edited(data, edit.start, edit.end)
            if previous.references:
                references = _has_references(data)
            else:
                references = b"${" in data[max(edit.start - 1, 0) : edit.stop + 1]
            return (
                Decoded(found.tree, references, previous.name, format, text, limits, _Notes(found.runs)),
                found.events,
            )
    decoded = decode(data, previous.format, name=previous.name, limits=previous.limits, yielding=True)
    decoded._notes.in_order = None  # who compares the trees may take over tables of `previous` (`adopt`)
    previous._text.supersede()
    return decoded, None


def _admitted(data: bytes, name: str, limits: Limits) -> bytes:
    """`data` without a byte order mark, once it is known to be small enough and UTF-8."""
    data = _sized(data, name, limits)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = line_at(data, error.start)
            column = error.start - data.rfind(b"\n", 0, error.start)
            what = f"not UTF-8: byte 0x{data[error.start]:02x} at byte {column} of the line"
            raise Fault(what, line, remedy="save the file as UTF-8").error(name) from None
    return data


def _sized(data: bytes, name: str, limits: Limits) -> bytes:
    """`data` without a byte order mark, once it is known to be small enough."""
    if len(data) > limits.max_bytes:
        raise DocumentTooLarge(
            f"the document has {len(data):,} bytes, more than the limit of {limits.max_bytes:,}",
            where=name,
            remedy="split it, or raise herz.config.limits.max-bytes",
        )
    return data.removeprefix(_BOM)


def _has_references(data: bytes) -> bool:
    """Whether `${` occurs. One letter is found by memchr; two take 1 ms a megabyte."""
    step = 1 << 20
    return b"$" in data and any(data.find(b"${", start, start + step + 1) >= 0 for start in range(0, len(data), step))


def _module(format: str) -> _Format:
    """The format's decoder, imported on first use, with what cuts its documents into pieces.

    Both while the first document is read, for which a start waits: an import that a thread has under way when the
    process forks never ends in the child, where whoever imports the same waits for ever.
    """
    if format in _CUTTABLE:
        import_module(f"herz.formats.{format}_pieces")
    return cast(_Format, import_module(f"herz.formats.{format}"))


def _cuttable(format: str) -> _Cuttable:
    return cast(_Cuttable, _module(format))


def _reloaded(data: bytes, format: str, limits: Limits, pause: Pause) -> tuple[dict[str, Any], bool, Runs]:
    return _cuttable(format).reload(data, limits, _cut(data, format, limits), pause)


def _cut(data: bytes, format: str, limits: Limits) -> Iterator[Piece]:
    if format == "json":
        from herz.formats.json_pieces import cut
    else:
        from herz.formats.yaml_pieces import cut
    return cut(data, limits)


def _runs(decoded: Decoded) -> Runs | None:
    """Where the pieces of a document are; None when it cannot be cut."""
    notes = decoded._notes
    if notes.runs is None and not notes.uncut:
        data = decoded.data
        if decoded.format in _CUTTABLE and data.strip():
            try:
                notes.runs = _reloaded(data, decoded.format, decoded.limits, Pace())[2]
            except (Uncut, Unsettled, Fault):
                notes.uncut = True
        else:
            notes.uncut = True
    return notes.runs


def _members(format: str, data: bytes, run: Run, size: int, limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """The members that a piece holds, settled, and their names as written."""
    if format == "json":
        from herz.formats import json

        return json.piece(data, limits, len(run.path) + 1)
    from herz.formats import yaml_pieces

    return yaml_pieces.piece(
        data, limits, len(run.path) + 1, indent=run.indent, first=run.start == 0, last=run.end == size
    )
