"""Whether a change rebuilds what it reaches, and nothing else: random graphs, random changes.

`python -m benchmarks.refresh`.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass, make_dataclass
from typing import Any

from benchmarks._report import Row, print_table
from herz import Herz, MappingSource

GRAPHS = 20
OBJECTS = 30
CHANGES = 25
MODELS = 8


@dataclass
class Graph:
    """Objects built from models and from earlier objects; `needs` names both."""

    models: list[type[Any]]
    objects: list[type[Any]]
    needs: dict[type[Any], list[type[Any]]]

    def reached(self, models: set[type[Any]]) -> set[type[Any]]:
        """Everything that is built from `models`, directly or not: the reference, from the drawing alone."""
        reached: set[type[Any]] = set()
        for one in self.objects:  # each after what it needs
            if any(need in models or need in reached for need in self.needs[one]):
                reached.add(one)
        return reached


def drawn(choose: random.Random, objects: int) -> Graph:
    models: list[type[Any]] = [
        make_dataclass(f"Model{at}", [("value", int, 0), ("other", int, 0)], frozen=True) for at in range(MODELS)
    ]
    graph = Graph(models, [], {})
    for at in range(objects):
        pool = [*models, *graph.objects]
        needs = choose.sample(pool, choose.randrange(0, 4))
        one = _class(f"Object{at}", needs)
        graph.objects.append(one)
        graph.needs[one] = needs
    return graph


def _class(name: str, needs: list[type[Any]]) -> type[Any]:
    def construct(self: Any, **given: Any) -> None:
        self.given = given

    parameters = ", ".join(f"p{at}: n{at}" for at in range(len(needs)))
    arguments = ", ".join(f"p{at}=p{at}" for at in range(len(needs)))
    names = {f"n{at}": need for at, need in enumerate(needs)} | {"construct": construct}
    source = f"def __init__(self, {parameters}): construct(self, {arguments})" if needs else "def __init__(self): pass"
    exec(source, names)  # noqa: S102  ours: a constructor with these annotations
    return type(name, (), {"__init__": names["__init__"]})


def run(*, graphs: int = GRAPHS, objects: int = OBJECTS, changes: int = CHANGES) -> list[Row]:
    choose = random.Random(11)
    wrong = moved = rebuilt = kept = 0
    taken: list[float] = []
    for _ in range(graphs):
        graph = drawn(choose, objects)
        content: dict[str, Any] = {f"m{at}": {"value": 0, "other": 0} for at in range(MODELS)}
        source = MappingSource({**content, "unrelated": 0})
        herz = Herz(source, environment={})
        for at, model in enumerate(graph.models):
            herz.properties(f"m{at}")(model)
        for one in graph.objects:
            herz.refresh_scope(one, eager=True, grace_s=0.0)
        with herz:
            for count in range(1, changes + 1):
                before = {one: herz.get(one) for one in graph.objects}
                chosen = choose.sample(range(MODELS), choose.choice((0, 1, 1, 1, 2, 3)))
                written: dict[str, Any] = {f"m{at}.value": count for at in chosen}
                if not chosen:  # a key that nothing is bound to, or the same number written another way
                    written = {"unrelated": count} if count % 2 else {"m0.other": 0.0}
                start = time.perf_counter()
                revision = source.update(written)
                herz.wait_for(revision, 10)
                taken.append(time.perf_counter() - start)
                expected = graph.reached({graph.models[at] for at in chosen})
                for one, old in before.items():
                    same = herz.get(one) is old
                    wrong += same is (one in expected)
                    moved += not same and one not in expected
                rebuilt += len(expected)
                kept += len(graph.objects) - len(expected)
    note = (
        f"{graphs} random graphs of {objects} objects, {graphs * changes} changes: {rebuilt:,} rebuilt, {kept:,} kept, "
        f"{moved} of them moved; {statistics.median(taken) * 1e3:.2f} ms each, written → swapped"
    )
    return [Row("refresh: objects wrongly rebuilt or wrongly kept", wrong, "objects", None, "0", wrong == 0, note)]


if __name__ == "__main__":
    print_table(run())
