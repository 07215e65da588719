"""What the doctor says about the members of an etcd cluster."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import replace

import pytest

from herz.cli.doctor.etcd_members import Asked, Member, member_findings, table
from herz.cli.main import main
from herz.testing.etcd_cluster import EtcdCluster, EtcdServer
from herz.testing.etcd_programs import EtcdPrograms

A = Member("http://a:1", None, 7, 0xA, "3.4.23", 100, 3, 120, 120, 0xA, False, 24_576)
B = replace(A, endpoint="http://b:1", id=0xB)
C = replace(A, endpoint="http://c:1", id=0xC)
DOWN = Member("http://c:1", "refused the connection")


def told(*second: Member, first: tuple[Member, ...] | None = None, known: int = 0) -> list[tuple[str, str, str]]:
    asked = Asked(first if first is not None else second, second, known)
    return [(one.code, one.severity, one.where) for one in member_findings(asked)]


def test_members_that_agree_are_no_finding():
    assert told(A, B, C) == []
    assert told(A, known=100) == []


def test_a_member_that_does_not_answer_is_an_error_with_its_reason():
    assert told(A, B, DOWN) == [("etcd-member-unreachable", "error", "http://c:1")]
    (found,) = member_findings(Asked((A, DOWN), (A, DOWN)))
    assert "refused the connection" in found.what


def test_a_member_lags_that_has_not_what_another_had_before():
    first = (A, B, replace(C, revision=80))
    assert told(replace(A, revision=200), replace(B, revision=200), replace(C, revision=90), first=first) == [
        ("etcd-member-lags", "warning", "http://c:1")
    ]


def test_a_member_that_catches_up_under_writes_does_not_lag():
    first = (A, replace(B, revision=95), replace(C, revision=90))
    assert told(replace(A, revision=200), replace(B, revision=195), replace(C, revision=101), first=first) == []


def test_a_revision_that_goes_back_between_two_questions_is_an_error():
    first = (A, B, replace(C, revision=1024, term=2))
    second = (replace(A, revision=1024), replace(B, revision=1024), replace(C, revision=1020))
    assert told(*second, first=first) == [("etcd-revision-went-back", "error", "http://c:1")]


def test_a_cluster_behind_what_was_in_force_is_an_error():
    assert told(A, B, known=101) == [("etcd-revision-went-back", "error", "the cluster")]


def test_a_member_in_an_old_term_is_a_warning():
    assert told(A, replace(B, term=2)) == [("etcd-old-term", "warning", "http://b:1")]


def test_a_member_without_a_leader_is_an_error():
    assert told(A, replace(B, leader=0)) == [("etcd-no-leader", "error", "http://b:1")]


def test_a_member_of_another_cluster_is_an_error():
    assert told(A, B, replace(C, cluster=8)) == [("etcd-other-cluster", "error", "http://c:1")]


def test_alarms_and_different_versions_are_told():
    assert told(A, replace(B, alarms=("alarm:NOSPACE",))) == [("etcd-alarm", "error", "http://b:1")]
    assert told(A, replace(B, version="3.5.1")) == [("etcd-versions-differ", "note", "the cluster")]


def test_the_table_has_a_row_for_each_member_and_marks_what_stands_out():
    first = (A, B, DOWN)
    lines = table(Asked(first, (A, replace(B, revision=90, applied_index=110), DOWN)))
    assert [line.split()[0] for line in lines] == ["endpoint", "http://a:1", "http://b:1", "http://c:1"]
    assert lines[1].split() == ["http://a:1", "a", "3.4.23", "100", "3", "120", "leader", "24", "KiB"]
    assert lines[2].endswith("← 10 behind, applied 110")
    assert lines[3].endswith("← refused the connection")


# --- real clusters

real = pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd here: apt-get install etcd-server etcd-client")


@pytest.fixture
def look(project, capsys):
    pytest.importorskip("grpc", reason="the extra etcd is not installed")

    def visit(*arguments: str):
        status = main(["doctor", "--json", *arguments])
        said = json.loads(capsys.readouterr().out)
        return status, said["members"], {one["code"] for one in said["findings"]}

    return visit


@real
def test_a_healthy_cluster_is_tabulated_and_no_finding(look, capsys):
    with EtcdCluster(3) as cluster:
        revision = asyncio.run(cluster.put("/config/pay/pool", "5"))
        place = ",".join(cluster.endpoints)
        status, members, codes = look("--etcd-endpoints", place)
        assert (status, codes) == (0, set())
        assert [member["revision"] for member in members] == [revision] * 3
        assert sum(member["leads"] for member in members) == 1
        assert len({(member["term"], member["index"], member["version"]) for member in members}) == 1
        assert main(["doctor", "--etcd-endpoints", place]) == 0
        assert capsys.readouterr().out.splitlines()[0].split()[:5] == [
            *("endpoint", "member", "version", "revision", "term")
        ]


@real
@pytest.mark.slow
def test_a_killed_and_a_frozen_member_are_told_and_the_rest_has_no_leader(look):
    with EtcdCluster(3) as cluster:
        cluster.members[0].kill()
        cluster.members[1].pause()
        deadline = asyncio.run(_without_leader(cluster.members[2]))
        assert deadline, "the last member still believes in a leader"
        status, members, codes = look("--etcd-endpoints", ",".join(cluster.endpoints))
    assert (status, codes) == (1, {"etcd-member-unreachable", "etcd-no-leader"})
    assert [member["error"] for member in members] == [
        "connection refused: nobody listens there",
        "no connection within 3 s",
        None,
    ]


async def _without_leader(member) -> bool:
    from herz.cli.doctor.etcd_asking import _all, cluster_of

    for _ in range(100):
        (said,) = await _all(cluster_of(member.endpoint))
        if said.leader == 0:
            return True
        await asyncio.sleep(0.05)
    return False


@real
def test_a_server_with_tls_and_users_is_asked_as_the_url_says(look):
    with EtcdServer(tls=True) as server:
        asyncio.run(server.enable_auth())
        status, members, codes = look("--etcd-endpoints", server.url("/config/pay"))
        assert (status, codes, members[0]["leads"]) == (0, set(), True)
        assert members[0]["endpoint"] == f"https://{server.endpoint}"
        assert "root" not in json.dumps(members)
        status, members, _ = look("--etcd-endpoints", f"https://{server.endpoint}")
        assert (status, "no authority" in members[0]["error"]) == (1, True)
        status, members, _ = look("--etcd-endpoints", f"http://{server.endpoint}")
        assert (status, "TLS" in members[0]["error"]) == (1, True)


@real
def test_the_members_of_a_source_that_is_examined_are_compared(look):
    with EtcdServer() as server:
        asyncio.run(server.put("/config/pay/pool", "5"))
        _, members, _ = look("--source", server.url("/config/pay"))
    assert members[0]["leads"]


def test_members_that_cannot_be_asked_are_told_with_the_reason(look):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        status, members, codes = look(
            "--etcd-endpoints", f"127.0.0.1:{silent.getsockname()[1]},http://nowhere.invalid:2379"
        )
    assert (status, codes) == (1, {"etcd-member-unreachable"})
    assert [member["error"] for member in members] == [
        "connection refused: nobody listens there",
        "the name does not resolve",
    ]


def test_plain_and_encrypted_endpoints_in_one_list_are_refused(project, capsys):
    pytest.importorskip("grpc", reason="the extra etcd is not installed")
    assert main(["doctor", "--etcd-endpoints", "https://a:1,http://b:1"]) == 1
    assert "http://b:1 is plain text" in capsys.readouterr().err


def test_without_the_extra_the_pip_line_is_told(project, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "herz.cli.doctor.etcd_asking", None)
    assert main(["doctor", "--etcd-endpoints", "a:1"]) == 1
    assert "pip install 'herz[etcd]'" in capsys.readouterr().err
