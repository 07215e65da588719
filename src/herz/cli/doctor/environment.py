"""Environment variables that are meant for the configuration and do not reach it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.model.key import Path, join, relaxed
from herz.model.tree import leaves
from herz.settings import KNOWN
from herz.sources.environment import SEPARATOR

READ: Final = ("HERZ_PROFILES", "HERZ_SOURCES", "HERZ_STORE")
"""What Herz reads from the environment besides keys."""


def check(examination: Examination) -> Iterator[Finding]:
    """Variables that are one letter beside a key, have one underscore where two are needed, or look like Herz's own."""
    known = _known(examination)
    by_letters = {"".join(names): key for names, key in known.items() if len(names) > 1}
    for name in sorted(examination.environment):
        if name.startswith("_"):
            continue
        prefix = examination.wanted.environment_prefix
        if SEPARATOR in name or (prefix and name.startswith(prefix)):
            yield from _misspelled(name, name.removeprefix(prefix), known)
        elif name.startswith("HERZ_") and name not in READ:
            yield from _own(name, by_letters)
        elif (key := by_letters.get(relaxed(name))) is not None:
            yield _too_few(name, key, "note")


def _known(examination: Examination) -> dict[Path, str]:
    """Every key that may be meant, by relaxed path: those of Herz, of the models, and those set in shared sources."""
    found = {tuple(map(relaxed, key.split("."))): key for key in KNOWN}
    for layer in examination.composition.layers:
        if not layer.local:
            found.update((tuple(map(relaxed, path)), join(path)) for path, _ in leaves(layer.document.tree))
    if examination.application is not None:
        found.update((path, ".".join(path)) for path in examination.application.read_keys())
    return found


def _misspelled(name: str, text: str, known: dict[Path, str]) -> Iterator[Finding]:
    names = tuple(map(relaxed, text.lower().split(SEPARATOR)))
    if "" in names or any(names[: len(one)] == one or one[: len(names)] == names for one in known):
        return
    same_depth = {".".join(one): key for one, key in known.items() if len(one) == len(names)}
    near = get_close_matches(".".join(names), same_depth, n=1, cutoff=0.85)
    if near:
        key = same_depth[near[0]]
        yield Finding(
            "misspelled-variable",
            "warning",
            f"{name} sets {'.'.join(text.lower().split(SEPARATOR))}, which nothing else names; did you mean {key}?",
            f"env:{name}",
            f"rename it to {variable(key)}, or unset it",
        )


def _own(name: str, by_letters: dict[str, str]) -> Iterator[Finding]:
    near = get_close_matches(name, READ, n=1, cutoff=0.85)
    if near:
        yield Finding(
            "misspelled-variable",
            "warning",
            f"Herz reads no variable {name}; did you mean {near[0]}?",
            f"env:{name}",
            f"rename it to {near[0]}, or unset it",
        )
    elif (key := by_letters.get(relaxed(name))) is not None:
        yield _too_few(name, key, "warning")


def _too_few(name: str, key: str, severity: object) -> Finding:
    return Finding(
        "variable-not-read",
        "warning" if severity == "warning" else "note",
        f"{name} is not read as {key}: two underscores separate the segments of a key",
        f"env:{name}",
        f"if {key} is meant, rename it to {variable(key)}",
    )


def variable(key: str) -> str:
    """The variable that sets `key`."""
    return SEPARATOR.join(segment.replace("-", "_").upper() for segment in key.split("."))
