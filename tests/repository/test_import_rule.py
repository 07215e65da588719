"""The import rule holds, and the contracts that check it have teeth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(tree / "src"), "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, str(LINT_IMPORTS), "--no-cache"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_the_import_rule(copy: Path):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("errors", "import herz.model"),
        ("formats", "import herz.sources"),
        ("formats", "import herz.store"),
        ("sources", "import herz.watch"),
        ("merge", "import herz.live"),
        ("model", "import asyncio"),
        ("merge", "from time import monotonic"),
        ("testing", "import herz.cli"),
    ],
)
def test_an_import_that_breaks_the_rule_is_found(copy: Path, importer: str, statement: str):
    room = copy / "src" / "herz" / importer
    module = room / "planted.py" if room.is_dir() else room.with_suffix(".py")
    written = module.read_text(encoding="utf-8") if module.exists() else ""
    module.write_text(f"{written}\n{statement}\n", encoding="utf-8")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"herz.{importer}" in done.stdout


def test_a_room_without_a_place_in_the_rule_is_found(copy: Path):
    (copy / "src" / "herz" / "attic.py").write_text("")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "attic" in done.stdout
