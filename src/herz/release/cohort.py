"""Who is in a batch: by labels, and in a stable order that has nothing to do with addresses or arrival.

The order is the SHA-256 of a seed (the rollout) and the instance's name, so that a larger share only ever adds
instances to a smaller one, a restart changes nothing, and another rollout begins with other instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from herz.errors import UsageError


def selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether `labels` fulfil every entry of `selector`; a value may list several: `eu|us`. An empty one takes all."""
    return all(labels.get(name) in wanted.split("|") for name, wanted in selector.items())


def ordered(instances: Iterable[str], seed: str) -> tuple[str, ...]:
    """`instances`, each once, in the order of their hashes under `seed`."""
    return tuple(sorted(set(instances), key=lambda instance: (_place(instance, seed), instance)))


def chosen(instances: Iterable[str], seed: str, count: int) -> tuple[str, ...]:
    """The first `count` of `instances` in that order: growing `count` only adds."""
    if count < 0:
        raise UsageError(f"cannot choose {count} instances", remedy="ask for 0 or more")
    return ordered(instances, seed)[:count]


def _place(instance: str, seed: str) -> bytes:
    # The length goes first, so that no seed and instance can be read as another pair.
    return sha256(f"{len(seed)}:{seed}{instance}".encode("utf-8", "surrogatepass")).digest()
