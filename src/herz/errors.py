"""One tree of errors; the class says who must act.

* `ConfigurationError`: whoever wrote the configuration.
* `SourceError`: whoever runs the place that holds it.
* `UsageError`: whoever wrote the program that uses Herz.
* `BuildError`: whoever wrote the class whose construction failed, or the service it talks to.

Every message says what happened, where, and what to do now. The same facts are attributes, so that
a program need not read prose. Secrets never enter a message: the code that raises masks them first.
"""

from __future__ import annotations

from collections.abc import Sequence


class HerzError(Exception):
    """Anything Herz raises on purpose.

    `what` is the fact, `where` the place (`file:line` or `key@revision`), `remedy` what to do now.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        text = what if where is None else f"{what} ({where})"
        super().__init__(text if remedy is None else f"{text}; {remedy}")


# --- the author of the configuration must act -------------------------------------------------


class ConfigurationError(HerzError):
    """What is written in a source is not usable."""


class DocumentMalformed(ConfigurationError):
    """Bytes that are not a document of their format. `where` is `file:line`."""


class DuplicateKey(DocumentMalformed):
    """One key twice in one document, or two spellings of it (`max-retries`, `max_retries`)."""


class KeyConflict(DocumentMalformed):
    """One key is both a value and a table in one document."""


class DocumentTooLarge(DocumentMalformed):
    """More bytes, deeper nesting or more alias expansion than the limits allow."""


class InterpolationError(ConfigurationError):
    """A `${reference}` that cannot be resolved. `path` lists the keys walked, the fault last."""

    def __init__(
        self, what: str, *, path: Sequence[str] = (), where: str | None = None, remedy: str | None = None
    ) -> None:
        self.path = tuple(path)
        super().__init__(what, where=where, remedy=remedy)


class InterpolationCycle(InterpolationError):
    """References that lead back to themselves; `path` is the cycle, first key repeated at its end."""


class BindingError(ConfigurationError):
    """A model could not be filled. `problems` holds one line each, with key and place; `where` is the first's place."""

    def __init__(
        self,
        what: str,
        *,
        problems: Sequence[str] = (),
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(what, remedy=remedy)
        self.where = where  # not in the text: each line of `what` has its own


class TlsError(ConfigurationError):
    """An address promises encryption that it cannot have, so nothing is bound or connected. `problems`: each reason."""

    def __init__(
        self,
        what: str,
        *,
        problems: Sequence[str] = (),
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(what, where=where, remedy=remedy)


class EmptiedSource(ConfigurationError):
    """A source that had content is suddenly empty, which looks like an accident; `herz accept` takes it."""


class ConfigLoadError(ConfigurationError):
    """The first load failed, so there is no configuration to start with. The cause is chained."""


ConfigLoadException = ConfigLoadError
"""The mission's Java name for `ConfigLoadError`."""


# --- the operator of the source must act ------------------------------------------------------


class SourceError(HerzError):
    """A place that holds configuration cannot be used now."""


class SourceUnavailable(SourceError):
    """Not there or not answering: a passing condition, worth trying again."""


class SourceDenied(SourceError):
    """There, but we may not read it: trying again without a change is useless."""


class RevisionExpired(SourceError):
    """History no longer reaches back to the revision asked for; read again from the start."""


class HistoryBroken(SourceError):
    """What a place hands on does not continue what it handed on before: replayed, reordered, or from elsewhere."""


class MissingExtra(SourceError):
    """An optional dependency is not installed; the remedy is the pip line."""


class StoreError(SourceError):
    """The key-value store refused or failed."""


class StoreCorrupt(StoreError):
    """The store's file is damaged; the remedy says how to recover."""


class StoreFull(StoreError):
    """There is no room left; nothing was written, and what was stored before is all there."""


class Conflict(StoreError):
    """Compare-and-set found another revision than the one expected; nothing was written."""

    def __init__(
        self,
        what: str,
        *,
        key: str | None = None,
        expected: int | None = None,
        actual: int | None = None,
        where: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.key, self.expected, self.actual = key, expected, actual
        super().__init__(what, where=where, remedy=remedy)


class LeaseLost(StoreError):
    """The lease is gone; what was bound to it is gone as well. Grant a new one and register again."""


# --- the author of the program must act -------------------------------------------------------


class UsageError(HerzError):
    """Herz was called in a way that cannot work."""


class CircularDependency(UsageError):
    """Constructors need each other. `path` is the cycle, first name repeated at its end."""

    def __init__(self, what: str, *, path: Sequence[str] = (), remedy: str | None = None) -> None:
        self.path = tuple(path)
        super().__init__(what, remedy=remedy)


class MissingProvider(UsageError):
    """A constructor parameter that nothing declared can fill. `path` leads to it."""

    def __init__(self, what: str, *, path: Sequence[str] = (), remedy: str | None = None) -> None:
        self.path = tuple(path)
        super().__init__(what, remedy=remedy)


class NotRunning(UsageError):
    """Asked for a value before the start or after the stop."""


# --- the author of a class must act -----------------------------------------------------------


class BuildError(HerzError):
    """A factory failed or took longer than its limit; the old generation keeps serving."""
