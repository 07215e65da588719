"""The documentation does what it says: every page is run, each in a process and a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("page.py")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guide").glob("*.md")])
WARNINGS = [
    "-W",
    "error",
    "-W",
    "ignore:This process:DeprecationWarning",
]  # from 3.12 on, any fork beside threads warns
RUNNABLE = re.compile(r"^ *```(python|sh\n\$ herz )", re.MULTILINE)


def ran(page: Path) -> subprocess.CompletedProcess[str]:
    # A variable with two underscores would be configuration.
    environment = {name: value for name, value in os.environ.items() if "__" not in name}
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [environment.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *WARNINGS, str(PAGE), str(page)],
        env={**environment, "PYTHONPATH": path, "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if RUNNABLE.search(page.read_text(encoding="utf-8"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_example_of_a_page_does_what_it_says(page: Path) -> None:
    done = ran(page)
    assert done.returncode == 0, done.stderr
    assert re.search(r": [1-9]\d* blocks", done.stdout)


@pytest.mark.parametrize(
    "promise", ["1 + 1  # -> 3", "print('a')  # -> b", "print('a\\nb')\n# -> a\n#    c", "print('a\\nb')  # -> a"]
)
def test_a_promise_that_is_not_kept_is_found(promise: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Words.\n\n```python\n{promise}\n```\n")
    done = ran(page)
    assert done.returncode == 1
    assert "page.md:4 promises" in done.stderr


def test_promises_that_are_kept_pass(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n1 + 1  # -> 2\nprint('a', 1)\n# -> a ...\nprint('a\\nb')\n# -> a\n#    b\n```\n")
    assert ran(page).returncode == 0
