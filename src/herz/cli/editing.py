"""Editing a text in the user's own editor, and losing none of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from herz.errors import HerzError, UsageError
from herz.formats import decode
from herz.release.content import Format

ENDINGS: Final = {"yaml": ".yml", "json": ".json", "toml": ".toml", "properties": ".properties", "env": ".env"}
"""What a layer's file is called, so that the editor knows its language."""
_FORMATS: Final[Mapping[str, Format]] = {
    "yaml": "yaml",
    "json": "json",
    "toml": "toml",
    "properties": "properties",
    "dotenv": "env",
}
"""What a release calls the formats that files have."""


def format_of(name: str) -> Format:
    """The format of a layer, by the name of its file. `UsageError` when that tells none."""
    found = decode.format_of(name)
    if found is None:
        raise UsageError(
            f"the name of {name} tells no format", remedy=f"let it end in one of {', '.join(ENDINGS.values())}"
        )
    return _FORMATS[found]


def edited(text: str, *, name: str, format: str) -> str:
    """`text` as it is when the editor (VISUAL, else EDITOR, else vi) is closed.

    The file is private, and gone afterwards. `HerzError` when the editor cannot be started, or ends with another status
    than 0, which is how one says that nothing is to be done.
    """
    with tempfile.TemporaryDirectory(prefix="herz-draft-") as folder:
        path = Path(folder) / f"{Path(name).stem or 'draft'}{ENDINGS.get(format, '.txt')}"
        path.write_text(text, encoding="utf-8")
        command = [*shlex.split(editor()), str(path)]
        try:
            status = subprocess.run(command, check=False).returncode  # noqa: S603  the user's own editor
        except OSError as error:
            raise HerzError(
                f"the editor cannot be started: {error.strerror}",
                where=command[0],
                remedy="set EDITOR, or use `herz draft set`",
            ) from error
        if status != 0:
            raise HerzError(f"the editor ended with {status}, nothing is written", where=command[0])
        return path.read_text(encoding="utf-8")


def editor() -> str:
    """The command that edits a file."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"


def kept(text: str, *, name: str, format: str) -> Path:
    """A new private file in the current folder, else in the temporary one, that holds `text`."""
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            handle, path = tempfile.mkstemp(
                prefix=f"{Path(name).stem or 'draft'}-", suffix=f".rejected{ENDINGS.get(format, '.txt')}", dir=folder
            )
        except OSError:
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        return Path(path)
    raise HerzError("the text can be kept nowhere", where=tempfile.gettempdir(), remedy="make room on the disk")
