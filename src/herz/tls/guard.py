"""The guard: every address is judged before the first is bound or connected, and nothing falls back to plain text.

A listen address that says https with nothing to encrypt with is refused, a client never goes from an encrypted endpoint
to a plain one. What etcd does with the same combinations is in its `embed` package: https without material is refused
there too, while material beside an http address is ignored with a line in its log.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from herz.errors import TlsError, UsageError
from herz.tls.address import Address, addresses
from herz.tls.material import CLIENT, Clock, Fault, Labels, TlsMaterial, material_faults


def check_listen(
    urls: Sequence[str],
    material: TlsMaterial | None = None,
    *,
    labels: Labels | None = None,
    now: Clock = time.time,
) -> tuple[Fault, ...]:
    """Refuse listen addresses that cannot be served as they promise; the warnings about the others.

    `TlsError` with all that is wrong: an https address without TLS material, half of a pair, files that are
    missing, unusable, expired or do not belong together, client authentication without an authority. Call
    it before anything is bound.
    """
    return _refusing(listen_faults(urls, material or TlsMaterial(), labels=labels or Labels(), now=now))


def check_endpoints(
    urls: Sequence[str],
    material: TlsMaterial | None = None,
    *,
    labels: Labels = CLIENT,
    now: Clock = time.time,
) -> tuple[Fault, ...]:
    """Refuse endpoints that a client cannot connect to as they promise; the warnings about the others.

    An encrypted endpoint without `ca` trusts the system's authorities. `TlsError` when a list holds plain
    and encrypted endpoints, when there is TLS material and an endpoint would not use it, and for unusable files.
    """
    return _refusing(endpoint_faults(urls, material or TlsMaterial(), labels=labels, now=now))


def check_redirect(known: str, told: str) -> None:
    """Refuse an address that a server told us (a redirect, a member list) where it would end our encryption."""
    before, after = addresses([known])[0], addresses([told])[0]
    if before.secure and not after.secure:
        raise TlsError(
            f"{before.url} sends us to {after.url}, which is not encrypted",
            where=after.url,
            remedy=f"let the server advertise {after.otherwise(secure=True)}",
        )


def listen_faults(
    urls: Iterable[str], material: TlsMaterial, *, labels: Labels, now: Clock = time.time
) -> Iterator[Fault]:
    """Everything that is wrong with listen addresses and their material."""
    found, wrong = _addresses(urls, labels)
    yield from wrong
    if material.empty:
        for address in found:
            if address.secure:
                yield Fault(
                    "https-without-tls",
                    "error",
                    f"HTTPS listen URL requires {labels.info} to be non-empty: {address.url} has no certificate",
                    f"{labels.urls} {address.url}",
                    f"set {labels.cert} and {labels.key}, or listen on {address.otherwise(secure=False)}",
                )
    yield from material_faults(material, labels, now)
    secure = any(address.secure for address in found)
    for address in found:
        if not address.secure and material.mentioned:
            beside = "beside encrypted addresses" if secure else f"although {_given(material, labels)} is set"
            yield Fault(
                "plain-beside-tls",
                "warning",
                f"{address.url} is plain text, {beside}: TLS is not used there, and no client is asked who it is",
                f"{labels.urls} {address.url}",
                f"listen on {address.otherwise(secure=True)}, or remove it",
            )


def endpoint_faults(
    urls: Iterable[str], material: TlsMaterial, *, labels: Labels = CLIENT, now: Clock = time.time
) -> Iterator[Fault]:
    """Everything that is wrong with a client's endpoints and its material."""
    found, wrong = _addresses(urls, labels)
    yield from wrong
    yield from material_faults(material, labels, now)
    secure = next((address for address in found if address.secure), None)
    for address in found:
        if address.secure or (secure is None and not material.mentioned):
            continue
        beside = f"beside {secure.url}" if secure is not None else f"although {_given(material, labels)} is set"
        yield Fault(
            "plain-beside-tls",
            "error",
            f"{address.url} is plain text, {beside}: what goes over it is not encrypted",
            f"{labels.urls} {address.url}",
            f"write {address.otherwise(secure=True)}",
        )


def _addresses(urls: Iterable[str], labels: Labels) -> tuple[list[Address], list[Fault]]:
    found: list[Address] = []
    wrong: list[Fault] = []
    for url in urls:
        try:
            found += addresses([url])
        except UsageError as error:
            wrong.append(Fault("malformed-address", "error", error.what, labels.urls, error.remedy or ""))
    return found, wrong


def _given(material: TlsMaterial, labels: Labels) -> str:
    if material.cert or material.key:
        return labels.cert if material.cert else labels.key
    if material.auto:
        return "a certificate made by itself"
    return labels.ca if material.ca else labels.client_auth


def _refusing(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The warnings among `faults`; `TlsError` when there is an error."""
    found = tuple(faults)
    errors = [fault for fault in found if fault.severity == "error"]
    if errors:
        raise TlsError(
            "; ".join(fault.what for fault in errors),
            problems=tuple(fault.what for fault in errors),
            where=errors[0].where,
            remedy=errors[0].remedy,
        )
    return found
