"""SSL contexts made from TLS material: verification is always on, and nothing older than TLS 1.2 is spoken."""

from __future__ import annotations

import ssl

from herz.errors import TlsError
from herz.tls.material import TlsMaterial


def server_context(material: TlsMaterial) -> ssl.SSLContext:
    """A listener's context. `TlsError` when there is no pair to serve with, or it cannot be loaded."""
    if not material.cert or not material.key:
        raise TlsError("no certificate to serve with", remedy="set tls.cert and tls.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, material)
    if material.client_auth:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(material: TlsMaterial) -> ssl.SSLContext:
    """A client's context: the server must prove its name to `ca`, by default to the system's authorities."""
    context = ssl.create_default_context(cafile=material.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, TlsMaterial(material.cert, material.key))
    return context


def _load(context: ssl.SSLContext, material: TlsMaterial) -> None:
    try:
        if material.cert:
            context.load_cert_chain(material.cert, material.key, password=lambda: b"")
        if material.ca:
            context.load_verify_locations(material.ca)
    except (OSError, ValueError) as error:
        raise TlsError(
            f"TLS material cannot be loaded: {getattr(error, 'reason', None) or error}",
            where=material.cert or material.ca,
            remedy="mend the PEM files",
        ) from error
