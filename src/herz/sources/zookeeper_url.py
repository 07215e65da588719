"""What a ZooKeeper URL says: `zookeeper://user:password@h1:2181,h2:2181/config/pay?auth=sasl`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from herz.errors import UsageError
from herz.formats.decode import FORMATS, format_of
from herz.sources.urls import masked
from herz.tls.guard import check_endpoints
from herz.tls.material import TlsMaterial

PORT: Final = 2181
TLS_PORT: Final = 2281
SECONDS: Final = {"session": "session_s", "dial": "dial_s", "call": "call_s"}
"""The query's names for time limits, in seconds."""
_URL: Final = re.compile(r"(zookeeper(?:\+tls)?)://(?:([^@/?#]*)@)?([^@/?#]+)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Where to connect, as whom, and how long to wait; times in seconds.

    `hosts` are `name:port`. `sasl` proves the password by SASL DIGEST-MD5 instead of sending it (`digest`). `tls` None
    is plain text. `dial_s` is for one server, `call_s` for one question, `session_s` what the server is asked for.
    """

    hosts: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sasl: bool = False
    tls: TlsMaterial | None = None
    session_s: float = 6.0
    dial_s: float = 3.0
    call_s: float = 5.0

    @property
    def name(self) -> str:
        """The servers, as written in a URL, without credentials."""
        return ",".join(self.hosts)


class Place(NamedTuple):
    """A path in an ensemble; `form` is the format of the document that the znode at `path` itself holds, if it does."""

    ensemble: Ensemble
    path: str
    form: str | None
    proof_s: float


def place_of(url: str, proof_s: float) -> Place:
    """What `url` names. `UsageError` when it cannot be read, `TlsError` when it promises what it cannot have.

    Query: `ca`, `cert`, `key` (files, with `zookeeper+tls` only), `auth=digest|sasl`, `format`, and `session`,
    `dial`, `call`, `proof` in seconds.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise UsageError(
            f"{masked(url)} is no ZooKeeper URL", remedy="write zookeeper://host:2181,host:2181/config/application"
        )
    scheme, credentials, authority, path, query = match.groups()
    secure = scheme.lower().endswith("+tls")
    hosts = tuple(_host(host, TLS_PORT if secure else PORT, url) for host in authority.split(","))
    options = _options(query or "", url)
    material = TlsMaterial(options.pop("cert", None), options.pop("key", None), options.pop("ca", None))
    check_endpoints([f"{'https' if secure else 'http'}://{host}" for host in hosts], material)
    user, colon, password = (credentials or "").partition(":")
    auth = options.pop("auth", "digest")
    if auth not in ("digest", "sasl") or (credentials and not colon):
        raise UsageError(f"{masked(url)}: credentials are user:password, with auth=digest or auth=sasl")
    path = "/" + "/".join(unquote(segment) for segment in path.split("/") if segment)
    form = options.pop("format", None) or format_of(path)
    if form is not None and form not in FORMATS:
        raise UsageError(f"{masked(url)}: format {form!r} is not known", remedy=f"use one of {', '.join(FORMATS)}")
    times = {name: _seconds(name, options.pop(name), url) for name in ("proof", *SECONDS) if name in options}
    if options:
        raise UsageError(f"{masked(url)}: {', '.join(options)} is no option of ZooKeeper", remedy="see docs/sources.md")
    ensemble = Ensemble(
        hosts,
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
        sasl=auth == "sasl",
        tls=material if secure else None,
        **{SECONDS[name]: value for name, value in times.items() if name in SECONDS},
    )
    return Place(ensemble, path, form, times.get("proof", proof_s))


def _host(text: str, port: int, url: str) -> str:
    match = _HOST.fullmatch(text.strip())
    if match is None or int(match[2] or port) > 65535:
        raise UsageError(f"{masked(url)}: {text!r} is no host:port", remedy="write zookeeper://h1:2181,h2:2181/path")
    return f"{match[1]}:{match[2] or port}"


def _options(query: str, url: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(dict(pairs)) != len(pairs):
        raise UsageError(f"{masked(url)}: an option is given twice", remedy="keep one of them")
    return dict(pairs)


def _seconds(name: str, text: str, url: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0 < value < 86_400:
        raise UsageError(f"{masked(url)}: {name}={text} is no number of seconds", remedy=f"write {name}=5")
    return value
