"""Herz at a real `herz serve` that dies, comes back, forgets, and asks for tokens."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from herz import Herz
from herz.errors import ConfigLoadError
from herz.testing.certificates import Authority
from herz.testing.control_plane import ControlPlaneServer

BASE = "pool:\n  size: 1\n"


@pytest.fixture
def server() -> Iterator[ControlPlaneServer]:
    with ControlPlaneServer() as server:
        yield server


def row(herz: Herz) -> Any:
    return next(row for row in herz.health().sources if row.kind == "herz")


def copied(files: Path, into: Path) -> None:
    """Put the store's files in place of those that are there."""
    for file in into.glob("herz.db*"):
        file.unlink()
    for file in files.glob("herz.db*"):
        shutil.copy(file, into / file.name)


def file_of(server: ControlPlaneServer) -> Path:
    return Path(server.store.removeprefix("sqlite:///"))


@pytest.mark.slow
async def test_a_server_that_is_killed_is_missed_and_found_again_and_nothing_is_fetched_twice(
    server: ControlPlaneServer, plane_of: Callable[[Any], Any], soon: Any, monkeypatch: Any
) -> None:
    plane = plane_of(file_of(server))
    await plane.publish(BASE)
    herz = Herz(f"{server.source}/pay?instance=one", environment={})
    async with herz:
        before = await plane.reported(lambda report: report.config_version == 1)
        decoded: list[object] = []
        monkeypatch.setattr("herz.sources.released_content._decoded", lambda *given: decoded.append(given))
        server.kill()
        await soon(lambda: row(herz).error is not None)
        assert herz.snapshot["pool.size"] == 1
        await soon(lambda: herz.freshness == "STALE")
        server.start()
        await soon(lambda: herz.freshness == "CURRENT", 40)
        report = await plane.reported(lambda report: report.time > before.time)  # a new server was told anew
        assert report.started == before.started
        assert (herz.snapshot["pool.size"], row(herz).rewinds, decoded) == (1, 0, [])
        monkeypatch.undo()
        await plane.publish(BASE.replace("1", "2"))
        await plane.reported(lambda report: report.config_version == 2)
    await plane.store.close()


@pytest.mark.slow
async def test_a_start_while_the_server_is_down_uses_the_last_good_copy_and_recovers(
    server: ControlPlaneServer, plane_of: Callable[[Any], Any], soon: Any, folder: Path
) -> None:
    plane = plane_of(file_of(server))
    ref = await plane.publish(BASE)
    url = f"{server.source}/pay?instance=one"
    async with Herz(url, environment={}, last_good="last-good.json"):
        await soon(lambda: Path("last-good.json").exists() and '"pool"' in Path("last-good.json").read_text())
    server.kill()
    with pytest.raises(ConfigLoadError):
        Herz(url, environment={}).start()
    herz = Herz(url, environment={}, last_good="last-good.json")
    async with herz:
        assert (herz.snapshot["pool.size"], herz.freshness) == (1, "STALE")
        server.start()
        await soon(lambda: herz.freshness == "CURRENT", 40)
        report = await plane.reported(lambda report: report.digest is not None)
        assert (report.fingerprint, report.config_version) == (ref.fingerprint, 1)
    await plane.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("further", [1, 4])  # after one release the server's own writes soon count as far as before
async def test_a_restored_backup_is_a_new_epoch(
    server: ControlPlaneServer, plane_of: Callable[[Any], Any], soon: Any, tmp_path: Path, further: int
) -> None:
    plane = plane_of(file_of(server))
    await plane.publish(BASE)
    await plane.store.close()
    server.stop()
    copied(file_of(server).parent, tmp_path)
    server.start()
    plane = plane_of(file_of(server))
    herz = Herz(f"{server.source}/pay?instance=one", environment={})
    async with herz:
        for size in range(2, 2 + further):
            await plane.publish(BASE.replace("1", str(size)))
        await soon(lambda: herz.snapshot["pool.size"] == 1 + further)
        await plane.store.close()
        server.stop()
        copied(tmp_path, file_of(server).parent)
        server.start()
        await soon(lambda: herz.snapshot["pool.size"] == 1, 40)
        assert herz.health().epoch == 1


@pytest.mark.slow
def test_a_token_is_needed_where_one_is_and_a_wrong_one_is_no_passing_matter(folder: Path) -> None:
    with ControlPlaneServer("--require-tokens") as server:
        url = f"{server.source}/pay?instance=one"
        for environment in ({}, {"HERZ_TOKEN": "wrong"}):
            with pytest.raises(ConfigLoadError, match=r"(?i)token"):
                Herz(url, environment=environment).start()
        assert server.token is not None
        (folder / "token").write_text(server.token)
        with Herz(f"{url}&token-file=token", environment={}) as herz:
            assert herz.state in ("LOADED", "WATCHING")


@pytest.mark.slow
def test_an_encrypted_server_is_followed_by_who_knows_its_authority_and_shows_a_certificate(folder: Path) -> None:
    authority = Authority(folder)
    material, ours = authority.issue("serve"), authority.issue("client")
    options = ("--cert", str(material.cert), "--key", str(material.key), "--client-ca", str(authority.cert))
    with ControlPlaneServer(*options, scheme="https") as server:
        url = f"{server.source}/pay?instance=one"
        shown = f"&cert={ours.cert}&key={ours.key}"
        with Herz(f"{url}&ca={authority.cert}{shown}", environment={}) as herz:
            herz.wait_for(lambda _: herz.state == "WATCHING", 20)
            assert herz.freshness == "CURRENT"
        for wrong in (f"{url}&ca={authority.cert}", url + shown):  # no certificate; an authority that nobody knows
            with pytest.raises(ConfigLoadError):
                Herz(wrong, environment={}).start()


def test_nothing_stays_open_where_a_frozen_server_does_not_say_goodbye(folder: Path) -> None:
    authority = Authority(folder)
    material = authority.issue("serve")
    with ControlPlaneServer("--cert", str(material.cert), "--key", str(material.key), scheme="https") as server:
        before = sockets()
        herz = Herz(f"{server.source}/pay?instance=one&ca={authority.cert}", environment={}).start()
        herz.wait_for(lambda _: herz.state == "WATCHING", 20)
        assert sockets() > before
        server.pause()
        herz.stop()
        server.resume()
        assert not sockets() - before


def sockets() -> set[str]:
    """Those that this process has open."""
    links = (link for link in Path("/proc/self/fd").iterdir())
    return {target for link in links if (target := _target(link)).startswith("socket:")}


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # the folder's own
        return ""


@pytest.mark.slow
async def test_another_server_of_the_control_plane_takes_over_when_one_is_killed(
    server: ControlPlaneServer, plane_of: Callable[[Any], Any], soon: Any
) -> None:
    plane = plane_of(file_of(server))
    await plane.publish(BASE)
    with ControlPlaneServer(store=server.store) as other:
        hosts = ",".join(one.source.removeprefix("herz://") for one in (server, other))
        herz = Herz(f"herz://{hosts}/pay?instance=one", environment={})
        async with herz:
            before = await plane.reported(lambda report: True)
            source: Any = next(feed.source for feed in herz.runtime.feeds if feed.source.origin.kind == "herz")
            at = source._link._base
            (server if at == server.url else other).kill()
            await plane.publish(BASE.replace("1", "2"))
            report = await plane.reported(lambda report: report.config_version == 2)
            assert source._link._base != at
            assert report.started == before.started
            assert (row(herz).rewinds, herz.snapshot.epoch) == (0, 0)
    await plane.store.close()


FORKING = """
import os, sys
from herz import Herz
herz = Herz(sys.argv[1], environment={"HERZ_INSTANCE": "pod"})
herz.start()
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        try:
            herz.wait_for(lambda snapshot: snapshot["pool.size"] == 2, 30)
            os.write(1, b"child %d\\n" % herz.snapshot["pool.size"])  # one write: others write there as well
            sys.stdin.read()
            herz.stop()
        finally:
            os._exit(0)
    children.append(child)
herz.wait_for(lambda snapshot: snapshot["pool.size"] == 2, 30)
os.write(1, b"parent %d\\n" % herz.snapshot["pool.size"])
for child in children:
    os.waitpid(child, 0)
herz.stop()
"""


@pytest.mark.parametrize("kind", ["sqlite", "http"])
async def test_forked_children_follow_and_report_each_for_itself(plane: Any, url: Any) -> None:
    await plane.publish(BASE)
    place = url().replace("instance=one", "proof=10s")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FORKING,
        place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=os.getcwd(),
    )
    assert process.stdout is not None
    assert process.stdin is not None
    await plane.reported(lambda report: True, "pod")
    await plane.publish(BASE.replace("1", "2"))
    said = [(await process.stdout.readline()).decode().strip() for _ in range(3)]
    assert sorted(said) == ["child 2", "child 2", "parent 2"]
    fleet = await plane.fleet(3)
    assert len(fleet) == 3
    assert {name.partition("-")[0] for name in fleet} == {"pod"}
    assert {report.config_version for report in fleet.values()} == {2}
    process.stdin.close()
    assert await process.wait() == 0


@pytest.mark.parametrize("kind", ["http"])
async def test_two_processes_of_one_name_are_told_so(plane: Any, url: Any, soon: Any) -> None:
    await plane.publish(BASE)
    async with Herz(url(), environment={}) as one, Herz(url(), environment={}):
        await soon(lambda: any("another process follows as one" in notice.what for notice in one.health().warnings))
