"""The incident, which must never pass silently: two real processes, one timeout, and a promotion that is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from herz.cli.demo import incident
from herz.cli.demo.incident_story import Found
from herz.cli.main import main
from herz.release.atomicity import Difference, What

SOURCES = Path(__file__).parents[2] / "src"
KEYS = ["ok", "refused", "container", "key", "values", "origins"]
PLAY = ("-m", "herz.cli.demo", "--incident", "--seconds", "0", "--json")


def play(temporary: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(command or PLAY)],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_promotion_is_refused_and_container_key_values_and_places_are_named(tmp_path):
    demo = play(tmp_path)
    out, told = demo.communicate(timeout=55)
    assert json.loads(out.splitlines()[-1]) == {
        "ok": True,
        "refused": True,
        "container": "sidecar",
        "key": "timeout",
        "values": ["800ms", "3000ms"],
        "origins": ["pay/default:pay.yml@2:2", "configmap.yml:3"],
    }, told
    assert demo.returncode == 0
    assert "rolled back by itself" in told
    assert "promoted: both containers" in told  # the mended one is, so it is no refusal of everything
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_sidecar_that_follows_the_release_is_no_incident_and_so_exit_status_1(tmp_path):
    demo = play(
        tmp_path,
        "-c",
        "import sys\n"
        "from herz.cli.demo import incident\n"
        "incident.MOUNTED = 'port: 15001\\n'\n"
        "sys.exit(incident.play_incident(json=True, seconds=0, stdout=sys.stdout))",
    )
    out, told = demo.communicate(timeout=55)
    said = json.loads(out.splitlines()[-1])
    assert (said["ok"], said["refused"], said["container"], demo.returncode) == (False, False, None, 1), told


@pytest.mark.slow
def test_an_interrupted_incident_leaves_nothing_behind(tmp_path):
    demo = play(tmp_path)
    assert demo.stderr is not None
    while not demo.stderr.readline().startswith("1  "):
        assert demo.poll() is None
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert not list(tmp_path.iterdir())


def test_the_outcome_has_exactly_the_keys_that_programs_expect():
    assert list(Found().as_dict()) == KEYS


def test_the_summary_names_both_sides():
    difference = Difference(
        instance="pay-0-sidecar",
        what=What.OVERRIDE,
        expected="800ms",
        actual="3000ms",
        labels={"container": "sidecar"},
        key="timeout",
        values=("800ms", "3000ms"),
        origins=("pay.yml:2", "configmap.yml:3"),
    )
    head, release, sidecar = Found(difference=difference).summary()
    assert head == "refused: container sidecar differs in timeout"
    assert release.split() == ["release", "800ms", "pay.yml:2"]
    assert sidecar.split() == ["sidecar", "3000ms", "configmap.yml:3"]


def test_a_missing_library_is_told_with_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(incident, "NEEDED", ("no_such_library",))
    assert main(["demo", "--incident"]) == 1
    assert "pip install 'herz[demo]'" in capsys.readouterr().err


def test_only_one_demo_is_played_at_a_time(capsys):
    assert main(["demo", "--incident", "--fleet"]) == 2
    assert "not allowed with" in capsys.readouterr().err
