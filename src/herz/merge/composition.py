"""Composition: several layers as one tree, references resolved, and how it changes when one layer does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from herz.merge.fingerprint import Fingerprint
from herz.merge.interpolation import References, holds_reference, names_in, referring, resolve, resolve_again, template
from herz.merge.overlay import merged, merged_at, root_of_change, spelled_by, tree_of, trees_of
from herz.model.document import Event
from herz.model.key import Path
from herz.model.layer import Layer
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, EMPTY, Tree, differences, find, lookup, put, remove, spelled

PATCH_LIMIT: Final = 2_000
"""Events above which merging everything again is cheaper than patching."""


class Composition(Struct, eq=False):
    """What `layers` (lowest rank first) amount to. Never changed; fingerprints are computed when first asked for.

    `raw` is the merged tree as written, `tree` the same with references resolved (the same object
    where there are none).
    """

    layers: tuple[Layer, ...]
    raw: Tree
    tree: Tree
    references: References
    environment: Mapping[str, str]
    secrets: SecretKeys
    _effective: Fingerprint | None = None
    _release: Fingerprint | None = None
    _shared: Tree | None = None
    _covered: Tree | None = None
    _made_of_secrets: frozenset[Path] | None = None

    @classmethod
    def of(
        cls, layers: Sequence[Layer], *, environment: Mapping[str, str] = EMPTY, secrets: SecretKeys | None = None
    ) -> Composition:
        """`layers` merged and resolved. `InterpolationError` when a reference cannot be."""
        raw, tree, references = merged(trees_of(layers)), None, References()
        if any(any(referring(layer.document.tree)) for layer in layers if layer.document.references):
            tree, references = resolve(raw, environment, lambda path: locate(layers, path))
        return cls(tuple(layers), raw, raw if tree is None else tree, references, environment, secrets or SecretKeys())

    def evolved(
        self, layers: Sequence[Layer], index: int | None = None, events: Sequence[Event] | None = None
    ) -> tuple[Composition, Sequence[Event]]:
        """What `layers` amount to now, and every leaf of `tree` that differs (exactly, not by meaning).

        Where only the layer at `index` changed, by `events`, the cost follows their number. Without
        events everything is merged again and compared. `InterpolationError` leaves this composition
        as it is, like everything else.
        """
        layers = tuple(layers)
        if index is None or events is None or len(events) > PATCH_LIMIT:
            fresh = Composition.of(layers, environment=self.environment, secrets=self.secrets)
            return fresh, [Event(*difference) for difference in differences(self.tree, fresh.tree)]
        mount = layers[index].mount
        if mount:
            events = [Event((*mount, *event.path), event.before, event.after) for event in events]
        touched = [event.path for event in events]
        trees = trees_of(layers)
        if len(trees) == 1 and (len(layers) == len(self.layers) == 1 or len(trees_of(self.layers)) <= 1):
            raw: Tree = trees[0]
            moved = touched
        else:
            raw, events = patched(self.raw, trees, touched)
            moved = [event.path for event in events]
        tree, references, changes = raw, self.references, events
        if references.uses or any(map(holds_reference, [event.after for event in events])):
            tree, references, changes = resolve_again(
                self.tree, references, raw, events, self.environment, lambda path: locate(layers, path)
            )
        result = Composition(layers, raw, tree, references, self.environment, self.secrets)
        if self._effective is not None:
            changed = moved if changes is events else [event.path for event in changes]
            self._advance_effective(result, changed, moved)
        if self._release is not None and not layers[index].local:
            self._advance_release(result, touched, moved)
        elif self._release is not None:
            result._release, result._shared = self._release, self._shared
        return result, changes

    def told(self) -> Composition:
        """The same without fingerprints, for those who remember many: the digests of each would be kept alive."""
        return Composition(self.layers, self.raw, self.tree, self.references, self.environment, self.secrets)

    def _advance_effective(self, result: Composition, changed: list[Path], written: list[Path]) -> None:
        """The effective fingerprint of `result`, from ours and the paths that changed in `tree` and in `raw`."""
        assert self._effective is not None  # noqa: S101  asked by the only caller
        if result.references is self.references:
            result._made_of_secrets = self._made_of_secrets
        before, after = self.made_of_secrets(), result.made_of_secrets()
        if not before and not after:
            result._covered = result.tree
        elif self._covered is not None:
            covered, moved = self._covered, [*changed, *(before ^ after), *after.intersection(written)]
            for path in moved:
                value = lookup(result.raw if path in after else result.tree, path)
                covered = remove(covered, path) if value is ABSENT else put(covered, path, value)
            result._covered, changed = covered, moved
        else:
            return
        result._effective = self._effective.update(result._covered, changed)

    def _advance_release(self, result: Composition, written: list[Path], changed: list[Path]) -> None:
        """The release fingerprint of `result`, from ours, the paths a layer wrote and those that changed in `raw`."""
        assert self._release is not None  # noqa: S101  asked by the only caller
        if self._shared is self.raw and not any(map(tree_of, [layer for layer in result.layers if layer.local])):
            result._shared, touched = result.raw, changed
            if self._release is self._effective and result._covered is result.raw:
                result._release = result._effective
                return
        elif self._shared is not None:
            shared = trees_of([layer for layer in result.layers if not layer.local])
            result._shared, events = patched(self._shared, shared, written)
            touched = [event.path for event in events]
        else:
            return
        result._release = self._release.update(result._shared, touched)

    def effective(self) -> Fingerprint:
        """The fingerprint of everything in force here, local layers and resolved references included."""
        if self._effective is None:
            covered = self.tree
            for path in self.made_of_secrets():
                covered = put(covered, path, lookup(self.raw, path))
            self._covered = covered
            known = self._release if self._shared is covered else None
            self._effective = known or Fingerprint.of(covered, self.secrets)
        return self._effective

    def made_of_secrets(self) -> frozenset[Path]:
        """The keys that are no secrets by name, and whose values were made from one by reference.

        Fingerprints cover them as written: with the secret in them, whoever knows the rest could try guesses.
        """
        if self._made_of_secrets is None:
            self._made_of_secrets = frozenset(
                path for path in self.references.uses if not self.secrets.holds(path) and self._tainted(path, set())
            )
        return self._made_of_secrets

    def release(self) -> Fingerprint:
        """The fingerprint of the shared documents as written: the same on every instance."""
        if self._release is None:
            local = any(tree_of(layer) for layer in self.layers if layer.local)
            self._shared = merged(trees_of([layer for layer in self.layers if not layer.local])) if local else self.raw
            if self._shared is self._covered and self._effective is not None:
                self._release = self._effective
            else:
                self._release = Fingerprint.of(self._shared, self.secrets)
        return self._release

    def locate(self, path: Path) -> str:
        """Where the value in force at `path` was written."""
        return locate(self.layers, path)

    def hidden(self, path: Path, value: Any) -> Any:
        """`value` as it may be shown: secret when its key is, or when it was made from a secret by reference."""
        if self.references.uses and self._tainted(path, set()):
            return self.secrets.wrapped(value)
        return self.secrets.hidden(path, value)

    def _tainted(self, path: Path, seen: set[Path]) -> bool:
        seen.add(path)
        targets = (spelled(self.raw, target) for target in self.references.uses.get(path, ()))
        return any(
            target not in seen and (self.secrets.holds(target) or self._tainted(target, seen)) for target in targets
        )

    def referenced(self, value: Any) -> tuple[str, ...]:
        """The keys that a value as written refers to."""
        return tuple(dict.fromkeys(names_in(template(value)))) if isinstance(value, str) and "${" in value else ()


def patched(tree: Tree, trees: Sequence[Tree], paths: Iterable[Path]) -> tuple[Tree, list[Event]]:
    """`tree`, which differs from `merged(trees)` at most at `paths`, brought up to it; and the leaves that changed."""
    events: dict[Path, Event] = {}
    for path in paths:
        tree, changed = _patched_at(tree, trees, path)
        for event in changed:
            known = events.get(event.path)
            events[event.path] = event if known is None else Event(event.path, known.before, event.after)
    return tree, [event for event in events.values() if event.before is not event.after]


def _patched_at(tree: Tree, trees: Sequence[Tree], path: Path) -> tuple[Tree, list[Event]]:
    old = root_of_change(tree, spelled(tree, path))
    value = merged_at(trees, path[: len(old)])
    while value is ABSENT and len(old) > 1 and len(lookup(tree, old[:-1])) <= 1:
        old = old[:-1]
        value = merged_at(trees, path[: len(old)])
    new = spelled_by(trees, path[: len(old)])
    events: list[Event] = []
    if new != old:  # a table on the way got, or lost, the layer that spelled it: it moves as a whole
        depth = 1 + next(depth for depth, segment in enumerate(old) if segment != new[depth])
        old, new = old[:depth], new[:depth]
        value = merged_at(trees, path[:depth])
    if new != old and lookup(tree, old) is not ABSENT:
        events += (Event(*difference) for difference in differences(lookup(tree, old), ABSENT, old))
        tree = remove(tree, old)
    before = lookup(tree, new)
    events += (Event(*difference) for difference in differences(before, value, new))
    if value is not ABSENT:
        tree = put(tree, new, value)
    elif before is not ABSENT:
        tree = remove(tree, new)
    return tree, events


def locate(layers: Sequence[Layer], path: Path) -> str:
    """Where the highest layer that has `path` (or a leaf above it) wrote it; the top layer's place where none has."""
    for layer in reversed(layers):
        inner = path[len(layer.mount) :]
        if path[: len(layer.mount)] != layer.mount:
            continue
        if not inner or find(layer.document.tree, inner) is not ABSENT:
            return layer.document.locate(spelled(layer.document.tree, inner))
    return layers[-1].document.origin.name if layers else "nowhere"
