"""What the control plane refuses, as Herz's own errors: the class says who must act.

The server answers `application/problem+json` (RFC 9457) whose members `what`, `where` and `remedy` are those of the
error that it raised; the last word of `type`, `urn:herz:problem:<kind>`, tells its class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from herz import errors
from herz.errors import (
    ConfigurationError,
    Conflict,
    HerzError,
    SourceDenied,
    SourceError,
    SourceUnavailable,
    UsageError,
)

_KINDS: Final[Mapping[str, type[HerzError]]] = {
    "conflict": Conflict,
    "lease-lost": errors.LeaseLost,
    "store-damaged": errors.StoreCorrupt,
    "store-full": errors.StoreError,
    "store-failed": errors.StoreError,
    "revision-expired": errors.RevisionExpired,
    "content-damaged": errors.HistoryBroken,
    "store-denied": errors.StoreError,
    "store-unavailable": SourceUnavailable,
    "closing": SourceUnavailable,
    "malformed": errors.DocumentMalformed,
    "too-large": errors.DocumentTooLarge,
    "invalid": ConfigurationError,
    "not-installed": errors.MissingExtra,
}
"""What the last word of a problem's `type` means."""
_BY_STATUS: Final[Mapping[int, type[HerzError]]] = {
    401: SourceDenied,
    403: SourceDenied,
    409: Conflict,
    410: errors.RevisionExpired,
    412: Conflict,
    413: errors.DocumentTooLarge,
    422: ConfigurationError,
    429: SourceUnavailable,
    502: SourceUnavailable,
    503: SourceUnavailable,
    504: SourceUnavailable,
}
_REMEDIES: Final = {
    401: "set HERZ_TOKEN, or pass a token: `herz token create` makes one",
    403: "ask for a token with the scope that this needs",
    404: "look at the name; `herz release list APP` shows what there is",
}


class NotThere(UsageError):
    """The control plane has nothing by this name: no such application, release, rollout or instance."""


class DraftConflict(Conflict):
    """Somebody else was quicker; nothing was written. Data for a merge is in the attributes.

    `theirs` is what lies there now, as the server told it. `difference` has one entry a key: what it was in the version
    that this change was based on (`base`), what it is there now (`theirs`), and what was to be written (`yours`).
    `changed` is all that they changed, also where nobody disagrees.
    """

    def __init__(
        self,
        what: str,
        *,
        theirs: Mapping[str, Any] | None = None,
        difference: tuple[Mapping[str, Any], ...] = (),
        changed: tuple[Mapping[str, Any], ...] = (),
        key: str | None = None,
        expected: int | None = None,
        actual: int | None = None,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.theirs: Mapping[str, Any] = theirs or {}
        self.difference, self.changed = difference, changed
        super().__init__(what, key=key, expected=expected, actual=actual, where=where, remedy=remedy)


class ApprovalNeeded(Conflict):
    """What was to become live changes layers that need approval and have none; nothing was changed.

    `have` of `need` people approve `layers`. `authors` wrote it and cannot approve it; `digest` is the address of the
    content that is to be approved.
    """

    def __init__(
        self,
        what: str,
        *,
        layers: tuple[str, ...] = (),
        have: int = 0,
        need: int = 1,
        authors: tuple[str, ...] = (),
        digest: str | None = None,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.layers, self.have, self.need = layers, have, need
        self.authors, self.digest = authors, digest
        super().__init__(what, where=where, remedy=remedy)


def error_of(status: int, body: bytes, *, server: str, asked: str) -> HerzError:
    """The error that an answer which is no success means. `server` is who answered, `asked` what it was asked."""
    problem = _parsed(body)
    ours = problem.get("what") not in (None, problem.get("title"))  # a bare "Not Found" is about the path
    where = server if ours else asked
    what = _said(problem, "what", "detail", "title") or f"the control plane answers {status}"
    place = _said(problem, "where") or where
    remedy = _said(problem, "remedy") or _REMEDIES.get(status)
    kind = _kind(problem, status)
    if kind is ApprovalNeeded:
        return ApprovalNeeded(
            what,
            layers=_texts(problem.get("layers")),
            have=_number(problem.get("have")) or 0,
            need=_number(problem.get("need")) or 1,
            authors=_texts(problem.get("authors")),
            digest=_said(problem, "digest"),
            where=place,
            remedy=remedy,
        )
    if issubclass(kind, Conflict):
        key, expected, actual = _said(problem, "key"), _number(problem.get("expected")), _number(problem.get("actual"))
        remedy = remedy or "look at what is there now, and decide again"
        theirs = problem.get("theirs")
        if not isinstance(theirs, dict):
            return kind(what, key=key, expected=expected, actual=actual, where=place, remedy=remedy)
        difference, changed = _objects(problem.get("difference")), _objects(problem.get("changed"))
        return DraftConflict(
            what,
            theirs=theirs,
            difference=difference,
            changed=changed,
            key=key,
            expected=expected,
            actual=actual,
            where=place,
            remedy=remedy,
        )
    problems = _lines(problem.get("problems"))
    if kind is ConfigurationError and problems:
        return errors.BindingError("\n".join([what, *problems]), problems=problems, where=place, remedy=remedy)
    return kind(what, where=place, remedy=remedy)


def _kind(problem: Mapping[str, Any], status: int) -> type[HerzError]:
    """The class that the problem names, else what its status says."""
    if status == 404:
        return NotThere
    name = str(problem.get("type", "")).rpartition(":")[2]
    if name == "approval-needed":
        return ApprovalNeeded
    return _KINDS.get(name) or _BY_STATUS.get(status, UsageError if 400 <= status < 500 else SourceError)


def _lines(problems: Any) -> list[str]:
    """One line for each problem: its key, what is wrong, its place."""
    lines = []
    for one in problems if isinstance(problems, list) else []:
        if isinstance(one, dict):
            place = f" ({one['where']})" if one.get("where") else ""
            lines.append(": ".join(str(one[name]) for name in ("key", "what") if one.get(name)) + place)
        else:
            lines.append(str(one))
    return lines


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(problem: Mapping[str, Any], *names: str) -> str | None:
    """The first of the members that is text with something in it."""
    return next((said for name in names if isinstance(said := problem.get(name), str) and said), None)


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
