"""The table of a fleet: which instances, in which columns, for plain text and for rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from herz.cli.output import paint
from herz.cli.told import in_words, short
from herz.client import Instance
from herz.errors import UsageError
from herz.release.channel import STABLE
from herz.release.report import Status

HEADS: Final = ("INSTANCE", "LABELS", "RELEASE", "STATUS", "FINGERPRINT", "PATCH", "AGE")
_COLOURS: Final = {Status.APPLIED: "green", Status.APPLYING: "yellow", Status.FAILED: "red"}
_BORDERS: Final = 7
"""Lines of a live table that hold no instance,"""
_GAP: Final = 2
"""columns between two of its columns,"""
_FIXED: Final = (0, 2, 3, 4, 5, 6)
"""and its columns that are as wide as they must be."""


class Filter(NamedTuple):
    """Which instances are shown: every name must be like its pattern."""

    wanted: tuple[tuple[str, str], ...]

    def of(self, found: Sequence[Instance]) -> tuple[Instance, ...]:
        """Those that are wanted, in their order."""
        return tuple(one for one in found if all(fnmatchcase(_fact(one, name), like) for name, like in self.wanted))


def filters(texts: Sequence[str]) -> Filter:
    """What `--filter NAME=PATTERN` means. `UsageError` where there is no `=`."""
    wanted = []
    for text in texts:
        name, equals, pattern = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{text!r} is no filter", remedy="write NAME=PATTERN, such as zone=eu or status=FAILED")
        wanted.append((name.strip(), pattern.strip()))
    return Filter(tuple(wanted))


def _fact(report: Instance, name: str) -> str:
    """What a filter's name stands for: a fact of the report, else a label."""
    facts: dict[str, Any] = {
        "instance": report.instance,
        "status": report.status.value,
        "version": report.config_version,
        "release": report.config_version,
        "patch": report.patch_id,
        "cohort": report.assigned,
        "fingerprint": short(report.fingerprint),
    }
    found = report.labels.get(name) if name in report.labels else facts.get(name)
    return "" if found is None else str(found)


def row(report: Instance, now: datetime) -> tuple[str, ...]:
    """One instance, as wide as it is."""
    labels = " ".join(f"{name}={value}" for name, value in sorted(report.labels.items()))
    release = "–" if report.config_version is None else str(report.config_version)
    if report.assigned != STABLE:
        release += f" {report.assigned}"
    status = report.status.value + ("" if report.agrees or report.status is not Status.APPLIED else ", not as told")
    if report.rehearsed is not None and report.rehearsed.number != report.config_version:
        status += f", {'built' if report.rehearsed.ok else 'cannot build'} {report.rehearsed.number}"
    cells = (report.instance, labels, release, status, short(report.fingerprint), report.patch_id or "–")
    return (*map(in_words, cells), age(report.time, now))


def age(time: datetime, now: datetime) -> str:
    """How long ago, in the largest unit; clocks of other machines may be ahead."""
    seconds = max(0, int((now - time).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def summary(found: Sequence[Instance]) -> str:
    """How many there are, and how many run what."""
    versions = Counter("none" if one.config_version is None else str(one.config_version) for one in found)
    failed = sum(one.status is Status.FAILED for one in found)
    runs = ", ".join(f"release {version}: {count}" for version, count in sorted(versions.items(), key=_by_number))
    said = f"{len(found)} instance{'' if len(found) == 1 else 's'}" + (f"; {runs}" if runs else "")
    differing = sum(not one.agrees for one in found)
    said += f"; {failed} failed" if failed else ""
    return said + (f"; {differing} not as told" if differing > failed else "")


def _by_number(item: tuple[str, int]) -> tuple[int, str]:
    return (int(item[0]) if item[0].isdecimal() else 0), item[0]


def fleet_text(found: Sequence[Instance], now: datetime) -> str:
    """The table as plain text, each column as wide as it must be, errors below their instances."""
    if not found:
        return "no instance"
    rows = [row(one, now) for one in found]
    used = [number for number in range(len(HEADS)) if number != 1 or any(cells[1] for cells in rows)]
    widths = {number: max(len(HEADS[number]), *(len(cells[number]) for cells in rows)) for number in used}
    lines = [paint("  ".join(HEADS[number].ljust(widths[number]) for number in used).rstrip(), "bold")]
    for report, cells in zip(found, rows, strict=True):
        padded = {number: cells[number].ljust(widths[number]) for number in used}
        padded[3] = paint(padded[3], _COLOURS[report.status])
        lines.append("  ".join(padded[number] for number in used).rstrip())
        if report.error:
            lines.append(paint(f"  {in_words(report.error)}", "red"))
    return "\n".join([*lines, summary(found)])


def rich_table(found: Sequence[Instance], now: datetime, *, height: int, width: int, caption: str) -> Any:
    """The table for rich, no higher than the terminal: instances that failed or are at work come first then."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    room = max(1, height - _BORDERS)
    shown = list(found)
    broken = next((one for one in found if one.error), None)
    if broken is not None:
        caption += f"\n{broken.instance}: {in_words(broken.error or '')}"
    if len(found) > room:
        shown = sorted(found, key=lambda one: (one.status is Status.APPLIED, one.status is Status.APPLYING))[: room - 1]
    rows = [row(one, now) for one in shown]
    others = sum(max(len(HEADS[number]), *(len(cells[number]) for cells in rows)) for number in _FIXED) if rows else 0
    room = max(len(HEADS[1]), width - 2 - others - _GAP * len(HEADS))  # what is left of a line is for the labels
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption, caption_justify="left", expand=False, pad_edge=False
    )
    for head in HEADS:
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for report, cells in zip(shown, rows, strict=True):
        labels = cells[1] if len(cells[1]) <= room else f"{cells[1][: room - 1]}…"
        texts = [Text(cell) for cell in (cells[0], labels, *cells[2:])]
        texts[3].stylize(_COLOURS[report.status])
        table.add_row(*texts)
    if len(shown) < len(found):
        table.add_row(Text(f"… {len(found) - len(shown)} more", "dim"))
    return table
