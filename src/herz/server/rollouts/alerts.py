"""Alerts: people are told of what was decided without them, at least once, and nobody waits for it.

An alert is written to the store in the transaction that decides what it is about, so that none is lost with a server;
the holder of the rollouts' lease sends it to every target and takes it away. What cannot be delivered is tried again,
then logged and audited.
"""

from __future__ import annotations

import asyncio
import logging
import random
import warnings
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from herz.discovery.timed import Sleep
from herz.errors import DocumentMalformed, HerzError, MissingExtra, SourceUnavailable, UsageError
from herz.release.channel import Release
from herz.release.record import Record, decode, encode
from herz.server.rollouts.outbound import Outbound, permitted, shown
from herz.store.base import Compare, Delete, Entry, EventType, KeyEvent, Put, Store, Txn
from herz.store.plane import ALERTS, checked_name, place
from herz.tls.address import addresses
from herz.watch.backoff import EXPONENTIAL

_log = logging.getLogger(__name__)

ATTEMPTS: Final = 6
"""How often a target is tried before the alert counts as undeliverable, over about a minute."""


class Alert(Record, frozen=True, kw_only=True):
    """One thing that people are told. `text` is whole sentences; `author` is who did it, where somebody did.

    `kind` is that of a rollout's notice: `paused` (it waits for a person), `rolling-back`, `rolled-back`, `promoted`,
    or `forced`: somebody broke the glass, and what is live now was not verified.
    """

    kind: str
    app: str
    namespace: str
    text: str
    time: datetime
    release: int | None = None
    rollout: str | None = None
    author: str | None = None

    @property
    def title(self) -> str:
        """What it is about, in one line."""
        what = f"rollout {self.rollout}" if self.rollout is not None else f"release {self.release}"
        return f"{self.app}/{self.namespace}: {what} {_SAID.get(self.kind, self.kind)}"


_SAID: Final = {
    "paused": "waits for you",
    "rolling-back": "is rolled back",
    "rolled-back": "was rolled back",
    "promoted": "was promoted",
    "forced": "was forced, unverified",
}


_TYPES: Final = {"promoted": "success", "rolling-back": "failure", "rolled-back": "failure", "forced": "failure"}


def posted(alert: Alert, name: str) -> Put:
    """The write that has `alert` sent. `name` tells it from others of the namespace: writing it again is the same."""
    return Put(f"{ALERTS}{place(alert.app, alert.namespace)}/{checked_name(name, 'an alert')}", encode(alert))


def glass_broken(release: Release, author: str, message: str, now: datetime, past: Sequence[str]) -> Put:
    """The write that has people told that `author` published `release` past what stood in its way."""
    alert = Alert(
        kind="forced",
        app=release.app,
        namespace=release.namespace,
        release=release.number,
        author=author,
        text=f"{author} forced release {release.number} {' and '.join(past)}: {message}",
        time=now,
    )
    return posted(alert, f"forced-{release.number}-{now.timestamp() * 1000:.0f}")


class Target(Protocol):
    """Somewhere that an alert can be sent."""

    name: str
    """For people; without what is secret in its address."""

    async def send(self, alert: Alert) -> None:
        """Send it; any `HerzError` when that failed."""


class Webhook:
    """A POST of the alert as JSON, with `title` and `text` as chat services read them."""

    def __init__(self, url: str, outbound: Outbound) -> None:
        self.name = shown(permitted(url, "an alert's webhook"))
        self._url, self._outbound = url, outbound

    async def send(self, alert: Alert) -> None:
        """2xx is success."""
        body = msgspec.to_builtins(alert) | {"title": alert.title, "text": f"{alert.title}. {alert.text}"}
        reply = await self._outbound.post(self._url, msgspec.json.encode(body))
        if not reply.ok:
            raise SourceUnavailable(f"{self.name} answered {reply.status}", remedy="see what it says of the alert")


class Chat:
    """A service that the library apprise speaks to: chats, mail, pagers, by their `scheme://…` addresses."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError as error:
            raise MissingExtra(
                f"alerts to {url.partition('://')[0]}:// need apprise, which is not installed",
                remedy="pip install 'herz[alerts]', or give a webhook https://…",
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what its plug-ins import
            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            raise UsageError(
                f"{url.partition('://')[0]}://… is no address that apprise understands",
                remedy="see the addresses in its documentation, or give a webhook https://…",
            )
        self.name = f"{url.partition('://')[0]}://…"
        if not _private(service):
            raise UsageError(f"alerts to {self.name} would not be encrypted", remedy="use the scheme's form with an s")
        self._types: Any = apprise.NotifyType
        self._service = apprise.Apprise()
        self._service.add(service)

    async def send(self, alert: Alert) -> None:
        """Apprise logs why it failed, without saying it to its caller."""
        kind = self._types(_TYPES.get(alert.kind, "warning"))
        if not await self._service.async_notify(title=alert.title, body=alert.text, notify_type=kind):
            raise SourceUnavailable(f"{self.name} did not take it", remedy="apprise's log says why")


def _private(service: object) -> bool:
    """Whether nobody between here and there can read along: the plain one of its schemes only to this machine."""
    plain = getattr(service, "protocol", None) or ()
    scheme = str(service.url(privacy=True)).partition("://")[0]  # type: ignore[attr-defined]
    if scheme not in ((plain,) if isinstance(plain, str) else plain):
        return True
    (address,) = addresses([f"http://{getattr(service, 'host', '')}"])
    return address.loopback


def target(url: str, outbound: Outbound) -> Target:
    """The target at `url`: a webhook for http and https, one of apprise's services otherwise; `UsageError` for none."""
    return Webhook(url, outbound) if url.startswith(("http://", "https://")) else Chat(url)


class Alerts:
    """Sends what is posted in the store, for as long as `run` runs; only the holder of a lease may run it.

    `failed` is told of every alert that a target did not take in the end; its transaction should be small.
    """

    def __init__(
        self,
        store: Store,
        targets: Sequence[Target],
        failed: Callable[[Alert, str], Awaitable[None]],
        *,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._targets, self._failed = store, tuple(targets), failed
        self._sleep, self._chance = sleep, chance

    async def run(self) -> None:
        """Send all alerts, those that stand already first; raises when the store does. Cancel it to stop."""
        async with asyncio.TaskGroup() as tasks:
            found = await self._store.range(ALERTS)
            for entry in found.entries:
                tasks.create_task(self._deliver(entry))
            async with self._store.watch(ALERTS, found.revision) as items:
                async for item in items:
                    for event in getattr(item, "events", ()):
                        if _new(event):
                            tasks.create_task(self._deliver(event.entry))

    async def _deliver(self, entry: Entry) -> None:
        try:
            alert = decode(entry.value, Alert, f"{entry.key}@{entry.mod_revision}")
        except DocumentMalformed as error:
            _log.error("herz: an alert cannot be read: %s", error)
        else:
            level = logging.INFO if alert.kind == "promoted" else logging.WARNING
            _log.log(level, "herz: %s. %s", alert.title, alert.text)
            await asyncio.gather(*(self._send(alert, target) for target in self._targets))
        unchanged = Compare.unchanged(entry.key, entry.mod_revision)  # written again meanwhile, it is sent again
        await self._store.txn(Txn((unchanged,), (Delete(entry.key),)))

    async def _send(self, alert: Alert, target: Target) -> None:
        said = ""
        for attempt in range(ATTEMPTS):
            try:
                return await target.send(alert)
            except HerzError as error:
                said = str(error)
            except Exception as error:  # a library's plug-in must not end the others
                said = f"{target.name}: {type(error).__name__}"
            _log.warning("herz: alert %r, attempt %d of %d: %s", alert.title, attempt + 1, ATTEMPTS, said)
            if attempt + 1 < ATTEMPTS:
                await self._sleep(EXPONENTIAL.wait_s(attempt, self._chance))
        _log.error("herz: alert %r could not be delivered: %s", alert.title, said)
        await self._failed(alert, said)


def _new(event: KeyEvent) -> bool:
    return event.type is EventType.PUT
