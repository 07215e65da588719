"""A real etcd, of one or several members, that a test may kill, freeze, restore and take apart.

    async with EtcdCluster(3) as cluster:
        await cluster.put("/config/pay/timeout", "3s")
        leader = await cluster.leader()
        leader.kill()
        ...
        await leader.start()

The coroutines belong to no event loop: they work in threads, so a synchronous test calls
`asyncio.run(cluster.put(...))` inside `with EtcdCluster(3) as cluster:`. Elections take 0.2 to 0.5 s, the data is in
memory where the machine has /dev/shm, and nothing survives the test: see `herz.testing.processes`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode

from herz.errors import UsageError
from herz.testing.certificates import Authority
from herz.testing.etcd_control import EtcdControl, certificate_files
from herz.testing.etcd_member import POLL_S, EtcdMember
from herz.testing.etcd_programs import EtcdPrograms
from herz.testing.processes import ServerFailed, Workspace
from herz.tls.material import TlsMaterial

__all__ = ["EtcdCluster", "EtcdMember", "EtcdPrograms", "EtcdServer", "ServerFailed"]


class EtcdCluster(EtcdControl):
    """`size` real etcd members on free loopback ports; an async and a sync context manager.

    * `version`: "3.4", "3.5", a folder with the programs, or None for the first found (`EtcdPrograms.find`).
    * `tls`: clients speak TLS with certificates of a new authority, and must show one unless `client_certificates` is
      False. Pass an `Authority` to use your own. `client_certificate` is one that is accepted.
    * `progress_interval_s`: how often an idle watch that asks for progress notifications gets one.
    * `snapshot_count`: writes after which a member snapshots and may drop its log.
    * `options`: more command line options of etcd, e.g. `("--auth-token-ttl", "1")`.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        version: str | os.PathLike[str] | None = None,
        tls: bool | Authority = False,
        client_certificates: bool = True,
        progress_interval_s: float = 0.1,
        snapshot_count: int = 100_000,
        options: Iterable[str] = (),
    ) -> None:
        self.programs = EtcdPrograms.find(version)
        self.scheme = "https" if tls else "http"
        self._options = (
            "--heartbeat-interval=20",
            "--election-timeout=200",
            "--grpc-keepalive-min-time=1s",
            "--bcrypt-cost=4",
            "--strict-reconfig-check=false",  # it refuses to add a member until the others are connected for 5 s
            f"--snapshot-count={snapshot_count}",
            f"--experimental-watch-progress-notify-interval={progress_interval_s:g}s",
            "--logger=zap",
            "--log-level=warn",
            *(("--log-outputs=stderr",) if self.programs.version < (3, 5) else ("--unsafe-no-fsync",)),
            *options,
        )
        self._changing = threading.RLock()
        self._closed = False
        self._workspace = Workspace("etcd")
        self._token = uuid.uuid4().hex
        try:
            self.authority = Authority(self.folder) if tls is True else tls or None
            """Who signs the members' certificates and those of the clients that they accept."""
            self._server_certificate = self._issue("server", ("localhost", "127.0.0.1"))
            self.client_certificate = self._issue("client", ())
            self._client_certificates = client_certificates
            self._client_context = _context(self.client_certificate)
            self.members = [EtcdMember(self, f"m{number}") for number in range(size)]
        except BaseException:
            self._workspace.close()
            raise

    @property
    def folder(self) -> Path:
        """Where data, logs, certificates and snapshots are; removed at the end."""
        return self._workspace.path

    @property
    def endpoints(self) -> list[str]:
        """`127.0.0.1:PORT` of each member, running or not."""
        return [member.endpoint for member in self.members]

    def url(self, prefix: str = "/", endpoints: Sequence[str] | None = None, **query: str) -> str:
        """The source's URL for a prefix: `etcd://A,B,C/prefix`, with the certificates' files when it speaks TLS.

        `endpoints` replaces the members' own, by those of fault proxies for example; `query` are more options.
        """
        place = ",".join(self.endpoints if endpoints is None else endpoints)
        if self.credentials:
            place = f"{quote(self.credentials[0], safe='')}:{quote(self.credentials[1], safe='')}@{place}"
        if self.client_certificate:
            query = {**certificate_files(self.client_certificate), **query}
        scheme = "etcd+tls" if self.authority else "etcd"
        return f"{scheme}://{place}/{prefix.lstrip('/')}{'?' + urlencode(query, safe='/') if query else ''}"

    # --- its life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill every member and remove every file; calling it again does nothing."""
        with self._changing:
            self._closed = True
            for member in self.members:
                member.kill()
                member.client_port.close()
                member.peer_port.close()
            self._workspace.close()

    def _must_be_open(self) -> None:
        if self._closed:
            raise UsageError("this etcd cluster is closed", remedy="make a new EtcdCluster")

    def _start_all(self) -> None:
        for member in self.members:
            # One by one: a member asks the others' peer ports first, and waits for a second for one that listens and
            # does not serve yet; two that start at the same time wait for each other.
            member._start(False, "new")
            member._wait_serving()
        for member in self.members:
            member._wait_ready()

    def _arguments(self, member: EtcdMember, state: str) -> list[str]:
        arguments = [
            self.programs.etcd,
            f"--name={member.name}",
            f"--data-dir={member.data}",
            f"--listen-client-urls={member.client_url}",
            f"--advertise-client-urls={member.client_url}",
            f"--listen-peer-urls={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster={self._initial_cluster()}",
            f"--initial-cluster-token={self._token}",
            f"--initial-cluster-state={state}",
            *self._options,
        ]
        if self._server_certificate:
            arguments += [f"--cert-file={self._server_certificate.cert}", f"--key-file={self._server_certificate.key}"]
            if self._client_certificates:
                arguments += ["--client-cert-auth", f"--trusted-ca-file={self._server_certificate.ca}"]
        return arguments

    def _initial_cluster(self) -> str:
        return ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def _issue(self, name: str, hosts: Sequence[str]) -> TlsMaterial | None:
        return self.authority.issue(name, hosts) if self.authority else None

    # --- who leads, who belongs --------------------------------------------------------------------

    async def leader(self, timeout_s: float = 10.0) -> EtcdMember:
        """The member that leads now, as the running members see it; waits for an election.

        `ServerFailed` when there is none after `timeout_s`, as in a minority.
        """
        return await asyncio.to_thread(self._leader, timeout_s)

    async def followers(self) -> list[EtcdMember]:
        """The other members, in order, running or not."""
        leader = await self.leader()
        return [member for member in self.members if member is not leader]

    async def move_leader(self, to: EtcdMember | None = None) -> EtcdMember:
        """Hand the leader's office to `to`, or to the next running member; returns the new leader."""
        leader = await self.leader()
        others = [member for member in self._awake() if member is not leader]
        target = to or next(iter(others), None)
        if target is None:
            raise UsageError("there is no other running member to lead", remedy="start one first")
        if target is not leader:
            status = (await self.status(target))["Status"]
            await self.ctl("move-leader", f"{status['header']['member_id']:x}", members=[leader])
        return target

    async def remove(self, member: EtcdMember) -> None:
        """Remove a member, running or not, from the cluster through the others; its process is killed first.

        It stays in `members`, and its data folder as it was, so `start` brings it back with its old log.
        """
        member.kill()
        listed = json.loads(await self.ctl("member", "list", "-w", "json"))["members"]
        for entry in listed:
            if member.peer_url in entry.get("peerURLs", ()):
                await self.ctl("member", "remove", f"{entry['ID']:x}")
                return
        raise UsageError(f"{member.name} is not a member", remedy="add it first")

    async def add(self, member: EtcdMember, *, keep_log: bool = False) -> None:
        """Add a removed member and start it: empty, as etcd asks for, or with its old log if `keep_log`.

        An empty one is often ready after 5 s only: etcd proposes the member's attributes before the member knows the
        leader, and tries again when that request has timed out.

        With the old log it still believes to be the member that was removed; whether it serves, and what, is what the
        test wants to know, so nothing is waited for.
        """
        await self.ctl("member", "add", member.name, f"--peer-urls={member.peer_url}")
        await member.start(ready=not keep_log, fresh=not keep_log, state="existing")

    def _leader(self, timeout_s: float) -> EtcdMember:
        deadline = time.monotonic() + timeout_s
        while True:
            claims = {}
            for member in self._awake():
                try:
                    said = self._ctl(("endpoint", "status", "-w", "json"), [member], "", timeout_s=2.0)
                except ServerFailed:
                    continue
                for answer in json.loads(said or "[]"):
                    status = answer["Status"]
                    if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                        claims[status["raftTerm"]] = member
            if claims:
                return claims[max(claims)]
            if time.monotonic() > deadline:
                raise ServerFailed(f"the cluster has no leader after {timeout_s:g} s")
            time.sleep(POLL_S)

    # --- backup ------------------------------------------------------------------------------------

    async def snapshot(self, name: str = "backup") -> Path:
        """A backup of the whole store, as `etcdctl snapshot save` makes it, in `folder`."""
        path = self.folder / f"{name}.db"
        path.unlink(missing_ok=True)
        await self.ctl("snapshot", "save", str(path), members=self._awake()[:1])
        return path

    async def restore(self, snapshot: Path, *, same_identity: bool = True) -> None:
        """Kill every member and start the cluster from a backup, on the same ports, as an operator would.

        Cluster id and member ids stay what they were, which is how restores usually look to clients, unless
        `same_identity` is False. Revisions go back to the backup's.
        """
        if not same_identity:
            self._token = uuid.uuid4().hex
        await asyncio.to_thread(self._restore, snapshot)

    def _restore(self, snapshot: Path) -> None:
        with self._changing:
            self._must_be_open()
            for member in self.members:
                member.kill()
            for member in self.members:
                shutil.rmtree(member.data, ignore_errors=True)
                arguments = (
                    *("snapshot", "restore", str(snapshot), f"--name={member.name}", f"--data-dir={member.data}"),
                    *(f"--initial-cluster={self._initial_cluster()}", f"--initial-cluster-token={self._token}"),
                    f"--initial-advertise-peer-urls={member.peer_url}",
                )
                self._ctl(arguments, (), "", timeout_s=30.0)
            self._start_all()


class EtcdServer(EtcdCluster):
    """An `EtcdCluster` of one, with its only member's methods at hand as `member`."""

    def __init__(
        self,
        *,
        version: str | os.PathLike[str] | None = None,
        tls: bool | Authority = False,
        client_certificates: bool = True,
        progress_interval_s: float = 0.1,
        snapshot_count: int = 100_000,
        options: Iterable[str] = (),
    ) -> None:
        super().__init__(
            1,
            version=version,
            tls=tls,
            client_certificates=client_certificates,
            progress_interval_s=progress_interval_s,
            snapshot_count=snapshot_count,
            options=options,
        )

    @property
    def member(self) -> EtcdMember:
        """The member."""
        return self.members[0]

    @property
    def endpoint(self) -> str:
        """`127.0.0.1:PORT`."""
        return self.member.endpoint


def _context(certificate: TlsMaterial | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    files = certificate_files(certificate)
    context = ssl.create_default_context(cafile=files["ca"])
    context.load_cert_chain(files["cert"], files["key"])
    return context
