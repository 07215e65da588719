"""What a URL says about a place in etcd: where, as whom, how encrypted, and which prefix.

etcd://10.0.0.1:2379,10.0.0.2:2379/config/pay
etcd+tls://user:p%40ss@etcd.internal/config/pay?ca=ca.pem&cert=me.pem&key=me.key&server_name=etcd
etcd://localhost:2379/config/pay.settings?format=yaml       one key that holds a document
etcd://localhost:2379#pay                                   the application `pay`: /config/pay/
etcd://localhost:2379/config/pay?dial=1s&proof=2s           time limits: see `EtcdStore`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from herz.errors import UsageError
from herz.model.secret import Secret
from herz.model.units import seconds
from herz.store.names import config_prefix
from herz.tls.material import TlsMaterial

PORT: Final = 2379
DIAL_S: Final = 3.0
"""Seconds that connecting may take at each endpoint."""
PROOF_S: Final = 5.0
"""Within so many seconds a healthy watch hands over something."""
_OPTIONS: Final = ("ca", "cert", "key", "server_name", "format", "dial", "proof", "prev-kv")


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """A URL, understood. `name` is it without user, password and options, for people.

    `prefix` ends with a slash, unless `form` names the format of the document that is there.
    """

    name: str
    endpoints: tuple[str, ...]
    prefix: str
    form: str | None = None
    tls: TlsMaterial | None = None
    server_name: str | None = None
    username: str | None = None
    password: Secret | None = None
    dial_timeout_s: float = DIAL_S
    proof_s: float = PROOF_S
    previous: bool = False
    """Whether watches ask for what each event replaced: see ADR 19."""

    @classmethod
    def parse(cls, url: str) -> EtcdAddress:
        """`UsageError` when `url` is no address of etcd; the message shows no credentials."""
        scheme, _, rest = url.partition("://")
        rest, _, app = rest.partition("#")
        rest, _, query = rest.partition("?")
        authority, slash, path = rest.partition("/")
        login, _, hosts = authority.rpartition("@")
        name = f"{scheme}://{hosts}{slash}{path}" + (f"#{app}" if app else "")
        if scheme not in ("etcd", "etcd+tls") or not hosts or "@" in path:
            raise UsageError(
                f"{scheme}://… names no endpoint of etcd" if not hosts or "@" in path else f"{scheme}: is not etcd",
                remedy="write etcd://HOST:PORT/PREFIX; a /, ? or # in a password is written %2F, %3F, %23",
            )
        options = _options(name, query)
        tls = _tls(name, scheme, options)
        user, colon, password = login.partition(":")
        form = options.get("format")
        if app:
            if path.strip("/") or form:
                raise UsageError(f"{name} has both a path and an application", remedy=f"write {scheme}://{hosts}#{app}")
            prefix = config_prefix(app)
        else:
            prefix = "/" + unquote(path).strip("/")
            prefix = prefix if form or prefix == "/" else prefix + "/"
        return cls(
            name,
            tuple(_endpoint(name, host) for host in hosts.split(",")),
            prefix,
            form,
            tls,
            options.get("server_name"),
            unquote(user) if login else None,
            Secret(unquote(password)) if colon else None,
            _seconds(name, options, "dial", DIAL_S),
            _seconds(name, options, "proof", PROOF_S),
            _flag(name, options, "prev-kv"),
        )


def _options(name: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in _OPTIONS or option in options:
            raise UsageError(
                f"{name}: {'unknown option' if option not in _OPTIONS else 'twice the option'} {option!r}",
                remedy=f"known are {', '.join(_OPTIONS)}",
            )
        if not value:
            raise UsageError(f"{name}: the option {option!r} is empty", remedy="give it a value, or leave it out")
        options[option] = value
    return options


def _seconds(name: str, options: dict[str, str], option: str, default: float) -> float:
    try:
        found = float(seconds(options[option])) if option in options else default
    except ValueError as error:
        raise UsageError(f"{name}: {option}={options[option]} is no duration", remedy="write 500ms or 3s") from error
    if not 0.1 <= found <= 3600:
        raise UsageError(f"{name}: {option}={options[option]} is out of range", remedy="write 100ms to 1h")
    return found


def _flag(name: str, options: dict[str, str], option: str) -> bool:
    value = options.get(option, "false")
    if value not in ("true", "false"):
        raise UsageError(f"{name}: {option}={value} is neither true nor false", remedy="write one of them")
    return value == "true"


def _tls(name: str, scheme: str, options: dict[str, str]) -> TlsMaterial | None:
    given = [option for option in ("ca", "cert", "key", "server_name") if option in options]
    if scheme == "etcd+tls":
        return TlsMaterial(cert=options.get("cert"), key=options.get("key"), ca=options.get("ca"))
    if given:
        raise UsageError(
            f"{name} is plain text, although {' and '.join(given)} {'are' if len(given) > 1 else 'is'} given",
            remedy="write etcd+tls://",
        )
    return None


def _endpoint(name: str, host: str) -> str:
    bare, colon, port = host.rpartition(":")
    if host.endswith("]") or not colon:
        bare, port = host, str(PORT)
    if not bare or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{name}: {host!r} is no HOST:PORT", remedy="write HOST:PORT, several with commas")
    return f"{bare}:{port}"
