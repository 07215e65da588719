"""Explanations: which layer a value comes from, and what it overrode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from herz.model.secret import MASK, Secret
from herz.model.tree import ABSENT


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one layer says of a key: the value as written there, and where (`file:line`, `key@revision`)."""

    layer: str
    place: str
    value: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who decided a value. `losers` are what the winner overrode, highest rank first.

    `value` is what is in force (references resolved), `references` the explanations of the keys that
    the winner's `${…}` named. A key that nobody set has no winner and the value `ABSENT`.
    """

    key: str
    value: Any
    winner: Contribution | None
    losers: tuple[Contribution, ...] = ()
    references: tuple[Explanation, ...] = ()

    def __str__(self) -> str:
        if self.winner is None:
            return f"{self.key} is not set" if self.value is ABSENT else f"{self.key} = {_shown(self.value)}"
        written = self.winner.value
        note = "" if _shown(written) == _shown(self.value) else f"  (written {_shown(written)})"
        lines = [f"{self.key} = {_shown(self.value)}  from {self.winner.place}{note}"]
        lines += [f"  overrides {_shown(loser.value)}  from {loser.place}" for loser in self.losers]
        for reference in self.references:
            first, *rest = str(reference).splitlines()
            lines += [f"  uses {first}", *(f"  {line}" for line in rest)]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    return MASK if isinstance(value, Secret) else repr(value)
