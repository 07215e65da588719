"""All benchmarks, one table: `python -m benchmarks [name …] [--quick] [--write FILE]`."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import io
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks._report import Row, print_table

NAMES: Final = (
    "reading",
    "loading",
    "changing",
    "store",
    "etcd",
    "etcd_faults",
    "stalls",
    "dispatcher",
    "files",
    "formats",
    "refresh",
    "importing",
    "rollback",
    "rollout_kills",
    "scale",
    "delivery",
    "console",
    "fleet",
)
QUICK: Final[Mapping[str, Mapping[str, Any]]] = {
    "reading": {"repeats": 60},
    "loading": {"repeats": 3, "patience_s": 0.0},
    "changing": {"repeats": 8},
    "store": {"repeats": 10, "writes": 60},
    "etcd": {"spells": 2, "puts": 60, "transactions": 200, "repeats": 2},
    "etcd_faults": {"repeats": 2, "kills": 2, "events": 20_000, "sessions": (1, 10)},
    "stalls": {"spells": 1, "spell_s": 2.0, "versions": 6, "seconds": 2.0, "reads": 1_000_000},
    "dispatcher": {"repeats": 60, "races": 80_000},
    "files": {"writes": 30},
    "formats": {"repeats": 3},
    "refresh": {"graphs": 5},
    "importing": {"repeats": 8},
    "rollback": {"instances": 200, "rollouts": 3},
    "rollout_kills": {"kills": 10},
    "scale": {"batches": 20, "watchers": 20, "rounds": 5, "instances": 50_000},
    "fleet": {"instances": 5},
    "console": {"repeats": 15, "releases": 8, "pages": 200, "rounds": 3},
    "delivery": {"instances": 200, "releases": 5, "verifications": 10, "streams": 2_000},
}
"""What each one is called with to be done soon: a look, not a measurement."""


def run(names: list[str], quick: bool) -> tuple[list[Row], list[str]]:
    """The rows of the benchmarks named, and those that failed, with the reason."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run(**(QUICK[name] if quick else {}))
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
            rows.append(Row(f"{name} failed", float("nan"), "", ok=False, note=f"{type(error).__name__}: {error}"))
        load = os.getloadavg()[0]
        print(f"{name}: {time.monotonic() - start:.0f} s, load {load:.1f}", file=sys.stderr, flush=True)
    return rows, failed


def machine() -> str:
    """What it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def document(rows: list[Row], names: list[str], quick: bool, seconds: float, load: float) -> str:
    """The page that `--write` writes."""
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        print_table(rows)
    missed = [row for row in rows if row.ok is False]
    command = " ".join(["python -m benchmarks", *([] if names == list(NAMES) else names), *(["--quick"] * quick)])
    return f"""# Benchmarks

`make bench` installs the peers, measures Herz and them in turn in one run, and prints this table. One benchmark
alone: `python -m benchmarks stalls`. A look in two minutes: `python -m benchmarks --quick`. This page:
`python -m benchmarks --write docs/benchmarks.md`.

Measured {datetime.date.today().isoformat()} in {seconds / 60:.0f} minutes by `{command}` on {machine()};
the load average before it was {load:.1f}. Medians of repeats in turn; ratios are to the reference that the note names,
measured in the same run, with bootstrap intervals. The collector runs between repeats, but as always in `stalls`,
`files` and `refresh`. A figure that misses its target says MISSED. Trust ratios rather than single figures of a shared
machine.

Workload: N leaves are N/100 sections × 10 groups × 10 scalars (int, float, text, bool), or N keys of one table
("flat"); one scalar changes at a time.

{len(missed)} of {sum(row.ok is not None for row in rows)} targets missed.

```text
{table.getvalue().rstrip()}
```
"""


def remarks(page: Path) -> str:
    """What people have written below the table of the page that was there before."""
    written = page.read_text() if page.exists() else ""
    _, heading, text = written.partition("\n## ")
    return heading + text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: a look, not a measurement")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there as well, as Markdown")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    names = given.names or list(NAMES)
    load = os.getloadavg()[0]
    start = time.monotonic()
    rows, failed = run(names, given.quick)
    seconds = time.monotonic() - start
    print_table(rows)
    missed = sum(row.ok is False for row in rows)
    print(f"\n{missed} of {sum(row.ok is not None for row in rows)} targets missed, {seconds:.0f} s, {machine()}")
    if given.write is not None:
        given.write.write_text(document(rows, names, given.quick, seconds, load) + remarks(given.write))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
