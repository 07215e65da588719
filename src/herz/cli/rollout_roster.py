"""Who took part in a rollout, as a table for people."""

from __future__ import annotations

from typing import Final

from herz.cli.output import paint
from herz.cli.told import in_words, moment, short
from herz.client import Participant, Roster, Step

FEW: Final = 20
"""Instances that are listed without being asked for."""
_HEADS: Final = ("INSTANCE", "BATCH", "PHASE", "RELEASE", "BUILT", "COMMITTED", "VERIFIED", "ANSWER", "FINGERPRINT")
_PHASE: Final = _HEADS.index("PHASE")
_COLOURS: Final = {Step.FAILED: "red", Step.AWAY: "yellow", Step.VERIFIED: "green", Step.REPORTS: "green"}
_ORDER: Final = {step: place for place, step in enumerate(Step)}


def roster_text(roster: Roster, *, whole: bool) -> str:
    """Those that took part, who needs to be looked at first; unless `whole`, only those, and only some."""
    if not roster.recorded:
        return "who took part is not recorded: it ended before Herz kept that, or long ago"
    found = sorted(roster.participants, key=lambda one: (one.batch, one.error is None, _ORDER[one.step], one.instance))
    shown = found if whole else found[:FEW]
    lines = _table(shown) if shown else []
    if len(found) > len(shown):
        lines.append(f"… and {len(found) - len(shown)} more to look at")
    counted = f"{roster.members} instance{'' if roster.members == 1 else 's'} took part"
    if roster.left_out:
        counted += f"; {roster.left_out} of them were well, or too many to record, and are not named"
    return "\n".join([*lines, counted + ("" if whole or not roster.members else ": --members lists them")])


def _table(found: list[Participant]) -> list[str]:
    rows = [_row(one) for one in found]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    lines = [paint("  ".join(map(str.ljust, _HEADS, widths)).rstrip(), "bold")]
    for one, cells in zip(found, rows, strict=True):
        padded = list(map(str.ljust, cells, widths))
        padded[_PHASE] = paint(padded[_PHASE], _COLOURS.get(one.step, "dim"))
        lines.append("  ".join(padded).rstrip())
        if one.error:
            lines.append(paint(f"  {in_words(one.error)}", "red"))
    return lines


def _row(one: Participant) -> tuple[str, ...]:
    return (
        in_words(one.instance),
        str(one.batch),
        one.step.value,
        "–" if one.config_version is None else str(one.config_version),
        moment(one.prepared),
        moment(one.committed),
        moment(one.verified),
        "–" if one.took_ms is None else f"{one.took_ms:.0f} ms",
        in_words(short(one.fingerprint)),
    )
