"""The list of cases: each is a coroutine that breaks something while a bench writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

Story = Callable[[Any], Awaitable[None]]
"""What happens: a coroutine that takes a `Bench`, or a `Stage` where the case needs no cluster of the bench."""


class Case(NamedTuple):
    """One row of the bench. `share` weighs how many of a run's events it writes.

    `cluster`: it works on the bench's three members; otherwise with what it makes itself.
    """

    number: int
    name: str
    story: Story
    share: float
    cluster: bool = True

    @property
    def told(self) -> str:
        """What the case does, for people: the first line of its docstring."""
        return (self.story.__doc__ or self.name).strip().splitlines()[0]


CASES: dict[int, Case] = {}
"""All cases, by number."""


def case(number: int, name: str, *, share: float = 1.0, cluster: bool = True) -> Callable[[Story], Story]:
    """Declare a case of the bench."""

    def declare(story: Story) -> Story:
        CASES[number] = Case(number, name, story, share, cluster)
        return story

    return declare
