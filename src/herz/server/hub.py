"""The hub: what every namespace's channel, questions, mailboxes and reports are now, as the store's watches tell.

One watch session for each prefix, however many clients are connected. What is read here is in memory and current, or
says that it is not: `freshness` is what the sessions can prove.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final, NamedTuple

from herz.errors import DocumentMalformed
from herz.model.document import Reset, Revision
from herz.release.channel import STABLE, Channel, Mailbox, Pointer
from herz.release.record import decode
from herz.release.report import Answer, Asks
from herz.server.following import Following, Freshness
from herz.server.registered import Registered
from herz.store.base import Entry, Store
from herz.store.plane import ANSWERS, FLEET, LIVE, is_instance
from herz.watch.core import Says
from herz.watch.session import Session

_log = logging.getLogger("herz")

FIRST_S: Final = 10.0
"""Seconds that the start waits for the first reading."""

Name = tuple[str, str]
"""Application and namespace."""


def mark_of(channel: Entry | None) -> str:
    """What tells one writing of a channel from every other, in any store; nothing before the first."""
    return "" if channel is None else f"{channel.mod_revision}-{sha256(channel.value).hexdigest()[:16]}"


class Report(NamedTuple):
    """A report as the store has it. `lease` is what it hangs on."""

    value: Registered
    revision: Revision
    lease: int | None


class Namespace:
    """What one namespace is told and says of itself. Changed by the hub alone."""

    __slots__ = (
        "app",
        "asked",
        "asks",
        "asks_revision",
        "channel",
        "channel_revision",
        "mailboxes",
        "mark",
        "moved",
        "name",
        "reports",
    )

    def __init__(self, app: str, name: str) -> None:
        self.app, self.name = app, name
        self.channel = Channel()
        self.channel_revision: Revision = 0
        self.mark = ""
        """Tells this writing of the channel from every other; see `mark_of`."""
        self.asks = Asks()
        self.asks_revision: Revision = 0
        self.asked: dict[str, float] = {}
        """Since when each question stands, by the clock of this hub: those of two servers may be hours apart."""
        self.mailboxes: dict[str, Mailbox] = {}
        self.moved: Revision = 0
        """The last revision at which a mailbox was written or deleted."""
        self.reports: dict[str, Report] = {}

    def cohort(self, instance: str) -> str:
        """The cohort that an instance was put in."""
        mailbox = self.mailboxes.get(instance)
        return STABLE if mailbox is None else mailbox.cohort

    def pointer(self, instance: str) -> Pointer:
        """What an instance is to run."""
        return self.channel.of(self.cohort(instance))


class Happened(NamedTuple):
    """What one revision changed in a namespace, or everything (`reset`): values in between are gone then."""

    namespace: Namespace
    channel: bool = False
    asks: bool = False
    mailboxes: frozenset[str] = frozenset()
    reports: frozenset[str] = frozenset()
    reset: bool = False


class Hub:
    """All namespaces of a store. Listeners are called in order, on the loop, once the change can be read here.

    `epoch` counts how often the store went back in time, or became another one.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.identity = ""
        self.epoch = 0
        self.namespaces: dict[Name, Namespace] = {}
        self.refused: dict[str, str] = {}
        """Keys whose value could not be understood, and why; what was understood before stays."""
        self.loaded = asyncio.Event()
        self._clock = clock
        self._waiters: list[tuple[Revision, asyncio.Future[None]]] = []
        self._questions: dict[tuple[Name, str], float] = {}
        """The questions that answers are stored to, and since when."""
        self._happened: list[Callable[[Happened], None]] = []
        self._answered: list[Callable[[Name, Answer], None]] = []
        self._rewound: list[Callable[[str], None]] = []
        self._proved: list[Callable[[], None]] = []

        def follow(prefix: str, steps: Callable[[Mapping[str, Entry | None], Revision, bool], None]) -> Following:
            return Following(store, prefix, steps, self._read, self._proven, clock)

        self._live = follow(LIVE, self._live_steps)
        self._fleet = follow(FLEET, self._fleet_steps)
        self._answers = follow(ANSWERS, self._answer_steps)
        self._all = (self._live, self._fleet, self._answers)

    # --- reading ----------------------------------------------------------------------------------

    def namespace(self, app: str, name: str) -> Namespace:
        """A namespace as it is now; an empty one where nothing was ever written."""
        found = self.namespaces.get((app, name))
        return Namespace(app, name) if found is None else found

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The watch sessions that all of it comes from."""
        return tuple(one.session for one in self._all)

    @property
    def revision(self) -> Revision:
        """Up to where all that is to be delivered is known."""
        return self._live.revision

    @property
    def freshness(self) -> Freshness:
        """How current all of it is."""
        return max((one.freshness for one in self._all), key=lambda one: (one.says is not Says.CURRENT, one.age_s))

    @property
    def delivery(self) -> Freshness:
        """How current that is which is delivered: channels, mailboxes and questions."""
        return self._live.freshness

    def stood_s(self, name: Name, nonce: str) -> float | None:
        """Seconds since this server heard of a question that stands; None when it does not stand."""
        namespace = self.namespace(*name)
        for ask in namespace.asks.open:
            if ask.nonce == nonce:
                return self._clock() - namespace.asked[nonce]
        return None

    def lone_answers(self, age_s: float) -> list[tuple[Name, str]]:
        """Questions that do not stand, and to which answers have been stored for longer than `age_s`."""
        before = self._clock() - age_s
        return [
            (name, nonce)
            for (name, nonce), since in self._questions.items()
            if since < before and all(ask.nonce != nonce for ask in self.namespace(*name).asks.open)
        ]

    # --- listening --------------------------------------------------------------------------------

    def on_change(self, listener: Callable[[Happened], None]) -> None:
        """Have `listener` called for each revision that changes a namespace."""
        self._happened.append(listener)

    def on_answer(self, listener: Callable[[Name, Answer], None]) -> None:
        """Have `listener` called for each answer that the store has."""
        self._answered.append(listener)

    def on_rewind(self, listener: Callable[[str], None]) -> None:
        """Have `listener` called with the reason when the store went back in time or is another one."""
        self._rewound.append(listener)

    def on_proof(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when `revision` was proved or raised, without a change."""
        self._proved.append(listener)

    async def reached(self, revision: Revision, limit_s: float) -> bool:
        """Wait until everything up to `revision` is known, for at most `limit_s` seconds; whether it is."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(limit_s):
                await waiter
        except TimeoutError:
            return False
        return True

    def _move(self) -> None:
        for revision, waiter in self._waiters:
            if revision <= self.revision and not waiter.done():
                waiter.set_result(None)
        self._waiters = [one for one in self._waiters if not one[1].done()]

    # --- following --------------------------------------------------------------------------------

    @asynccontextmanager
    async def following(self, *, first_s: float = FIRST_S) -> AsyncIterator[None]:
        """Follow the store while this lasts. Entering waits for the first reading, but for no longer than `first_s`."""
        tasks = [asyncio.create_task(one.session.run(), name=f"herz-hub {one.source.prefix}") for one in self._all]
        try:
            try:
                async with asyncio.timeout(first_s):
                    await self.loaded.wait()
            except TimeoutError:
                _log.warning("herz: the store was not read within %g s; it is tried on", first_s)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read(self, following: Following, item: Reset) -> None:
        if following is self._live:
            self.identity = (await self.store.status()).identity
            if item.rewound:
                self.epoch += 1
                for told in self._rewound:
                    _call(told, item.reason)
        if all(one is following or one.revision >= 0 for one in self._all):
            self.loaded.set()

    def _proven(self, following: Following) -> None:
        if following is self._live:
            self._move()
            for told in self._proved:
                _call(told)

    def _of(self, app: str, name: str) -> Namespace:
        found = self.namespaces.get((app, name))
        if found is None:
            found = self.namespaces[app, name] = Namespace(app, name)
        return found

    def _tell(self, happened: Happened) -> None:
        for listener in self._happened:
            _call(listener, happened)

    # --- what keys mean ---------------------------------------------------------------------------

    def _live_steps(self, entries: Mapping[str, Entry | None], revision: Revision, reset: bool) -> None:
        changed: dict[Name, Happened] = {}
        known: dict[Name, tuple[Channel, dict[str, Mailbox]]] = {}
        if reset:  # whatever is not there any more is gone
            for name, namespace in self.namespaces.items():
                known[name] = namespace.channel, namespace.mailboxes
                namespace.channel, namespace.channel_revision, namespace.mark = Channel(), 0, ""
                namespace.asks, namespace.asks_revision, namespace.mailboxes = Asks(), 0, {}
                namespace.moved = revision
                changed[name] = Happened(namespace, reset=True)
        for key, entry in entries.items():
            parts = key.removeprefix(LIVE).split("/")
            if len(parts) < 4:
                continue
            namespace = self._of(parts[0], parts[1])
            name = (parts[0], parts[1])
            before = changed.get(name) or Happened(namespace, reset=reset)
            try:
                changed[name] = self._live_step(before, parts[2:], entry, revision)
                self.refused.pop(key, None)
            except DocumentMalformed as error:
                self._refuse(key, error)
                if name in known:
                    _restore(namespace, parts[2:], *known[name])
        for happened in changed.values():
            self._tell(happened)
        self._move()

    def _live_step(self, happened: Happened, rest: list[str], entry: Entry | None, revision: Revision) -> Happened:
        namespace = happened.namespace
        where = "" if entry is None else f"{entry.key}@{entry.mod_revision}"
        match rest:
            case ["all", "channel"]:
                namespace.channel = Channel() if entry is None else decode(entry.value, Channel, where)
                namespace.channel_revision = revision if entry is None else entry.mod_revision
                namespace.mark = mark_of(entry)
                return happened._replace(channel=True)
            case ["all", "asks"]:
                namespace.asks = Asks() if entry is None else decode(entry.value, Asks, where)
                namespace.asks_revision = 0 if entry is None else entry.mod_revision
                now, known = self._clock(), namespace.asked
                namespace.asked = {ask.nonce: known.get(ask.nonce, now) for ask in namespace.asks.open}
                return happened._replace(asks=True)
            case ["to", instance, "mailbox"]:
                if entry is None:
                    namespace.mailboxes.pop(instance, None)
                else:
                    namespace.mailboxes[instance] = decode(entry.value, Mailbox, where)
                namespace.moved = max(namespace.moved, revision if entry is None else entry.mod_revision)
                return happened._replace(mailboxes=happened.mailboxes | {instance})
        return happened

    def _fleet_steps(self, entries: Mapping[str, Entry | None], revision: Revision, reset: bool) -> None:
        changed: dict[Name, set[str]] = {}
        if reset:
            for name, namespace in self.namespaces.items():
                changed[name] = set(namespace.reports)
                namespace.reports = {}
        for key, entry in entries.items():
            parts = key.removeprefix(FLEET).split("/")
            if len(parts) != 3:
                continue
            app, name_, instance = parts
            namespace = self._of(app, name_)
            if entry is None:
                namespace.reports.pop(instance, None)
                self.refused.pop(key, None)
            elif instance not in namespace.reports and not is_instance(instance):
                # Who writes to the store itself may write any name; with this one nothing could be done.
                self._refuse(key, DocumentMalformed(f"{instance[:100]!r} is not the name of an instance", where=key))
                continue
            else:
                try:
                    value = decode(entry.value, Registered, f"{key}@{entry.mod_revision}")
                except DocumentMalformed as error:
                    self._refuse(key, error)
                    continue
                namespace.reports[instance] = Report(value, entry.mod_revision, entry.lease)
                self.refused.pop(key, None)
            changed.setdefault((app, name_), set()).add(instance)
        for name, instances in changed.items():
            self._tell(Happened(self.namespaces[name], reports=frozenset(instances)))

    def _answer_steps(self, entries: Mapping[str, Entry | None], revision: Revision, reset: bool) -> None:
        if reset:
            self._questions.clear()
        for key, entry in entries.items():
            parts = key.removeprefix(ANSWERS).split("/")
            if len(parts) != 4:
                continue
            question = ((parts[0], parts[1]), parts[2])
            if entry is None:
                self._questions.pop(question, None)
                continue
            self._questions.setdefault(question, self._clock())
            try:
                answer = decode(entry.value, Answer, f"{key}@{entry.mod_revision}")
            except DocumentMalformed as error:
                _log.warning("herz: %s", error)
                continue
            if (answer.nonce, answer.instance) == (parts[2], parts[3]):
                for listener in self._answered:
                    _call(listener, (parts[0], parts[1]), answer)

    def _refuse(self, key: str, error: DocumentMalformed) -> None:
        self.refused[key] = str(error)
        _log.error("herz: what was there before stays in force: %s", error)


def _restore(namespace: Namespace, rest: list[str], channel: Channel, mailboxes: dict[str, Mailbox]) -> None:
    """Put back what was understood before of a key that now cannot be."""
    match rest:
        case ["all", "channel"]:
            namespace.channel = channel
        case ["to", instance, "mailbox"] if instance in mailboxes:
            namespace.mailboxes[instance] = mailboxes[instance]


def _call(listener: Callable[..., None], *what: object) -> None:
    """Call a listener; one that raises keeps nothing from the others."""
    try:
        listener(*what)
    except Exception:
        _log.exception("herz: a listener of the hub failed")
