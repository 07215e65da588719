"""Checks that watch a batch while it bakes: health URLs, and metrics of canary against baseline in Prometheus.

A check never guesses: what cannot be asked, or has too few samples, is INCONCLUSIVE, and its detail says why.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from herz.errors import HerzError, SourceError, UsageError
from herz.release.member import Member
from herz.release.rollout import Check, CheckResult, Rollout
from herz.release.statistics import Outcome, Worse, compare
from herz.release.trend import Point, Sample, points
from herz.server.rollouts.outbound import Outbound, permitted, shown
from herz.server.rollouts.prometheus import samples

LARGE: Final = 1e100
"""What an infinite sample counts as: the worst or best of all, and still a number to compute with."""
AT_ONCE: Final = 50
"""Health URLs that are asked at the same time."""
DETAIL_LENGTH: Final = 240
_PLACEHOLDER: Final = re.compile(r"\{(instance|label\.([A-Za-z0-9_.-]+))\}")


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a check of kind `health`: a URL that answers 2xx while all is well.

    With `{instance}` or `{label.NAME}` in it, it is asked for every instance of the batch. Each URL fails once
    `attempts` in a row did, `pause_s` apart.
    """

    url: str
    attempts: int = 2
    pause_s: float = 0.5
    limit_s: float = 5.0


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a check of kind `prometheus`: queries of series, sampled every `step_s` since the batch was verified.

    `canary` is compared with `baseline`, where there is one, by `herz.release.statistics.compare`; its mean must lie
    within `least` and `most`, where these are given. In a query `$canary` stands for the instances of the batch and
    `$baseline` for those in no batch, as a regular expression for `=~"…"`. `step_s` must not be shorter than the scrape
    interval, or one observation counts several times.
    """

    server: str
    canary: str
    baseline: str | None = None
    least: float | None = None
    most: float | None = None
    worse: Worse = Worse.HIGHER
    step_s: float = 15.0
    alpha: float = 0.05
    sample_min: int = 8
    effect_min: float = 0.6
    shift_min: float = 0.05


def options_of(check: Check) -> Health | Metric:
    """The options of a check by its kind; `UsageError` that says what is wrong with them."""
    try:
        if check.kind == "health":
            return _health(check)
        if check.kind == "prometheus":
            return _metric(check)
    except msgspec.ValidationError as error:
        raise _wrong(check, str(error)) from error
    raise _wrong(check, f"{check.kind!r} is no kind of check; there are 'health' and 'prometheus'")


def _health(check: Check) -> Health:
    health = msgspec.convert(check.options, Health)
    if not 1 <= health.attempts <= 10 or not 0 <= health.pause_s <= 60 or not 0 < health.limit_s <= 60:
        raise _wrong(check, "1 to 10 attempts are made, at most 60 s long and apart")
    _address(_PLACEHOLDER.sub("x", health.url) if "://{" not in health.url else "https://x", check)
    return health


def _metric(check: Check) -> Metric:
    metric = msgspec.convert(check.options, Metric)
    _address(metric.server, check)
    if metric.baseline is None and metric.least is None and metric.most is None:
        raise _wrong(check, "it compares with nothing: give a baseline, or the least or most that the mean may be")
    if not metric.step_s > 0 or not 0 < metric.alpha < 1 or metric.sample_min < 1:
        raise _wrong(check, "step_s and sample_min are positive, alpha lies between 0 and 1")
    return metric


def _address(url: str, check: Check) -> None:
    permitted(url, f"check {check.name!r}")
    if urlsplit(url).username is not None:
        raise _wrong(check, "its address holds credentials, which everybody could read who may read the rollout")


def _wrong(check: Check, why: str) -> UsageError:
    return UsageError(f"check {check.name!r}: {why}", remedy="mend its options")


class Checks:
    """Looks at checks; every look is one result."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def look(self, check: Check, rollout: Rollout, members: Sequence[Member], now: datetime) -> CheckResult:
        """What `check` says of the batch in work at `now`; `members` are all instances of the namespace."""
        seen: tuple[Point, ...] = ()
        try:
            options = options_of(check)
            batch = [member for member in members if member.cohort == rollout.cohort]
            if isinstance(options, Health):
                outcome, detail = await self._health(options, batch)
            else:
                outcome, detail, seen = await self._metric(options, rollout, batch, members, now)
        except HerzError as error:
            outcome, detail = Outcome.INCONCLUSIVE, str(error)
        return CheckResult(
            name=check.name,
            outcome=outcome,
            step=rollout.step,
            detail=detail[:DETAIL_LENGTH],
            time=now,
            points=seen,
        )

    async def _health(self, health: Health, batch: Iterable[Member]) -> tuple[Outcome, str]:
        if _PLACEHOLDER.search(health.url) is None:
            urls = {health.url: "it"}
        else:
            urls = {url: member.instance for member in batch if (url := _filled(health.url, member)) is not None}
            if not urls:
                return Outcome.INCONCLUSIVE, f"no instance of the batch has the labels that {health.url!r} asks for"
        turn = asyncio.Semaphore(AT_ONCE)
        failures = await asyncio.gather(*(self._well(url, health, turn) for url in urls))
        said = [f"{who}: {why}" for who, why in zip(urls.values(), failures, strict=True) if why is not None]
        if said:
            return Outcome.FAIL, "; ".join(said[:5]) + (f" and {len(said) - 5} more" if len(said) > 5 else "")
        return Outcome.PASS, f"{len(urls)} answered well"

    async def _well(self, url: str, health: Health, turn: asyncio.Semaphore) -> str | None:
        """Why `url` is not well; None when it is."""
        why = None
        for attempt in range(health.attempts):
            if attempt:
                await asyncio.sleep(health.pause_s)
            try:
                async with turn:
                    reply = await self._outbound.get(url, limit_s=health.limit_s)
            except SourceError as error:
                why = error.what
            else:
                if reply.ok:
                    return None
                why = f"{shown(url)} answered {reply.status}"
        return why

    async def _metric(
        self, metric: Metric, rollout: Rollout, batch: Sequence[Member], members: Sequence[Member], now: datetime
    ) -> tuple[Outcome, str, tuple[Point, ...]]:
        """What it says, why, and the course of what it looked at."""
        stable = [member for member in members if member.rollout != rollout.id]
        named = {"$canary": _pattern(batch), "$baseline": _pattern(stable)}

        async def asked(query: str) -> tuple[Sample, ...]:
            query = _replaced(query, named)
            return await samples(self._outbound, metric.server, query, rollout.since, now, metric.step_s)

        canary = await asked(metric.canary)
        values = _finite(canary)
        plain = _bounded(metric, values)
        if plain is not None:
            return *plain, points(canary)
        baseline = await asked(metric.baseline or "")
        compared = compare(
            _finite(baseline),
            values,
            worse=metric.worse,
            alpha=metric.alpha,
            look=look_of(rollout, now),
            sample_min=metric.sample_min,
            effect_min=metric.effect_min,
            shift_min=metric.shift_min,
        )
        return compared.outcome, compared.reason, points(canary, baseline)


def _bounded(metric: Metric, canary: Sequence[float]) -> tuple[Outcome, str] | None:
    """What the canary's values say by themselves, and why; None where they must be compared."""
    if len(canary) < metric.sample_min:
        return Outcome.INCONCLUSIVE, f"{len(canary)} samples of the canary, {metric.sample_min} are needed"
    mean = math.fsum(canary) / len(canary)
    if metric.most is not None and mean > metric.most:
        return Outcome.FAIL, f"the canary's mean is {mean:.6g}, at most {metric.most:g} is allowed"
    if metric.least is not None and mean < metric.least:
        return Outcome.FAIL, f"the canary's mean is {mean:.6g}, at least {metric.least:g} is needed"
    return (Outcome.PASS, f"the canary's mean is {mean:.6g}") if metric.baseline is None else None


def _finite(found: Iterable[Sample]) -> list[float]:
    """The values as numbers to compute with."""
    return [one.value if math.isfinite(one.value) else math.copysign(LARGE, one.value) for one in found]


def look_of(rollout: Rollout, now: datetime) -> int:
    """The number of this look, from 1, told by the time alone: a driver that takes over goes on counting."""
    return 1 + max(0, int((now - rollout.since).total_seconds() / max(rollout.plan.check_s, 1e-3)))


def _filled(url: str, member: Member) -> str | None:
    """`url` for one instance; None where it lacks a label. What an instance says of itself can only fill its place."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        text = member.instance if match[2] is None else member.labels.get(match[2])
        missing |= not text
        return quote(text or "", safe=":[]")

    filled = _PLACEHOLDER.sub(value, url)
    return None if missing else filled


def _pattern(members: Iterable[Member]) -> str:
    """The names of instances as a regular expression inside a string of PromQL."""
    return "|".join(re.escape(member.instance).replace("\\", "\\\\") for member in members)


def _replaced(query: str, named: Mapping[str, Any]) -> str:
    for name, value in named.items():
        query = query.replace(name, value)
    return query
