"""What a run of the bench tells: a line for each case, a table at the end, and the log that is kept."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from herz.testing.fault_bench.tally import Count

COLUMNS: Final = {"lost": "lost", "twice": "twice", "reordered": "out of order", "unnoticed": "rewinds unnoticed"}
"""The four numbers, and what they are called in tables."""
BEGIN: Final = "<!-- the run kept here: `make faults LOG=docs/faults.md` replaces it -->"
END: Final = "<!-- the end of that run -->"
"""Between these a page keeps a log."""


def line(outcome: Mapping[str, Any]) -> str:
    """One case's outcome, for people."""

    def figures(numbers: Mapping[str, int]) -> str:
        return " ".join(f"{name} {number:,}" for name, number in numbers.items())

    return (
        f"   {outcome['events']:,} events, {outcome['seconds']} s | plain: {figures(outcome['naive'])} | "
        f"Herz: {figures(outcome['herz'])} | {verdict(outcome)}{''.join(f'; {note}' for note in notes(outcome))}"
    )


def verdict(outcome: Mapping[str, Any]) -> str:
    """`ok`, `FAILED`, or why the case did not come to its end; its numbers are those of that moment then."""
    if outcome["error"] is not None:
        return f"did not come to its end: {outcome['error']}"
    return "FAILED" if any(outcome["herz"].values()) else "ok"


def notes(outcome: Mapping[str, Any]) -> list[str]:
    """What the case noted besides the numbers."""
    return [f"{name.replace('_', ' ')} {_number(value)}" for name, value in outcome["notes"].items()]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)


def sums(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Count]:
    """The four numbers over all cases, for `naive` and `herz`."""
    return {name: sum((Count(**outcome[name]) for outcome in outcomes), start=Count()) for name in ("naive", "herz")}


def table(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """All cases and their sum as lines of text, the plain client's numbers and then Herz's."""
    rows: list[tuple[str, str, Mapping[str, Any]]] = [
        (f"{outcome['id']:>2} {outcome['name']}", f"{outcome['events']:,}", outcome) for outcome in outcomes
    ]
    total = {name: count._asdict() for name, count in sums(outcomes).items()}
    rows.append(("all", f"{sum(outcome['events'] for outcome in outcomes):,}", total))
    short = ("lost", "twice", "order", "rewound")
    lines = [
        f"{'':<32}{'':>10}  {'plain client':<36}  Herz",
        f"{'case':<32}{'events':>10}  {''.join(f'{name:>9}' for name in short)}  "
        + "".join(f"{name:>9}" for name in short),
    ]
    for name, events, numbers in rows:
        figures = ("".join(f"{numbers[side][column]:>9,}" for column in COLUMNS) for side in ("naive", "herz"))
        lines.append(f"{name:<32}{events:>10}  {'  '.join(figures)}")
    return lines


def markdown(result: Mapping[str, Any]) -> str:
    """The log of a run, as a page keeps it: how to repeat it, what it ran on, and a table."""
    outcomes = result["cases"]
    facts = {
        "repeat": f"`make faults SEED={result['seed']} EVENTS={result['asked']}`",
        "events": f"{result['events']:,} keys; the eight writers made {result['revisions']:,} revisions, "
        f"{result['single']:,} of one key",
        "duration": f"{result['seconds'] / 60:.1f} minutes, {result['events'] / result['seconds']:,.0f} events/s",
        "memory": f"at most {result['peak_mib']:,.0f} MiB in the bench's process, both clients and the log included",
        "servers": ", ".join(f"{name} {number}" for name, number in result["servers"].items()),
        "Python": f"{platform.python_version()}, " + ", ".join(_versions("grpcio", "protobuf", "kazoo")),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "outcome": "ok" if result["ok"] else "FAILED",
    }
    heads = ["case", "events", "s", *(f"plain: {name}" for name in COLUMNS.values())]
    heads += [*(f"Herz: {name}" for name in COLUMNS.values()), "notes"]
    lines = ["| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in facts.items()), ""]
    lines += [_row(heads), "|---|" + "---:|" * (len(heads) - 2) + "---|"]
    for outcome in outcomes:
        said = notes(outcome) + ([] if verdict(outcome) == "ok" else [f"**{verdict(outcome)}**"])
        numbers = [f"{outcome[side][column]:,}" for side in ("naive", "herz") for column in COLUMNS]
        name = f"{outcome['id']} {outcome['name']}"
        lines.append(_row([name, f"{outcome['events']:,}", f"{outcome['seconds']:.0f}", *numbers, "; ".join(said)]))
    total = sums(outcomes)
    numbers = [f"**{number:,}**" for side in ("naive", "herz") for number in total[side]]
    lines.append(_row(["**all**", f"**{result['events']:,}**", f"{result['seconds']:.0f}", *numbers, ""]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _versions(*packages: str) -> list[str]:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def peak_mib() -> float:
    """The most memory that this process has ever had, in MiB; 0 where the system does not tell (proc(5), VmHWM)."""
    try:
        told = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    rows = dict(row.split(":", 1) for row in told.splitlines() if ":" in row)
    return int(rows.get("VmHWM", "0 kB").split()[0]) / 1024


def keep(page: Path, log: str) -> None:
    """Write the log to a file of its own, or between the marks of a page that has a place for it."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    kept = f"{before}{begin}\n\n{log}\n{end}{after}" if begin and end else log
    page.write_text(kept, encoding="utf-8")
