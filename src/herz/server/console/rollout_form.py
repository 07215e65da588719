"""The form of a rollout: what was typed, kept as it is; and the wish that it means, or what is wrong with it where.

The same fields come as a query (a preview while it is filled in, a link to a filled-in form) and as a sent form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

from herz.errors import UsageError
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Check
from herz.server.rollouts.book import CHECKS, Wish

WINDOWS: Final = ("check_s", "deploy_s", "prepare_s", "commit_s", "verify_s")
"""The plan's seconds that are seldom changed, beside how long a batch bakes."""
LENGTH_MOST: Final = 10_000
"""Characters of one field."""
FIELDS_MOST: Final = 1_000
_LABEL: Final = "label."
_CHECK: Final = re.compile(r"check-(\d{1,3})-[a-z_]+")
_NUMBERS: Final = {
    "health": ("attempts", "pause_s", "limit_s"),
    "prometheus": ("least", "most", "step_s", "alpha", "sample_min", "effect_min", "shift_min"),
}
_TEXTS: Final = {"health": ("url",), "prometheus": ("server", "canary", "baseline", "worse")}
_WHOLE: Final = frozenset({"attempts", "sample_min"})


class WishForm:
    """A form as it was filled in. Fields that are missing have the defaults of `Plan` and `Wish`."""

    def __init__(self, pairs: Iterable[tuple[str, Any]], defaults: Mapping[str, str] | None = None) -> None:
        self._fields: dict[str, list[str]] = {}
        for number, (name, value) in enumerate(pairs):
            if number >= FIELDS_MOST or len(name) > LENGTH_MOST or not isinstance(value, str):
                raise UsageError("this is no form of a rollout", remedy="open the form, and send it as it is")
            self._fields.setdefault(name, []).append(value[:LENGTH_MOST])
        self._defaults = {**_defaults(), **(defaults or {})}

    def text(self, name: str) -> str:
        """What stands in a field."""
        found = self._fields.get(name)
        return found[-1].strip() if found else self._defaults.get(name, "")

    def many(self, name: str) -> tuple[str, ...]:
        """What is chosen in a field of several."""
        return tuple(value for value in self._fields.get(name, ()) if value)

    @property
    def rows(self) -> tuple[int, ...]:
        """The numbers of the checks that are filled in, and of an empty one to go on with."""
        numbers = {int(match[1]) for name in self._fields if (match := _CHECK.fullmatch(name))}
        filled = sorted(number for number in numbers if self._filled(number))[: 2 * CHECKS]  # too many, and no more
        return (*filled, max(filled, default=-1) + 1) if len(filled) < CHECKS else tuple(filled)

    def _filled(self, row: int) -> bool:
        return any(self.text(f"check-{row}-{field}") for field in ("name", "url", "server", "canary"))

    @property
    def selector(self) -> dict[str, str]:
        """The labels that members must have; several values of one are any of them."""
        names = (name for name in self._fields if name.startswith(_LABEL) and name != _LABEL)
        return {name.removeprefix(_LABEL): "|".join(found) for name in names if (found := self.many(name))}

    def plan(self) -> Plan:
        """The plan; `UsageError` for one that makes no sense."""
        kind = self.text("kind")
        if kind not in list(PlanKind):
            raise UsageError(f"{kind!r} is no kind of plan", remedy=f"choose one of {', '.join(PlanKind)}")
        facts: dict[str, Any] = {"bake_s": self._number("bake_s"), "bake_max_s": self._number("bake_max_s", empty=True)}
        facts |= {name: self._number(name) for name in WINDOWS}
        if kind == PlanKind.LINEAR:
            facts["step"] = self._number("step")
        elif kind == PlanKind.EXPONENTIAL:
            facts |= {"first": self._number("first"), "factor": self._number("factor")}
        else:
            shares = re.split(r"[\s,;%]+", self.text("percent").strip(" ,;%"))
            facts["percent"] = tuple(_number("percent", share) for share in shares if share)
        return Plan(kind=PlanKind(kind), **facts).checked()

    def wish(self) -> Wish:
        """What the whole form means; `UsageError` where it means nothing."""
        release = self.text("release").removeprefix("@")
        if not release.isdecimal():
            raise UsageError(f"{release!r} is no number of a release", remedy="choose the release to roll out")
        return Wish(
            release=int(release[:12]),
            plan=self.plan(),
            selector=self.selector,
            patch_id=self.text("patch_id") or None,
            checks=tuple(self._check(row) for row in self.rows if self._filled(row)),
            deployer=self.text("deployer") or None,
            allow_overrides=tuple(key for key in re.split(r"[\s,]+", self.text("allow_overrides")) if key),
            allow_empty=bool(self.text("allow_empty")),
            message=self.text("message"),
        )

    def _check(self, row: int) -> Check:
        name, kind = self.text(f"check-{row}-name"), self.text(f"check-{row}-kind")
        if not name:
            raise UsageError(f"check {row + 1} has no name", remedy="name it by what it watches, such as latency")
        if kind not in _TEXTS:
            raise UsageError(f"check {name!r}: {kind!r} is no kind of check", remedy="choose health or prometheus")
        options: dict[str, Any] = {}
        for field in _TEXTS[kind]:
            if text := self.text(f"check-{row}-{field}"):
                options[field] = text
        for field in _NUMBERS[kind]:
            if text := self.text(f"check-{row}-{field}"):
                number = _number(f"{field} of check {name!r}", text)
                options[field] = int(number) if field in _WHOLE and number == int(number) else number
        return Check(name=name, kind=kind, options=options)

    def _number(self, name: str, *, empty: bool = False) -> float | None:
        text = self.text(name)
        return None if empty and not text else _number(name, text)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UsageError(f"{name} is {text[:100]!r}", remedy="give a number, such as 30 or 0.5")
    return number


def _defaults() -> dict[str, str]:
    plan = Plan()
    numbers = ("step", "first", "factor", "bake_s", *WINDOWS)
    return {"kind": plan.kind.value, "percent": "1, 10, 50, 100"} | {
        name: f"{getattr(plan, name):g}" for name in numbers
    }
