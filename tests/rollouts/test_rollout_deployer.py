"""A deployer hook installs a patch: as the operator has set it up, within its time, and without a shell."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from herz.errors import UsageError
from herz.server.rollouts.deployer import Deployer, DeployFailed, Hook, Member, Order, hooks_of

ORDER = Order(
    key="pay/default/r1/1",
    app="pay",
    namespace="default",
    rollout="r1",
    batch=1,
    patch_id="P7",
    release=13,
    members=(Member(instance="pay-1", labels={"zone": "eu"}, patch_id="P6"), Member(instance="pay-2")),
)


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def deployer(outbound, **hook) -> Deployer:
    return Deployer({"install": Hook(**hook)}, outbound)


async def test_a_command_is_given_the_members_on_its_standard_input(tmp_path: Path, outbound):
    copy = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    await deployer(outbound, command=python(copy, str(tmp_path / "order; touch x"))).deploy("install", ORDER)
    given = json.loads((tmp_path / "order; touch x").read_text())
    assert given["patch_id"] == "P7"
    assert given["members"] == [
        {"instance": "pay-1", "labels": {"zone": "eu"}, "patch_id": "P6"},
        {"instance": "pay-2"},
    ]


async def test_a_command_that_fails_is_told_with_the_end_of_what_it_said(outbound):
    code = "import sys; print('x' * 10_000, 'no such host', file=sys.stderr); sys.exit(3)"
    with pytest.raises(DeployFailed, match=r"exit code 3: x+ no such host") as caught:
        await deployer(outbound, command=python(code)).deploy("install", ORDER)
    assert len(str(caught.value)) < 2_500


async def test_a_command_that_does_not_exist_is_told(outbound):
    with pytest.raises(DeployFailed, match="cannot be started: No such file"):
        await deployer(outbound, command=("/no/such/deployer",)).deploy("install", ORDER)


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path, outbound, eventually):
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '1000']);"
        "open(sys.argv[1] + '~', 'w').write(str(p.pid)); import os; os.rename(sys.argv[1] + '~', sys.argv[1]);"
        "time.sleep(1000)"
    )
    where = tmp_path / "child"
    with pytest.raises(DeployFailed, match=r"not done within 1\.5 s"):
        await deployer(outbound, command=python(code, str(where)), limit_s=1.5).deploy("install", ORDER)
    child = int(where.read_text())
    await eventually(lambda: not _runs(child))


async def test_what_a_command_leaves_running_holds_nobody_up(outbound, eventually):
    code = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True)"
    await deployer(outbound, command=python(code), limit_s=10).deploy("install", ORDER)


async def test_a_command_does_not_see_the_servers_tokens(tmp_path: Path, outbound, monkeypatch):
    monkeypatch.setenv("HERZ_TOKEN", "s3cret")
    code = "import os, sys; open(sys.argv[1], 'w').write(repr(dict(os.environ)))"
    await deployer(outbound, command=python(code, str(tmp_path / "seen"))).deploy("install", ORDER)
    assert "s3cret" not in (tmp_path / "seen").read_text()


async def test_a_webhook_is_given_the_order(place, outbound):
    await deployer(outbound, webhook=place.url + "/deploy").deploy("install", ORDER)
    ((method, path, body),) = place.asked
    assert (method, path, json.loads(body)["key"]) == ("POST", "/deploy", "pay/default/r1/1")


async def test_a_webhook_that_refuses_has_not_deployed(place, outbound):
    place.status = 503
    with pytest.raises(DeployFailed, match="answered 503"):
        await deployer(outbound, webhook=place.url).deploy("install", ORDER)


def test_a_hook_is_a_command_or_a_webhook(outbound):
    for wrong in ({}, {"command": ("x",), "webhook": "https://example.com"}, {"command": ("x",), "limit_s": 0}):
        with pytest.raises(UsageError, match="needs a command or a webhook"):
            deployer(outbound, **wrong)
    with pytest.raises(UsageError, match="is not encrypted"):
        deployer(outbound, webhook="http://example.com")


async def test_a_rollout_cannot_name_a_program_that_the_operator_has_not_set_up(outbound):
    with pytest.raises(UsageError, match="no deployer is called 'rm', there is 'install'"):
        await deployer(outbound, command=("true",)).deploy("rm", ORDER)


def test_deployers_are_read_from_json():
    hooks = hooks_of(b'{"k8s": {"command": ["kubectl", "apply"], "limit_s": 30}}', "deployers.json")
    assert hooks["k8s"] == Hook(command=("kubectl", "apply"), limit_s=30)
    with pytest.raises(UsageError, match=r"deployers\.json"):
        hooks_of(b'{"k8s": {"shell": "rm -rf /"}}', "deployers.json")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
