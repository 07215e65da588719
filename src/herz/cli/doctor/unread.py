"""Keys that nobody reads: no model, no reference, not Herz, and no text in the application's code names them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from herz.cli.doctor.code import parsed_files
from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.cli.doctor.spelling import OWN, meant_by
from herz.errors import HerzError
from herz.model.key import Path, join, relaxed, split
from herz.model.tree import leaves

MOST: Final = 50


def check(examination: Examination) -> Iterator[Finding]:
    """Each shared key that nothing seems to read; only where the application is known. A note: code may build keys."""
    application = examination.application
    if application is None:
        return
    prefixes = {one.relaxed for one in application.properties}
    if () in prefixes:  # a model of everything tells its own unknown keys
        return
    prefixes |= set(OWN) | _named_in_code(examination)
    prefixes |= {
        tuple(map(relaxed, target))
        for targets in examination.composition.references.uses.values()
        for target in targets
    }
    local = {path for layer in examination.composition.layers if layer.local for path, _ in leaves(layer.document.tree)}
    told = 0
    for path, _ in sorted(leaves(examination.composition.tree), key=lambda one: one[0]):
        names = tuple(map(relaxed, path))
        if path in local or _covered(names, prefixes) or meant_by(names) is not None:
            continue
        told += 1
        if told > MOST:
            break
        yield Finding(
            "unread-key",
            "note",
            f"{join(path)}: nobody reads it: no model is bound there, no reference leads to it, no text in the code",
            examination.composition.locate(path),
            "remove it, or bind a model to it; nothing, if the code makes the key's name at run time",
        )


def _covered(names: Path, prefixes: set[Path]) -> bool:
    return any(names[:length] in prefixes for length in range(1, len(names) + 1))


def _named_in_code(examination: Examination) -> set[Path]:
    """Every text in the code that could be a key."""
    found: set[Path] = set()
    for _, tree in parsed_files(examination):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 200:
                try:
                    found.add(tuple(map(relaxed, split(node.value))))
                except HerzError:
                    continue
    return found
