"""Questions to instances: asked in the store, where every server's instances hear them, and answered under their nonce.

An answer of an instance that is connected to this very server is taken from it directly; those of other servers' and
of instances that follow the store themselves come with the watch on the answers.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from typing import Final

from msgspec import structs

from herz.errors import Conflict, HerzError, UsageError
from herz.model.document import Revision
from herz.release.record import decode, encode
from herz.release.report import Answer, Ask, Asks
from herz.server.clock import Clock
from herz.server.counts import Counts
from herz.server.hub import Hub, Name
from herz.store.base import Compare, DeletePrefix, Operation, Put, Store, Txn
from herz.store.plane import answers_prefix, asks_key

_log = logging.getLogger("herz")

ATTEMPTS: Final = 50
"""How often asking is tried again when somebody else asks at the same moment."""
OPEN: Final = 64
"""Questions that may stand in a namespace at once."""
ASKS_BYTES: Final = 400_000
"""What they may hold together."""
WINDOW_S: Final = 60.0
"""Seconds that an asker may wait at most."""
OVER_S: Final = WINDOW_S + 60.0
"""Seconds until a question that stands is swept: whoever asked takes it away, unless they died."""
LONE_S: Final = 10.0
"""Seconds until answers to a question that does not stand are swept."""
SWEEP_S: Final = 5.0


class Asking:
    """Asks instances of a namespace, and gathers what they answer."""

    def __init__(self, store: Store, hub: Hub, clock: Clock, counts: Counts) -> None:
        self._store, self._hub, self._clock, self._counts = store, hub, clock, counts
        self._waiting: dict[tuple[Name, str], _Answers] = {}
        self._turns: dict[Name, asyncio.Lock] = {}
        self._removing: set[asyncio.Task[None]] = set()
        hub.on_answer(self._heard)

    async def ask(
        self,
        app: str,
        namespace: str,
        question: Ask,
        expected: Collection[str] | None,
        window_s: float,
        answered: Callable[[Answer], float | None] = lambda answer: None,
    ) -> dict[str, Answer]:
        """The answers by instance to `question`, whose nonce and end are set here, that come within `window_s` seconds.

        Returns as soon as all of the `expected` instances have answered; None waits for the whole window. The first
        answer of an instance counts, whether it was expected or not. `answered` is called with each as it comes; the
        seconds that it gives are how long is waited for others from then on. `Conflict` when too many questions stand.
        """
        if not 0 < window_s <= WINDOW_S:
            raise UsageError(f"a window of {window_s:g} s", remedy=f"wait for up to {WINDOW_S:g} seconds")
        name = (app, namespace)
        until = self._clock.now() + timedelta(seconds=window_s)
        question = structs.replace(question, nonce=secrets.token_hex(16), until=until)
        answers = self._waiting[name, question.nonce] = _Answers(expected, answered)
        self._counts.asks[question.kind] += 1
        try:
            await self._change(name, lambda asks: _with(asks, question))
            with suppress(TimeoutError):
                async with asyncio.timeout(window_s) as answers.limit:
                    await answers.complete.wait()
        finally:
            answers.limit = None
            del self._waiting[name, question.nonce]
            self._remove(name, question.nonce)
        return answers.found

    __call__ = ask

    def took(self, name: Name, answer: Answer) -> bool:
        """Whether somebody here waits for this answer of an instance connected here, and has it now."""
        answers = self._waiting.get((name, answer.nonce))
        if answers is None:
            return False
        answers.add(answer)
        return True

    def _heard(self, name: Name, answer: Answer) -> None:
        self.took(name, answer)

    # --- the key in the store ---------------------------------------------------------------------

    async def _change(
        self, name: Name, change: Callable[[Asks], Asks | None], also: tuple[Operation, ...] = ()
    ) -> None:
        """Write the questions that stand, changed, unless somebody else does at the same moment: then again."""
        key = asks_key(*name)
        async with self._turns.setdefault(name, asyncio.Lock()):
            namespace = self._hub.namespace(*name)
            asks, revision = namespace.asks, namespace.asks_revision
            for attempt in range(ATTEMPTS):
                if attempt:
                    asks, revision = await self._now(key)
                changed = change(asks)
                writes: tuple[Operation, ...] = () if changed is None else (Put(key, encode(changed)),)
                done = await self._store.txn(Txn((Compare.unchanged(key, revision),), (*writes, *also)))
                if done.succeeded:
                    return
        raise Conflict("others ask all the time", key=key, remedy="ask again later")

    async def _now(self, key: str) -> tuple[Asks, Revision]:
        entry = await self._store.get(key)
        if entry is None:
            return Asks(), 0
        return decode(entry.value, Asks, f"{key}@{entry.mod_revision}"), entry.mod_revision

    def _remove(self, name: Name, nonce: str) -> None:
        """Take a question away in the background: nobody waits for that."""
        task = asyncio.get_running_loop().create_task(self._removed(name, frozenset({nonce})))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _removed(self, name: Name, nonces: frozenset[str]) -> None:
        gone = tuple(DeletePrefix(answers_prefix(*name, nonce)) for nonce in nonces)
        try:
            await self._change(name, lambda asks: _without(asks, nonces), gone)
        except HerzError as error:
            _log.info("herz: a question was not taken away, and will be later: %s", error)

    # --- what others left behind ------------------------------------------------------------------

    async def sweep(self, over_s: float = OVER_S) -> int:
        """Take away questions that nobody waits for any more, and answers to none; how many there were.

        That nobody waits is told from how long a question stands here: its own end is by the clock of who asked.
        """
        over: dict[Name, set[str]] = {}
        for name, namespace in self._hub.namespaces.items():
            for ask in namespace.asks.open:
                if (self._hub.stood_s(name, ask.nonce) or 0.0) > over_s:
                    over.setdefault(name, set()).add(ask.nonce)
        for name, nonce in self._hub.lone_answers(LONE_S):
            over.setdefault(name, set()).add(nonce)
        for name, nonces in over.items():
            await self._removed(name, frozenset(nonces))
        return sum(map(len, over.values()))

    async def sweeping(self, every_s: float = SWEEP_S) -> None:
        """Sweep again and again; work for one server."""
        while True:
            await asyncio.sleep(every_s)
            await self.sweep()


class _Answers:
    """What was answered to one question so far."""

    def __init__(self, expected: Collection[str] | None, answered: Callable[[Answer], float | None]) -> None:
        self.found: dict[str, Answer] = {}
        self.complete = asyncio.Event()
        self.limit: asyncio.Timeout | None = None
        self._missing = None if expected is None else set(expected)
        self._answered = answered
        if self._missing is not None and not self._missing:
            self.complete.set()

    def add(self, answer: Answer) -> None:
        """Take the first answer of an instance."""
        if answer.instance in self.found:
            return
        self.found[answer.instance] = answer
        left_s = self._answered(answer)
        if self._missing is not None:
            self._missing.discard(answer.instance)
            if not self._missing:
                self.complete.set()
        limit = self.limit
        if left_s is None or limit is None or limit.expired():
            return
        at = asyncio.get_running_loop().time() + left_s
        if at < (limit.when() or at):
            limit.reschedule(at)


def _with(asks: Asks, question: Ask) -> Asks:
    changed = Asks(open=(*asks.open, question))
    if len(changed.open) > OPEN or len(encode(changed)) > ASKS_BYTES:
        raise Conflict(
            f"{len(asks.open)} questions stand already, or this one is too long",
            remedy="wait until they are answered; name cohorts rather than instances",
        )
    return changed


def _without(asks: Asks, nonces: frozenset[str]) -> Asks | None:
    """What is left; None when they do not stand."""
    left = tuple(ask for ask in asks.open if ask.nonce not in nonces)
    return None if len(left) == len(asks.open) else Asks(open=left)
