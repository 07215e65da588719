"""The form of a rollout: what it would do, what it does, what is wrong with it; and proof on demand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from herz.release.approval import Policy
from herz.release.plan import Plan, PlanKind
from herz.release.rollout import Check, Phase
from herz.server.audit import By
from herz.server.rollouts.deployer import Hook
from herz.server.rollouts.standing import Rollouts

from .rollout_scene import BASE, Scene, scene, words

__all__ = ["scene"]

FILLED: dict[str, Any] = {
    "release": "2",
    "kind": "explicit",
    "percent": "10, 50 100%",
    "bake_s": "30",
    "bake_max_s": "90",
    "check_s": "5",
    "deploy_s": "60",
    "prepare_s": "20",
    "commit_s": "20",
    "verify_s": "5",
    "label.zone": ["eu", "us"],
    "patch_id": "4f1c",
    "allow_overrides": "log.level, db.pool",
    "message": "for the sale",
    "check-0-name": "health",
    "check-0-kind": "health",
    "check-0-url": "https://{label.address}/health",
    "check-0-attempts": "3",
    "check-2-name": "latency",
    "check-2-kind": "prometheus",
    "check-2-server": "https://prometheus.example.com",
    "check-2-canary": 'ms{instance=~"$canary"}',
    "check-2-baseline": 'ms{instance=~"$baseline"}',
    "check-2-worse": "lower",
    "check-2-most": "500",
    "check-2-sample_min": "12",
}


async def zones(scene: Scene) -> None:
    await scene.join("a", "b", "c", labels={"zone": "eu"}, patch_id="4f1c")
    await scene.join("d", labels={"zone": "us"})


async def test_what_is_filled_in_is_rolled_out(scene):
    await zones(scene)
    answer = await scene.post("/new", **FILLED)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/r1"), words(answer)
    found = await scene.found()
    assert found.plan == Plan(
        kind=PlanKind.EXPLICIT,
        percent=(10.0, 50.0, 100.0),
        bake_s=30,
        bake_max_s=90,
        check_s=5,
        deploy_s=60,
        prepare_s=20,
        commit_s=20,
        verify_s=5,
    )
    assert found.selector == {"zone": "eu|us"}
    assert (found.patch_id, found.message, found.author) == ("4f1c", "for the sale", "ada")
    assert found.allow_overrides == ("log.level", "db.pool")
    assert found.checks == (
        Check(name="health", kind="health", options={"url": "https://{label.address}/health", "attempts": 3}),
        Check(
            name="latency",
            kind="prometheus",
            options={
                "server": "https://prometheus.example.com",
                "canary": 'ms{instance=~"$canary"}',
                "baseline": 'ms{instance=~"$baseline"}',
                "worse": "lower",
                "most": 500.0,
                "sample_min": 12,
            },
        ),
    )


async def test_an_untouched_form_is_a_rollout_by_the_default_plan(scene):
    await zones(scene)
    fields = dict(re.findall(r'<input name="(\w+)" value="([^"]*)"', (await scene.page("/new")).text))
    answer = await scene.post("/new", release="2", kind="exponential", **fields)
    assert answer.status_code == 303, words(answer)
    found = await scene.found()
    assert (found.plan, found.selector, found.checks) == (Plan(), {}, ())


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({"release": "9"}, 404, "pay/default has no release 9"),
        ({"release": ""}, 400, "is no number of a release"),
        ({"release": "1"}, 400, "pay/default@1 is stable already"),
        ({"percent": "50, 20"}, 400, "a plan whose percent is 50, 20"),
        ({"percent": "a lot"}, 400, "percent is 'a'"),
        ({"bake_s": "soon"}, 400, "bake_s is 'soon'"),
        ({"bake_s": "nan"}, 400, "bake_s is 'nan'"),
        ({"prepare_s": "0"}, 400, "a plan whose prepare_s is 0"),
        ({"kind": "random"}, 400, "'random' is no kind of plan"),
        ({"deployer": "rm"}, 400, "no deployer is called 'rm'"),
        ({"check-0-name": ""}, 400, "check 1 has no name"),
        ({"check-0-url": "http://example.com"}, 400, "is not encrypted"),
        ({"check-0-attempts": "many"}, 400, "attempts of check 'health' is 'many'"),
        ({"check-2-name": "health"}, 400, "2 checks"),
        ({"check-2-sample_min": "2.5"}, 400, "check 'latency'"),
        ({"check-0-kind": "shell"}, 400, "'shell' is no kind of check"),
    ],
)
async def test_what_is_wrong_is_said_and_what_was_typed_is_kept(scene, wrong, status, says):
    answer = await scene.post("/new", **{**FILLED, **wrong})
    assert answer.status_code == status
    assert says in words(answer)
    assert 'value="for the sale"' in answer.text
    assert 'value="https://prometheus.example.com"' in answer.text
    assert await scene.book.newest("pay", "default") is None


async def test_a_second_rollout_is_refused_while_one_is_in_flight(scene):
    await scene.start()
    answer = await scene.post("/new", **FILLED)
    assert answer.status_code == 409
    assert "rollout r1 of release 2 is in flight" in words(answer)
    assert "A rollout is in flight: r1" in words(answer)


@pytest.mark.parametrize(
    ("query", "sizes"),
    [
        ("kind=explicit&percent=25,50,100", [1, 2, 4]),
        ("kind=linear&step=50", [2, 4]),
        ("kind=exponential&first=30&factor=2", [2, 3, 4]),
        ("kind=linear&step=50&label.zone=eu", [2, 3]),
        ("kind=linear&step=50&label.zone=us&label.zone=eu", [2, 4]),
    ],
)
async def test_the_preview_has_the_sizes_that_the_plan_makes(scene, query, sizes):
    await zones(scene)
    page = await scene.page(f"/new?release=2&{query}")
    assert [int(size) for size in re.findall(r"batch \d+: (\d+) of", words(page))] == sizes
    assert f"{sizes[-1]} of 4 instances match." in words(page)
    assert "then everybody" in words(page)


async def test_the_preview_says_what_is_no_plan_and_who_has_the_patch(scene):
    await zones(scene)
    page = await scene.page("/new?kind=linear&step=0&patch_id=4f1c")
    assert page.status_code == 200
    assert "a plan whose step is 0" in words(page)
    assert "3 of them run patch 4f1c already." in words(page)
    page = await scene.page("/new?label.zone=mars")
    assert "No instance matches: the rollout would wait, and then ask you." in words(page)


async def test_labels_are_offered_with_how_many_have_them(scene):
    await zones(scene)
    page = await scene.page("/new?label.zone=us")
    assert "zone eu 3 us 1" in words(page)
    assert 'name="label.zone" value="us" checked' in page.text
    assert 'name="label.zone" value="eu">' in page.text


async def test_a_label_with_many_values_is_typed(scene):
    await scene.join(*[f"i-{number}" for number in range(3)])
    for number, follower in enumerate(scene.instances.values()):
        follower.labels["zone"] = f"z{number}"
    for number in range(13):
        await scene.join(f"j-{number}", labels={"address": f"10.0.0.{number}"})
    page = await scene.page("/new?label.address=10.0.0.1%7C10.0.0.2")
    assert '<input name="label.address" value="10.0.0.1|10.0.0.2" list="values-' in page.text
    assert '<option value="10.0.0.12">1</option>' in page.text
    assert "2 of 16 instances match." in words(page)


async def test_the_newest_release_that_is_not_stable_is_chosen(scene):
    page = await scene.page("/new")
    assert '<option value="2" selected>' in page.text
    assert "This release is stable already." in words(await scene.page("/new?release=1"))


async def test_the_deployers_of_the_server_are_offered(scene, plane):
    page = await scene.page("/new")
    assert "HERZ_DEPLOYERS" in words(page)
    plane.of(Rollouts)._deployer._hooks["k8s"] = Hook(command=("/bin/true",))
    assert "<option>k8s</option>" in (await scene.page("/new")).text


async def test_approval_that_is_missing_is_shown_and_refuses_the_rollout(scene, plane):
    await zones(scene)
    await plane.desk.policies.put("pay", "default", Policy(layers=("*",)), by=By("root"))
    said = words(await scene.page("/new"))
    assert "Approval is missing: 0 of 1" in said
    assert "It changes application.yml . Written by ada : somebody else must approve it." in said
    answer = await scene.post("/new", **FILLED)
    assert answer.status_code == 409
    assert "needs approval" in words(answer)
    digest = (await plane.desk.release("pay", "default", 2)).digest
    await plane.desk.approvals.give("pay", "default", 2, digest=digest, by=By("ann"))
    said = words(await scene.page("/new"))
    assert "Approved It changes" in said
    assert "ann" in said
    assert (await scene.post("/new", **FILLED)).status_code == 303
    assert (await scene.found()).approved_by == ("ann",)
    assert "Approved by ann" in words(await scene.page())


async def test_a_form_that_is_none_is_refused(scene):
    answer = await scene.browser.post(f"{BASE}/new", data={f"f{number}": "x" for number in range(1100)})
    assert answer.status_code == 400


async def test_more_checks_than_a_rollout_may_have_are_refused_and_kept(scene):
    fields = {"name": "h{}", "kind": "health", "url": "https://h{}"}
    checks = {f"check-{n}-{field}": text.format(n) for n in range(30) for field, text in fields.items()}
    answer = await scene.post("/new", **{**FILLED, **checks})
    assert answer.status_code == 400
    assert "20 checks" in words(answer)
    assert "name at most 10" in words(answer)
    assert answer.text.count('<fieldset class="one-check">') == 20 + 1, "and the template of another"


# --- proof on demand -----------------------------------------------------------------------------------


async def test_what_runs_is_proved_on_demand(scene):
    await zones(scene)
    assert 'name="release" value="1"' in (await scene.page("/verify")).text
    answer = await scene.post("/verify", release="1")
    said = words(answer)
    assert answer.status_code == 200
    assert "verified All 4 instances run release 1, whole." in said
    assert re.search(r"4 of 4, within \d+ ms", said)
    assert "4 have answered" in said


async def test_who_differs_and_who_is_silent_is_named(scene):
    await zones(scene)
    scene.instances["a"].faults.lies = True
    scene.instances["b"].faults.mute = True
    said = words(await scene.post("/verify", release="1", window_s="0.3"))
    assert "not verified" in said
    assert "a another fingerprint" in said
    assert "1 has not answered : b" in said
    assert "3 have answered" in said


async def test_the_proof_is_of_those_who_are_meant_and_of_the_patch(scene):
    await zones(scene)
    assert "All 2 instances run release 1" in words(
        await scene.post("/verify", release="1", instances="a, b", patch_id="4f1c")
    )
    said = words(await scene.post("/verify", release="1", patch_id="4f1c"))
    assert "1 of 4 instances do not run release 1." in said
    assert "d another patch" in said
    await scene.start(plan=Plan(kind=PlanKind.EXPLICIT, percent=(50.0, 100.0), bake_s=600))
    await scene.reach(Phase.BAKING)
    assert "All 2 instances run release 2" in words(await scene.post("/verify", release="2", cohort="r1-b1"))


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        ({"release": "x"}, 400, "'x' is no number of a release"),
        ({"release": "9"}, 404, "pay/default has no release 9"),
        ({"window_s": "long"}, 400, "a window of 'long'"),
        ({"window_s": "1000"}, 400, "a window of 1000 s"),
        ({"instances": "<b>"}, 400, "'<b>'"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_and_kept(scene, wrong, status, says):
    answer = await scene.post("/verify", **{"release": "1", "patch_id": "4f1c", **wrong})
    assert answer.status_code == status
    assert says in words(answer)
    assert 'value="4f1c"' in answer.text


async def test_without_instances_nothing_is_proved(scene):
    assert "not verified There is no instance to run it." in words(await scene.post("/verify", release="1"))
