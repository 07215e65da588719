"""What a URL says about following a channel: which control plane or store, whose releases, and as which instance.

herz://127.0.0.1:4379/pay                              the application `pay`, namespace `default`, over HTTP
herz+tls://a:4379,b:4379/pay/eu?ca=ca.pem&cert=me.pem&key=me.key&token-file=/run/secrets/herz
herz+etcd://10.0.0.1:2379,10.0.0.2:2379/pay/eu         straight from etcd; herz+etcd+tls:// as etcd+tls://
herz+sqlite:///herz.db#pay/eu                          straight from an embedded store
herz://127.0.0.1:4379/pay?instance=pay-7&label.zone=eu&label.container=main
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from herz.errors import SourceDenied, UsageError
from herz.model.secret import Secret
from herz.model.units import seconds
from herz.store.plane import DEFAULT_NAMESPACE, checked_instance, checked_name
from herz.tls.material import TlsMaterial

PORT: Final = 4379
PROOF_S: Final = 10.0
"""Within so many seconds a healthy stream brings something, until the server says otherwise."""
_OWN: Final = ("instance", "token-file", "proof")
_TLS: Final = ("ca", "cert", "key")

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")

_forked = False


def _in_child() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_in_child)


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a process reports: its instance (None for one made of host and process), labels and patch."""

    given: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    patch_id: str | None = None

    @property
    def instance(self) -> str:
        """The name of this process. A forked child has one of its own, whatever its parent was called."""
        if self.given is None:
            host = _ODD.sub("-", socket.gethostname()).strip("._-") or "host"
            return checked_instance(f"{host}-{os.getpid()}")
        return f"{self.given}-{os.getpid()}" if _forked else self.given


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, understood. `name` is it without credentials and options, for people.

    `transport` is `http`, `etcd` or `sqlite`; `store` the URL (etcd) or file (sqlite) of a store.
    """

    name: str
    transport: str
    app: str
    namespace: str
    identity: Identity
    endpoints: tuple[str, ...] = ()
    tls: TlsMaterial | None = None
    token: Secret | None = None
    store: str = field(default="", repr=False)
    proof_s: float | None = None

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] | None = None) -> Address:
        """`UsageError` when `url` is no such address, `SourceDenied` when its token cannot be read."""
        environment = os.environ if environment is None else environment
        scheme, _, rest = url.partition("://")
        rest, _, fragment = rest.partition("#")
        rest, _, query = rest.partition("?")
        shown = f"{scheme}://{rest.rpartition('@')[2]}" + (f"#{fragment}" if fragment else "")
        options = _options(shown, query)
        common: dict[str, Any] = {
            "name": shown,
            "identity": _identity(shown, options, environment),
            "proof_s": _proof(shown, options),
        }
        if scheme == "herz+sqlite":
            file = unquote(rest.removeprefix("/"))
            if rest[:1] != "/" or not file:
                raise UsageError(f"{shown} names no file", remedy="write herz+sqlite:///herz.db#app, or #app/namespace")
            _none_left(shown, options)
            app, namespace = _place(shown, fragment)
            return cls(transport="sqlite", app=app, namespace=namespace, store=file, **common)
        authority, _, path = rest.partition("/")
        if fragment or not authority:
            raise UsageError(f"{shown} names no server", remedy=f"write {scheme}://HOST:PORT/app, or /app/namespace")
        app, namespace = _place(shown, unquote(path))
        if scheme in ("herz+etcd", "herz+etcd+tls"):
            # What is left belongs to the store, which refuses what it does not know.
            proof = {} if common["proof_s"] is None else {"proof": f"{common['proof_s']}s"}
            query = urlencode({**options, **proof}, safe="/")
            store = f"{scheme.removeprefix('herz+')}://{authority}/" + (f"?{query}" if query else "")
            return cls(transport="etcd", app=app, namespace=namespace, store=store, **common)
        if scheme not in ("herz", "herz+tls"):
            raise UsageError(f"{scheme}: is no control plane", remedy="write herz://HOST:PORT/app")
        if "@" in authority:
            raise UsageError(f"{shown} has a user", remedy="give a token by HERZ_TOKEN or ?token-file=")
        secure = scheme == "herz+tls"
        given = {name: options.pop(name) for name in _TLS if name in options}
        material = TlsMaterial(cert=given.get("cert"), key=given.get("key"), ca=given.get("ca"))
        token = _token(shown, options, environment)
        _none_left(shown, options)
        if given and not secure:
            raise UsageError(f"{shown} is plain text, although {' and '.join(given)} is given", remedy="herz+tls://")
        return cls(
            transport="http",
            app=app,
            namespace=namespace,
            endpoints=tuple(_endpoint(shown, host, secure=secure) for host in authority.split(",")),
            tls=material if secure else None,
            token=token,
            **common,
        )


def _options(shown: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option in options or not value:
            raise UsageError(f"{shown}: the option {option!r} is {'given twice' if value else 'empty'}")
        options[option] = value
    return options


def _none_left(shown: str, options: Mapping[str, str]) -> None:
    if options:
        raise UsageError(
            f"{shown}: unknown option {min(options)!r}",
            remedy=f"known are {', '.join((*_OWN, *_TLS))} and label.NAME",
        )


def _place(shown: str, path: str) -> tuple[str, str]:
    app, _, namespace = path.strip("/").partition("/")
    if not app:
        raise UsageError(f"{shown} names no application", remedy="end it with /app, or /app/namespace")
    return checked_name(app, "an application"), checked_name(namespace or DEFAULT_NAMESPACE, "a namespace")


def _endpoint(shown: str, host: str, *, secure: bool) -> str:
    bare, colon, port = host.rpartition(":")
    if host.endswith("]") or not colon:
        bare, port = host, str(PORT)
    if not bare or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{shown}: {host!r} is no HOST:PORT", remedy="write HOST:PORT, several with commas")
    return f"{'https' if secure else 'http'}://{bare}:{port}"


def _proof(shown: str, options: dict[str, str]) -> float | None:
    written = options.pop("proof", None)
    if written is None:
        return None
    try:
        found = float(seconds(written))
    except ValueError as error:
        raise UsageError(f"{shown}: proof={written} is no duration", remedy="write 500ms or 3s") from error
    if not 0.1 <= found <= 3600:
        raise UsageError(f"{shown}: proof={written} is out of range", remedy="write 100ms to 1h")
    return found


def _identity(shown: str, options: dict[str, str], environment: Mapping[str, str]) -> Identity:
    labels: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in environment.get("HERZ_LABELS", "").split(","))):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"HERZ_LABELS: {pair!r} is no label", remedy="write zone=eu,container=main")
        labels[name.strip()] = value.strip()
    for option in [option for option in options if option.startswith("label.")]:
        labels[option.removeprefix("label.")] = options.pop(option)
    if "" in labels:
        raise UsageError(f"{shown}: a label without a name", remedy="write ?label.zone=eu")
    given = options.pop("instance", None) or environment.get("HERZ_INSTANCE") or None
    return Identity(
        None if given is None else checked_instance(given), labels, environment.get("HERZ_PATCH_ID") or None
    )


def _token(shown: str, options: dict[str, str], environment: Mapping[str, str]) -> Secret | None:
    file = options.pop("token-file", None)
    text = environment.get("HERZ_TOKEN", "")
    if file is not None:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SourceDenied(
                f"{shown}: the token cannot be read: {reason}", where=file, remedy="mend the file"
            ) from error
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{shown}: the token has characters that a header cannot carry", remedy="write it anew")
    return Secret(text) if text else None
