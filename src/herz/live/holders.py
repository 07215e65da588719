"""Holders: who still uses what has been replaced, so that "the value changed, the code did not notice" has a name.

Replaced models and objects are remembered weakly. `find` looks, on demand, who keeps one beyond its grace.
"""

from __future__ import annotations

import gc
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from herz.live.draining import Draining
from herz.live.generation import Generation, InForce, Instance, Objects
from herz.live.handle import Handle
from herz.live.injection import short
from herz.live.pinning import HERZ, Holder
from herz.live.referrers import Reference, references
from herz.model.key import Path, join
from herz.model.tree import ABSENT, Tree, differences

REMEMBERED: Final = 512
"""Replaced objects that are remembered, weakly; the oldest are forgotten first."""

REMEMBERED_STRONGLY: Final = 2
"""Among them those that cannot be referred to weakly (a class with `__slots__`), which are thereby kept alive."""

GRACE_S: Final = 1.0
"""How long a replaced model may still be held by those who read it a moment ago."""


class KeyChange(NamedTuple):
    """A key that changed since, and where it was and is written; `not set` where there is no value."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class StaleHolder:
    """One place that keeps a replaced object.

    `holder` says what it is (`attribute Billing.config`), `place` where its class, function or module is written.
    `provides` names the class of what is held and `at` its prefix, empty for a scoped object. `changed` are the keys
    that it does not know the new value of.
    """

    holder: str
    place: str
    provides: str
    at: str
    changed: tuple[KeyChange, ...]
    remedy: str

    def __str__(self) -> str:
        keys = ", ".join(f"{one.key} ({one.before} -> {one.after})" for one in self.changed)
        return (
            f"{self.holder} ({self.place}) still holds a replaced {self.provides}; changed since: {keys}; {self.remedy}"
        )


class _Written(NamedTuple):
    """What a model was made of, without the model."""

    path: Path
    table: Tree
    place: Callable[[Path], str]


def _written(one: InForce) -> _Written:
    return _Written(one.path, one.bound.table, one.bound.place)


class _Replaced:
    """A replaced object, and where what it was made of is written.

    That keeps the configuration it was made of in memory, and is forgotten with the object.
    """

    __slots__ = ("at", "changes", "instance", "left_at", "name", "target")

    def __init__(
        self,
        target: Callable[[], Any],
        provides: Any,
        at: str,
        changes: tuple[tuple[_Written, _Written], ...],
        left_at: float,
        instance: Instance | None,
    ) -> None:
        self.target: Callable[[], Any] = target
        self.name = short(provides)
        self.at = at
        self.changes = changes
        self.left_at = left_at
        self.instance = None if instance is None else weakref.ref(instance)


class _Strong:
    """A reference that cannot be weak."""

    __slots__ = ("target",)

    def __init__(self, target: Any) -> None:
        self.target = target

    def __call__(self) -> Any:
        return self.target


_INTERNAL: Final = (Generation, Objects, Instance, InForce, _Replaced, _Strong, Handle, Holder, Draining)


class Holders:
    """What has been replaced, and who still holds it."""

    def __init__(self, draining: Draining) -> None:
        self._draining = draining
        self._weak: dict[int, _Replaced] = {}
        self._strong: deque[_Replaced] = deque(maxlen=REMEMBERED_STRONGLY)

    def note(self, old: Generation, new: Generation) -> None:
        """`old` has been replaced by `new`; remember what went with it."""
        now = self._draining.clock()
        before, after = old.objects, new.objects
        changes = {
            model: (_written(one), _written(after.bound[model]))
            for model, one in before.bound.items()
            if model in after.bound and after.bound[model].bound.value is not one.bound.value
        }
        for model, change in changes.items():
            one = before.bound[model]
            self._remember(one.bound.value, model, one.properties.at, (change,), now, None)
        for provides, instance in before.instances.items():
            if after.instances.get(provides) is instance:
                continue
            reached = tuple(changes[model] for model in instance.provider.models if model in changes)
            self._remember(instance.value, provides, "", reached, now, instance)

    def _remember(self, target: Any, *facts: Any) -> None:
        weak = self._weak

        def forget(reference: Any) -> None:
            weak.pop(id(reference), None)

        try:
            reference = weakref.ref(target, forget)
        except TypeError:
            self._strong.append(_Replaced(_Strong(target), *facts))
            return
        weak[id(reference)] = _Replaced(reference, *facts)
        while len(weak) > REMEMBERED:
            weak.pop(next(iter(weak)), None)

    def find(self) -> tuple[StaleHolder, ...]:
        """Every place that keeps a replaced object beyond its grace. Runs a full collection: for diagnosis.

        Objects that a pin or a lease keeps open are in order, and so is what only they refer to.
        """
        gc.collect()
        now = self._draining.clock()
        with self._draining.lock:
            live = list(self._draining.live)
            draining = {id(instance.value) for instance in self._draining.retired}
            current = {id(value) for objects in live[-1:] for value in objects.values.values()}
            held = {id(value) for objects in live for value in objects.values.values()}
            waiting = {id(one) for instance in self._draining.retired for one in instance.built_from}
        replaced = {
            id(found): one for one in (*list(self._weak.values()), *self._strong) if (found := one.target()) is not None
        }
        del live
        findings: list[StaleHolder] = []
        for number, one in replaced.items():
            if number in held or number in draining or number in waiting or now < one.left_at + GRACE_S:
                continue
            instance = None if one.instance is None else one.instance()
            if instance is not None and not instance.closed.done():
                continue
            del instance
            findings.extend(self._holders_of(one, frozenset(replaced) - current, current))
        return tuple(findings)

    def _holders_of(self, one: _Replaced, old: frozenset[int], current: set[int]) -> Iterator[StaleHolder]:
        target = one.target()
        if target is None:
            return
        for reference in references(target, _internal):
            # A replaced object that holds another is told by whoever holds it.
            if id(reference.owner) not in old:
                yield self._told(one, reference, id(reference.owner) in current)

    def _told(self, one: _Replaced, reference: Reference, scoped: bool) -> StaleHolder:
        changed = tuple(change for pair in one.changes for change in _changes(*pair))
        return StaleHolder(reference.text, reference.place, one.name, one.at, changed, _remedy(one, reference, scoped))


def _remedy(one: _Replaced, reference: Reference, scoped: bool) -> str:
    if scoped:
        owner = short(type(reference.owner))
        return f"take {one.name} as a constructor parameter of {owner}, so that it is rebuilt, or as Handle[{one.name}]"
    if reference.kind == "instance":
        owner = short(type(reference.owner))
        return f"put {owner} into a refresh scope, or have it read through a handle: herz.handle({one.name}).current"
    return f"read it where it is used, herz.get({one.name}), or keep a handle: herz.handle({one.name}).current"


def _changes(old: _Written, new: _Written) -> Iterator[KeyChange]:
    for path, before, after in differences(old.table, new.table):
        yield KeyChange(
            join((*new.path, *path)),
            "not set" if before is ABSENT else old.place((*old.path, *path)),
            "not set" if after is ABSENT else new.place((*new.path, *path)),
        )


def _internal(thing: Any) -> bool:
    if isinstance(thing, types.FrameType):
        return thing.f_code.co_filename.startswith(HERZ)
    return isinstance(thing, _INTERNAL)
