"""The six cases that `herz demo --faults` plays: what is broken, and in words what each side did about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Outcome = Mapping[str, Any]
"""One case's row, as `herz.testing.fault_bench.run` makes it."""

NUMBERS: Final = {"lost": "lost", "twice": "twice", "reordered": "out of order", "unnoticed": "rewinds unnoticed"}
"""The four numbers, and what they are called."""


@dataclass(frozen=True)
class Told:
    """One case. `plain` and `herz` tell what each side did, from the outcome."""

    number: int
    title: str
    broken: str
    plain: Callable[[Outcome], str]
    herz: Callable[[Outcome], str]


def _plain_cut(outcome: Outcome) -> str:
    again = outcome["did"].get("streams", 1) - 1
    return f'It opened its stream again {_times(again)}, from "now"; what was in between is gone.'


def _plain_leader(outcome: Outcome) -> str:
    again = outcome["did"].get("streams", 1) - 1
    hit = (
        f'It opened its stream again {_times(again)}, from "now",'
        if again
        else "Its own member was not hit, this time,"
    )
    return f"{hit} and took a minority's word for the truth."


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _plain_slow(outcome: Outcome) -> str:
    if outcome["naive"]["lost"]:
        return "Its queue of 1,024 was full, and it dropped what was new without a word."
    return "Its queue of 1,024 was long enough, this time."


def _herz_slow(outcome: Outcome) -> str:
    grown = f"memory grew by {outcome['notes'].get('grown_mib', 0):.0f} MiB, both clients together"
    if outcome["did"].get("resets"):
        return f"It kept a bounded backlog and handed on the rest as one change marked reset; {grown}."
    return f"It handed on every revision, late; {grown}."


TOLD: Final = (
    Told(
        1,
        "The connection is reset, again and again",
        "Resets hit both while eight writers go on.",
        _plain_cut,
        lambda outcome: f"It resumed {_times(outcome['did'].get('reconnects', 0))} behind what it had applied.",
    ),
    Told(
        3,
        "A connection that is open and dead",
        "Packets vanish, nothing says so, and the writers go on.",
        lambda outcome: "It believed the silence, then went on from later.",
        lambda outcome: (
            f"It said STALE after {outcome['notes'].get('stale_s', 0):.1f} s without proof of life, dialled anew, "
            "and took up where it was."
        ),
    ),
    Told(
        5,
        "History is compacted meanwhile",
        "Both are cut off; keys are put, others deleted, and what led there is compacted.",
        lambda outcome: "It went on from later; what was deleted meanwhile lives on in it.",
        lambda outcome: "It read everything again and handed on the difference, deletions too, marked as reset.",
    ),
    Told(
        7,
        "The leader is killed, three times; then two of three members freeze",
        "What is left cannot know whether its values are still the newest.",
        _plain_leader,
        lambda outcome: (
            f"It moved to another member {_times(outcome['did'].get('reconnects', 0))}, and said STALE when only a "
            "minority was left."
        ),
    ),
    Told(
        10,
        "The cluster is restored from an older backup",
        "It is back where it was before; names, members and terms stay the same.",
        lambda outcome: "It mixed the old history with the new one, and says nothing.",
        lambda outcome: (
            f"It noticed {_times(outcome['did'].get('rewinds', 0))}, said REWOUND, read everything, "
            "and began a new epoch."
        ),
    ),
    Told(
        15,
        "The consumer is slower than the writers",
        "Each change takes the application 20 ms; then history is compacted behind it.",
        _plain_slow,
        _herz_slow,
    ),
)


def plain_line(outcome: Outcome) -> tuple[bool, str]:
    """Whether the plain client came through, and what that cost."""
    well = not any(outcome["naive"].values()) and not outcome["did"].get("wrong")
    wrong = outcome["did"].get("wrong", 0)
    values = f"; {wrong:,} value{'' if wrong == 1 else 's'} wrong from now on" if wrong else ""
    return well, f"plain client: {numbers(outcome['naive'])}{values}"


def herz_line(outcome: Outcome) -> tuple[bool, str]:
    """Whether Herz came through."""
    if outcome["error"] is not None:
        return False, f"Herz: {outcome['error']}"
    return not any(outcome["herz"].values()), f"Herz: {numbers(outcome['herz'])}"


def numbers(count: Mapping[str, int]) -> str:
    """The four numbers in words, without those that are 0."""
    said = [f"{count[name]:,} {words}" for name, words in NUMBERS.items() if count[name] and name != "unnoticed"]
    if count["unnoticed"]:
        said.append("a rewind unnoticed" if count["unnoticed"] == 1 else f"{count['unnoticed']} rewinds unnoticed")
    return ", ".join(said) or "nothing lost"


def table(outcomes: list[Outcome]) -> list[str]:
    """All cases and their sums: the plain client's four numbers, then Herz's, in 80 columns."""
    heads = "".join(f"{name:>7}" for name in ("lost", "twice", "order", "rewind"))
    lines = [f"{'':<22} {'    plain client':<28}    Herz", f"{'':<22} {heads} {heads}"]
    for outcome in outcomes:
        figures = [f"{outcome[side][name]:>7,}" for side in ("naive", "herz") for name in NUMBERS]
        lines.append(f"{outcome['name']:<22} {''.join(figures[:4])} {''.join(figures[4:])}")
    sums = [f"{sum(o[side][name] for o in outcomes):>7,}" for side in ("naive", "herz") for name in NUMBERS]
    lines.append(f"{'all':<22} {''.join(sums[:4])} {''.join(sums[4:])}")
    lines.append("(revisions lost, applied twice, out of order; rewinds of the store unnoticed)")
    return lines
