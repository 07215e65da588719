"""Models: what the declared classes say of keys, and binding on request."""

from __future__ import annotations

from typing import Any, TypeVar

from herz.live.binding import Binding
from herz.live.providers import Providers
from herz.model.key import Path, relaxed
from herz.model.meaning import Kind
from herz.model.snapshot import Snapshot
from herz.model.tree import lookup, spelled

M = TypeVar("M")


class Models:
    """Answers how a key's values compare, and fills any model from a snapshot."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._kinds: dict[Path, Kind | None] = {}
        self._declared = 0
        self._bindings: dict[tuple[Any, str], Binding[Any]] = {}

    def kind_of(self, path: Path) -> Kind | None:
        """What the models bound above `path` say of it; None where none of them does."""
        if not self._providers.above(path):
            return None
        properties = self._providers.properties
        if len(properties) != self._declared or len(self._kinds) > 100_000:
            self._kinds, self._declared = {}, len(properties)
        if path in self._kinds:
            return self._kinds[path]
        names = tuple(map(relaxed, path))
        found = None
        for one in properties.values():
            depth = len(one.relaxed)
            if names[:depth] == one.relaxed and (found := one.binding.kind(names[depth:])) is not None:
                break
        self._kinds[path] = found
        return found

    def be_strict(self) -> None:
        """Make unknown keys under every bound prefix errors."""
        for one in self._providers.properties.values():
            one.binding.strict = True

    def bind(self, model: type[M], at: str, snapshot: Snapshot) -> M:
        """A `model` filled from the keys under `at`. `BindingError` names every key that does not fit."""
        binding = self._bindings.get((model, at))
        if binding is None:
            binding = self._bindings[model, at] = Binding(model, at)
        composed = snapshot.composed
        path = spelled(composed.tree, binding.path)
        bound = binding.bind(
            lookup(composed.tree, path),
            place=composed.locate,
            secret=composed.secrets,
            elsewhere=self._providers.elsewhere(binding),
            at=path,
        )
        return bound.value  # type: ignore[no-any-return]
