"""What a long run of the fault bench tells while it goes on, and what it keeps."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from herz.testing.fault_bench.progress import Progress
from herz.testing.fault_bench.report import BEGIN, END, keep, markdown, sums, table

NONE = {"lost": 0, "twice": 0, "reordered": 0, "unnoticed": 0}


def outcome(number: int = 1, **said: Any) -> dict[str, Any]:
    row = {"id": number, "name": f"case-{number}", "naive": NONE, "herz": NONE, "did": {}, "events": 10}
    return row | {"revisions": 3, "single": 2, "seconds": 1.0, "notes": {}, "error": None} | said


def result(*outcomes: dict[str, Any]) -> dict[str, Any]:
    return {
        **{"seed": 7, "asked": 20, "events": 20, "revisions": 6, "single": 4, "seconds": 2.0, "peak_mib": 50.0},
        **{"servers": {"etcd": "3.4.23"}, "cases": list(outcomes), "ok": True},
    }


def test_the_sums_are_over_all_cases() -> None:
    total = sums([outcome(naive=NONE | {"lost": 1}), outcome(naive=NONE | {"lost": 2, "twice": 3})])
    assert total["naive"] == (3, 3, 0, 0)
    assert total["herz"].ok


def test_the_table_has_a_row_for_each_case_and_one_for_all() -> None:
    lines = table([outcome(1), outcome(22, naive=NONE | {"unnoticed": 4})])
    assert [line.split()[0] for line in lines[2:]] == ["1", "22", "all"]
    assert lines[-1].split()[1:] == ["20", "0", "0", "0", "4", "0", "0", "0", "0"]


def test_the_log_says_how_to_repeat_the_run() -> None:
    log = markdown(result(outcome(error="it | never settled")))
    assert "`make faults SEED=7 EVENTS=20`" in log
    assert "etcd 3.4.23" in log
    assert "**did not come to its end: it \\| never settled**" in log


def test_a_page_with_a_place_for_the_log_keeps_its_words(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Words.\n{BEGIN}\nold\n{END}\nMore words.\n")
    keep(page, "new\n")
    keep(page, "newer\n")
    assert page.read_text() == f"Words.\n{BEGIN}\n\nnewer\n\n{END}\nMore words.\n"


def test_any_other_file_is_the_log_alone(tmp_path: Path) -> None:
    keep(tmp_path / "log.md", "new\n")
    assert (tmp_path / "log.md").read_text() == "new\n"


def test_the_page_of_the_bench_has_a_place_for_the_log() -> None:
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1


def test_progress_tells_where_a_run_is_and_what_is_left() -> None:
    now = [0.0]
    progress = Progress(1000, 2, lambda line: None, clock=lambda: now[0])
    first, second = SimpleNamespace(written=0), SimpleNamespace(written=0)
    progress.begins(first)  # type: ignore[arg-type]
    assert progress.line().endswith("time left unknown yet")
    first.written, now[0] = 250, 60.0
    progress.begins(second)  # type: ignore[arg-type]
    second.written = 250
    assert progress.line() == "   … case 2 of 2, 500 of 1,000 events (50%), 1:00 so far, some 1:00 left"


def test_progress_speaks_by_itself_until_its_end() -> None:
    spoken = threading.Event()
    with Progress(1000, 2, lambda line: spoken.set(), every_s=0.01) as progress:
        progress.begins(SimpleNamespace(written=1))  # type: ignore[arg-type]
        assert spoken.wait(10)
