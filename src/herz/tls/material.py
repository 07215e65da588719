"""TLS material: the files that a listener or a client brings, and what is wrong with them."""

from __future__ import annotations

import os
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from herz.tls.certificate import Validity, pair_fault, validities

SOON: Final = timedelta(days=14)
"""How long before its end a certificate is told."""

Clock = Callable[[], float]
"""Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Paths of PEM files: a certificate (with its chain), its key, the authorities to trust.

    `client_auth` asks clients for a certificate that one of `ca` has signed. `auto` says that the server makes
    a certificate of its own, as etcd's `--auto-tls` does; Herz's own listeners do not.
    """

    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    client_auth: bool = False
    auto: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to encrypt with: neither certificate nor key."""
        return not (self.cert or self.key or self.auto)

    @property
    def mentioned(self) -> bool:
        """Whether anything of TLS was asked for at all."""
        return not self.empty or bool(self.ca) or self.client_auth


@dataclass(frozen=True, slots=True)
class Labels:
    """What the settings are called where they were written, for messages that say which to fix.

    `info` is what etcd calls the whole set: `ClientTLSInfo` of its client addresses, `PeerTLSInfo` of its peers'.
    """

    urls: str = "listen"
    cert: str = "tls.cert"
    key: str = "tls.key"
    ca: str = "tls.ca"
    client_auth: str = "tls.client-auth"
    info: str = "ClientTLSInfo"


CLIENT: Final = Labels("endpoints", "cert", "key", "ca")
"""What a client's settings are called in a source's URL: `etcd+tls://host:2379/path?ca=…&cert=…&key=…`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. An `error` stops the start, a `warning` is told; `code` names its kind for ever."""

    code: str
    severity: Literal["error", "warning", "note"]
    what: str
    where: str
    remedy: str


CODES: Final = frozenset(
    {
        "https-without-tls",
        "tls-incomplete",
        "tls-file",
        "tls-key-mismatch",
        "tls-key-readable",
        "certificate-expired",
        "certificate-not-yet-valid",
        "certificate-expires-soon",
        "client-auth-without-ca",
        "plain-beside-tls",
        "malformed-address",
    }
)
"""Every code of a `Fault`."""


def material_faults(material: TlsMaterial, labels: Labels, now: Clock = time.time) -> Iterator[Fault]:
    """What is wrong with the files themselves, wherever they are used."""
    yield from _incomplete(material, labels)
    usable = True
    for label, path in ((labels.cert, material.cert), (labels.key, material.key), (labels.ca, material.ca)):
        if path and (why := _unreadable(path)) is not None:
            usable = False
            yield Fault(
                "tls-file", "error", f"{label}: {why}", path, f"set {label} to a PEM file that this user may read"
            )
    if not usable:
        return
    if material.cert and material.key and (why := pair_fault(material.cert, material.key)) is not None:
        yield Fault(
            "tls-key-mismatch",
            "error",
            f"{labels.cert} and {labels.key}: {why}",
            f"{material.cert}, {material.key}",
            f"set {labels.key} to the unencrypted PEM key that {labels.cert} was made with",
        )
    if material.key and (mode := stat.S_IMODE(os.stat(material.key).st_mode)) & 0o027:
        yield Fault(
            "tls-key-readable",
            "warning",
            f"{labels.key}: the private key's mode is {mode:o}, so others than its owner and group may use it",
            material.key,
            f"chmod 600 {material.key}",
        )
    if material.cert:
        yield from _dates(labels.cert, material.cert, now, first_only=False)
    if material.ca:
        yield from _authorities(labels.ca, material.ca, now)


def _incomplete(material: TlsMaterial, labels: Labels) -> Iterator[Fault]:
    for have, lack, given, missing in (
        (labels.cert, labels.key, material.cert, material.key),
        (labels.key, labels.cert, material.key, material.cert),
    ):
        if given and not missing:
            what = "a certificate without its key" if given == material.cert else "a key without its certificate"
            yield Fault("tls-incomplete", "error", f"{have} is {what}: {lack} is not set", given, f"set {lack}")
    if material.client_auth and not material.ca:
        yield Fault(
            "client-auth-without-ca",
            "error",
            f"{labels.client_auth} is on and {labels.ca} is not set: certificates of every public authority would pass",
            labels.client_auth,
            f"set {labels.ca} to the authority that signs your clients' certificates",
        )


def _unreadable(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return None if b"-----BEGIN " in file.read() else "the file is not PEM"
    except OSError as error:
        return error.strerror or str(error)


def _dates(label: str, path: str, now: Clock, *, first_only: bool) -> Iterator[Fault]:
    try:
        found = _read(path)
    except ValueError as error:
        yield Fault("tls-file", "error", f"{label}: no certificate can be read: {error}", path, f"mend {label}")
        return
    today = datetime.fromtimestamp(now(), UTC)
    for validity in found[:1] if first_only else found:
        if validity.ends < today:
            yield Fault(
                "certificate-expired",
                "error",
                f"{label}: the certificate expired on {_day(validity.ends)}",
                path,
                "renew it; until then every client refuses it",
            )
        elif validity.begins > today:
            yield Fault(
                "certificate-not-yet-valid",
                "error",
                f"{label}: the certificate is not valid before {_day(validity.begins)}",
                path,
                "check this machine's clock, or wait",
            )
        elif validity.ends < today + SOON:
            yield Fault(
                "certificate-expires-soon",
                "warning",
                f"{label}: the certificate expires on {_day(validity.ends)}",
                path,
                "renew it before that",
            )


def _authorities(label: str, path: str, now: Clock) -> Iterator[Fault]:
    """An authority's file is at fault only when nothing in it is valid now: old ones may stay for a change-over."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        found = _read(path)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        yield Fault("tls-file", "error", f"{label}: no certificate can be read: {reason}", path, f"mend {label}")
        return
    today = datetime.fromtimestamp(now(), UTC)
    if not any(validity.begins <= today <= validity.ends for validity in found):
        yield from _dates(label, path, now, first_only=True)


def _read(path: str) -> list[Validity]:
    with open(path, "rb") as file:
        found = validities(file.read())
    if not found:
        raise ValueError("the file holds none")
    return found


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
