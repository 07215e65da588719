"""One reading of a table into a model: what did not fit, where it was written, what was read and what nobody knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from herz.model.key import Path, join
from herz.model.secret import MASK, Secret, SecretKeys
from herz.model.tree import ABSENT, is_table, lookup

_LONGEST_SHOWN: Final = 60
MOST_UNKNOWN: Final = 20
"""Unknown keys that are named one by one; of the others the number is."""


class Mismatch(Exception):
    """A value that is not what its field expects. It says what was expected, never the value itself."""

    def __init__(self, expected: str, *, remedy: str = "", hide: bool = False) -> None:
        self.expected = expected
        self.remedy = remedy
        self.hide = hide
        super().__init__(expected)


class Refused(Exception):
    """Something below did not fit, and its problems are reported already."""


class Reading:
    """What binding one model finds out on its way through one table.

    Paths are absolute, spelled as the table spells them; elements of lists count as segments.
    """

    __slots__ = (
        "cause",
        "elsewhere",
        "hidden",
        "place",
        "placed",
        "prefix",
        "problems",
        "read",
        "secret",
        "strays",
        "table",
        "unknown",
    )

    def __init__(
        self,
        table: Any,
        prefix: Path,
        *,
        place: Callable[[Path], str],
        secret: SecretKeys,
        elsewhere: Callable[[Path], bool] | None = None,
    ) -> None:
        self.table = table
        self.prefix = prefix
        self.place = place
        self.secret = secret
        self.elsewhere = elsewhere
        self.problems: list[str] = []
        self.unknown: list[str] = []
        self.read: set[Path] = set()
        self.strays = 0
        self.cause: BaseException | None = None
        self.placed: dict[str, str] = {}
        """The place that a line names, by the line."""
        self.hidden: list[str] = []
        """Texts that fields took as secrets; whatever the keys say, no message may show them."""

    def trial(self) -> Reading:
        """A reading of the same table whose findings count only if they are taken over with `adopt`."""
        trial = Reading(self.table, self.prefix, place=self.place, secret=self.secret, elsewhere=self.elsewhere)
        trial.hidden, trial.placed = self.hidden, self.placed
        return trial

    def adopt(self, trial: Reading) -> None:
        """Count what `trial` found."""
        self.problems += trial.problems
        self.unknown += trial.unknown
        self.strays += trial.strays
        self.read |= trial.read
        self.cause = self.cause or trial.cause

    # --- findings ---------------------------------------------------------------------------------

    def mismatch(self, path: Path, fault: Mismatch, value: Any) -> None:
        """Report that `value` at `path` is not what was expected."""
        shown = MASK if fault.hide or self.hides(path, value) else describe(value)
        self.problem(path, f"expected {fault.expected}, got {shown}", fault.remedy)

    def problem(self, path: Path, what: str, remedy: str = "") -> None:
        """Report `what` about the key at `path`, with the place where it, or the nearest table above, was written."""
        self.problems.append(self.line(path, what, remedy))

    def missing(self, path: Path, expected: str) -> None:
        """Report that a required key is not set, and where to add it."""
        if path[:-1] and self._written(path[:-1]):
            remedy = f"add {join(path[-1:])} under {join(path[:-1])}"
        else:
            remedy = f"add {join(path)} to the configuration"
        self.problem(path, f"missing, expected {expected}", remedy)

    def unknown_key(self, path: Path, nearest: str | None, *, forbidden: bool = False) -> None:
        """Report that nothing reads the key at `path`, with the nearest known name; a problem if it is forbidden.

        A model at the root shares the tree with everybody else, so only what looks like a typing error counts there.
        After the first few the rest is only counted: a table of thousands is no list of typing errors.
        """
        if nearest is None and len(path) == 1:
            return
        if self.elsewhere is not None and self.elsewhere(path):
            return
        self.strays += 1
        if self.strays > MOST_UNKNOWN:
            return
        advice = "" if nearest is None else f", did you mean '{nearest}'?"
        (self.problems if forbidden else self.unknown).append(self.line(path, f"unknown key{advice}"))

    # --- words ------------------------------------------------------------------------------------

    def line(self, path: Path, what: str, remedy: str = "") -> str:
        """`key: what (place); remedy`, free of every secret of the table."""
        key, place = join(path), ""
        here = path
        while not place and len(here) >= max(len(self.prefix), 1):
            place = self._written(here)
            here = here[:-1]
        text = f"{key}: {what}" if key else what
        if place:
            text += f" ({place})"
        text = f"{text}; {remedy}" if remedy else text
        if place:
            self.placed[text] = place
        return text

    def _written(self, path: Path) -> str:
        """Where `path` was written; empty when it was not."""
        found = lookup(self.table, path[len(self.prefix) :])
        return "" if found is ABSENT or (is_table(found) and not found) else self.place(path)

    def hides(self, path: Path, value: Any = None) -> bool:
        """Whether the value at `path` must not be shown."""
        return type(value) is Secret or self.secret.holds(tuple(part for part in path if not part.isdecimal()))

    def scrubbed(self, text: str) -> str:
        """`text`, which others wrote, with every secret of this table masked, however it is quoted."""
        spellings: set[str] = set()
        for plain in (*self._secrets(self.table), *self.hidden):
            quoted = (repr(plain), json.dumps(plain), json.dumps(plain, ensure_ascii=False))
            spellings |= {plain, *(literal[1:-1] for literal in quoted)}
        for spelling in sorted(spellings - {""}, key=len, reverse=True):
            text = text.replace(spelling, MASK)
        return text

    def _secrets(self, value: Any, path: Path = ()) -> Iterable[str]:
        if is_table(value):
            for name, inner in value.items():
                yield from self._secrets(inner, (*path, name))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from self._secrets(inner, (*path, str(index)))
        elif self.hides((*self.prefix, *path), value):
            yield from texts(value)

    def trustworthy(self, error: BaseException) -> bool:
        """Whether `error` and everything chained to it is free of secrets and of pydantic's echo of its input."""
        seen: set[int] = set()
        pending: list[BaseException | None] = [error]
        while pending:
            link = pending.pop()
            if link is None or id(link) in seen:
                continue
            seen.add(id(link))
            text = f"{link!s} {link!r} {' '.join(getattr(link, '__notes__', ()))}"
            if hasattr(link, "errors") or self.scrubbed(text) != text:
                return False
            pending += [link.__cause__, link.__context__]
        return True


def texts(value: Any) -> Iterable[str]:
    """Every text in `value`, revealed: what must not appear in a message about it."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from texts(inner)
    elif is_table(value):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def describe(value: Any) -> str:
    """`value` as a message shows it: JSON for scalars, shortened; tables and lists by name."""
    if is_table(value):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, (bool, str)):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _LONGEST_SHOWN else f'{text[:_LONGEST_SHOWN]}…"'
    return str(value)[:_LONGEST_SHOWN]
