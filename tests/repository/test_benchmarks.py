"""Every benchmark runs: with a few keys and a few repeats, and whatever its figures are."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SMALL: dict[str, dict[str, Any]] = {
    "reading": {"reads": 50, "repeats": 6, "leaves": 5_000},
    "loading": {"leaves": 1_000, "repeats": 2, "patience_s": 0.0},
    "changing": {"leaves": 1_000, "repeats": 2},
    "store": {"leaves": 1_000, "repeats": 2, "changes": 3, "writes": 5},
    "etcd": {"leaves": 200, "spells": 1, "puts": 5, "transactions": 5, "repeats": 1},
    "etcd_faults": {"leaves": 200, "repeats": 1, "kills": 1, "pause_s": 0.1, "events": 1_000, "sessions": (1, 3)},
    "stalls": {"leaves": 200, "spells": 1, "spell_s": 0.1, "versions": 3, "reads": 1_000, "seconds": 0.1},
    "dispatcher": {"repeats": 2, "races": 800},
    "files": {"writes": 3},
    "formats": {"leaves": 1_000, "repeats": 2},
    "refresh": {"graphs": 1, "objects": 6, "changes": 4},
    "importing": {"repeats": 2},
    "delivery": {"instances": 4, "releases": 2, "verifications": 2, "streams": 20, "settle_s": 0.5},
    "rollback": {"instances": 4, "rollouts": 1},
    "rollout_kills": {"kills": 1},
    "fleet": {"instances": 3},
    "console": {"instances": 120, "repeats": 2, "releases": 2, "pages": 5, "rounds": 1},
    "scale": {"batches": 2, "watchers": 3, "rounds": 1, "instances": 2_000},
}
NEEDS = {"reading": "dynaconf", "loading": "dynaconf", "changing": "dynamic_config", "stalls": "dynaconf"}
"""Peers without which a benchmark does not run; `tools/setup bench` installs them."""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_every_benchmark_is_run_by_make_bench(benchmark):
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    runnable = {name for name in modules if not name.startswith("_") and hasattr(benchmark(name), "run")}
    main = benchmark("__main__")
    assert runnable == set(main.NAMES) == set(SMALL)
    assert set(main.QUICK) == set(main.NAMES)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_parameters_of_a_quick_run_exist(benchmark, name):
    inspect.signature(benchmark(name).run).bind(**benchmark("__main__").QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_benchmark_measures_what_it_names(benchmark, name):
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed: tools/setup bench")
    rows = benchmark(name).run(**SMALL[name])
    assert rows
    for row in rows:
        assert row.name
        assert not math.isnan(row.value) or "not installed" in row.note
    assert any(row.target for row in rows)


def test_an_edit_of_the_bytes_changes_that_one_value(benchmark):
    workload = benchmark("workload")
    decode = importlib.import_module("herz.formats.decode").decode
    for shape in workload.SHAPES:
        content = workload.tree(1_000, shape)
        path = workload.path_of(7, 1_000, shape)
        for format, encode in workload.ENCODERS.items():
            found = decode(workload.edited(encode(content), path, 4_711), format, name="n").tree
            assert found == workload.changed(content, path, 4_711) != content
