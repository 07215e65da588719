"""The runtime: the stages wired together on the engine's loop, from the first load to the last close."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from herz.app.bootstrap import Loaded, load
from herz.app.events import Phase
from herz.app.feed import Feed
from herz.app.health import Health, Notice, SourceHealth, freshness_of
from herz.app.models import Models
from herz.app.reporting import Reporting
from herz.app.told import states_of
from herz.app.updater import Updater
from herz.app.wanted import Wanted
from herz.errors import ConfigLoadError, ConfigurationError, HerzError, UsageError
from herz.live.dispatcher import Dispatcher
from herz.live.scope import Scope
from herz.model.snapshot import Snapshot
from herz.settings import AT_START, Settings, read_settings
from herz.sources.base import Remote, close_each
from herz.watch.backoff import POLICIES
from herz.watch.core import Says, State
from herz.watch.session import Session

logger = logging.getLogger("herz")

LISTENERS_LIMIT_S = 5.0
"""How long the stop waits for listeners to hear what was applied."""
HELD_S = 5.0
"""How long the stop waits for pins and leases to end."""
LAST_GOOD_QUIET_S = 0.2
"""Changes within this time are written to the last-good copy together."""


class Runtime:
    """One life of a `Herz`, from `load` to `stop`. Everything but `health` runs on the engine's loop."""

    def __init__(
        self,
        wanted: Wanted,
        scope: Scope,
        models: Models,
        dispatcher: Dispatcher,
        *,
        phase: Callable[[Phase], None],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wanted, self._scope, self._models, self._dispatcher = wanted, scope, models, dispatcher
        self._phase, self._clock, self._chance = phase, clock, chance
        self.started_s = clock()
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[Session, str] = {}
        self._rewinds: dict[Session, int] = {}
        self._unknown: set[str] = set()
        self._dirty = asyncio.Event()
        self._last_good_error: str | None = None
        self._stopping = False
        self.feeds: tuple[Feed, ...] = ()
        self.settings = Settings()
        self.updater: Updater
        self._reporting: Reporting | None = None

    async def load(self) -> Snapshot:
        """Read everything, bind and build what must be there from the start. `ConfigLoadError` when that fails."""
        self._phase(Phase.LOADING)
        loaded = await load(self._wanted, self._clock)
        self.feeds, self.settings, self._last_good = loaded.feeds, loaded.settings, loaded.last_good
        reporting = self._reporting = Reporting(
            loaded.feeds, self._scope, self._models.kind_of, lambda: states_of(map(self._row, self.feeds), self.feeds)
        )
        self.updater = Updater(
            loaded.feeds,
            loaded.composition,
            self._scope,
            self._models,
            self._dispatcher,
            clock=self._clock,
            chance=self._chance,
            applied=self._applied,
            reporting=reporting,
        )
        if loaded.settings.strict:
            self._models.be_strict()
        try:
            if self._scope.running:
                await self._scope.after_fork(self.updater.snapshot)
            else:
                await self._scope.open(self.updater.snapshot)
        except BaseException as error:
            await self._close_sources()
            if isinstance(error, HerzError):
                raise ConfigLoadError(f"the configuration is not valid: {error}") from error
            raise  # a fault of the program's own is told as it is
        self._warn_uncovered(loaded)
        self._warn_unknown()
        self._phase(Phase.LOADED)
        self._dispatcher.fire("loaded", self.updater.snapshot)
        return self.updater.snapshot

    def _warn_uncovered(self, loaded: Loaded) -> None:
        for notice in self._uncovered():
            logger.warning("%s; %s", notice.what, notice.remedy)

    def _warn_unknown(self) -> None:
        """Log each unknown key when it appears, once: whoever misspelled it may never look at health."""
        unknown = {line for lines in self._scope.current.unknown.values() for line in lines}
        for line in sorted(unknown - self._unknown):
            logger.warning("%s", line)
        self._unknown = unknown

    def _applied(self) -> None:
        self._dirty.set()
        self._warn_unknown()

    def watch(self) -> None:
        """Follow every source from now on."""
        self._tasks.append(asyncio.create_task(self.updater.run(), name="herz updater"))
        for feed in self.feeds:
            feed.session = Session(
                feed.source,
                partial(self.updater.deliver, feed),
                feed.settled,
                self._session_changed,
                read_first=feed.from_last_good or (feed.unread and isinstance(feed.source, Remote)),
                policy=POLICIES[self.settings.watch_retry],
                clock=self._clock,
                chance=self._chance,
            )
            self._tasks.append(asyncio.create_task(feed.session.run(), name=f"herz watch {feed.name}"))
        if self._reporting is not None:
            self._tasks.append(asyncio.create_task(self._reporting.attach(), name="herz reporting"))
        if self._last_good is not None:
            self._dirty.set()
            self._tasks.append(asyncio.create_task(self._keep_last_good(), name="herz last-good"))
        for task in self._tasks:
            task.add_done_callback(_report)

    def _session_changed(self, session: Session) -> None:
        if session.state is State.FAILED and session.error is not None:
            text = str(session.error)
            if self._told.get(session) != text:  # once for each reason, not once for each try
                logger.warning("%s: watch failed, trying again: %s", session.source.origin, text)
            self._told[session] = text
        elif session.state is State.ACTIVE:
            self._told.pop(session, None)
        following = all(feed.session is not None and feed.session.state is State.ACTIVE for feed in self.feeds)
        if following and not self._stopping:
            self._phase(Phase.WATCHING)
        if session.rewinds > self._rewinds.get(session, 0):
            self._rewinds[session] = session.rewinds
            logger.critical("%s: REWOUND: %s", session.source.origin, session.history[-1].reason)
        self._dispatcher.fire("session", session.history[-1])

    async def _keep_last_good(self) -> None:
        assert self._last_good is not None  # noqa: S101  the task is only started with one
        while True:
            await self._dirty.wait()
            await asyncio.sleep(LAST_GOOD_QUIET_S)
            self._dirty.clear()
            layers = self.updater.composition.layers
            sources = [
                (feed.accepted, [layer for layer in layers if layer.source == feed.name])
                for feed in self.feeds
                if not feed.source.local
            ]
            try:
                await asyncio.to_thread(self._last_good.write, sources, self.updater.composition.secrets)
                self._last_good_error = None
            except OSError as error:
                self._last_good_error = f"{self._last_good.path}: {error.strerror or error}"
                logger.error("the last-good copy cannot be written, the one before stays: %s", self._last_good_error)

    def nudge(self) -> None:
        """Have whoever waits for something look again. From any thread."""
        updater = getattr(self, "updater", None)  # there is none before the sources were read
        if updater is not None:
            with updater.published:
                updater.published.notify_all()

    # --- on request ---------------------------------------------------------------------------

    async def refresh(self) -> tuple[str, ...]:
        """Look at every source now and put in force what differs; the keys that changed, in order.

        The first refusal that this look met is raised, after everything else was applied.
        """
        if self.updater.frozen:
            raise UsageError("the configuration is frozen", remedy="thaw it first")
        before = self.updater.generation
        looks = [(feed, asyncio.ensure_future(feed.source.rescan())) for feed in self.feeds]
        errors: list[HerzError] = []
        for feed, look in looks:
            try:
                await feed.arrived(await look)
            except HerzError as error:
                errors.append(error)
        errors += [feed.error for feed in self.feeds if feed.error is not None]
        if errors:
            raise errors[0].with_traceback(None)  # it stands, and is raised again: its traceback must not grow
        return tuple(
            sorted({key for one in self.updater.recent if one.generation > before for key in one.change_set.keys})
        )

    async def accept(self, name: str | None = None) -> tuple[str, ...]:
        """Take the sudden emptiness of a source, by default of any, as meant; the places that this was about.

        `UsageError` when no source has that name, or while frozen. What cannot be put in force without what was there
        (a required key is missing, say) is raised, and the last good configuration stays. So is that a store is out of
        reach; its emptiness is then taken as soon as it can be read.
        """
        if self.updater.frozen:
            raise UsageError("the configuration is frozen", remedy="thaw it first")
        chosen = [feed for feed in self.feeds if name is None or feed.name == name]
        if not chosen:
            raise UsageError(
                f"no source is called {name!r}", remedy=f"name one of {', '.join(feed.name for feed in self.feeds)}"
            )
        accepted: list[str] = []
        errors: list[HerzError] = []
        for feed in chosen:
            source: Any = feed.source
            places = source.accept() if hasattr(source, "accept") else ()
            if not places:
                continue
            accepted += places
            try:
                if isinstance(source, Remote) and feed.session is not None:
                    await feed.session.read_again("its emptiness was accepted")
                else:
                    await feed.settled(await source.rescan())
            except HerzError as error:
                errors.append(error)
                continue
            if feed.error is not None:
                errors.append(feed.error)
        if errors:
            raise errors[0].with_traceback(None)
        return tuple(accepted)

    # --- health -------------------------------------------------------------------------------

    def health(self, phase: Phase) -> Health:
        """How every source is doing. From any thread."""
        rows = tuple(map(self._row, self.feeds))
        running = phase.running
        return Health(
            state=str(phase),
            freshness=freshness_of(rows, running=running, frozen=running and self.updater.frozen),
            generation=self.updater.generation if running else 0,
            sources=rows,
            warnings=tuple(self._notices()) if running else (),
            epoch=self.updater.epoch if running else 0,
        )

    def _row(self, feed: Feed) -> SourceHealth:
        session = feed.session
        says = session.says if session is not None else Says.CURRENT
        remote = isinstance(feed.source, Remote)
        if says is Says.CURRENT and (feed.from_last_good or (feed.unread and remote)):
            says = Says.STALE
        freshness = "REFUSED" if says is Says.CURRENT and feed.holds_unusable else str(says)
        current = freshness == "CURRENT"
        return SourceHealth(
            name=feed.name,
            kind=feed.source.origin.kind,
            status="UP" if current else "DOWN",
            state=str(session.state) if session is not None else "IDLE",
            freshness=freshness,
            revision=feed.accepted.revision,
            age_s=self._age_s(feed) if remote or not current else 0.0,
            error=None if feed.error is None else str(feed.error),
            reconnects=session.reconnects if session is not None else 0,
            rewinds=session.rewinds if session is not None else 0,
            degraded=session is not None and session.degraded,
            retries=session.retries if session is not None else 0,
            resets=session.resets if session is not None else 0,
            broken=session.broken if session is not None else 0,
        )

    def _age_s(self, feed: Feed) -> float:
        """Seconds since `feed` was last known to be current: what was proved counts once it has been dealt with."""
        dealt_s = max(0.0, self._clock() - feed.seen_s)
        return dealt_s if feed.session is None else max(dealt_s, feed.session.age_s)

    def _notices(self) -> list[Notice]:
        notices = self._uncovered()
        for feed in self.feeds:
            if feed.session is not None and feed.session.degraded:
                what = f"{feed.name} is degraded: {feed.session.retries} attempts failed, and it goes on trying"
                notices.append(Notice(what, "what was good last serves; its row says why it cannot be followed"))
            lacks: tuple[str, ...] = getattr(feed.source, "notices", ())
            notices += (Notice(f"{feed.name}: {text}", "use a newer server when you can") for text in lacks)
        if self._last_good_error is not None:
            notices.append(Notice(f"last-good copy cannot be written: {self._last_good_error}", "make room or mend it"))
        if self.updater.frozen:
            notices.append(Notice("frozen: changes wait", "thaw it when the process may move again"))
        notices += (
            Notice(f"{key} changed and waits for a restart", "restart the process") for key in self._settings_waiting()
        )
        current = self._scope.current
        for keys in current.waiting.values():
            notices += (Notice(f"{key} changed and waits for a restart", "restart the process") for key in keys)
        for lines in current.unknown.values():
            notices += (Notice(line, "mend the spelling, or remove it") for line in lines)
        return notices

    def _settings_waiting(self) -> list[str]:
        """Herz's own keys that were read at the start only, and say something else now."""
        try:
            now = read_settings(self.updater.composition.tree)
        except ConfigurationError as error:
            return [f"herz.config ({error})"]
        return [key for key, name in AT_START.items() if getattr(now, name) != getattr(self.settings, name)]

    def _uncovered(self) -> list[Notice]:
        found: list[Notice] = []
        for feed in self.feeds:
            source: Any = feed.source
            if hasattr(source, "uncovered") and self.settings.watch_enabled:
                for place in source.uncovered():
                    entry = source.entry_for(place)
                    found.append(
                        Notice(
                            f"{place} is loaded but not watched: no entry of herz.config.watch.paths covers it",
                            f"add {entry} to herz.config.watch.paths, or POST /actuator/refresh after a change",
                        )
                    )
        return found

    # --- the end ------------------------------------------------------------------------------

    async def stop(self, held_s: float = HELD_S) -> None:
        """Stop following, discard what is being built, close every object and source.

        Objects that somebody holds are waited for, at most `held_s`.
        """
        self._stopping = True
        self._phase(Phase.STOPPING)
        async with AsyncExitStack() as closing:  # what is left is closed also where one step fails, or is given up
            closing.push_async_callback(self._close_sources)
            closing.push_async_callback(self._scope.close, held_s)
            if self._reporting is not None:
                closing.push_async_callback(self._reporting.detach)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()
            if not await self._dispatcher.drain(LISTENERS_LIMIT_S):
                logger.warning("stopped while listeners were still busy; what they had not heard is dropped")

    async def _close_sources(self) -> None:
        given = {id(spec) for spec in self._wanted.specs}  # their owner may use them again
        await close_each(feed.source for feed in self.feeds if id(feed.source) not in given)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("%s died; nothing is followed any more", task.get_name(), exc_info=error)
