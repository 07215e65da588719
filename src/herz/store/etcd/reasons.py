"""Why a connection cannot be made, in words that say what to look at; grpc's own name its source files' states."""

from __future__ import annotations

import re
from typing import Final

_CONNECTING: Final = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
"""How grpc begins when there is no connection. What servers say themselves is left as it is."""

_MEANINGS: Final = (
    ("Connection refused", "connection refused: nobody listens there"),
    ("certificate has expired", "the server's certificate has expired"),
    ("certificate is not yet valid", "the server's certificate is not valid yet, or this machine's clock is wrong"),
    ("Hostname Verification Check failed", "the server's certificate is not valid for this host"),
    ("is not in peer certificate", "the server's certificate is not valid for this host"),
    ("self signed certificate", "the server's certificate is self-signed, and not among the authorities that we trust"),
    ("self-signed certificate", "the server's certificate is self-signed, and not among the authorities that we trust"),
    ("CERTIFICATE_VERIFY_FAILED", "no authority that we trust has signed the server's certificate"),
    ("ALERT_BAD_CERTIFICATE", "the server refuses our certificate, or asks for one and gets none"),
    ("ALERT_UNSUPPORTED_CERTIFICATE", "the server refuses our certificate: it is not fit for a client"),
    ("ALERT_CERTIFICATE", "the server refuses our certificate, or asks for one and gets none"),
    ("ALERT_UNKNOWN_CA", "the server does not know the authority that has signed our certificate"),
    # In TLS 1.3 the server judges our certificate after the handshake, and its alert is an unreadable record to grpc.
    ("TSI_DATA_CORRUPTED", "the server refuses our certificate, or asks for one and gets none"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS there"),
    ("Handshake read failed (Socket closed)", "the server ends the TLS handshake: perhaps it does not speak TLS there"),
    ("http1.x server", "a plain HTTP server answers there, not etcd"),
    ("Failed parsing HTTP/2", "a plain HTTP server answers there, not etcd"),
    ("Socket closed", "the server closes the connection: perhaps it speaks TLS there, and we do not"),
    ("Domain name not found", "the name does not resolve"),
    ("address lookup failed", "the name does not resolve"),
    ("DNS resolution failed", "the name does not resolve"),
    ("Network is unreachable", "the network is unreachable"),
    ("No route to host", "there is no route to the host"),
)
_LAST: Final = re.compile(r".*last error: [A-Z_]+: (?:ipv[46]:\S+: )?(.*)", re.DOTALL)


def reason(details: str) -> str:
    """The `details` of a failed call; where grpc could not connect, what that means."""
    if not details.startswith(_CONNECTING):
        return details
    for text, meaning in _MEANINGS:
        if text in details:
            return meaning
    last = _LAST.fullmatch(details)
    return last[1] if last is not None else details
