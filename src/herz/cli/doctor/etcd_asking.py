"""Asking every member of a cluster for its status, over a connection of its own. Needs the extra `etcd`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from herz.cli.doctor.etcd_members import Asked, Member
from herz.errors import HerzError, UsageError
from herz.model.secret import Secret
from herz.store.etcd.address import EtcdAddress
from herz.store.etcd.messages import message
from herz.store.etcd.rpc import CallFailed, Connection, Timing
from herz.tls.address import Address, addresses
from herz.tls.guard import check_endpoints
from herz.tls.material import CLIENT, TlsMaterial

PORT: Final = 2379
LABELS: Final = replace(CLIENT, urls="--etcd-endpoints")
PAUSE_S: Final = 0.3
"""Between the two questions: what a follower on a good network has applied long since."""
_TIMING: Final = Timing(dial_s=3.0, request_s=3.0)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The endpoints (`host:port`) to ask, and how; `tls` None is plain text."""

    endpoints: tuple[str, ...]
    tls: TlsMaterial | None = None
    server_name: str | None = None
    username: str | None = None
    password: Secret | None = None

    @property
    def scheme(self) -> str:
        """How the endpoints are spoken to."""
        return "http" if self.tls is None else "https"


def cluster_of(text: str) -> Cluster:
    """What `http://A:2379,http://B:2379`, `A:2379,B:2379` (plain), or the URL of an etcd source names.

    `UsageError` when it cannot be read, `TlsError` when plain and encrypted endpoints are mixed.
    """
    if text.startswith(("etcd:", "etcd+tls:")):
        at = EtcdAddress.parse(text)
        cluster = Cluster(at.endpoints, at.tls, at.server_name, at.username, at.password)
    else:
        listed = [one.strip() for one in text.split(",") if one.strip()]
        found = addresses(one if "://" in one else f"http://{one}" for one in listed)
        if not found:
            raise UsageError("no endpoint of etcd is named", remedy="write HOST:PORT,HOST:PORT")
        check_endpoints([one.url for one in found], labels=LABELS)
        cluster = Cluster(tuple(map(_host, found)), TlsMaterial() if found[0].secure else None)
    check_endpoints([f"{cluster.scheme}://{endpoint}" for endpoint in cluster.endpoints], cluster.tls, labels=LABELS)
    return cluster


def _host(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port or PORT}"


def asked(cluster: Cluster, known: int = 0) -> Asked:
    """What every member says, twice; `known` is the highest revision that was in force here."""
    return asyncio.run(_asked(cluster, known))


async def _asked(cluster: Cluster, known: int) -> Asked:
    first = await _all(cluster)
    await asyncio.sleep(PAUSE_S)
    return Asked(first, await _all(cluster), known)


async def _all(cluster: Cluster) -> tuple[Member, ...]:
    return tuple(await asyncio.gather(*(_member(cluster, endpoint) for endpoint in cluster.endpoints)))


async def _member(cluster: Cluster, endpoint: str) -> Member:
    """What one member says of itself: asked without requiring a leader, for it is to say that it has none."""
    name = f"{cluster.scheme}://{endpoint}"
    try:
        connection = Connection(endpoint, tls=cluster.tls, server_name=cluster.server_name, timing=_TIMING)
    except HerzError as error:
        return Member(name, str(error))
    try:
        await connection.dial()
        return _understood(name, await _status(connection, cluster))
    except CallFailed as failure:
        return Member(name, failure.details.removeprefix("etcdserver: ") or failure.code.lower())
    finally:
        await connection.close()


async def _status(connection: Connection, cluster: Cluster) -> Any:
    request = message("StatusRequest")()
    try:
        return await connection.call("Maintenance.Status", request)
    except CallFailed as failure:
        # Up to 3.5 everybody may ask for the status; a server that wants to know who asks says so.
        if cluster.username is None or failure.code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT"):
            raise
    password = cluster.password.reveal() if cluster.password is not None else ""
    login = message("AuthenticateRequest")(name=cluster.username, password=password)
    token = (await connection.call("Auth.Authenticate", login)).token
    return await connection.call("Maintenance.Status", request, metadata=(("token", token),))


def _understood(name: str, said: Any) -> Member:
    alarms: Sequence[str] = said.errors
    return Member(
        endpoint=name,
        cluster=said.header.cluster_id,
        id=said.header.member_id,
        version=said.version,
        revision=said.header.revision,
        term=said.raftTerm,
        index=said.raftIndex,
        applied_index=said.raftAppliedIndex,
        leader=said.leader,
        learner=said.isLearner,
        size_bytes=said.dbSize,
        # without a leader a member says so among its errors as well
        alarms=tuple(alarm for alarm in alarms if "no leader" not in alarm),
    )
