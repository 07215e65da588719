"""Cut one exchange at every byte: what a client must survive, one offset after the other.

async def follow(address: str) -> list[str]:      # any client that carries on after a cut
    ...
    return values

async for run in cut_everywhere(server.endpoint, follow, sample=50, rng=random.Random(seed)):
    assert run.result == expected, run
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from herz.testing.fault_proxy import Direction, FaultProxy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """One run of the exchange. `offset` is None in the first one, which is not cut and tells the `length` in bytes.

    `cut` says whether the offset was reached: protocols like HTTP/2 do not send the same bytes each time, so that the
    last offsets may lie behind the end. `connections` is how many the client needed.
    """

    offset: int | None
    length: int
    cut: bool
    connections: int
    result: T


async def cut_everywhere(
    target: str,
    exchange: Callable[[str], Awaitable[T]],
    *,
    direction: Direction = "down",
    sample: int | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Run[T]]:
    """Run `exchange` once untouched, then once for each offset, its connection reset after that many bytes.

    `exchange` gets the address to connect to, runs from the beginning to the end and returns what it has seen; what it
    raises is raised here, and says nothing about the offset, so let it return rather than raise. `target` is
    `host:port`. `sample` bounds the number of offsets: the first, the last and random ones between, without it all.
    """
    with FaultProxy(target) as proxy:
        result = await exchange(proxy.address)
        length = _relayed(proxy, direction)
        yield Run(None, length, False, proxy.connections, result)
    for offset in offsets(length, sample=sample, rng=rng):
        with FaultProxy(target) as proxy:
            planned = proxy.cut_after(offset, direction)
            result = await exchange(proxy.address)
            yield Run(offset, length, planned.running() or planned.done(), proxy.connections, result)


def offsets(length: int, *, sample: int | None = None, rng: random.Random | None = None) -> list[int]:
    """The offsets at which `length` bytes can be cut, 0 and `length` included, in order; at most `sample` of them."""
    if sample is None or sample > length:
        return list(range(length + 1))
    chosen = {0, length} if sample >= 2 else {0}
    rng = rng or random.Random(0)  # noqa: S311  for repeatable faults
    chosen.update(rng.sample(range(1, length), sample - len(chosen)))
    return sorted(chosen)


def _relayed(proxy: FaultProxy, direction: Direction) -> int:
    return proxy.bytes_down if direction == "down" else proxy.bytes_up
