"""Snapshots: everything that is in force, at one moment, from every source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from herz.model.key import Path, join, split
from herz.model.secret import SecretKeys
from herz.model.tree import ABSENT, Tree, find, is_table, leaves, lookup, spelled, thaw

if TYPE_CHECKING:
    from herz.model.explanation import Explanation
    from herz.model.layer import Layer

M = TypeVar("M")


class Fingerprinted(Protocol):
    """A fingerprint of a whole tree (`str`) and of any table in it."""

    def under(self, path: Path) -> str | None:
        """The fingerprint of the table at `path` alone."""


class Composed(Protocol):
    """What the merge hands to a snapshot."""

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers, lowest rank first."""

    @property
    def tree(self) -> Tree:
        """All of them as one, references resolved."""

    @property
    def secrets(self) -> SecretKeys:
        """Which keys hold secrets."""

    def hidden(self, path: Path, value: Any) -> Any:
        """`value` as it may be shown."""

    def effective(self) -> Fingerprinted:
        """The fingerprint of what is in force here."""

    def release(self) -> Fingerprinted:
        """The fingerprint of the shared documents as written."""

    def locate(self, path: Path) -> str:
        """Where the value in force at `path` was written."""

    def referenced(self, value: Any) -> tuple[str, ...]:
        """The keys that a value as written refers to."""


class Binder(Protocol):
    """Fills a model from the table under a prefix."""

    def bind(self, model: type[M], at: str, snapshot: Snapshot) -> M:
        """A `model` filled from the keys under `at`."""


class Snapshot:
    """All of the configuration at one moment. Immutable: what was read from it stays true of it.

    `generation` counts the snapshots of this process, `revisions` says for each source which of its
    revisions is in here, `epoch` grows when a source went back in time.
    """

    __slots__ = ("_binder", "composed", "epoch", "generation", "revisions")

    def __init__(
        self, composed: Composed, *, generation: int, revisions: Mapping[str, int], epoch: int, binder: Binder
    ) -> None:
        self.composed = composed
        self.generation = generation
        self.revisions = revisions
        self.epoch = epoch
        self._binder = binder

    def __getitem__(self, key: str) -> Any:
        """The value of `key`, a table as a dict: a private copy, secrets wrapped. `KeyError` when it is not set."""
        value = self._read(split(key))
        if value is ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` when it is not set. A key set to null is set: its value is None."""
        value = self._read(split(key))
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and find(self.composed.tree, split(key)) is not ABSENT

    def _read(self, path: Path) -> Any:
        tree = self.composed.tree
        value = lookup(tree, path)
        if value is ABSENT:
            path = spelled(tree, path)
            value = lookup(tree, path)
        return self._shown(path, value)

    def _shown(self, path: Path, value: Any) -> Any:
        if is_table(value):
            return {name: self._shown((*path, name), inner) for name, inner in value.items()}
        return self.composed.hidden(path, thaw(value))

    def find(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Every key under `prefix` with its value, in no order."""
        path = spelled(self.composed.tree, split(prefix)) if prefix else ()
        table = lookup(self.composed.tree, path)
        if table is ABSENT:
            return
        for leaf, value in leaves(table, path):
            yield join(leaf), self.composed.hidden(leaf, thaw(value))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Every key under `prefix`, in no order."""
        return (key for key, _ in self.find(prefix))

    def bind(self, model: type[M], at: str = "") -> M:
        """A `model` filled from the keys under `at`. `BindingError` names every key that does not fit."""
        return self._binder.bind(model, at, self)

    def locate(self, key: str) -> str:
        """Where the value in force for `key` was written: `file:line`, `key@revision`, `env:NAME`."""
        return self.composed.locate(spelled(self.composed.tree, split(key)))

    def explain(self, key: str) -> Explanation:
        """Which layer decided `key`, what it overrode, and what its references led to."""
        return self._explained(key, ())

    def _explained(self, key: str, trail: tuple[str, ...]) -> Explanation:
        from herz.model.explanation import Contribution, Explanation

        path = spelled(self.composed.tree, split(key))
        contributions: list[Contribution] = []
        written: Any = ABSENT
        for layer in reversed(self.composed.layers):
            inner = path[len(layer.mount) :]
            if path[: len(layer.mount)] != layer.mount:
                continue
            here = spelled(layer.document.tree, inner)
            value = lookup(layer.document.tree, here)
            if value is ABSENT:
                continue
            if written is ABSENT:
                written = value
            contributions.append(Contribution(layer.name, layer.document.locate(here), self._shown(path, value)))
        winner, losers = (contributions[0], tuple(contributions[1:])) if contributions else (None, ())
        named = self.composed.referenced(written) if key not in trail else ()
        references = tuple(self._explained(name, (*trail, key)) for name in named if name in self)
        return Explanation(join(path), self._read(path), winner, losers, references)

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` of everything in force here, local layers included."""
        return str(self.composed.effective())

    @property
    def release_fingerprint(self) -> str:
        """`sha256:<hex>` of the shared documents as written: the same on every instance that runs them."""
        return str(self.composed.release())

    def fingerprint_of(self, key: str) -> str | None:
        """The fingerprint of the table under `key` alone; None when there is no table there."""
        return self.composed.effective().under(spelled(self.composed.tree, split(key)))

    def overridden_locally(self) -> tuple[str, ...]:
        """The keys that a local layer (environment, command line) decides, in order."""
        return tuple(
            sorted(
                join(spelled(self.composed.tree, (*layer.mount, *leaf)))
                for layer in self.composed.layers
                if layer.local
                for leaf, _ in leaves(layer.document.tree)
            )
        )

    def __repr__(self) -> str:
        return f"<Snapshot generation={self.generation} epoch={self.epoch} revisions={dict(self.revisions)}>"
