"""The instances of a fleet as files: CSV that no spreadsheet takes for formulas, and JSON as the API has it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from herz.server.console.fleet_filter import Row, heard, rows
from herz.server.hub import Namespace

COLUMNS: Final = (
    "instance",
    "state",
    "status",
    "release",
    "should",
    "received",
    "time",
    "fingerprint",
    "cohort",
    "labels",
    "patch_id",
    "error",
    "server",
)
AT_ONCE: Final = 200
"""Instances of one piece of the answer."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


async def as_csv(there: Namespace, names: list[str]) -> AsyncIterator[bytes]:
    """A line for each instance, below the names of the columns (RFC 4180)."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for part in _parts(names):
        text = io.StringIO()
        writer = csv.writer(text)
        for row in rows(there, part):
            writer.writerow([harmless(cell) for cell in _cells(row)])
        yield text.getvalue().encode()


async def as_json(there: Namespace, names: list[str]) -> AsyncIterator[bytes]:
    """A list of instances, as `GET …/instances` has them."""
    before = b"["
    for part in _parts(names):
        found = [msgspec.json.encode(row.one) for row in rows(there, part)]
        if found:
            yield before + b",\n".join(found)
            before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def _parts(names: list[str]) -> Iterator[list[str]]:
    return (names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE))


def harmless(cell: str) -> str:
    """A cell that a spreadsheet shows as it is: what it would take for a formula gets an apostrophe in front."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _cells(row: Row) -> tuple[str, ...]:
    one, when = row.one, heard(row.one)
    return (
        one.instance,
        row.state,
        one.status.value,
        "" if one.config_version is None else str(one.config_version),
        "" if row.should is None else str(row.should),
        "" if when is None else when.isoformat(),
        one.time.isoformat(),
        one.fingerprint or "",
        one.assigned,
        " ".join(f"{name}={value}" for name, value in sorted(one.labels.items())),
        one.patch_id or "",
        one.error or "",
        one.server or "",
    )
