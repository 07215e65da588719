"""Description: the graph of a scope and what is alive of it, as plain data for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from herz.live.injection import short

if TYPE_CHECKING:
    from herz.live.providers import Properties, Provider
    from herz.live.scope import Scope


def describe(scope: Scope) -> dict[str, Any]:
    """What is declared, built, held and draining. No values of configuration, so no secrets."""
    draining = scope.draining
    with draining.lock:
        generation = scope.current
        live, retired = list(draining.live), list(draining.retired)
    return {
        "generation": generation.number or None,
        "properties": [_properties(scope, one) for one in scope.providers.properties.values()],
        "scoped": [_scoped(scope, one) for one in scope.providers.order],
        "generations": [
            {
                "generation": objects.number,
                "state": objects.state.value,
                "pins": [pin.holder for pin in list(objects.pins)],
                "objects": list(objects.names),
            }
            for objects in live
        ],
        "draining": [
            {
                "provides": one.provider.name,
                "generation": one.number,
                "closing": one.closing,
                "overrun": one.overrun,
                "held_by": list(draining.holders(one)),
                "used_by_open_objects": one.dependents,
            }
            for one in retired
        ],
        "hanging": list(scope.runner.hanging()),
    }


def _properties(scope: Scope, one: Properties) -> dict[str, Any]:
    generation = scope.current
    return {
        "provides": one.name,
        "prefix": one.at,
        "declared_at": one.place,
        "unknown": list(generation.unknown.get(one.model, ())),
        "waiting_for_restart": list(generation.waiting.get(one.model, ())),
    }


def _scoped(scope: Scope, one: Provider) -> dict[str, Any]:
    instance = scope.current.objects.instances.get(one.provides)
    return {
        "provides": one.name,
        "factory": one.label,
        "declared_at": one.place,
        "depends_on": [short(need.wanted) for need in one.needs if not need.handle],
        "handles": [short(need.wanted) for need in one.needs if need.handle],
        "async": one.is_async,
        "eager": one.eager,
        "built": instance is not None,
        "generation": None if instance is None else instance.number,
        "leases": [] if instance is None else [lease.holder for lease in list(instance.leases)],
    }
