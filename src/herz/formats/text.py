"""The bytes of a document; those of a superseded one are kept small, for documents of the past are kept by the hundred.

Readers hold snapshots and the history of changes holds documents, so that `file:line` can be told of any of them. An
edit leaves behind what it replaced, and reading the old bytes undoes it. A rewriting leaves the old bytes compressed.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from herz.formats.pieces import LARGE

KEYFRAME: Final = 32
"""Every so many edits the bytes are kept whole: so long is a chain of edits, in time to undo and in what it holds."""


class _Edit(NamedTuple):
    """`newer` has something else from `start` to `stop`, where `old` was."""

    newer: Text
    start: int
    stop: int
    old: bytes


class Text:
    """Bytes that never change; how they are kept does. May be read by any thread while another supersedes it."""

    __slots__ = ("_age", "_data", "_edit", "_packed")

    def __init__(self, data: bytes, before: Text | None = None) -> None:
        self._data: bytes | None = data
        self._edit: _Edit | None = None
        self._packed = b""
        self._age: int = 0 if before is None else before._age + 1

    @property
    def data(self) -> bytes:
        """The bytes; those of a superseded document take some milliseconds."""
        edits: list[_Edit] = []
        text = self
        while (data := text._data) is None and text._edit is not None:
            edits.append(text._edit)
            text = text._edit.newer
        if data is None:
            data = zlib.decompress(text._packed)
        while edits:
            _, start, stop, old = edits.pop()
            view = memoryview(data)
            data = b"".join((view[:start], old, view[stop:]))
        return data

    def edited(self, data: bytes, start: int, end: int) -> Text:
        """The text `data`, which differs from this one's bytes from `start` to `end` at most."""
        newer = Text(data, self)
        old = self._data
        if old is not None and len(old) > LARGE and newer._age % KEYFRAME:
            self._edit = _Edit(newer, start, end + len(data) - len(old), old[start:end])
            self._data = None
        return newer

    def supersede(self) -> None:
        """Keep the bytes compressed from now on. The compressing holds no GIL."""
        data = self._data
        if data is not None and len(data) > LARGE:
            self._packed = zlib.compress(data, 1)
            self._data = None
