"""What a test tells a real etcd through `etcdctl`: keys, compaction, users. `EtcdCluster` inherits it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from herz.testing.etcd_member import EtcdMember
from herz.testing.etcd_programs import EtcdPrograms
from herz.testing.processes import ServerFailed, server_environment
from herz.tls.material import TlsMaterial


class EtcdControl:
    """`etcdctl` with the endpoints, certificates and credentials of a cluster."""

    programs: EtcdPrograms
    members: list[EtcdMember]
    """The members in the order of their names `m0`, `m1`, …; those that were removed included."""
    client_certificate: TlsMaterial | None
    """A certificate that the members accept from clients, when they speak TLS."""
    credentials: tuple[str, str] | None = None
    """The user and password that the coroutines of this class use; `enable_auth` sets them."""

    async def status(self, member: EtcdMember) -> dict[str, Any]:
        """`etcdctl endpoint status` of one member: `Status` holds `header`, `leader`, `raftTerm`, `raftIndex`, …."""
        (answer,) = json.loads(await self.ctl("endpoint", "status", "-w", "json", members=[member]))
        return dict(answer)

    async def ctl(
        self,
        *arguments: str,
        members: Sequence[EtcdMember] | None = None,
        stdin: str = "",
        timeout_s: float = 10.0,
    ) -> str:
        """What `etcdctl` with these arguments says; asked of `members`, or of all that run.

        `ServerFailed` with its message when it fails.
        """
        asked = self._awake() if members is None else list(members)
        if not asked:
            raise ServerFailed(f"etcdctl {arguments[0]}: no member runs")
        return await asyncio.to_thread(self._ctl, arguments, asked, stdin, timeout_s=timeout_s)

    async def put(self, key: str, value: str) -> int:
        """Write one key; returns the revision."""
        # Through stdin, which takes any length; etcdctl takes an empty one for a missing argument.
        argument = [] if value else [""]
        return _revision(await self.ctl("put", "-w", "json", "--", key, *argument, stdin=value))

    async def get(self, key: str) -> str | None:
        """A key's value by a linearizable read; None when it does not exist."""
        said = await self.ctl("get", "--print-value-only", "--", key)
        return said[:-1] if said else None

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete a key, or all that begin with it; returns the revision."""
        return _revision(await self.ctl("del", "-w", "json", *(["--prefix"] if prefix else []), "--", key))

    async def compact(self, revision: int) -> None:
        """Drop the history before a revision, physically: done when this returns."""
        await self.ctl("compact", "--physical=true", str(revision))

    async def enable_auth(self, password: str = "root") -> None:  # noqa: S107  a test's own server
        """Create the user root with the role root and switch authentication on; from here on this class uses it."""
        await self.ctl("user", "add", f"root:{password}")
        await self.ctl("user", "grant-role", "root", "root")
        await self.ctl("auth", "enable")
        self.credentials = ("root", password)

    async def add_user(self, name: str, password: str, *, prefix: str, permission: str = "readwrite") -> None:
        """A user with a role of the same name that grants `permission` (read, write, readwrite) under a prefix."""
        await self.ctl("role", "add", name)
        await self.ctl("role", "grant-permission", name, permission, prefix, "--prefix=true")
        await self.ctl("user", "add", f"{name}:{password}")
        await self.ctl("user", "grant-role", name, name)

    def _ctl(self, arguments: Sequence[str], members: Sequence[EtcdMember], stdin: str, *, timeout_s: float) -> str:
        options = [f"--endpoints={','.join(member.client_url for member in members)}"] if members else []
        options += ["--dial-timeout=2s", f"--command-timeout={timeout_s:g}s"]
        if self.client_certificate:
            files = certificate_files(self.client_certificate)
            options += [f"--cacert={files['ca']}", f"--cert={files['cert']}", f"--key={files['key']}"]
        if self.credentials:
            options += [f"--user={self.credentials[0]}:{self.credentials[1]}"]
        try:
            done = subprocess.run(  # noqa: S603  etcdctl, as found
                [self.programs.etcdctl, *options, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s + 10.0,
                env={**server_environment("ETCD"), "ETCDCTL_API": "3"},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"etcdctl {' '.join(arguments[:2])} did not end in {timeout_s:g} s") from error
        if done.returncode:
            raise ServerFailed(f"etcdctl {' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout

    def _awake(self) -> list[EtcdMember]:
        return [member for member in self.members if member.running and not member.paused]


def _revision(said: str) -> int:
    return int(json.loads(said)["header"]["revision"])


def certificate_files(certificate: TlsMaterial) -> dict[str, str]:
    """The paths of a certificate's files by the names that a source's URL gives them."""
    return {"ca": str(certificate.ca), "cert": str(certificate.cert), "key": str(certificate.key)}
