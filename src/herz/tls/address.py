"""Addresses: what a listen URL or an endpoint says about where, and whether encrypted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from herz.errors import UsageError

PLAIN: Final = frozenset({"http", "unix", "etcd", "zookeeper", "herz"})
SECURE: Final = frozenset({"https", "unixs", "etcd+tls", "zookeeper+tls", "herz+tls"})
"""Schemes that promise encryption; the sockets `unix` and `unixs` are etcd's."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place to listen at or to connect to. `url` shows no credentials, `port` is None where none was written."""

    url: str
    scheme: str
    host: str
    port: int | None

    @property
    def secure(self) -> bool:
        """Whether the scheme promises encryption."""
        return self.scheme in SECURE

    @property
    def socket(self) -> bool:
        """Whether it is a socket of this machine's file system."""
        return self.scheme in ("unix", "unixs")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.socket or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def every_interface(self) -> bool:
        """Whether the host stands for every address of the machine: `0.0.0.0`, `::`, or nothing."""
        return not self.socket and self.host in ("", "0.0.0.0", "::")  # noqa: S104  recognised, not bound

    def otherwise(self, secure: bool) -> str:
        """The same address with the scheme that is encrypted, or is not."""
        plain, encrypted = {"https": ("http", "https"), "unixs": ("unix", "unixs")}.get(
            _ENCRYPTED[self.scheme], (self.scheme.removesuffix("+tls"), _ENCRYPTED[self.scheme])
        )
        return (encrypted if secure else plain) + self.url[len(self.scheme) :]


_ENCRYPTED: Final = {
    **{scheme: scheme for scheme in SECURE},
    "http": "https",
    "unix": "unixs",
    "etcd": "etcd+tls",
    "zookeeper": "zookeeper+tls",
    "herz": "herz+tls",
}


def addresses(urls: Iterable[str]) -> list[Address]:
    """The addresses that `urls` name, in their order; one URL may name several hosts: `etcd://a:2379,b:2379/path`.

    `UsageError` for a URL without a scheme, of an unknown one, or with a port that is no number.
    """
    return [address for url in urls for address in _of(url.strip())]


def _of(url: str) -> list[Address]:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PLAIN | SECURE:
        raise UsageError(
            f"{_bare(url)!r} says not whether it is encrypted" if not separator else f"{_bare(url)!r}: unknown scheme",
            remedy="write http://HOST:PORT or https://HOST:PORT",
        )
    if scheme in ("unix", "unixs"):
        return [Address(f"{scheme}://{rest}", scheme, rest, None)]
    end = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    hosts = rest[:end].rpartition("@")[2]
    return [_one(scheme, host) for host in hosts.split(",")]


def _one(scheme: str, host: str) -> Address:
    url = f"{scheme}://{host}"
    try:
        parts = urlsplit(url)
        return Address(url, scheme, parts.hostname or "", parts.port)
    except ValueError as error:
        raise UsageError(f"{url!r} is no address: {error}", remedy=f"write {scheme}://HOST:PORT") from None


def _bare(url: str) -> str:
    """`url` without credentials, however broken it is."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else url.rpartition("@")[2]
