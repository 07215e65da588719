"""The scope under random graphs, changes, failures and hangs, with readers in threads, against an oracle."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from herz.errors import BuildError, UsageError
from herz.live.runner import settled
from herz.live.scope import Scope
from herz.merge.composition import Composition
from herz.model.document import Document, Event
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.snapshot import Snapshot
from herz.model.tree import differences

VALUES = st.sampled_from([1.0, 1.0 + 4e-10, 1.0 + 8e-10, 1.0 + 1.6e-9, 2.0, 3.0])


def isclose(a: float, b: float) -> bool:
    if a == int(a) and b == int(b):
        return a == b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


class Built:
    """An object that knows every configuration it was built from, and notices what must not happen to it."""

    def __init__(self, world: World, index: int, inputs: dict[str, Any]) -> None:
        self.world, self.index = world, index
        self.configs: dict[type, Any] = {}
        self.parts = [one for one in inputs.values() if isinstance(one, Built)]
        for one in inputs.values():
            for model, config in one.configs.items() if isinstance(one, Built) else [(type(one).__mro__[-2], one)]:
                if self.configs.setdefault(model, config) is not config:
                    world.fault(f"S{index} is torn: two configurations of {model.__name__}")
            # Who has been given up is waited for by nobody, nor are its inputs kept open.
            if isinstance(one, Built) and one.closed and index not in world.hanging:
                world.fault(f"S{index} is built from a closed S{one.index}")
        self.closed: int = 0
        self.users = 0
        self.lock = threading.Lock()
        world.made.append(self)

    def close(self) -> None:
        with self.lock:
            self.closed += 1
            if self.users:
                self.world.fault(f"S{self.index} is closed in use")
            if self.closed > 1:
                self.world.fault(f"S{self.index} is closed twice")

    def use(self, amount: int) -> None:
        with self.lock:
            self.users += amount
            if self.closed:
                self.world.fault(f"S{self.index} is used after its close")


class World:
    def __init__(self) -> None:
        self.made: list[Built] = []
        self.faults: list[str] = []
        self.failing: set[int] = set()
        self.hanging: set[int] = set()
        self.gate = threading.Event()

    def fault(self, what: str) -> None:
        self.faults.append(what)

    def factory(self, index: int, needs: list[type], is_async: bool, kind: type) -> Callable[..., Any]:
        def before() -> None:
            if index in self.failing:
                raise OSError(f"S{index} fails")

        if is_async:

            async def build(**inputs: Any) -> Any:
                before()
                await asyncio.sleep(10 if index in self.hanging else 0)
                return kind(self, index, inputs)
        else:

            def build(**inputs: Any) -> Any:
                before()
                if index in self.hanging:
                    self.gate.wait(10)
                return kind(self, index, inputs)

        build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(need.__name__, inspect.Parameter.KEYWORD_ONLY) for need in needs]
        )
        build.__annotations__ = {need.__name__: need for need in needs} | {"return": kind}
        build.__qualname__ = f"make_{kind.__name__}"
        return build


class ScopeMachine(RuleBasedStateMachine):
    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world = World()
        self.scope = Scope(max_generations=1000)
        self.number = 0
        self.models = [make_dataclass(f"P{n}", [("value", float, 1.0)]) for n in range(data.draw(st.integers(1, 3)))]
        for number, model in enumerate(self.models):
            self.scope.declare_properties(model, f"p{number}")
        self.kinds: list[type] = []
        self.needs: list[list[type]] = []
        self.isasync: list[bool] = []
        for index in range(data.draw(st.integers(1, 6))):
            kind = type(f"S{index}", (Built,), {})
            needs = data.draw(st.lists(st.sampled_from([*self.models, *self.kinds]), unique=True, max_size=3))
            is_async, eager = data.draw(st.booleans()), data.draw(st.sampled_from([True, True, False]))
            self.scope.declare(
                self.world.factory(index, needs, is_async, kind), eager=eager, grace_s=0, drain_s=100, build_s=2.0
            )
            self.kinds.append(kind)
            self.needs.append(needs)
            self.isasync.append(is_async)
        self.values = dict.fromkeys(self.models, 1.0)  # as written now
        self.inuse = dict.fromkeys(self.models, 1.0)  # what the bound instance was made of
        self.tree: dict[str, Any] = self.written(self.values)
        self.pins: list[tuple[Any, contextvars.Context, Any]] = []
        self.leases: list[tuple[Any, Built]] = []
        self.handles: dict[Any, Any] = {kind: self.scope.handle(kind) for kind in (*self.models, *self.kinds)}
        self.loop = asyncio.new_event_loop()  # nothing is drawn from here on, so that `teardown` closes it
        self.run(self.scope.open(self.snapshot(self.tree)))
        self.done = threading.Event()
        self.readers = [threading.Thread(target=self.read_on, args=(seed,), daemon=True) for seed in range(2)]
        for reader in self.readers:
            reader.start()

    # --- tools --------------------------------------------------------------------------------

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def written(self, values: dict[Any, float]) -> dict[str, Any]:
        return {f"p{number}": {"value": values[model]} for number, model in enumerate(self.models)}

    def snapshot(self, tree: dict[str, Any]) -> Snapshot:
        self.number += 1
        document = Document(Origin("app.yml"), self.number, tree)
        composition = Composition.of([Layer("app", document, 0, "app.yml")])
        return Snapshot(composition, generation=self.number, revisions={}, epoch=0, binder=self)

    def reaches(self, index: int) -> set[type]:
        found: set[type] = set()
        for need in self.needs[index]:
            found |= {need} if need in self.models else self.reaches(self.kinds.index(need))
        return found

    def chain(self, index: int) -> set[int]:
        found = {index}
        for need in self.needs[index]:
            if need in self.kinds:
                found |= self.chain(self.kinds.index(need))
        return found

    def built(self) -> dict[int, Built]:
        values = self.scope.current.values
        return {index: values[kind] for index, kind in enumerate(self.kinds) if kind in values}

    def read_on(self, seed: int) -> None:
        """A reader in a thread: what it sees is whole, of one generation, and open."""
        chance = random.Random(seed)
        last = 0
        while not self.done.is_set():
            try:
                if self.scope.current.number < last:
                    self.world.fault("a generation went back")
                last = self.scope.current.number
                with self.scope.pin() as pin:
                    held = pin.held
                    assert held is not None
                    for kind in chance.sample(self.kinds, len(self.kinds)):
                        if kind in held.values:
                            self.check_whole(pin, pin.get(kind))
                kind = chance.choice(self.kinds)
                if kind in self.scope.current.values:
                    lease: Any = self.scope.lease(kind)
                    with lease as leased:
                        leased.use(1)
                        time.sleep(0.0005)
                        for part in leased.parts:
                            part.use(0)
                        leased.use(-1)
            except BaseException as error:
                self.world.fault(f"a reader failed: {error!r}")

    def check_whole(self, pin: Any, one: Built) -> None:
        one.use(0)
        for model, config in one.configs.items():
            if pin.get(model) is not config:
                self.world.fault(f"S{one.index} of a pin is of another generation than its {model.__name__}")

    # --- rules --------------------------------------------------------------------------------

    @rule(data=st.data(), meddle=st.none() | st.integers(0, 5), discard=st.sampled_from([False] * 4 + [True]))
    def change(self, data: st.DataObject, meddle: int | None, discard: bool) -> None:
        self.change_to({model: data.draw(VALUES) for model in self.models}, meddle, discard)

    @rule(number=st.integers(0, 2), value=st.sampled_from([10.0, 11.0, 12.0]))
    def change_one(self, number: int, value: float) -> None:
        self.change_to({**self.values, self.models[number % len(self.models)]: value}, None, False)

    def change_to(self, values: dict[Any, float], meddle: int | None, discard: bool) -> None:
        changed = {model for model in self.models if not isclose(self.inuse[model], values[model])}
        before = self.built()
        configs = {model: self.scope.current.values[model] for model in self.models}
        affected = {index for index in before if self.reaches(index) & changed}
        failing = affected & self.world.failing
        tree = self.written(values)
        snapshot = self.snapshot(tree)
        events = [Event(*one) for one in differences(self.tree, tree)]
        made = len(self.world.made)
        try:
            prepared = self.run(self.scope.prepare(snapshot, events))
            if meddle is not None and meddle < len(self.kinds):  # somebody uses something first, meanwhile
                if not self.chain(meddle) & self.world.failing:
                    self.run(self.scope.aget(self.kinds[meddle]))
                before = self.built()
                affected = {index for index in before if self.reaches(index) & changed}
            assert self.scope.current.number != self.number
            if discard:
                self.run(prepared.discard())
                report = None
            else:
                report = self.run(prepared.commit())
        except BuildError:
            assert failing
            report = None
        else:
            assert not failing
        after = self.built()
        if report is None:
            assert after == before
            assert {model: self.scope.current.values[model] for model in self.models} == configs
            used = set(map(id, before.values()))
            fresh = [one for one in self.world.made[made:] if id(one) not in used]
            assert all(one.closed == 1 for one in fresh)
            return
        assert {int(name[1:]) for name in report.rebuilt} == affected
        assert after.keys() == before.keys()
        for index, one in after.items():
            assert (one is not before[index]) == (index in affected)
        for model in self.models:
            assert (self.scope.current.values[model] is configs[model]) == (model not in changed)
            if model in changed:
                self.inuse[model] = values[model]
        self.values, self.tree = values, tree

    @rule(index=st.integers(0, 5), value=st.sampled_from([5.0, 6.0]))
    def hang(self, index: int, value: float) -> None:
        """A factory hangs during a change of everything: the change is refused, and the late object closed."""
        before = self.built()
        tree = self.written(dict.fromkeys(self.models, value))
        if (
            index not in before
            or not self.reaches(index)
            or all(self.inuse[one] == value for one in self.reaches(index))
        ):
            return
        provider = self.scope.providers.scoped[self.kinds[index]]
        self.world.hanging, provider.build_s = {index}, 0.02
        with pytest.raises(BuildError):
            self.run(self.scope.prepare(self.snapshot(tree), None))
        self.world.gate.set()
        self.run(self.gone(provider))
        self.world.hanging, provider.build_s, self.world.gate = set(), 2.0, threading.Event()
        assert self.built() == before

    async def gone(self, provider: Any) -> None:
        job = self.scope.runner.hung(provider)
        assert job is None or await settled(job.future, 5)

    @rule(index=st.integers(0, 5))
    def first_use(self, index: int) -> None:
        if index >= len(self.kinds):
            return
        before = self.built()
        missing = self.chain(index) - before.keys()
        try:
            one = self.run(self.scope.aget(self.kinds[index]))
        except BuildError:
            assert missing & self.world.failing
            return
        assert not missing & self.world.failing
        after = self.built()
        assert after.keys() == before.keys() | missing
        assert all(after[number] is known for number, known in before.items())
        assert one is after[index]

    @rule(index=st.integers(0, 5))
    def first_use_without_waiting(self, index: int) -> None:
        if index >= len(self.kinds):
            return
        missing = self.chain(index) - self.built().keys()

        async def use() -> Any:
            return self.scope.get(self.kinds[index])

        try:
            self.run(use())
        except UsageError:
            assert any(self.isasync[one] for one in missing)
        except BuildError:
            assert missing & self.world.failing

    @rule(index=st.integers(0, 5), fails=st.sampled_from([True, False, False]))
    def break_or_mend(self, index: int, fails: bool) -> None:
        (self.world.failing.add if fails else self.world.failing.discard)(index)

    @precondition(lambda self: len(self.pins) < 4)
    @rule()
    def pin(self) -> None:
        pin, context = self.scope.pin(), contextvars.copy_context()
        context.run(pin.__enter__)
        assert pin.held is not None
        for one in pin.held.values.values():
            if isinstance(one, Built):
                one.use(1)
        self.pins.append((pin, context, [one for one in pin.held.values.values() if isinstance(one, Built)]))

    @precondition(lambda self: self.pins)
    @rule(data=st.data(), index=st.integers(0, 5))
    def read_pinned(self, data: st.DataObject, index: int) -> None:
        pin, _, used = data.draw(st.sampled_from(self.pins))
        if index < len(self.kinds):
            known = pin.held.values.get(self.kinds[index])
            if known is None and self.chain(index) & self.world.failing:
                return
            one = self.run(pin.aget(self.kinds[index]))
            assert known is None or one is known
            self.check_whole(pin, one)
            if one not in used:
                one.use(1)
                used.append(one)

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        pin, context, used = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        for one in used:
            one.use(-1)
        context.run(pin.__exit__, None, None, None)

    @rule(index=st.integers(0, 5))
    def lease(self, index: int) -> None:
        if index in self.built():
            lease: Any = self.scope.lease(self.kinds[index])
            one = lease.__enter__()
            for part in (one, *one.parts):
                part.use(1)
            self.leases.append((lease, one))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def unlease(self, data: st.DataObject) -> None:
        lease, one = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        for part in (one, *one.parts):
            part.use(-1)
        lease.__exit__(None, None, None)

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def nothing_went_wrong(self) -> None:
        if not hasattr(self, "scope"):
            return
        assert self.world.faults == []
        for kind, value in list(self.scope.current.values.items()):
            assert self.handles[kind].current is value
        for one in self.built().values():
            assert one.closed == 0
            assert all(part is self.scope.current.values[type(part)] for part in one.parts)

    def teardown(self) -> None:
        if not hasattr(self, "readers"):
            return
        self.done.set()
        try:
            self.run(self.end())
        finally:
            self.loop.close()
        assert self.world.faults == []
        assert [one.closed for one in self.world.made] == [1] * len(self.world.made)
        assert not self.scope.draining.retired
        assert not self.scope.draining.live

    async def end(self) -> None:
        for reader in self.readers:
            await asyncio.to_thread(reader.join)
        for pin, context, used in self.pins:
            for one in used:
                one.use(-1)
            context.run(pin.__exit__, None, None, None)
        for lease, one in self.leases:
            for part in (one, *one.parts):
                part.use(-1)
            lease.__exit__(None, None, None)
        await self.scope.close()
        await self.loop.shutdown_default_executor()


TestScope = ScopeMachine.TestCase
TestScope.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestScope = pytest.mark.slow(TestScope)
