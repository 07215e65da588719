"""The story: five acts, what each is expected to do, and whether it did."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any, Final

from herz.cli.demo.files import Files
from herz.cli.demo.http import Answer, Connection
from herz.cli.demo.screen import Screen
from herz.cli.demo.tally import Tally

ARRIVE_S: Final = 5.0
"""How long a change may take to arrive before the demo calls it missing; milliseconds are usual."""
DRAIN_S: Final = 10.0
"""How long a replaced pool may take to close."""
POLL_S: Final = 0.02

CALLED: Final = {"Pool": "connection pool", "PaymentClient": "payment client"} | {
    "PriceList": "price list",
    "ReceiptPrinter": "receipt printer",
    "RateLimiter": "rate limiter",
}
"""The service's five objects, in words."""


def _roll_back(files: Files) -> None:
    files.check_out()
    files.mount(edition=7)


@dataclass(frozen=True)
class Step:
    """One change of the files, and what the service should then have done: no more, no less."""

    said: str
    change: Callable[[Files], None]
    rebuilt: tuple[str, ...] = ()
    reloads: int = 0
    refused: int = 0
    health: str = "UP"
    as_at_the_start: bool = False


@dataclass(frozen=True)
class Act:
    """A few steps under one heading; `moral` is why it matters."""

    title: str
    moral: str
    steps: tuple[Step, ...]


ACTS: tuple[Act, ...] = (
    Act(
        "A good change",
        "Only what was built from the changed value is built anew.",
        (
            Step(
                "edit application.yml: pool-size 4 → 8",
                lambda files: files.edit(pool_size=8),
                rebuilt=("Pool", "PaymentClient"),
                reloads=1,
            ),
        ),
    ),
    Act(
        "The same, written differently",
        "Values are compared by what they mean, so nothing needs to move.",
        (Step("3s → 3000ms, 0.3 → 0.30, keys reordered, comments", lambda files: files.tidy(pool_size=8)),),
    ),
    Act(
        "A mistake",
        "A bad value never gets in; the last good configuration goes on serving.",
        (
            Step(
                "edit application.yml: timeout: 2 sceonds",
                lambda files: files.edit(pool_size=8, timeout="2 sceonds"),
                refused=1,
                health="DOWN",
            ),
            Step(
                "mended: timeout: 2s",
                lambda files: files.edit(pool_size=8, timeout="2s"),
                rebuilt=("PaymentClient",),
                reloads=1,
            ),
        ),
    ),
    Act(
        "Two files at once, the Kubernetes way",
        "Every request sees both files old, or both new.",
        (
            Step(
                "the ConfigMap's ..data link turns to edition 8",
                lambda files: files.mount(edition=8),
                rebuilt=("PriceList", "ReceiptPrinter"),
                reloads=1,
            ),
        ),
    ),
    Act(
        "Rollback",
        "Going back is one more change, and no more dangerous.",
        (
            Step(
                "application.yml and ConfigMap as they were at the start",
                _roll_back,
                rebuilt=("Pool", "PaymentClient", "PriceList", "ReceiptPrinter"),
                reloads=2,
                as_at_the_start=True,
            ),
        ),
    ),
)


class Story:
    """Plays the acts against a running service and holds what happened against what was expected."""

    def __init__(
        self,
        files: Files,
        service: Connection,
        database: tuple[str, int],
        screen: Screen,
        tally: Tally,
        *,
        pause_s: float,
    ) -> None:
        self._files, self._service, self._database = files, service, database
        self._screen, self._tally, self._pause_s = screen, tally, pause_s

    async def play(self) -> None:
        """All acts, one after the other; `Tally.ok` is False when anything was not as expected."""
        first = self._facts = await self._ask("/facts")
        self._at_first = Counter(first["built"])
        self._fingerprint = first["fingerprint"]
        self._check(
            dict(self._at_first) == dict.fromkeys(CALLED, 1) and not first["changes"],
            f"{len(self._at_first)} objects built, each once",
            f"expected {sorted(CALLED)} once each, and nothing changed; found {first['built']}, {first['changes']}",
            quiet=True,
        )
        await self._pause()
        for number, act in enumerate(ACTS, 1):
            self._screen.act(number, act.title, act.moral)
            for step in act.steps:
                await self._pause(0.5)
                await self._step(step)
            await self._pause()
        await self._check_totals()

    async def _step(self, step: Step) -> None:
        before = self._facts
        self._screen.change(step.said)
        saved_s = time.monotonic()
        step.change(self._files)
        await self._arrived(before, step)
        # A change that should do nothing must not be mistaken for one that has not been noticed: refresh looks
        # at every file and answers when all of it is in force.
        looked = await self._service.request("POST", "/actuator/refresh")
        after = self._facts = await self._ask("/facts")
        self._count(after)
        self._tell_changes(step, before, after, saved_s)
        self._tell_refusals(step, before, after)
        self._tell_rebuilt(step, before, after, looked)
        await self._check_health(step)
        if "Pool" in step.rebuilt:
            await self._check_drained()
        if step.as_at_the_start:
            short = self._fingerprint.removeprefix("sha256:")[:12]
            self._check(
                after["fingerprint"] == self._fingerprint,
                f"fingerprint {short}: the very configuration of the start",
                f"fingerprint {after['fingerprint']}, expected {self._fingerprint}",
            )

    async def _arrived(self, before: dict[str, Any], step: Step) -> None:
        """Wait until as much has happened as is expected, or time is up."""
        until = time.monotonic() + ARRIVE_S
        while time.monotonic() < until:
            facts = await self._ask("/facts")
            reloads = len(facts["changes"]) - len(before["changes"])
            if reloads >= step.reloads and len(facts["refusals"]) - len(before["refusals"]) >= step.refused:
                return
            await asyncio.sleep(POLL_S)

    def _tell_changes(self, step: Step, before: dict[str, Any], after: dict[str, Any], saved_s: float) -> None:
        fresh = after["changes"][len(before["changes"]) :]
        took_ms = [(one["at_s"] - saved_s) * 1000 for one in fresh]
        self._tally.reload_ms += took_ms
        if not step.as_at_the_start:
            for one in fresh:
                for key, old, new, cause in one["keys"]:
                    self._screen.detail(f"{key}: {old} → {new}  ({cause})")
        taken = f"in force {max(took_ms):.0f} ms after saving" if fresh else ""
        changed = len(fresh)
        self._check(
            changed == step.reloads, taken, f"expected {step.reloads} reloads, saw {changed}", quiet=not step.reloads
        )

    def _tell_refusals(self, step: Step, before: dict[str, Any], after: dict[str, Any]) -> None:
        fresh = after["refusals"][len(before["refusals"]) :]
        self._check(
            len(fresh) == step.refused,
            "refused, with the place and what to do:" if fresh else "",
            f"expected {step.refused} refusals, saw {len(fresh)}",
            quiet=not step.refused,
        )
        for message in fresh:
            self._screen.message(message)

    def _tell_rebuilt(self, step: Step, before: dict[str, Any], after: dict[str, Any], looked: Answer) -> None:
        rebuilt = Counter(after["built"]) - Counter(before["built"])
        said = f"rebuilt {len(rebuilt)} of {len(CALLED)}{_named(rebuilt)}"
        looked_well = bool(step.refused) or looked == Answer(200, [])
        if not (step.reloads or step.refused):
            said += f"; POST /actuator/refresh finds no change either: {json.dumps(looked.body)}"
        self._check(
            rebuilt == Counter(step.rebuilt) and looked_well,
            said,
            f"expected to rebuild {_listed(step.rebuilt)}, rebuilt {_listed(rebuilt.elements())};"
            f" POST /actuator/refresh answered {looked.status} {looked.body}",
        )

    async def _check_health(self, step: Step) -> None:
        found = [await self._status("/actuator/health"), await self._status("/actuator/health/readiness")]
        expected = [Answer(200 if step.health == "UP" else 503, step.health), Answer(200, "UP")]
        self._check(
            found == expected,
            f"health {step.health} ({found[0].status}): somebody should look. Readiness UP (200): it serves on",
            f"expected health and readiness {expected}, found {found}",
            quiet=step.health == "UP",
        )

    async def _status(self, path: str) -> Answer:
        status, body = await self._service.request("GET", path)
        return Answer(status, body.get("status") if isinstance(body, dict) else body)

    async def _check_drained(self) -> None:
        """The replaced pool is closed, and the database saw no session end while it was in use."""
        until = time.monotonic() + DRAIN_S
        while True:
            facts = await self._ask("/facts")
            counts = await self._database_counts()
            drained = facts["closed"].get("Pool", 0) == facts["built"]["Pool"] - 1
            size = facts["pool_size"]
            if (drained and counts["open"] == size) or time.monotonic() > until:
                break
            await asyncio.sleep(POLL_S)
        self._facts = facts
        self._check(
            drained and counts["open"] == size and counts["cut"] == 0,
            f"old connections drained, then closed; the database has {size} open, 0 cut off",
            f"expected {size} open sessions and none cut, the database says {counts}",
        )

    async def _check_totals(self) -> None:
        """Nothing happened behind the story's back, or late."""
        facts = await self._ask("/facts")
        steps = [step for act in ACTS for step in act.steps]
        expected = [sum(step.reloads for step in steps), sum(step.refused for step in steps)]
        found = [len(facts["changes"]), len(facts["refusals"])]
        built = Counter(facts["built"]) - self._at_first
        wanted = Counter(name for step in steps for name in step.rebuilt)
        self._check(
            found == expected and built == wanted,
            "",
            f"in all, expected {expected} reloads and refusals and {dict(wanted)}; found {found} and {dict(built)}",
            quiet=True,
        )

    # --- asking and counting ----------------------------------------------------------------------

    async def _ask(self, path: str) -> dict[str, Any]:
        status, body = await self._service.request("GET", path)
        if status != 200:
            raise ConnectionError(f"{path} answered {status}: {body}")
        self._count(body)
        return dict(body)

    async def _database_counts(self) -> dict[str, int]:
        reader, writer = await asyncio.open_connection(*self._database)
        try:
            writer.write(b"STATS\n")
            counts: dict[str, int] = json.loads(await reader.readline())
            return counts
        finally:
            writer.close()

    def _count(self, facts: dict[str, Any]) -> None:
        self._tally.reloads = len(facts["changes"])
        self._tally.refused = len(facts["refusals"])
        self._tally.rebuilt = sum(facts["built"].values()) - len(CALLED)

    def _check(self, held: bool, said: str, otherwise: str, *, quiet: bool = False) -> None:
        if not held:
            self._tally.ok = False
            self._screen.fact(False, otherwise)
        elif not quiet:
            self._screen.fact(True, said)

    async def _pause(self, share: float = 1.0) -> None:
        await asyncio.sleep(self._pause_s * share)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _named(rebuilt: Container[str]) -> str:
    there = [called for name, called in CALLED.items() if name in rebuilt]
    others = [called for name, called in CALLED.items() if name not in rebuilt]
    if there and len(there) > len(others) > 0:
        return f": all but the {', '.join(others)}"
    return f": {', '.join(there)}" if there else ""
