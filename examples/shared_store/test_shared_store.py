"""Two real processes, and the command line beside them."""

from __future__ import annotations

import subprocess
import sys

from herz.cli.main import main

STORE = ["--store", "sqlite:///herz.db#shop", "--author", "test"]


class Process:
    """One of the two."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "app.py", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.heard = [self.output.readline()]


def test_both_processes_hear_every_revision_once_and_in_order(folder):
    processes = [Process("one"), Process("two")]
    try:
        assert main(["set", "limits.per-second=15", *STORE]) == 0
        assert main(["set", "limits.per-second=500", *STORE]) == 0  # more than the burst
        assert main(["set", "limits.per-second=20", *STORE]) == 0
        assert main(["rollback", "1", *STORE]) == 0
        for one in processes:
            one.heard += [one.output.readline() for _ in range(4)]
            one.input.write("\n")
            one.input.flush()
            assert one.process.wait(20) == 0
    finally:
        for one in processes:
            one.process.kill()
            one.process.communicate()
    heard = [one.heard for one in processes]
    for name, (first, *lines) in zip(("one", "two"), heard, strict=True):
        assert first == f"{name}: Limits(per_second=10, burst=20)\n"
        assert [line for line in lines if "refused" not in line] == [
            f"{name}: revision 1: limits.per-second = 15\n",
            f"{name}: revision 3: limits.per-second = 20\n",
            f"{name}: revision 4: limits.per-second = 15\n",
        ]
        assert f"{name}: revision 2 refused\n" in lines  # told on a queue of its own
