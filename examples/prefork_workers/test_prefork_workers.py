"""The program as it is."""

from __future__ import annotations

import ast
import subprocess
import sys


def test_every_forked_worker_follows_with_objects_of_its_own(folder):
    done = subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    sent = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert [one["from"] for one in sent] == ["shop@example.org"] * 3 + ["orders@example.org"] * 3
    assert len({one["pid"] for one in sent}) == 3
