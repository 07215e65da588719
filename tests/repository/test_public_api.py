"""The public API changes only on purpose."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("public_api.txt")


def test_the_public_api_is_the_golden_one():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "public_api.py")],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    golden = GOLDEN.read_text(encoding="utf-8")
    difference = "\n".join(
        difflib.unified_diff(golden.splitlines(), done.stdout.splitlines(), "golden", "now", lineterm="", n=0)
    )
    assert not difference, f"the public API differs; if that is meant, run `make api`\n{difference}"
