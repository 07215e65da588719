"""Certificates as files hold them: when they are valid, for which hosts, and whether a key belongs to one.

Everything is done with the standard library. Dates are read from the DER encoding (RFC 5280, section 4.1), since the
ssl module shows those of a leaf only for a connection; host names are judged by a handshake in memory, so by OpenSSL.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_BLOCK: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END[^\n]*-----", re.DOTALL)
_SEQUENCE: Final = 0x30
_CONTEXT_0: Final = 0xA0
_UTC_TIME: Final = 0x17
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: dates are judged here, by the clock that was passed in."""
_HOSTNAME_MISMATCH: Final = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid, both in UTC."""

    begins: datetime
    ends: datetime


def validities(pem: bytes) -> list[Validity]:
    """The validity of each certificate in a PEM file, in their order. `ValueError` for one that is none."""
    return [_validity(ssl.PEM_cert_to_DER_cert(_canonical(block))) for block in _BLOCK.findall(pem)]


def _canonical(block: bytes) -> str:
    lines = block.decode("ascii").splitlines()
    return "\n".join([ssl.PEM_HEADER, *lines[1:-1], ssl.PEM_FOOTER])


def _validity(der: bytes) -> Validity:
    certificate, _ = _inside(der, 0, _SEQUENCE)
    at, _ = _inside(der, certificate, _SEQUENCE)
    tag, _, end = _element(der, at)
    if tag == _CONTEXT_0:  # the version, which the first version leaves out
        at = end
    for _ in ("serial number", "signature algorithm", "issuer"):
        at = _element(der, at)[2]
    begins, _ = _inside(der, at, _SEQUENCE)
    _, _, ends = _element(der, begins)
    return Validity(_time(der, begins), _time(der, ends))


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag at `at`, where its content begins, and where that ends."""
    try:
        tag, length, begin = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, begin = int.from_bytes(der[begin : begin + size]), begin + size
    except IndexError:
        raise ValueError("the encoding ends too early") from None
    if begin + length > len(der):
        raise ValueError("the encoding ends too early")
    return tag, begin, begin + length


def _inside(der: bytes, at: int, expected: int) -> tuple[int, int]:
    tag, begin, end = _element(der, at)
    if tag != expected:
        raise ValueError("not the encoding of a certificate")
    return begin, end


def _time(der: bytes, at: int) -> datetime:
    tag, begin, end = _element(der, at)
    text = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits: 50 and above are of the last century (RFC 5280, 4.1.2.5.1)
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def pair_fault(cert: str, key: str) -> str | None:
    """Why certificate and key cannot serve together, None when they can."""
    try:
        _serving(cert, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"certificate and key cannot be used: {error.reason or 'not PEM, or the key is encrypted'}"
    except (OSError, ValueError) as error:
        return f"certificate and key cannot be used: {error}"
    return None


def valid_for(cert: str, key: str, host: str) -> bool:
    """Whether a client that connects to `host` takes the certificate as that host's; dates and issuer do not matter."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cert)
    client.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    answering = _serving(cert, key).wrap_bio(to_server, to_client, server_side=True)
    try:
        while not (_done(asking.do_handshake) & _done(answering.do_handshake)):
            pass
    except ssl.SSLCertVerificationError as error:
        return error.verify_code not in _HOSTNAME_MISMATCH
    except ssl.SSLError:
        return True
    return True


def _done(handshake: Callable[[], None]) -> bool:
    try:
        handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _serving(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key, password=lambda: b"")  # an encrypted key must not ask at the terminal
    return context
