"""Last-good: a copy on disk of what was in force, for a start while sources are down."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from herz.model.document import Document
from herz.model.layer import Layer
from herz.model.origin import Origin
from herz.model.secret import SecretKeys
from herz.model.tree import EMPTY, Tree, is_table, thaw

logger = logging.getLogger("herz")

FORMAT: Final = 1


class LastGood:
    """A file with the shared documents of one application: mode 0600, without environment, arguments and secrets.

    It is replaced whole: a new file, flushed to the disk, renamed into place; a checksum tells a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._documents: dict[tuple[str, str], Document] | None = None

    def document(self, origin: Origin) -> Document | None:
        """The copy of what `origin` held; None when there is none that can be trusted."""
        if self._documents is None:
            self._documents = self._read()
        return self._documents.get((origin.kind, origin.name))

    def age_s(self, wall: Callable[[], float] = time.time) -> float:
        """Seconds since the copy was written, by the machine's clock; 0 where there is none."""
        try:
            return max(0.0, wall() - self.path.stat().st_mtime)
        except OSError:
            return 0.0

    def check(self) -> str | None:
        """Why the copy could not be used now; None when it could, or when there is none. Says nothing in the log."""
        try:
            self._parsed()
        except _Unusable as error:
            return str(error)
        return None

    def _read(self) -> dict[tuple[str, str], Document]:
        try:
            return self._parsed()
        except _Unusable as error:
            logger.error("last-good copy %s %s and is not used; the next change writes it anew", self.path, error)
            return {}

    def _parsed(self) -> dict[tuple[str, str], Document]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _Unusable(f"cannot be read ({error.strerror or error})") from error
        checksum, _, body = content.partition(b"\n")
        if checksum.decode("ascii", "replace") != f"sha256:{sha256(body).hexdigest()}":
            raise _Unusable("is damaged: its checksum is wrong")
        found: dict[tuple[str, str], Document] = {}
        try:
            held = msgspec.json.decode(body)
            if held["format"] != FORMAT:
                raise _Unusable(f"is of version {held['format']}, and this Herz knows {FORMAT}")
            for entry in held["sources"]:
                parts = tuple(self._document(part) for part in entry["parts"])
                origin = Origin(entry["name"], entry["kind"])
                found[entry["kind"], entry["name"]] = Document(origin, entry["revision"], EMPTY, parts=parts)
        except (msgspec.DecodeError, LookupError, TypeError) as error:
            raise _Unusable("is no last-good copy") from error
        return found

    def _document(self, part: dict[str, Any]) -> Document:
        name = part["name"]
        return Document(Origin(name, part["kind"]), part["revision"], part["tree"], lambda path: f"{name} (last good)")

    def write(self, sources: Iterable[tuple[Document, Iterable[Layer]]], secrets: SecretKeys) -> None:
        """Replace the copy by the documents of `sources`, each with its layers. `OSError` leaves the old copy."""
        entries = [
            {
                "kind": document.origin.kind,
                "name": document.origin.name,
                "revision": document.revision,
                "parts": [
                    {
                        "kind": layer.document.origin.kind,
                        "name": layer.document.origin.name,
                        "revision": layer.document.revision,
                        "tree": without_secrets(layer.document.tree, secrets),
                    }
                    for layer in layers
                ],
            }
            for document, layers in sources
        ]
        body = msgspec.json.encode({"format": FORMAT, "sources": entries}, enc_hook=_plain)
        content = f"sha256:{sha256(body).hexdigest()}\n".encode() + body
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


class _Unusable(Exception):
    """What is wrong with a copy, as the end of a sentence about it."""


def _plain(value: Any) -> Any:
    """What msgspec does not know: a float that remembers its digits is written as a float."""
    return float(value)


def without_secrets(tree: Tree, secrets: SecretKeys, at: tuple[str, ...] = ()) -> dict[str, Any]:
    """`tree` without the literal secrets in it; text that refers to another key stays."""
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        path = (*at, name)
        if is_table(value):
            kept[name] = without_secrets(value, secrets, path)
        elif not secrets.holds(path) or (isinstance(value, str) and "${" in value):
            kept[name] = thaw(value)
    return kept
