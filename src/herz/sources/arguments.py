"""Command-line arguments as a source: `--herz.service.timeout=5s`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

from herz.errors import DocumentMalformed, UsageError
from herz.model.document import Locator
from herz.model.key import Path, covers, join, relaxed, split
from herz.model.origin import Origin
from herz.model.tree import Tree
from herz.sources.flat import Entry, tree_of
from herz.sources.held import HeldSource

_OPTION: Final = re.compile(r"--(?P<key>[A-Za-z][^=\s]*)(?:=(?P<value>.*))?", re.DOTALL)


class ArgumentSource(HeldSource):
    """The arguments written `--key=value`, or `--key` for true; the last one wins where a key is repeated.

    Keys are dotted (`--herz.service.timeout=5s`) and their names relaxed (`--max-retries`,
    `--max_retries`). With a `prefix` (`"herz"`) only keys under it are taken. `rest` holds, in order,
    what was not taken: other options, positional arguments, and everything from `--` on.

    Values are text and typed when they are bound. `DocumentMalformed` names an argument whose key
    cannot be read (`--a..b=1`), `KeyConflict` two that contradict. The layer is local and never changes.
    """

    local = True

    def __init__(self, arguments: Sequence[str] | None = None, prefix: str = "") -> None:
        super().__init__(Origin("arguments", "arguments"))
        taken: dict[Path, Entry] = {}
        rest: list[str] = []
        given = list(sys.argv[1:] if arguments is None else arguments)
        for position, argument in enumerate(given):
            if argument == "--":
                rest += given[position:]
                break
            entry = _entry(argument, prefix)
            if entry is None:
                rest.append(argument)
            else:
                taken[tuple(relaxed(segment) for segment in entry.path)] = entry
        self.rest: tuple[str, ...] = tuple(rest)
        self._entries = tuple(taken.values())

    def content(self) -> tuple[Tree, Locator]:
        """The tree that the arguments make."""
        return tree_of(self._entries, self.origin.name, remedy="leave one of them out")


def _entry(argument: str, prefix: str) -> Entry | None:
    match = _OPTION.fullmatch(argument)
    if match is None:
        return None
    key: str = match["key"]
    place = f"argument:--{key}"
    if prefix and not covers(prefix, key):
        return None
    try:
        path = split(key)
    except UsageError as error:
        raise DocumentMalformed(f"argument --{key}: {error.what}", where=place, remedy=error.remedy) from error
    value: Any = True if match["value"] is None else match["value"]
    return Entry(path, value, f"argument:--{join(path)}")
