"""`herz fleet`, `verify`, `impact` and `rollout` on real instances."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from herz import Herz
from herz.cli.main import main
from herz.testing.control_plane import ControlPlaneServer

SOURCES = Path(__file__).parents[2] / "src"


def second(released) -> None:
    """Release 2, dormant: 20 sessions."""
    released("draft", "set", "db.pool=20")
    assert released("release", "create", "--dormant", "-m", "more load").status == 0


def test_the_fleet_is_shown_and_filtered(released, fleet):
    table = released("fleet").out
    assert "2 instances; release 1: 2" in table
    assert [one["instance"] for one in released("fleet", "--filter", "zone=us", "--json").json] == ["pay-2"]
    assert released("fleet", "--filter", "status=FAILED").out == "no instance\n"
    assert released("fleet", "--filter", "zone").status == 2


def test_verify_ends_with_0_where_all_run_it_and_with_1_where_not(released, fleet, app):
    assert released("verify", "--version", f"{app}/default@1").out.startswith("✓ verified  release 1: 2 of 2 answered")
    second(released)
    ran = released("verify", "--version", "2")
    assert ran.status == 1
    assert "pay-1 (zone=eu): runs release 1, expected 2" in ran.out
    assert "pay-1 (zone=eu): db.pool differs" in ran.out
    assert released("verify", "--patch", "other", "--version", "1").status == 1
    report = released("verify", "--version", "1", "--json")
    assert (report.status, report.json["verified"], report.json["members"]) == (0, True, 2)


def test_verify_names_who_decides_a_key_itself_unless_that_is_allowed(released, fleet, instance, tmp_path):
    (tmp_path / "own.yml").write_text("db:\n  pool: 3\n")
    instance("pay-3", "own.yml")
    fleet[0].wait_for(lambda _: len(released("fleet", "--json").json) == 3, timeout=20)
    ran = released("verify", "--version", "1")
    assert ran.status == 1
    assert "pay-3 (zone=eu): db.pool differs (set there by another layer)" in ran.out
    assert "own.yml:2" in ran.out
    assert released("verify", "--version", "1", "--allow-override", "db.pool").status == 0
    assert released("verify", "--version", "1", "--instance", "pay-1").status == 0


def test_impact_names_the_objects_and_a_dry_build_that_fails_ends_with_1(released, fleet):
    released("draft", "set", "db.pool=500")
    ran = released("impact")
    assert ran.status == 0
    assert "new object Pool on 2 of 2" in ran.out
    ran = released("impact", "--dry-build", "pay-1")
    assert ran.status == 1
    assert "✗ pay-1 cannot build it" in ran.out
    assert released("impact", "--dry-build", "nobody").status == 1


def test_a_rollout_is_watched_to_its_promotion(released, fleet):
    second(released)
    ran = released("rollout", "start", "2", "--batches", "50%,100%", "--bake", "50ms", "--watch")
    assert ran.status == 0
    for step in ("PREPARING", "COMMITTING", "VERIFYING", "BAKING", "PROMOTED"):
        assert step in ran.out
    assert "batch 1: 1 instance  ✓ 1 of 1 proved" in ran.out
    assert released("verify", "--version", "2").status == 0
    assert released("rollout", "watch").status == 0
    assert "PROMOTED" in released("rollout", "list").out


def test_the_status_of_what_is_over_lists_who_took_part(released, fleet):
    second(released)
    assert released("rollout", "start", "2", "--batches", "100%", "--bake", "50ms", "--watch").status == 0
    said = released("rollout", "status").out
    assert "2 instances took part: --members lists them" in said
    assert "INSTANCE" not in said, "nobody needs to be looked at"
    said = released("rollout", "status", "--members").out
    (first,) = (line for line in said.splitlines() if line.startswith("pay-1 "))
    assert first.split()[1:4] == ["1", "verified", "2"]
    assert " ms  " in first
    roster = released("rollout", "status", "--members", "--json").json["roster"]
    assert [one["instance"] for one in roster["participants"]] == ["pay-1", "pay-2"]
    assert all(one["verified"] and one["took_ms"] > 0 for one in roster["participants"])


def test_the_status_of_what_was_taken_back_names_who_failed(released, fleet):
    released("draft", "set", "db.pool=500")
    released("release", "create", "--dormant", "-m", "too much")
    assert released("rollout", "start", "2", "--batches", "100%", "--watch").status == 1
    said = released("rollout", "status").out
    assert "pay-1" in said.split("INSTANCE")[1]
    assert "100 sessions at most" in said.split("INSTANCE")[1]


def test_a_rollout_that_is_rolled_back_ends_a_watch_with_1_and_says_why(released, fleet):
    released("draft", "set", "db.pool=500")
    released("release", "create", "--dormant", "-m", "too much")
    ran = released("rollout", "start", "2", "--batches", "50%,100%", "--watch", "--json")
    assert ran.status == 1
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert told[-1]["phase"] == "ROLLED_BACK"
    assert "100 sessions at most" in told[-1]["reason"]
    assert released("verify", "--version", "1").status == 0


def test_orders_are_obeyed(released, fleet):
    second(released)
    assert released("rollout", "start", "2", "--batches", "50%,100%", "--bake", "60s").status == 0
    assert "paused by" in released("rollout", "pause", "-m", "looking").out
    assert released("rollout", "start", "2").status == 1  # another one is under way
    assert "paused by" not in released("rollout", "resume").out
    assert released("rollout", "promote", "--all").status == 0
    assert released("rollout", "watch").status == 0
    released("draft", "set", "db.pool=30")
    released("release", "create", "--dormant", "-m", "third")
    assert released("rollout", "start", "3", "--bake", "60s").status == 0
    assert released("rollout", "abort", "-m", "no").status == 0
    assert released("rollout", "watch").status == 1
    assert released("rollout", "abort").status == 1  # it is over


@pytest.mark.parametrize(
    "plan", [["--batches", "50%,10%"], ["--linear", "much"], ["--bake", "soon"], ["--select", "zone"]]
)
def test_a_plan_that_makes_no_sense_is_not_begun(released, plan):
    assert released("rollout", "start", "1", *plan).status == 2


def test_no_rollout_is_said_in_words(released):
    assert "no rollout yet" in released("rollout", "list").out
    assert released("rollout", "status").status == 2


def watching(server, app: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "herz.cli.main", *words, "--app", app, "--server", server.url],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_watched_fleet_is_told_again_when_it_changes_and_ctrl_c_ends_it(released, fleet, server, app):
    watch = watching(server, app, "fleet", "--watch", "--json", "--interval", "0.05")
    assert watch.stdout is not None
    first = json.loads(watch.stdout.readline())
    assert {one["config_version"] for one in first} == {1}
    released("draft", "set", "db.pool=20")
    released("release", "create", "-m", "second")
    while {one["config_version"] for one in json.loads(watch.stdout.readline())} != {2}:
        pass
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=20)
    assert watch.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_watched_rollout_goes_on_when_the_control_plane_is_killed_and_comes_back(tmp_path, monkeypatch, capsys):
    with ControlPlaneServer() as server:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HERZ_SERVER", server.url)
        monkeypatch.setenv("HERZ_APP", "pay")
        (tmp_path / "pay.yml").write_text("db:\n  pool: 5\n")
        assert main(["draft", "write", "pay.yml"]) == 0
        assert main(["release", "create", "-m", "first"]) == 0
        herz = Herz(f"{server.source}/pay?instance=pay-1")
        with herz:
            assert main(["draft", "set", "db.pool=20"]) == 0
            assert main(["release", "create", "--dormant", "-m", "second"]) == 0
            assert main(["rollout", "start", "2", "--bake", "60s"]) == 0
            watch = watching(server, "pay", "rollout", "watch")
            assert watch.stdout is not None
            assert watch.stderr is not None
            while "BAKING" not in watch.stdout.readline():
                pass
            server.kill()
            assert "does not answer" in watch.stderr.readline()
            server.start()
            assert main(["rollout", "promote"]) == 0
            out, err = watch.communicate(timeout=40)
            assert (watch.returncode, "PROMOTED" in out) == (0, True), out + err
    capsys.readouterr()


def test_a_check_that_fails_takes_it_back_and_stays_as_evidence(released, fleet, tmp_path):
    second(released)
    (tmp_path / "checks.yml").write_text(
        "checks:\n  - name: health\n    kind: health\n"
        "    options: {url: 'http://127.0.0.1:1/{instance}', attempts: 1}\n"
    )
    ran = released("rollout", "start", "2", "--batches", "50%,100%", "--checks", "checks.yml", "--watch")
    assert ran.status == 1
    assert "because check health failed" in ran.out
    (batch,) = released("rollout", "status", "--json").json["batches"]
    assert [(check["name"], check["outcome"]) for check in batch["checks"]] == [("health", "FAIL")]
    assert "health FAIL" in released("rollout", "status").out
