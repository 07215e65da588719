"""The decision records can be found and read in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "adr"
RECORDS = sorted(path for path in FOLDER.glob("[0-9]*.md") if not path.name.startswith("0000"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")


def title(record: Path) -> tuple[int, str]:
    first = record.read_text(encoding="utf-8").partition("\n")[0]
    match = re.fullmatch(r"# (\d+)\. (.+)", first)
    assert match, f"{record.name} starts with {first!r}"
    return int(match[1]), match[2]


def test_records_are_numbered_without_gaps():
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_number_status_and_sections(record: Path):
    text = record.read_text(encoding="utf-8")
    assert title(record)[0] == int(record.name[:4])
    assert re.search(r"^Status: (proposed|accepted|superseded by \[\d+\]\(.+\))$", text, re.MULTILINE)
    assert re.findall(r"^## (\w+)", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_listed_in_the_index(record: Path):
    number, name = title(record)
    assert f"| [{number}]({record.name}) | {name} |" in INDEX
