"""`herz demo --faults`: plays six of the fault bench's cases on a real etcd and tells what each client made of them."""

from __future__ import annotations

import asyncio
import importlib.util
import json as json_
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from herz.cli.demo.faults_story import TOLD, Told, herz_line, plain_line, table
from herz.cli.demo.process import Child, ChildFailed
from herz.cli.demo.screen import Screen, screen_for
from herz.cli.demo.stage import TERMINATED, to_its_end
from herz.errors import MissingExtra
from herz.testing.etcd_programs import EtcdPrograms

NEEDED: Final = ("grpc", "google.protobuf")
WORK_S: Final = 22.0
"""What the cases take on two idle cores."""


@dataclass
class Score:
    """What has been counted so far. `as_dict` is what `--json` prints."""

    ok: bool = True
    outcomes: list[Mapping[str, Any]] = field(default_factory=list)
    case: int = 0
    written: int = 0
    naive: int = 0
    herz: int = 0
    began_s: float = field(default_factory=time.monotonic)

    def as_dict(self) -> dict[str, Any]:
        """The outcome, for programs."""
        return {"cases": self.outcomes, "ok": self.ok}

    def counters(self) -> list[tuple[str, str, bool]]:
        """Names, values, and whether each value is as it should be."""
        lost = [sum(outcome[side]["lost"] for outcome in self.outcomes) for side in ("naive", "herz")]
        return [
            ("case", f"{self.case} of {len(TOLD)}", True),
            ("written", f"{self.written:,}", True),
            ("plain heard", f"{self.naive:,}", True),
            ("Herz heard", f"{self.herz:,}", True),
            ("plain lost", f"{lost[0]:,}", lost[0] == 0),
            ("Herz lost", f"{lost[1]:,}", lost[1] == 0),
            ("seconds", f"{time.monotonic() - self.began_s:.0f}", True),
        ]

    def summary(self) -> list[str]:
        """The outcome in numbers."""
        return table(self.outcomes)


def play_faults(*, json: bool, seconds: float, events: int, seed: int, stdout: TextIO) -> int:
    """Play the six cases in about `seconds`, or as long as they take; the exit status.

    0: Herz lost nothing, in no case. 1: it did, or a case did not come to its end.
    """
    if missing := [name for name in NEEDED if not _installed(name)]:
        raise MissingExtra(
            f"herz demo --faults needs {' and '.join(missing)}; not installed",
            remedy="pip install 'herz[etcd]'",
        )
    EtcdPrograms.find()
    score = Score()
    screen = screen_for(score, json=json)
    playing = _play(screen, score, seed, events, pause_s=max(0.0, (seconds - WORK_S) / len(TOLD)))
    if not to_its_end(playing, screen):
        return TERMINATED
    if json:
        print(json_.dumps(score.as_dict()), file=stdout, flush=True)
    return 0 if score.ok else 1


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False


async def _play(screen: Screen, score: Score, seed: int, events: int, *, pause_s: float) -> None:
    screen.text("Six ways to lose a change of configuration, on a real etcd of three members.")
    with tempfile.TemporaryDirectory(prefix="herz-demo-") as folder:
        try:
            await _perform(screen, score, seed, events, Path(folder), pause_s)
        except (ChildFailed, OSError, EOFError) as error:
            score.ok = False
            screen.fact(False, f"the demo cannot go on: {type(error).__name__}: {error}")
        finally:
            screen.close()
    took = f"{time.monotonic() - score.began_s:.0f} s"
    score.ok = score.ok and len(score.outcomes) == len(TOLD)
    if score.ok:
        end = f"Herz lost nothing, in {took}. `make faults` runs all cases with a million events."
    else:
        end = f"Not as expected: see what is marked ✗ behind Herz above. {took}."
    screen.text("")
    screen.summary("", end)


async def _perform(screen: Screen, score: Score, seed: int, events: int, folder: Path, pause_s: float) -> None:
    cases = [word for told in TOLD for word in ("--case", str(told.number))]
    arguments = ("--seed", str(seed), "--events", str(events), *cases)
    child = await Child.start("faults_bench", *arguments, folder=folder)
    try:
        version = (await child.line())["version"]
        screen.text(
            "",
            f"etcd {version}. Two clients follow the same keys, each through a proxy that breaks:",
            '  plain client  as it is often written: one connection, a queue, on from "now"',
            '  Herz          `Herz("etcd://…")`, its listener counting what it is handed',
            "Every revision handed on is held against the log of those who wrote.",
        )
        await asyncio.sleep(pause_s)
        if screen.live:
            screen.open()
        for number, told in enumerate(TOLD, 1):
            score.case = number
            screen.act(number, told.title, told.broken)
            _tell(screen, score, told, await _outcome(child, score))
            await asyncio.sleep(pause_s)
    finally:
        await child.stop()


async def _outcome(child: Child, score: Score) -> Mapping[str, Any]:
    while True:
        said = await child.line()
        if "outcome" in said:
            outcome: Mapping[str, Any] = said["outcome"]
            return outcome
        for name in ("written", "naive", "herz"):
            setattr(score, name, said.get(name, 0))


def _tell(screen: Screen, score: Score, told: Told, outcome: Mapping[str, Any]) -> None:
    score.outcomes.append(outcome)
    well, said = herz_line(outcome)
    score.ok = score.ok and well
    if outcome["did"]:  # otherwise the case ended before there was anything to tell
        screen.fact(*plain_line(outcome))
        screen.detail(told.plain(outcome))
    screen.fact(well, said)
    if outcome["error"] is None:
        screen.detail(told.herz(outcome))
