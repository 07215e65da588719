"""The examination: everything that can be found out about one configuration, without changing it or giving up early.

The application itself stops at the first source that cannot be used. Here every one is tried, the faults are kept, and
what can be read is merged, so that one malformed file does not hide what else is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from herz.app.bootstrap import load
from herz.app.feed import Feed, layers_of
from herz.app.wanted import Wanted
from herz.cli.doctor.application import Application
from herz.cli.loading import close, make
from herz.errors import ConfigLoadError, HerzError
from herz.live.last_good import LastGood
from herz.merge.composition import Composition
from herz.model.document import Document, Revision
from herz.model.origin import Origin
from herz.model.secret import SecretKeys
from herz.settings import Settings
from herz.sources.base import Item, Source
from herz.sources.file_patterns import Scan, scan
from herz.sources.files import FileSource
from herz.sources.urls import OPTIONAL, SourceContext, masked


@dataclass(frozen=True, slots=True)
class Fault:
    """A source, or a file of one, that cannot be used."""

    name: str
    optional: bool
    error: HerzError


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out.

    `feeds` are the sources in their order, with what could be read of each. `composition` is merged from that;
    where a reference cannot be resolved, `load_error` says so and the composition holds values as written.
    """

    wanted: Wanted
    settings: Settings
    feeds: tuple[Feed, ...]
    composition: Composition
    faults: tuple[Fault, ...] = ()
    load_error: HerzError | None = None
    application: Application | None = None
    code: tuple[Path, ...] = ()
    url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> list[FileSource]:
        """The sources that are files."""
        return [source for source in map(underlying, self.feeds) if isinstance(source, FileSource)]

    def scans(self) -> list[tuple[FileSource, Scan]]:
        """What the patterns of each file source mean on disk now."""
        return [(source, scanned(source, self.settings.profiles)) for source in self.files()]

    def paths(self) -> list[str]:
        """Every file that is loaded."""
        return [member.path for _, found in self.scans() for member in found.members]

    @property
    def last_good(self) -> LastGood | None:
        """The last-good copy that the configuration names."""
        return LastGood(Path(self.settings.last_good)) if self.settings.last_good else None


def underlying(feed: Feed) -> Source | None:
    """The source itself; None where it could not even be made."""
    return feed.source.source if isinstance(feed.source, Patient) else feed.source


def scanned(source: FileSource, profiles: tuple[str, ...]) -> Scan:
    """What the patterns of `source` mean on disk now."""
    from herz.formats.decode import format_of

    return scan(source.patterns, profiles=profiles, known=lambda name: format_of(name) is not None)


def exposes(settings: Settings, endpoint: str) -> bool:
    """Whether the actuator answers for `endpoint`."""
    return endpoint in settings.exposure or "*" in settings.exposure


class Patient:
    """A source that never fails: what is wrong with it is kept in `faults`, and what can be read is answered."""

    def __init__(self, spec: Any, source: Source | None, error: HerzError | None, context: SourceContext) -> None:
        self.source = source
        self.context = context
        self.optional = bool(source is not None and source.optional) or str(spec).startswith(OPTIONAL)
        self.local = source is not None and source.local
        self.origin = source.origin if source is not None else Origin(masked(str(spec)).removeprefix(OPTIONAL))
        self.document = Document(self.origin, 0)
        self.faults: list[Fault] = []
        if error is not None:
            self._fault(error)

    def _fault(self, error: HerzError) -> None:
        self.faults.append(Fault(masked(self.origin.name), self.optional, error))

    async def read(self) -> Document:
        """What can be read, in parts where a file among several cannot."""
        if self.source is None:
            return self.document
        try:
            self.document = await self.source.read()
        except HerzError as error:
            if isinstance(self.source, FileSource):
                self.document = await self._each_file(self.source, error)
            else:
                self._fault(error)
        return self.document

    async def _each_file(self, source: FileSource, first: HerzError) -> Document:
        """The files of `source` that can be read, each on its own; the faults of the others."""
        parts: list[Document] = []
        for member in scanned(source, self.context.profiles).members:
            alone = FileSource(Path(member.path), limits=self.context.limits, watch=self.context.watch)
            try:
                parts += (await alone.read()).parts
            except HerzError as error:
                self._fault(error)
        if not self.faults:  # none of its files is at fault, so something is missing
            self._fault(first)
        return replace(self.document, parts=tuple(parts))

    def follow(self, after: Revision) -> AbstractAsyncContextManager[AsyncIterator[Item]]:
        """Nothing is followed in an examination."""
        raise NotImplementedError

    async def rescan(self) -> Revision:
        """What was read is all there is."""
        return self.document.revision


def examine(
    wanted: Wanted,
    *,
    application: Application | None = None,
    code: tuple[Path, ...] = (),
    url: str | None = None,
) -> Examination:
    """Find out everything about the configuration that `wanted` names."""
    return asyncio.run(_examine(wanted, application, code, url))


async def _examine(
    wanted: Wanted, application: Application | None, code: tuple[Path, ...], url: str | None
) -> Examination:
    patients: dict[object, Patient] = {}

    def patient(spec: Any, *, context: SourceContext) -> Source:
        try:
            made = Patient(spec, make(spec, context=context), None, context)
        except HerzError as error:
            made = Patient(spec, None, error, context)
        # The same source is made anew when settings change; what counts is how it looks in the end.
        patients[spec if isinstance(spec, str) else made.origin] = made
        return made

    load_error: HerzError | None = None
    try:
        result = await load(wanted, time.monotonic, make=patient)
        settings, feeds, composition = result.settings, result.feeds, result.composition
    except ConfigLoadError as error:
        load_error = error.__cause__ if isinstance(error.__cause__, HerzError) else error
        settings, feeds, composition = _as_far_as_possible(wanted, list(patients.values()))
    await close(one.source for one in patients.values())
    return Examination(
        wanted,
        settings,
        feeds,
        composition,
        faults=tuple(fault for feed in feeds if isinstance(feed.source, Patient) for fault in feed.source.faults),
        load_error=load_error,
        application=application,
        code=code,
        url=url,
        environment=wanted.environment,
    )


def _as_far_as_possible(wanted: Wanted, patients: list[Patient]) -> tuple[Settings, tuple[Feed, ...], Composition]:
    """What was read, merged as written: the references in it, or Herz's own options, are at fault."""
    patients.sort(key=lambda one: one.local)
    feeds = tuple(Feed(masked(one.origin.name), one, one.document) for one in patients)
    documents = [
        replace(
            one.document,
            references=False,
            parts=tuple(replace(part, references=False) for part in one.document.parts),
        )
        for one in patients
    ]
    secrets = SecretKeys(wanted.secret_patterns)
    composition = Composition.of(layers_of(feeds, documents), environment=wanted.environment, secrets=secrets)
    context = patients[0].context if patients else SourceContext()
    watch = context.watch
    settings = Settings(
        profiles=context.profiles,
        last_good=wanted.last_good,
        watch_enabled=watch is None or watch.enabled,
        watch_paths=None if watch is None else watch.paths,
    )
    return settings, feeds, composition
