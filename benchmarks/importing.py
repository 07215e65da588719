"""What `from herz import Herz` costs and what it imports: `python -m benchmarks.importing`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks._report import Row, bootstrap_ratio_interval, print_table
from benchmarks.workload import environment, quantile, rounds

REPEATS = 60
MOST_MS = 60.0
VENDORS = frozenset(
    [
        "attr",
        "django",
        "dynaconf",
        "etcd3",
        "fastapi",
        "flask",
        "git",
        "grpc",
        "httpx",
        "hvac",
        "kazoo",
        "kubernetes",
        "opentelemetry",
        "orjson",
        "pydantic",
        "requests",
        "rich",
        "starlette",
        "uvicorn",
        "watchfiles",
    ]
)


def interpreter(statement: str) -> Callable[[], float]:
    """Seconds of a fresh interpreter that runs `statement`, from start to end; the first one leaves bytecode behind."""
    command = [sys.executable, "-c", statement]
    variables = environment()
    variables.pop("PYTHONDONTWRITEBYTECODE", None)

    def measure() -> float:
        start = time.perf_counter()
        subprocess.run(command, env=variables, check=True)
        return time.perf_counter() - start

    return measure


def vendors() -> list[str]:
    """The vendor clients that all of Herz's public names import."""
    program = "from herz import *; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), check=True, capture_output=True, text=True
    )
    return sorted({name.partition(".")[0] for name in json.loads(done.stdout)} & VENDORS)


def run(*, repeats: int = REPEATS) -> list[Row]:
    statements = {
        "pydantic": "import pydantic; pydantic.BaseModel",
        "both": "import pydantic; pydantic.BaseModel; from herz import Herz",
        "bare": "import pydantic; pydantic.BaseModel; import herz",
        "started": "import pydantic; pydantic.BaseModel; from herz import Herz\nwith Herz({}): pass",
        "herz": "from herz import Herz",
        "nothing": "",
    }
    samples = rounds({name: interpreter(statement) for name, statement in statements.items()}, repeats)

    def more(what: str) -> float:
        pairs = zip(samples[what], samples["pydantic"], strict=True)
        return quantile([both - alone for both, alone in pairs], 0.5) * 1e3

    median = more("both")
    ratio, low, high = bootstrap_ratio_interval(samples["both"], samples["pydantic"])
    imported = vendors()
    return [
        Row(
            "from herz import Herz, more than pydantic imported",
            median,
            "ms",
            ratio,
            f"≤ {MOST_MS:g} ms",
            median <= MOST_MS,
            f"of an interpreter that imports pydantic, {quantile(samples['pydantic'], 0.5) * 1e3:.0f} ms; "
            f"95 % interval {low:.2f} to {high:.2f}; without pydantic {quantile(samples['herz'], 0.5) * 1e3:.0f} ms, "
            f"an empty interpreter {quantile(samples['nothing'], 0.5) * 1e3:.0f} ms",
        ),
        Row("… import herz alone", more("bare"), "ms", note="names are imported when they are first used"),
        Row(
            "… started and stopped as well",
            more("started"),
            "ms",
            note="asyncio, sources, formats and the merge are imported with the first Herz that is made",
        ),
        Row(
            "vendor clients that it imports",
            len(imported),
            "modules",
            None,
            "0",
            not imported,
            ", ".join(imported),
        ),
    ]


if __name__ == "__main__":
    print_table(run())
