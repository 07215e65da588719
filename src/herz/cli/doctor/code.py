"""The application's code, parsed for checks that read it. It is never run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from herz.cli.doctor.examination import Examination
from herz.sources.file_patterns import display

MOST_FILES: Final = 5_000
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv", ".venv", "build", "dist"})


def python_files(examination: Examination) -> Iterator[Path]:
    """The files of `--code`, else of the application's package; hidden folders and installed packages are left out."""
    places = examination.code
    if not places and examination.application is not None and examination.application.package is not None:
        places = (examination.application.package,)
    count = 0
    for place in places:
        for path in sorted(_below(place)) if place.is_dir() else [place]:
            count += 1
            if count > MOST_FILES:
                return
            yield path


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        yield from (Path(root) / name for name in names if name.endswith(".py"))


def parsed_files(examination: Examination) -> Iterator[tuple[str, ast.Module]]:
    """Each file that can be parsed, by the name people know it by."""
    for path in python_files(examination):
        try:
            yield display(os.path.abspath(path), os.getcwd()), ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
