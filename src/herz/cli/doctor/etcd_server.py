"""An etcd server before it starts: what its own settings promise, and whether it can keep it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from herz.cli.doctor.etcd_flags import EtcdSettings
from herz.cli.doctor.finding import Finding
from herz.errors import UsageError
from herz.tls.address import Address, addresses
from herz.tls.certificate import valid_for
from herz.tls.guard import listen_faults
from herz.tls.material import Clock, Labels, TlsMaterial

SNAPSHOT_COUNT: Final = 10_000
"""Entries between two snapshots, above which a member that comes back has a long log to replay."""
_CLIENTS: Final = "http://localhost:2379"
_PEERS: Final = "http://localhost:2380"


def server_findings(settings: EtcdSettings, now: Clock = time.time) -> Iterator[Finding]:
    """Everything that is wrong with a server's settings: its client addresses, its peers', its snapshots."""
    yield from settings.wrong
    clients = settings.urls("listen-client-urls", _CLIENTS) + settings.urls("listen-metrics-urls")
    yield from _side(settings, "", "listen-client-urls", clients, now)
    yield from _side(settings, "peer-", "listen-peer-urls", settings.urls("listen-peer-urls", _PEERS), now)
    yield from _advertised(settings, "listen-client-urls", _CLIENTS, "advertise-client-urls", _material(settings, ""))
    yield from _advertised(
        settings, "listen-peer-urls", _PEERS, "initial-advertise-peer-urls", _material(settings, "peer-")
    )
    yield from _snapshots(settings)


def _material(settings: EtcdSettings, side: str) -> TlsMaterial:
    return TlsMaterial(
        cert=settings.text(f"{side}cert-file") or None,
        key=settings.text(f"{side}key-file") or None,
        ca=settings.text(f"{side}trusted-ca-file") or None,
        client_auth=settings.switched(f"{side}client-cert-auth"),
        auto=settings.switched(f"{side}auto-tls"),
    )


def _side(settings: EtcdSettings, side: str, flag: str, urls: Sequence[str], now: Clock) -> Iterator[Finding]:
    """The addresses of one side, clients' or peers', with the material of that side."""
    material = _material(settings, side)
    labels = Labels(
        settings.name(flag),
        settings.name(f"{side}cert-file"),
        settings.name(f"{side}key-file"),
        settings.name(f"{side}trusted-ca-file"),
        settings.name(f"{side}client-cert-auth"),
        "PeerTLSInfo" if side else "ClientTLSInfo",
    )
    for fault in listen_faults(urls, material, labels=labels, now=now):
        yield Finding(fault.code, fault.severity, fault.what, fault.where, fault.remedy)
    for address in _understood(urls):
        if address.loopback:
            continue
        if not address.secure:
            yield Finding(
                "etcd-plain-exposed",
                "warning",
                f"{address.url} can be reached from other machines, in plain text and by everybody",
                f"{labels.urls} {address.url}",
                f"listen on {address.otherwise(secure=True)} with {labels.cert} and {labels.key}, or on 127.0.0.1",
            )
        elif not (material.client_auth or material.ca):
            # etcd asks for a client's certificate as soon as a trusted authority is set.
            yield Finding(
                "etcd-no-client-auth",
                "note",
                f"{address.url} asks no {'peer' if side else 'client'} for a certificate",
                f"{labels.urls} {address.url}",
                f"set {labels.client_auth} and {labels.ca}"
                + ("" if side else ", or enable etcd's own users: etcdctl auth enable"),
            )


def _advertised(
    settings: EtcdSettings, listening: str, default: str, telling: str, material: TlsMaterial
) -> Iterator[Finding]:
    """Advertised addresses at which nothing answers in that way: clients that learn them cannot connect."""
    heard = _understood(settings.urls(listening, default))
    urls = settings.urls(telling, default)
    name = settings.name(telling)
    for url in urls:
        try:
            told = addresses([url])
        except UsageError as error:
            yield Finding("malformed-address", "error", error.what, name, error.remedy or "")
            continue
        for address in told:
            near = [one for one in heard if one.port == address.port] or heard
            if near and all(one.secure is not address.secure for one in near):
                yield Finding(
                    "etcd-advertised",
                    "error",
                    f"{address.url} is advertised, and {', '.join(one.url for one in near)} listens "
                    + ("in plain text" if address.secure else "encrypted"),
                    f"{name} {address.url}",
                    f"advertise {address.otherwise(secure=not address.secure)}, or listen as advertised",
                )
            elif address.secure and not address.socket and not _names(material, address.host):
                yield Finding(
                    "etcd-certificate-name",
                    "warning",
                    f"the certificate is not valid for {address.host}, which is advertised: clients refuse it",
                    f"{name} {address.url}",
                    f"make a certificate with {address.host} in subjectAltName, or advertise a name that it has",
                )


def _names(material: TlsMaterial, host: str) -> bool:
    """Whether the certificate is valid for `host`; true where that cannot be known, which is told as a fault."""
    if not material.cert or not material.key:
        return True
    try:
        return valid_for(material.cert, material.key, host)
    except (OSError, ValueError):
        return True


def _snapshots(settings: EtcdSettings) -> Iterator[Finding]:
    text = settings.text("snapshot-count")
    name = settings.name("snapshot-count")
    if text and int(text) > SNAPSHOT_COUNT:
        yield Finding(
            "etcd-snapshot-count",
            "warning",
            f"{name} is {int(text):,}: a member that comes back replays up to as many entries of its old log, slowly, "
            "and may show revisions that the others have left behind",
            f"{name} {text}",
            f"set {name} to {SNAPSHOT_COUNT}",
        )
    elif not text:
        yield Finding(
            "etcd-snapshot-count",
            "note",
            f"{name} is not set; etcd's default is 100,000 before 3.6, and a member that comes back replays as many",
            settings.place,
            f"set {name} to {SNAPSHOT_COUNT}",
        )


def _understood(urls: Sequence[str]) -> list[Address]:
    found: list[Address] = []
    for url in urls:
        try:
            found += addresses([url])
        except UsageError:
            continue  # told as a fault of its own
    return found
