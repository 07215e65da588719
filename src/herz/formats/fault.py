"""Limits, and faults on their way from a decoder to the door, which knows the document's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from herz.errors import DocumentMalformed, DocumentTooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may cost: bytes, nesting of tables and lists, and nodes that YAML aliases expand to.

    The root is depth 1, and a dotted key counts with its segments: `a.b: 1` is as deep as `a: {b: 1}`.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_depth: int = 200
    max_alias_nodes: int = 1_000_000


DEFAULT: Final = Limits()


class Fault(Exception):
    """What is wrong with a document, and on which line; the door adds the document's name.

    `kind` is the class of the error that the caller will see.
    """

    def __init__(
        self,
        what: str,
        line: int | None = None,
        *,
        remedy: str | None = None,
        kind: type[DocumentMalformed] = DocumentMalformed,
    ) -> None:
        super().__init__(what)
        self.what, self.line, self.remedy, self.kind = what, line, remedy, kind

    def error(self, name: str) -> DocumentMalformed:
        """The fault as the error of the document called `name`."""
        where = name if self.line is None else f"{name}:{self.line}"
        return self.kind(self.what, where=where, remedy=self.remedy)


def too_deep(limits: Limits, line: int | None = None) -> Fault:
    """Nesting beyond the limit."""
    return Fault(
        f"nested deeper than {limits.max_depth} tables and lists",
        line,
        remedy="flatten the document, or raise herz.config.limits.max-depth",
        kind=DocumentTooLarge,
    )


def line_at(data: bytes, offset: int) -> int:
    """The line, from 1, that the byte at `offset` is on; a lone CR does not end a line."""
    return data.count(b"\n", 0, max(offset, 0)) + 1
