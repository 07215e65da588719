"""What answers prove, and what is said when they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from herz.release.atomicity import Verdict, What, judge
from herz.release.channel import Channel, Pointer, Release, ReleaseRef
from herz.release.member import Member, membership
from herz.release.record import decode, encode
from herz.release.report import Answer, Explained, Override, Report, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD = ReleaseRef(number=12, digest="sha256:old", fingerprint="sha256:f-old")
NEW = ReleaseRef(number=13, digest="sha256:new", fingerprint="sha256:f-new")
CHANNEL = Channel(stable=Pointer(release=OLD), cohorts={"r1-b1": Pointer(release=NEW, rollout="r1")})


def report(instance, release=NEW, **fields) -> Report:
    return Report(
        **{
            "instance": instance,
            "app": "pay",
            "namespace": "default",
            "status": Status.APPLIED,
            "time": NOW,
            "patch_id": "p7",
            "config_version": release.number,
            "digest": release.digest,
            "fingerprint": release.fingerprint,
            **fields,
        }
    )


def answer(of: Report, **fields) -> Answer:
    return replace(Answer(nonce="n1", instance=of.instance, report=of), **fields)


def verdict(*answers: Answer, members=("a", "b"), before=CHANNEL, after=None, **options) -> Verdict:
    return judge(
        **{
            "patch_id": "p7",
            "release": NEW,
            "nonce": "n1",
            "members": [Member(name, "r1-b1", "r1", report(name, labels={"container": "main"})) for name in members],
            "answers": {one.instance: one for one in answers},
            "channel_before": before,
            "channel_after": before if after is None else after,
            "took_ms": 84.2,
            **options,
        }
    )


A, B = answer(report("a")), answer(report("b"))


def only(found: Verdict):
    assert not found.verified
    (difference,) = found.differences
    return difference


def test_members_that_all_answer_with_the_release_are_verified():
    found = verdict(A, B)
    assert found.verified
    assert str(found) == "verified: all 2 instances run release 13 with patch p7 (2 answered, 84 ms)"
    assert found.membership == membership(["b", "a"])


def test_a_release_may_be_given_whole():
    whole = Release(
        app="pay",
        namespace="default",
        number=13,
        digest=NEW.digest,
        fingerprint=NEW.fingerprint,
        author="ann",
        message="",
        time=NOW,
    )
    assert verdict(A, B, release=whole).verified


def test_nobody_proves_nothing():
    found = verdict(members=())
    assert not found.verified
    assert str(found).startswith("not verified: there is no instance to run release 13")


def test_who_does_not_answer_is_unreachable_whatever_its_report_says():
    difference = only(verdict(A))
    assert (difference.instance, difference.what) == ("b", What.UNREACHABLE)
    assert str(difference) == "b (container=main): did not answer in time"


@pytest.mark.parametrize(
    "replayed",
    [
        replace(B, nonce="n0"),
        replace(B, report=report("a")),
        replace(A, nonce="n1"),
    ],
    ids=["to another question", "with another's report", "by another"],
)
def test_an_answer_that_is_not_this_ones_to_this_question_does_not_count(replayed):
    found = verdict(answers={"a": A, "b": replayed})
    assert only(found).what is What.UNREACHABLE
    assert found.answered == 1


@pytest.mark.parametrize(
    ("wrong", "what", "says"),
    [
        ({"patch_id": "p6"}, What.PATCH_ID, "runs patch p6, expected p7"),
        ({"patch_id": None}, What.PATCH_ID, "runs patch none, expected p7"),
        ({"release": OLD}, What.VERSION, "runs release 12, expected 13"),
        ({"config_version": None}, What.VERSION, "runs release none, expected 13"),
        ({"digest": "sha256:x"}, What.DIGEST, "runs content sha256:x, released is sha256:new"),
        ({"fingerprint": "sha256:x"}, What.FINGERPRINT, "runs fingerprint sha256:x, released is sha256:f-new"),
        ({"status": Status.APPLYING}, What.STATUS, "is APPLYING"),
        ({"status": Status.FAILED, "error": "no database"}, What.STATUS, "is FAILED: no database"),
    ],
)
def test_an_answer_that_differs_says_how(wrong, what, says):
    difference = only(verdict(A, answer(report("b", **wrong))))
    assert difference.what is what
    assert str(difference) == f"b: {says}"


def test_without_a_patch_any_will_do():
    assert verdict(A, answer(report("b", patch_id="p6")), patch_id=None).verified


OVERRIDE = Override(
    key="herz.service.timeout",
    value="3000ms",
    origin="/etc/sidecar.yml:4",
    released="5s",
    released_at="pay/default@13:application.yml:2",
)
OVERRIDING = answer(report("b", labels={"container": "sidecar"}, overrides=(OVERRIDE,)))


def test_a_key_decided_elsewhere_is_named_with_container_values_and_origins():
    difference = only(verdict(A, OVERRIDING))
    assert (difference.what, difference.container, difference.key) == (What.OVERRIDE, "sidecar", "herz.service.timeout")
    assert difference.values == ("5s", "3000ms")
    assert difference.origins == ("pay/default@13:application.yml:2", "/etc/sidecar.yml:4")
    assert str(difference) == (
        "b (container=sidecar): herz.service.timeout is '3000ms' (/etc/sidecar.yml:4), "
        "released is '5s' (pay/default@13:application.yml:2)"
    )


@pytest.mark.parametrize(
    ("allowed", "verified"),
    [(["herz.service.timeout"], True), (["herz.service"], True), (["herz.serv"], False), ([], False)],
)
def test_an_override_may_be_allowed_by_its_key_or_one_above(allowed, verified):
    assert verdict(A, OVERRIDING, allowed_overrides=allowed).verified is verified


TIMEOUT = Explained(key="timeout", value="5s", origin="app.yml:2")


def test_keys_that_are_explained_otherwise_are_named_beside_the_version():
    old = answer(
        report("b", release=OLD), explained=(Explained(key="timeout", value="3000ms", origin="pay/default@12"),)
    )
    found = verdict(A, old, released={"timeout": TIMEOUT})
    assert [difference.what for difference in found.differences] == [What.VALUE, What.VERSION]
    assert found.differences[0].values == ("5s", "3000ms")
    assert found.differing == 1


@pytest.mark.parametrize("value", ["5s", "5000ms"])
def test_a_key_that_means_the_same_does_not_differ(value):
    same = answer(report("b"), explained=(Explained(key="timeout", value=value, origin="env"),))
    assert verdict(A, same, released={"timeout": TIMEOUT}).verified


def test_a_key_that_is_not_there_differs():
    without = answer(report("b"), explained=(Explained(key="timeout", value=None, origin=None),))
    assert "timeout is not set, released is '5s' (app.yml:2)" in str(verdict(A, without, released={"timeout": TIMEOUT}))


MOVED = replace(CHANNEL, cohorts={"r1-b1": Pointer(release=OLD)})


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (CHANNEL, MOVED, "it is r1-b1 at 12, expected r1-b1 at 13"),
        (MOVED, MOVED, "it is r1-b1 at 12, expected r1-b1 at 13"),
        (Channel(), CHANNEL, "it is r1-b1 at nothing, expected r1-b1 at 13"),
        (
            CHANNEL,
            replace(CHANNEL, cohorts={"r1-b1": Pointer(release=NEW, prepare=OLD, rollout="r1")}),
            "it is r1-b1 at 13, preparing 12 meanwhile, expected r1-b1 at 13",
        ),
    ],
    ids=["meanwhile", "all the time", "before", "preparing"],
)
def test_a_channel_that_moved_proves_nothing(before, after, says):
    found = verdict(A, B, before=before, after=after)
    assert only(found).what is What.MOVED
    assert says in str(found)
    assert found.summary == "not verified: the channel does not hold release 13 with patch p7"


def test_pointers_of_other_cohorts_may_move():
    other = replace(CHANNEL, stable=Pointer(release=NEW), cohorts={**CHANNEL.cohorts, "r9-b1": Pointer(release=OLD)})
    assert verdict(A, B, after=other).verified


def test_the_report_names_the_worst_first_and_counts_the_rest():
    names = [f"i{number:02}" for number in range(30)]
    answers = [answer(report(name, release=OLD)) for name in names[:25]]
    found = verdict(*answers, OVERRIDING, members=(*names, "b")).brief(3)
    lines = str(found).splitlines()
    assert lines[0] == "not verified: 31 of 31 instances do not run release 13 with patch p7 (26 answered, 84 ms)"
    assert lines[1].startswith("  b (container=sidecar): herz.service.timeout")
    assert lines[2] == "  i00: runs release 12, expected 13"
    assert lines[4] == "  and 28 more differences"
    assert found.reason == f"{found.summary}; {lines[1].strip()}"


def test_a_verdict_is_read_as_it_was_written():
    found = verdict(A, OVERRIDING, time=NOW)
    assert decode(encode(found), Verdict, "test") == found
