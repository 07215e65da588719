"""The page about the fault bench says what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from herz.watch.backoff import EXPONENTIAL, FIXED, delay_s
from herz.watch.core import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading, without back-ticks."""
    table = PAGE.read_text(encoding="utf-8").partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    lines = table.splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def test_the_legal_transitions_are_those_of_the_code() -> None:
    told = {state: set(following.split(", ")) for state, _, following in rows("state")}
    assert told == {str(state): {str(one) for one in following} for state, following in TRANSITIONS.items()}


def test_every_case_of_the_bench_is_told_by_its_number_and_name() -> None:
    pytest.importorskip("grpc")
    pytest.importorskip("kazoo")
    importlib.import_module("herz.testing.fault_bench.run")  # which has every case declared
    from herz.testing.fault_bench.case import CASES

    assert [row[0] for row in rows("case")] == [f"{number} {CASES[number].name}" for number in sorted(CASES)]


def test_the_waits_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    told = re.search(r"it waits ([\d, ]+) s, each plus", text)
    assert told is not None
    assert [float(wait) for wait in told[1].split(", ")] == [
        delay_s(retry, lambda: 0.0) for retry in range(EXPONENTIAL.retries)
    ]
    assert f"active for {EXPONENTIAL.healthy_s:g} s" in text
    assert f"`herz.config.watch.retry: fixed` it waits {FIXED.fixed_s:g} s" in text
