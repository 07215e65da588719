"""Environment variables as a source: `HERZ__SERVICE__TIMEOUT=5s` is `herz.service.timeout`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from herz.errors import DocumentMalformed
from herz.model.document import Locator
from herz.model.key import Path
from herz.model.origin import Origin
from herz.model.tree import Tree
from herz.sources.flat import Entry, tree_of
from herz.sources.held import HeldSource

SEPARATOR: Final = "__"


class EnvironmentSource(HeldSource):
    """The variables of `environ` whose names contain `__`, or start with `prefix`.

    `__` separates the segments of a key, which are lower-cased: `HERZ__SERVICE__MAX_RETRIES` is
    `herz.service.max_retries`, and by relaxed names `max-retries` as well. With `prefix="APP_"` only
    names that start so are taken, without the prefix, and a single segment is enough: `APP_PORT` is
    `port`. Without a prefix, names that begin with `_` are left alone: platforms own them
    (`__CF_USER_TEXT_ENCODING` on macOS).

    Values are text and typed when they are bound. `DocumentMalformed` names a variable that cannot be
    a key (`A____B`) or holds bytes that are not UTF-8; `KeyConflict` and `DuplicateKey` name both variables.
    A process's environment is not watched; `rescan` reads it again. Its layer is local.
    """

    local = True

    def __init__(self, environ: Mapping[str, str] | None = None, prefix: str = "") -> None:
        super().__init__(Origin("environment", "environment"))
        self._environ = os.environ if environ is None else environ
        self._prefix = prefix

    def content(self) -> tuple[Tree, Locator]:
        """The tree that the variables make now."""
        entries = [
            Entry(self._path(name), _text(name, value), f"env:{name}")
            for name, value in sorted(self._environ.items())
            if self._takes(name)
        ]
        return tree_of(entries, self.origin.name, remedy="unset one of them")

    def _takes(self, name: str) -> bool:
        if self._prefix:
            return name.startswith(self._prefix) and name != self._prefix
        return SEPARATOR in name and not name.startswith("_")

    def _path(self, name: str) -> Path:
        path = tuple(name[len(self._prefix) :].lower().split(SEPARATOR))
        if "" in path or any(not segment.strip("_") for segment in path):
            raise DocumentMalformed(
                f"environment variable {name} does not name a key: one of its segments is empty",
                where=f"env:{name}",
                remedy=f"separate segments with exactly two underscores, as in {self._prefix}SERVICE__TIMEOUT",
            )
        return path


def _text(name: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DocumentMalformed(
            f"environment variable {name} holds bytes that are not UTF-8",
            where=f"env:{name}",
            remedy="set it to text in UTF-8",
        ) from error
    return value
