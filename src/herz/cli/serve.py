"""`herz serve`: run the control plane."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import logging
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herz.cli.arguments import command
from herz.cli.output import paint, print_json
from herz.errors import ConfigurationError, MissingExtra, UsageError
from herz.model.units import seconds

if TYPE_CHECKING:
    from herz.cli.arguments import Subparsers
    from herz.server.serve import ServeOptions, Started
    from herz.server.settings import Provider
    from herz.tls.material import Fault

_STORE: Final = "sqlite:///herz.db"
_LISTEN: Final = "http://127.0.0.1:4379"

_DESCRIPTION: Final = f"""\
Run the control plane: releases, who runs them, and rollouts with proof. Everything is kept in the store; any
number of servers may share one etcd.

On loopback it is open: no token is needed. On any other address it starts only when there is a token
or an admin (herz token create, herz user add), or with --require-tokens, which prints the first token and a link
where the first admin of the console chooses a password. An https address needs --cert and
--key, and never falls back to plain text. Listens on {_LISTEN} unless told otherwise.

SIGTERM ends it in order: streams are told, requests under way are finished."""

_EXAMPLES: Final = """\
  herz serve                                                       open, for this machine, in ./herz.db
  herz serve --store etcd://10.0.0.1:2379,10.0.0.2:2379 --require-tokens
  herz serve --listen https://0.0.0.0:4379 --cert herz.crt --key herz.key
  herz serve --listen http://127.0.0.1:4379 --listen https://10.0.0.5:4380 --cert … --key … --client-ca ca.crt"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    serving = command(
        subparsers, "serve", run, summary="run the control plane", description=_DESCRIPTION, examples=_EXAMPLES
    )
    serving.add_argument(
        "--store",
        metavar="URL",
        help=f"sqlite:///FILE or etcd://HOST:PORT,… (default: HERZ_STORE, else {_STORE})",
    )
    serving.add_argument(
        "--listen", action="append", metavar="URL", help=f"http:// or https://HOST:PORT; may be repeated ({_LISTEN})"
    )
    serving.add_argument("--cert", metavar="FILE", help="the server's certificate with its chain, for https")
    serving.add_argument("--key", metavar="FILE", help="and its key")
    serving.add_argument(
        "--client-ca", metavar="FILE", help="take only clients with a certificate that one of these authorities signed"
    )
    serving.add_argument(
        "--require-tokens",
        action="store_true",
        help="ask for a token or a login on loopback as well; prints the first token and a link for the first admin",
    )
    console = serving.add_argument_group("the console's door")
    console.add_argument(
        "--public-url",
        metavar="URL",
        help="what browsers call this server where a proxy stands before it: https://herz.example (HERZ_PUBLIC_URL)",
    )
    console.add_argument("--session-idle", metavar="TIME", default="1h", help="end sessions not used for so long (1h)")
    console.add_argument("--session-time", metavar="TIME", default="12h", help="end sessions in any case (12h)")
    console.add_argument(
        "--oidc-issuer", metavar="URL", help="people log in by this OpenID Connect provider (HERZ_OIDC_ISSUER)"
    )
    console.add_argument("--oidc-client-id", metavar="ID", help="what it calls this server (HERZ_OIDC_CLIENT_ID)")
    console.add_argument(
        "--oidc-client-secret-file",
        metavar="FILE",
        help="a file that holds the client's secret (HERZ_OIDC_CLIENT_SECRET_FILE, or HERZ_OIDC_CLIENT_SECRET)",
    )
    console.add_argument(
        "--oidc-groups-claim", metavar="NAME", help="where it tells groups (HERZ_OIDC_GROUPS_CLAIM, else groups)"
    )
    console.add_argument(
        "--oidc-name-claim",
        metavar="NAME",
        help="what becomes the user's name (HERZ_OIDC_NAME_CLAIM, else preferred_username)",
    )
    serving.add_argument("--name", metavar="NAME", help="what this server is called (default: the host's name)")
    serving.add_argument("--json-log", action="store_true", help="log one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is told to stop."""
    options = options_of(arguments)
    from herz.server.serve import serve

    _log(as_json=arguments.json_log)
    _raise_file_limit()

    def tell(started: Started) -> None:
        _tell(started, as_json=arguments.json)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(options, tell, _warn))
    return 0


def options_of(arguments: argparse.Namespace) -> ServeOptions:
    """What the command line and the environment ask for. `MissingExtra` where the server is not installed."""
    try:
        from herz.server.serve import ServeOptions
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"herz serve needs {error.name}, which is not installed", remedy="pip install 'herz[server]'"
        ) from error
    return ServeOptions(
        store=arguments.store or os.environ.get("HERZ_STORE") or _STORE,
        listen=tuple(arguments.listen or (_LISTEN,)),
        cert=arguments.cert,
        key=arguments.key,
        client_ca=arguments.client_ca,
        require_tokens=arguments.require_tokens,
        name=arguments.name or socket.gethostname(),
        user=_user(),
        public_url=arguments.public_url or os.environ.get("HERZ_PUBLIC_URL") or None,
        session_idle_s=_seconds(arguments.session_idle, "--session-idle"),
        session_s=_seconds(arguments.session_time, "--session-time"),
        provider=_provider(arguments),
    )


def _provider(arguments: argparse.Namespace) -> Provider | None:
    """The provider that the command line or the environment names. `UsageError` for half of one."""
    from herz.server.settings import Provider

    def said(name: str) -> str | None:
        return getattr(arguments, f"oidc_{name}", None) or os.environ.get(f"HERZ_OIDC_{name.upper()}") or None

    issuer, client_id = said("issuer"), said("client_id")
    if issuer is None and client_id is None:
        return None
    if issuer is None or client_id is None:
        raise UsageError(
            f"there is no --oidc-{'issuer' if issuer is None else 'client-id'}",
            remedy="a provider is named by its issuer and by the id that it has given to this server",
        )
    file = said("client_secret_file")
    try:
        secret = Path(file).read_text().strip() if file else os.environ.get("HERZ_OIDC_CLIENT_SECRET")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the client's secret cannot be read", where=file, remedy="look at --oidc-client-secret-file"
        ) from error
    return Provider(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret or None,
        groups_claim=said("groups_claim") or "groups",
        name_claim=said("name_claim") or "preferred_username",
    )


def _seconds(text: str, option: str) -> float:
    try:
        found = float(seconds(text))
    except ValueError as error:
        raise UsageError(f"{option} {text} is no time", remedy="write 30m or 12h") from error
    if not 1 <= found <= 366 * 86_400:
        raise UsageError(f"{option} {text} is too short or too long", remedy="write 30m or 12h")
    return found


def _tell(started: Started, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "listening": list(started.listening),
                "store": started.store,
                "identity": started.identity,
                "name": started.name,
                "open": started.open,
                "token": started.token,
                "admin_link": started.admin_link,
            },
            lines=True,
        )
        return
    for url in started.listening:
        print(f"herz serve listens on {paint(url, 'bold')}")
    print(f"store: {started.store}")
    who = "open: no token is needed, for only this machine can reach it" if started.open else "a token is needed"
    print(who)
    if started.token is not None:
        print(f"\nThe first token, good for a day and for everything; it is shown this once:\n\n  {started.token}\n")
        print("Make others with it: HERZ_TOKEN=… herz token create NAME --grant pay:release")
    if started.admin_link is not None:
        print(f"\nThe first admin of the console, once and within a day, is made at\n\n  {started.admin_link}\n")
    sys.stdout.flush()


def _warn(fault: Fault) -> None:
    print(f"{paint('herz:', 'yellow', sys.stderr)} {fault.what}\n  → {fault.remedy}", file=sys.stderr)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


def _raise_file_limit() -> None:
    """Every client is an open file: take as many as the system lets us."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # where there is no such thing (Windows), there is no such limit

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _JsonLog(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


def _log(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLog() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("herz", logging.INFO), ("uvicorn", logging.WARNING), ("litestar", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
