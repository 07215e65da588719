"""Reading values out of a merged configuration by key, as the command line shows them."""

from __future__ import annotations

from typing import Any

from herz.cli.loading import nearest
from herz.errors import ConfigurationError
from herz.merge.composition import Composition
from herz.model.key import Path, split
from herz.model.snapshot import Snapshot
from herz.model.tree import Tree, is_table, thaw


class NotSet(ConfigurationError):
    """A key that was asked for and that nobody sets."""


def not_set(key: str, snapshot: Snapshot) -> NotSet:
    """The error that names the nearest key which is set, or where to look."""
    near = nearest(key, tables_and_keys(snapshot))
    return NotSet(
        f"{key} is not set",
        remedy=f"did you mean {near}?" if near else "`herz get` lists everything that is",
    )


def tables_and_keys(snapshot: Snapshot) -> set[str]:
    """Every key that is set, and every table above one."""
    found: set[str] = set()
    for key in snapshot.keys():  # noqa: SIM118  a snapshot is no mapping: `keys` takes a prefix
        found.add(key)
        if "[" not in key:
            parts = key.split(".")
            found.update(".".join(parts[:length]) for length in range(1, len(parts)))
    return found


def whole(composition: Composition) -> dict[str, Any]:
    """Everything, as nested dicts with secrets wrapped."""
    return shown_table(composition, composition.tree, ())


def shown_table(composition: Composition, table: Tree, path: Path) -> dict[str, Any]:
    """`table`, which lies at `path`, with its secrets wrapped."""
    return {
        name: shown_table(composition, inner, (*path, name))
        if is_table(inner)
        else composition.hidden((*path, name), thaw(inner))
        for name, inner in table.items()
    }


def checked(key: str) -> str:
    """`key` itself; `UsageError` when it is none."""
    split(key)
    return key
