"""What the commands print, from values made here: tables, verdicts, rollouts, impacts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from herz.cli.fleet_table import age, filters, fleet_text, rich_table, summary
from herz.cli.impact import impact_text
from herz.cli.rollout_plan import checks_of, percent, plan_of, plan_options, selector_of
from herz.cli.rollout_roster import FEW, roster_text
from herz.cli.rollout_told import outcome_text, step_text, waiting_text
from herz.cli.told import difference_line
from herz.cli.verify import verdict_text
from herz.client import Built, Impact, Instance, Participant, Roster, Step, Touched
from herz.errors import ConfigurationError, UsageError
from herz.release.atomicity import Difference, Verdict, What
from herz.release.channel import ReleaseRef
from herz.release.difference import KeyDifference
from herz.release.plan import Plan, PlanKind
from herz.release.report import Rehearsed, Status
from herz.release.rollout import Batch, Order, Phase, Rollout

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def instance(name: str = "pay-1", **facts: object) -> Instance:
    known: dict[str, object] = {
        "app": "pay",
        "namespace": "default",
        "status": Status.APPLIED,
        "time": NOW - timedelta(seconds=5),
        "config_version": 13,
        "fingerprint": "sha256:4f1c0123456789",
        "labels": {"zone": "eu"},
    }
    return Instance(instance=name, **{**known, **facts})  # type: ignore[arg-type]


# --- the fleet ------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_instance_and_a_line_that_sums_up():
    lines = fleet_text([instance(patch_id="p7"), instance("pay-10", labels={}, config_version=None)], NOW).splitlines()
    assert lines[0].split() == ["INSTANCE", "LABELS", "RELEASE", "STATUS", "FINGERPRINT", "PATCH", "AGE"]
    assert lines[1].split() == ["pay-1", "zone=eu", "13", "APPLIED", "4f1c0123", "p7", "5s"]
    assert lines[2].split() == ["pay-10", "–", "APPLIED", "4f1c0123", "–", "5s"]
    assert lines[3] == "2 instances; release none: 1, release 13: 1"


def test_labels_that_nobody_has_take_no_column():
    assert "LABELS" not in fleet_text([instance(labels={})], NOW)


def test_an_instance_that_failed_says_why_and_one_that_differs_is_marked():
    failed = instance(status=Status.FAILED, error="the pool\ncannot be built", agrees=False)
    other = instance("pay-2", agrees=False)
    text = fleet_text([failed, other], NOW)
    assert '"the pool\\ncannot be built"' in text
    assert "APPLIED, not as told" in text
    assert text.endswith("1 failed; 2 not as told")


def test_a_batch_and_what_was_built_ahead_are_shown():
    ahead = Rehearsed(number=14, digest="sha256:x", fingerprint="sha256:y")
    cells = fleet_text([instance(assigned="r7-b1", rehearsed=ahead)], NOW).splitlines()[1]
    assert "13 r7-b1" in cells
    assert "APPLIED, built 14" in cells


def test_what_an_instance_says_cannot_command_the_terminal():
    assert "\x1b" not in fleet_text([instance(labels={"zone": "\x1b[2J"}, error="\x1b]0;x")], NOW)


@pytest.mark.parametrize(
    ("like", "found"),
    [
        ([], {"pay-1", "pay-2"}),
        (["zone=eu"], {"pay-1"}),
        (["instance=pay-*"], {"pay-1", "pay-2"}),
        (["zone=*", "status=FAILED"], {"pay-2"}),
        (["version=13"], {"pay-1", "pay-2"}),
        (["cohort=stable"], {"pay-1", "pay-2"}),
        (["nothing=x"], set()),
    ],
)
def test_filters_are_by_label_or_fact_and_all_must_hold(like, found):
    fleet = [instance(), instance("pay-2", labels={"zone": "us"}, status=Status.FAILED)]
    assert {one.instance for one in filters(like).of(fleet)} == found


def test_a_filter_without_a_pattern_is_refused():
    with pytest.raises(UsageError):
        filters(["zone"])


@pytest.mark.parametrize(("seconds", "said"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (200_000, "2d")])
def test_age_is_in_the_largest_unit_and_never_negative(seconds, said):
    assert age(NOW - timedelta(seconds=seconds), NOW) == said


def test_a_live_table_fits_the_terminal_and_shows_failures_first():
    console = pytest.importorskip("rich.console")
    labels = {"container": "main", "zone": "eu-central-1", "tenant": "hospital-berlin"}
    fleet = [*(instance(f"pay-{number}", labels=labels) for number in range(30))]
    fleet.append(instance("broken", status=Status.FAILED, error="no bank there"))
    table = rich_table(fleet, NOW, height=12, width=80, caption=summary(fleet))
    screen = console.Console(width=80, height=12, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    screen.print(table)
    lines = screen.export_text().rstrip().splitlines()
    screen.file.close()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 80
    assert "broken: no bank there" in "\n".join(lines)
    assert "FINGERPRINT" in "\n".join(lines)
    assert "AGE" in "\n".join(lines)
    assert "more" in "\n".join(lines)


# --- proofs ---------------------------------------------------------------------------------------


def verdict(*differences: Difference, **facts: object) -> Verdict:
    known: dict[str, object] = {"config_version": 13, "nonce": "n", "members": 3, "answered": 3, "took_ms": 41.6}
    return Verdict(verified=not differences, differences=differences, **{**known, **facts})  # type: ignore[arg-type]


def test_a_verdict_that_holds_is_one_line():
    assert verdict_text(verdict(patch_id="4f1c")) == (
        "✓ verified  release 13 with patch 4f1c: 3 of 3 answered, all run it whole  42 ms"
    )


def test_a_verdict_names_container_key_values_and_places():
    found = Difference(
        instance="pay-0-sidecar",
        what=What.OVERRIDE,
        expected="800ms",
        actual="3000ms",
        labels={"container": "sidecar"},
        key="timeout",
        values=("800ms", "3000ms"),
        origins=("pay.yml:2", "configmap.yml:2"),
    )
    lines = verdict_text(verdict(found, differing=1)).splitlines()
    assert lines[0].startswith("✗ not verified  release 13: 3 of 3 answered, 1 differs")
    assert lines[1] == "  pay-0-sidecar (container=sidecar): timeout differs (set there by another layer)"
    assert lines[2].split() == ["release", "800ms", "pay.yml:2"]
    assert lines[3].split() == ["instance", "3000ms", "configmap.yml:2"]


def test_a_verdict_says_who_was_silent_and_how_many_more_differ():
    silent = Difference(instance="pay-2", what=What.UNREACHABLE, expected="", actual="")
    old = Difference(instance="pay-3", what=What.VERSION, expected="13", actual="12")
    text = verdict_text(verdict(silent, old, differing=5))
    assert "  pay-2: did not answer in time" in text
    assert "  pay-3: runs release 12, expected 13" in text
    assert text.endswith("… and 3 more")


# --- rollouts -------------------------------------------------------------------------------------


def rollout(**facts: object) -> Rollout:
    ref = ReleaseRef(number=13, digest="sha256:a", fingerprint="sha256:b")
    known: dict[str, object] = {
        "id": "r7",
        "app": "pay",
        "namespace": "default",
        "release": ref,
        "stable": None,
        "plan": Plan(kind=PlanKind.LINEAR, step=50.0),
        "author": "Ada <ada@example.org>",
        "created": NOW,
        "since": NOW - timedelta(minutes=2),
        "total": 4,
    }
    return Rollout(**{**known, **facts})  # type: ignore[arg-type]


def batch(number: int, **facts: object) -> Batch:
    return Batch(number=number, cohort=f"r7-b{number}", size=2, membership="", frozen=NOW, **facts)  # type: ignore[arg-type]


def test_every_step_is_one_line_and_the_same_step_none():
    preparing = rollout(phase=Phase.PREPARING, batches=(batch(1),))
    assert step_text(None, preparing) == "PREPARING  batch 1 of 2 (2 instances) builds the release, without using it"
    assert step_text(preparing, preparing) == ""
    baking = rollout(phase=Phase.BAKING, batches=(batch(1, committed=True, verdict=verdict(members=2, answered=2)),))
    assert step_text(preparing, baking).endswith("is verified, and bakes  ✓ 2 of 2 proved in 42 ms")
    back = rollout(phase=Phase.ROLLED_BACK, reason="health: 503")
    assert step_text(baking, back) == "ROLLED_BACK  rolled back: health: 503"


def test_a_pause_and_its_end_are_told():
    paused = rollout(paused=Order(by="ada", at=NOW, message="looking"))
    assert step_text(rollout(), paused) == "paused by ada (looking)"
    assert step_text(paused, rollout()) == "goes on"


def test_what_it_waits_for_is_told_once():
    waiting = rollout(waiting="2 instances have not built it")
    assert "2 instances have not built it" in waiting_text(rollout(), waiting)
    assert waiting_text(waiting, waiting) == ""


def test_the_outcome_tells_batches_proofs_and_why_it_was_rolled_back():
    differs = Difference(instance="pay-2", what=What.UNREACHABLE, expected="", actual="")
    ended = rollout(
        phase=Phase.ROLLED_BACK,
        reason="batch 2 is not verified",
        batches=(
            batch(1, committed=True, verdict=verdict(members=2, answered=2)),
            batch(2, committed=True, verdict=verdict(differs, members=2, answered=1, differing=1)),
        ),
    )
    lines = outcome_text(ended, NOW).splitlines()
    assert lines[0] == "rollout r7 of pay/default: release none → 13, by Ada"
    assert lines[1] == "ROLLED_BACK  rolled back, 2m ago"
    assert "✓ 2 of 2 proved" in lines[2]
    assert "✗ 1 of 2 differ" in lines[3]
    assert "because batch 2 is not verified" in lines
    assert "  pay-2: did not answer in time" in lines


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        (["--linear", "25%"], Plan(kind=PlanKind.LINEAR, step=25.0)),
        (["--exponential", "5%x3"], Plan(kind=PlanKind.EXPONENTIAL, first=5.0, factor=3.0)),
        (["--exponential", "10"], Plan(kind=PlanKind.EXPONENTIAL, first=10.0)),
        (["--batches", "1%,10%,100%"], Plan(kind=PlanKind.EXPLICIT, percent=(1.0, 10.0, 100.0))),
        ([], Plan()),
        (["--bake", "5m", "--prepare-window", "10s"], Plan(bake_s=300.0, prepare_s=10.0)),
    ],
)
def test_a_plan_is_read_from_words(words, plan):
    import argparse

    parser = argparse.ArgumentParser()
    plan_options(parser)
    assert plan_of(parser.parse_args(words)) == plan


def test_shares_labels_and_checks_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(UsageError):
        percent("much")
    assert selector_of(["zone=eu|us", "tier=1"]) == {"zone": "eu|us", "tier": "1"}
    for wrong in (["zone"], ["zone="], ["zone=eu", "zone=us"]):
        with pytest.raises(UsageError):
            selector_of(wrong)
    file = tmp_path / "checks.yml"
    file.write_text("checks:\n  - name: health\n    kind: health\n    options: {url: http://h/}\n")
    assert checks_of(str(file)) == [{"name": "health", "kind": "health", "options": {"url": "http://h/"}}]
    file.write_text("checks: 3\n")
    with pytest.raises(UsageError):
        checks_of(str(file))
    file.write_text("checks: [\n")
    with pytest.raises(ConfigurationError):
        checks_of(str(file))


# --- impact ---------------------------------------------------------------------------------------


def test_an_impact_tells_keys_instances_and_objects():
    found = Impact(
        digest="sha256:x",
        changed=(KeyDifference(key="db.pool", before=5, after=20, after_at="pay.yml:2"),),
        instances=(Touched(instance="pay-1", objects=("Pool",)), Touched(instance="pay-2")),
        objects={"Pool": 1},
        unknown=1,
        rehearsed=Built(instance="pay-1", rebuilt=("Pool",), unbuilt=("Report",)),
    )
    assert impact_text(found).splitlines() == [
        "1 key differs",
        "  ~ db.pool: 5 → 20  pay.yml:2",
        "2 instances would change",
        "  new object Pool on 1 of 2",
        "  1 of them have told no graph of their objects",
        "✓ pay-1 has built it; nothing of that is in use",
        "  built Pool",
        "  only built on first use, so not proved: Report",
    ]


def test_a_dry_build_that_failed_says_why():
    assert impact_text(Impact(digest="x", rehearsed=Built(instance="pay-1", error="no bank there"))).endswith(
        "✗ pay-1 cannot build it: no bank there"
    )


def test_a_long_value_is_cut_for_people():
    line = difference_line(KeyDifference(key="key", before="a", after="x" * 10_000))
    assert len(line) < 400
    assert line.endswith("… (10,000 characters)")


# --- who took part --------------------------------------------------------------------------------


def test_who_took_part_is_a_table_with_those_to_look_at_first():
    well = Participant(
        instance="a", batch=1, step=Step.VERIFIED, verified=NOW, took_ms=12.4, fingerprint="sha256:4f1c0123456789"
    )
    bad = Participant(instance="b", batch=1, step=Step.BACK, config_version=12, error="no \x1b[31mdriver")
    roster = Roster(rollout="r1", participants=(well, bad), members=2)
    lines = roster_text(roster, whole=True).splitlines()
    assert lines[0].split()[:4] == ["INSTANCE", "BATCH", "PHASE", "RELEASE"]
    assert lines[1].split()[:4] == ["b", "1", "back", "12"]
    assert lines[2].strip() == '"no \\u001b[31mdriver"'
    assert lines[3].split()[-3:] == ["12", "ms", "4f1c0123"]
    assert lines[4] == "2 instances took part"


def test_of_many_to_look_at_only_some_are_listed_unless_all_are_asked_for():
    away = tuple(Participant(instance=f"i{number:02}", batch=1, step=Step.AWAY) for number in range(FEW + 3))
    roster = Roster(rollout="r1", participants=away, members=6_000, left_out=1_000)
    lines = roster_text(roster, whole=False).splitlines()
    assert len(lines) == FEW + 3
    assert lines[-2] == "… and 3 more to look at"
    assert lines[-1].startswith("6000 instances took part; 1000 of them were well, or too many to record")
    assert len(roster_text(roster, whole=True).splitlines()) == FEW + 5


def test_a_rollout_without_a_record_of_who_took_part_says_so():
    assert "is not recorded" in roster_text(Roster(rollout="r1", recorded=False), whole=False)
    assert roster_text(Roster(rollout="r1"), whole=False) == "0 instances took part"
