"""Keys that nobody reads because they are misspelled: one letter beside a key of Herz, or of a bound model."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher, get_close_matches
from typing import Final

from herz.cli.doctor.examination import Examination
from herz.cli.doctor.finding import Finding
from herz.model.key import Path, join, relaxed, split
from herz.model.tree import leaves
from herz.settings import KNOWN

OWN: Final = {tuple(map(relaxed, split(key))): key for key in KNOWN}
"""Herz's own keys by relaxed path."""

_ROOTS: Final = sorted({path[0] for path in OWN})
_NEAR: Final = 0.82


def check(examination: Examination) -> Iterator[Finding]:
    """Each key that looks like one of Herz's and is none. The models' keys are checked when they are bound."""
    bound = examination.application.properties if examination.application is not None else []
    for path, _ in leaves(examination.composition.tree):
        names = tuple(map(relaxed, path))
        if any(names[: len(one.relaxed)] == one.relaxed for one in bound if one.relaxed):
            continue
        meant = meant_by(names)
        if meant is not None:
            yield Finding(
                "misspelled-key",
                "warning",
                f"{join(path)} is not a key that Herz reads; did you mean {meant}?",
                examination.composition.locate(path),
                f"rename it to {meant}, or remove it",
            )


def meant_by(names: Path) -> str | None:
    """The key of Herz that the relaxed path `names` is probably meant to be; None when it is one, or far from all."""
    if names in OWN or not get_close_matches(names[0], _ROOTS, n=1, cutoff=0.7):
        return None
    if any(names[: len(own)] == own or own[: len(names)] == names for own in OWN):
        return None
    found, best = None, _NEAR
    text = ".".join(names)
    for path, key in OWN.items():
        if abs(len(path) - len(names)) <= 1:
            ratio = SequenceMatcher(None, text, ".".join(path)).ratio()
            if ratio > best:
                found, best = key, ratio
    return found
