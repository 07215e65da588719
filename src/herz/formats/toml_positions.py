"""Where the keys of a TOML document are: the standard library's parser tells no positions.

This only finds keys; values are stepped over. It is run on documents that `tomllib` has read, or has
refused for a key, when a line is asked for.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from typing import Final

from herz.formats.written import Member, Table
from herz.model.key import Path, join

_SPACE: Final = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_KEY: Final = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_SCALAR: Final = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|'''
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ Tt][0-9:.+Zz-]+|[^\s,\]}#]+",
    re.DOTALL,
)


class _Lost(Exception):
    """The text is not what was expected; keys found so far stand."""


def written(text: str) -> Table:
    """Every key with its line, values left out (None); what lies inside of arrays is part of a value."""
    scanner = _Scanner(text)
    with suppress(_Lost):
        scanner.document()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.found = Table()
        self._line, self._counted = 1, 0

    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def document(self) -> None:
        prefix: Path | None = ()
        arrays: set[Path] = set()
        while not self._at_end():
            line = self.line()
            if self._take("[["):
                path = self._path("]]")
                if not any(path[: len(array)] == array for array in arrays):
                    self._add(path, line, table=False)
                    arrays.add(path)
                prefix = None
            elif self._take("["):
                path = self._path("]")
                prefix = None if any(path[: len(array)] == array for array in arrays) else path
                if prefix is not None:
                    self._add(path, line, table=True)
            else:
                self._entry(prefix)

    def _at_end(self) -> bool:
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.position >= len(self.text)

    def _take(self, mark: str) -> bool:
        if self.text.startswith(mark, self.position):
            self.position += len(mark)
            return True
        return False

    def _expect(self, mark: str) -> None:
        if self._at_end() or not self._take(mark):
            raise _Lost

    def _path(self, end: str) -> Path:
        path: list[str] = []
        while True:
            match = _KEY.match(self.text, self.position)
            if match is None:
                raise _Lost
            self.position = match.end()
            word = match[1]
            if word[0] in "\"'":
                try:
                    word = tomllib.loads(f"x = {word}")["x"]
                except tomllib.TOMLDecodeError:
                    raise _Lost from None
            path.append(word)
            if not match[2]:
                self._expect(end)
                return tuple(path)

    def _entry(self, prefix: Path | None) -> None:
        line = self.line()
        path = self._path("=")
        self._value(None if prefix is None else (*prefix, *path), line)

    def _value(self, path: Path | None, line: int) -> None:
        """Step over a value, noting its key and those of an inline table."""
        if self._at_end():
            raise _Lost
        if self._take("{"):
            if path is not None:
                self._add(path, line, table=True)
            while not self._closed("}"):
                self._entry(path)
        elif self._take("["):
            if path is not None:
                self._add(path, line, table=False)
            while not self._closed("]"):
                self._value(None, line)
        else:
            match = _SCALAR.match(self.text, self.position)
            if match is None:
                raise _Lost
            self.position = match.end()
            if path is not None:
                self._add(path, line, table=False)

    def _closed(self, mark: str) -> bool:
        while not self._at_end() and self._take(","):
            continue
        if self.position >= len(self.text):
            raise _Lost
        return self._take(mark)

    def _add(self, path: Path, line: int, *, table: bool) -> None:
        self.found.append(Member(join(path), line, Table() if table else None, path))
